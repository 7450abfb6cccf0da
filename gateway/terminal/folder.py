"""Imports the files of a folder or a flash disk, each once, and reports when the disk may be removed."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime

from drivers.base import (
    Delivery,
    DriverError,
    Export,
    Notice,
    Record,
    Refused,
    Removable,
    Settlement,
    Settling,
    TerminalUnavailable,
    Unsettled,
    Untimed,
)
from gateway.file_import import ImportReport, LedgerSink, import_file, receipt_text, refusal_text
from gateway.ledger import LedgerError, ReadingResult
from gateway.terminal.context import TerminalContext
from gateway.terminal.deliveries import received
from gateway.terminal.log_reading import Stopped
from gateway.terminal.state import UNREAD_LISTED_MAX, Medium


class FolderImport:
    """The files of one terminal's folder. An error caused by a file costs that file only."""

    def __init__(self, context: TerminalContext, stopping: threading.Event) -> None:
        self._context = context
        self._stopping = stopping
        self._processed: set[str] = set()
        """Marks of the files that were processed since the disk was inserted."""

    def read_new(self, place: Removable, *, again: bool) -> ReadingResult | None:
        """Import new files; ``again``: also look at those that were processed before.

        None where the disk of the gateway is full: the files stay where they are.
        """
        context, state = self._context, self._context.state
        if context.ledger.disk_state() == "none":
            return None
        result = ReadingResult()
        present = place.present()
        if again or not present:
            self._processed.clear()
            state.unread = {}
        if not present:
            self._set_medium("none")
            return result
        known = context.ledger.files(context.name)
        unsettled = False
        place.skip(self._processed)
        with received(place, 0.0) as items:
            for item in items:
                if isinstance(item, Unsettled | Settling):
                    if self._stopping.is_set():
                        raise Stopped
                    unsettled |= isinstance(item, Unsettled)
                    self._set_medium("reading")
                elif isinstance(item, Refused):
                    self._refuse(item)
                    self._processed.add(item.mark)
                elif isinstance(item, Notice) or item.file is None:
                    raise TypeError("what a removable place delivers is a file")
                elif self._take(item, item.file, result, known=item.file.sha256 in known):
                    self._processed.add(item.file.mark)
                else:
                    unsettled = True
        if not unsettled:
            self._set_medium("safe")
        return result

    def _take(self, delivery: Delivery, export: Export, result: ReadingResult, *, known: bool) -> bool:
        """Store and settle a file, or report why it is not read; return False where it is to be tried again."""
        context, state = self._context, self._context.state
        state.unread = {mark: name for mark, name in state.unread.items() if name != export.name}
        if known:
            delivery.settle(Settlement(known=export.lines))
            return True
        self._set_medium("reading")
        try:
            report = self._store(delivery, export)
        except (Stopped, LedgerError):
            raise
        except TerminalUnavailable as exc:
            # The file was read to its end just before: the disk was removed, or the file changed.
            context.log.info("file_unsettled", file=export.name, reason=str(exc))
            return False
        except Exception as exc:  # noqa: BLE001 - an error caused by a file costs that file only
            reason = str(exc) if isinstance(exc, DriverError) else f"it cannot be read ({type(exc).__name__})"
            self._refuse(Refused(export.name, export.mark, reason, "name"))
            return True
        counts = report.counts
        text = receipt_text(report, context.settings, state.serial or "", context.clock.now())
        written = delivery.settle(
            Settlement(counts.new, counts.known + counts.repeated, counts.quarantined, report=text)
        )
        result.read += export.lines
        result.new += counts.new
        result.quarantined += counts.quarantined
        result.last_punch = _text(export.last) or result.last_punch
        context.log.info("file_imported", file=export.name, receipt=written, **asdict(counts))
        if not written:
            context.log.warning("receipt_refused", file=export.name, reason="the disk that the file is on takes none")
        return True

    def _store(self, delivery: Delivery, export: Export) -> ImportReport:
        context = self._context
        sink = LedgerSink(context.ledger, context.settings, context.zone, context.clock)
        return import_file(sink, export, None, self._until_stopped(delivery.records))

    def _refuse(self, refused: Refused) -> None:
        """Report an unread file: in the log, in the state, and by a report beside it where its content is wrong."""
        context, state = self._context, self._context.state
        state.unread = {**state.unread, refused.mark: refused.name}
        if len(state.unread) > UNREAD_LISTED_MAX + 1:
            return  # already reported that there are more
        if len(state.unread) > UNREAD_LISTED_MAX:
            refused = refused._replace(reason=f"{refused.reason}; more files are not read, and not named one by one")
        if refused.why == "elsewhere" and (refused.serial is None or self._is_known(refused.serial)):
            context.log.info("file_left", file=refused.name, reason=refused.reason)
        else:
            values = {"file": refused.name, "reason": refused.reason}
            context.incident("file_refused", logged=values, values=values)
        if refused.why == "content":
            refused.write_report(refusal_text(refused, context.settings, context.clock.now()))
        context.publish_state()

    def _is_known(self, serial: str) -> bool:
        return any(serial.casefold() == other.serial.casefold() for other in self._context.ledger.terminals())

    def _until_stopped(self, records: Iterable[Record | Untimed]) -> Iterator[Record]:
        for record in records:
            if self._stopping.is_set():
                raise Stopped
            if isinstance(record, Untimed):
                raise TypeError("a record of a file has a time")
            yield record

    def _set_medium(self, medium: Medium) -> None:
        if self._context.state.medium != medium:
            self._context.state.medium = medium
            self._context.publish_state()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
