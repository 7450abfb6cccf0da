"""Import of a file of records: stored slice by slice, noted in the ledger, and reported.

The reading process may be another than the one that holds the ledger: the command ``hadir import`` reads the file with
the rights of its user, and transfers the records to the running daemon.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from drivers.base import Export, Record, Refused
from gateway.clock import Clock
from gateway.control import Done, Failed, ask
from gateway.event import ReadingContext, utc_text
from gateway.ledger import BEFORE, SLICE, ImportCounts, Ledger, decoded, encoded
from gateway.settings import TerminalSettings

STORE_S = 60.0
"""Timeout of storing one slice of records in a busy daemon."""


class WrongTerminal(Exception):  # noqa: N818 - named by the condition
    """A file belongs to another or an unknown terminal; the message says why."""


class DaemonUnreachable(Exception):  # noqa: N818 - named by the condition
    """The daemon that holds the ledger did not store a slice; earlier slices are stored."""


class ImportSink(Protocol):
    """Stores the records of one terminal's files."""

    def begin(self, serial: str | None) -> int:
        """Return the ledger's last sequence. WrongTerminal where another serial is expected, or none is known."""

    def store(self, before: Sequence[Record], records: Sequence[Record], begun_at: int) -> ImportCounts:
        """Store records; see :meth:`Ledger.record_file`."""

    def finish(self, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """Add a note that a file was imported completely; False where that was noted before."""


@dataclass(slots=True)
class ImportReport:
    """Content of a file and the result of its import."""

    export: Export
    counts: ImportCounts = field(default_factory=ImportCounts)
    noted: bool = False
    """It was imported completely for the first time."""

    def about(self) -> dict[str, Any]:
        """Return the data of the event about the file."""
        export = self.export
        return {
            "name": export.name,
            "size": export.size,
            "sha256": export.sha256,
            "lines": export.lines,
            "punches": export.punches,
            "unreadable": export.lines - export.punches,
            "first": _local(export.first),
            "last": _local(export.last),
            **asdict(self.counts),
        }

    def report(self) -> dict[str, Any]:
        """Return the complete report."""
        return {**self.about(), "defects": [defect._asdict() for defect in self.export.defects]}


def _local(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def import_file(
    sink: ImportSink,
    export: Export,
    serial: str | None,
    records: Iterable[Record],
) -> ImportReport:
    """Store the new ones of a file's ``records``, and add a note about the file.

    A slice of records is stored before the next is read, so an interruption costs only a second reading. Raises
    WrongTerminal, DaemonUnreachable, TerminalUnavailable and LedgerError.
    """
    report = ImportReport(export)
    begun_at = sink.begin(serial)
    before: deque[Record] = deque(maxlen=BEFORE)
    rest = iter(records)
    while run := list(islice(rest, SLICE)):
        report.counts += sink.store(list(before), run, begun_at)
        before.extend(run)
    report.noted = sink.finish(report.about(), report.report())
    return report


class LedgerSink:
    """Stores into the ledger of this process."""

    def __init__(self, ledger: Ledger, settings: TerminalSettings, zone: ZoneInfo, clock: Clock) -> None:
        self._ledger = ledger
        self._settings = settings
        self._zone = zone
        self._clock = clock

    def begin(self, serial: str | None) -> int:
        """Pin the serial number of a terminal that was never read; see :meth:`ImportSink.begin`."""
        name = self._settings.name
        known = self._ledger.terminal(name)
        expected = self._settings.serial or (known.serial if known else None)
        if serial is None and expected is None:
            raise WrongTerminal(
                f"the serial number of {name} is not known yet; write it into `serial:` of its configuration"
            )
        if serial is not None and expected is not None and serial.casefold() != expected.casefold():
            raise WrongTerminal(f"the file is of the terminal with serial {serial}, and {name} is {expected}")
        serial = expected or serial or ""
        others = [other.name for other in self._ledger.terminals() if other.serial == serial and other.name != name]
        if others and self._settings.serial is None and (known is None or known.serial != serial):
            raise WrongTerminal(
                f"the terminal with serial {serial} is known as {others[0]}; import the file for {others[0]}"
            )
        if known is None or known.serial != serial:
            self._ledger.pin_serial(name, serial)
        return self._ledger.last_sequence()

    def store(self, before: Sequence[Record], records: Sequence[Record], begun_at: int) -> ImportCounts:
        """Store records; see :meth:`Ledger.record_file`."""
        return self._ledger.record_file(self._context(), records, before=before, begun_at=begun_at)

    def finish(self, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """Add a note that a file was imported completely; False where that was noted before."""
        return self._ledger.note_file(self._context(), about, report)

    def _context(self) -> ReadingContext:
        known = self._ledger.terminal(self._settings.name)
        return ReadingContext(
            terminal=self._settings.name,
            serial=known.serial if known else "",
            zone=self._zone,
            via="file",
            now=self._clock.now(),
            synchronised=self._clock.synchronised(),
            clock=None,
            stepped=False,
            tolerance=timedelta(seconds=self._settings.clock.tolerance),
        )


class DaemonSink:
    """Transfers records to the daemon that runs with ``data_dir``."""

    def __init__(self, data_dir: Path, terminal: str) -> None:
        self._data_dir = data_dir
        self._terminal = terminal

    def begin(self, serial: str | None) -> int:
        """See :meth:`ImportSink.begin`."""
        answer = self._ask("file-begin", serial=serial)
        if "misfit" in answer:
            raise WrongTerminal(answer["misfit"])
        return int(answer["sequence"])

    def store(self, before: Sequence[Record], records: Sequence[Record], begun_at: int) -> ImportCounts:
        """See :meth:`ImportSink.store`."""
        texts = [encoded(record) for record in (*before, *records)]
        return ImportCounts(**self._ask("file-store", before=len(before), records=texts, begun_at=begun_at))

    def finish(self, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """See :meth:`ImportSink.finish`."""
        return bool(self._ask("file-finish", about=about, report=report)["noted"])

    def _ask(self, command: str, **arguments: object) -> dict[str, Any]:
        match ask(self._data_dir, command, timeout_s=STORE_S, terminal=self._terminal, **arguments):
            case Done(data):
                return data
            case Failed(_, message):
                raise DaemonUnreachable(message)
        raise DaemonUnreachable(f"{self._data_dir}: the gateway that had the ledger does not run any more")


class ConfiguredTerminal(Protocol):
    """A configured terminal whose files may be imported."""

    @property
    def settings(self) -> TerminalSettings:
        """Its entry in the configuration."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""


def control_commands(
    ledger: Ledger, terminals: Collection[ConfiguredTerminal], clock: Clock
) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return the daemon's side of :class:`DaemonSink`: control commands by name. ``terminals`` may change."""

    def sink(request: dict[str, Any]) -> LedgerSink:
        for terminal in terminals:
            if terminal.settings.name == request["terminal"]:
                return LedgerSink(ledger, terminal.settings, terminal.zone, clock)
        raise WrongTerminal(f"the running gateway does not know {request['terminal']} yet; run `hadir reload`")

    def begin(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"sequence": sink(request).begin(request["serial"])}
        except WrongTerminal as exc:
            return {"misfit": str(exc)}

    def store(request: dict[str, Any]) -> dict[str, Any]:
        records = [decoded(text) for text in request["records"]]
        split = int(request["before"])
        return asdict(sink(request).store(records[:split], records[split:], int(request["begun_at"])))

    def finish(request: dict[str, Any]) -> dict[str, Any]:
        return {"noted": sink(request).finish(request["about"], request["report"])}

    return {"file-begin": begin, "file-store": store, "file-finish": finish}


def refusal_text(refused: Refused, terminal: TerminalSettings, now: datetime) -> str:
    """Return the report that is written beside a refused file."""
    return "\n".join(
        (
            "HADIR",
            "TIDAK DIBACA: isi berkas ini TIDAK tersimpan. / NOT READ: nothing of this file is stored.",
            "Ambil ulang log absen dari mesin, lalu bawa berkasnya tanpa diubah. / Export the attendance log again,",
            "and bring the file as the terminal wrote it.",
            "",
            f"Berkas / file:        {refused.name}",
            f"Mesin / terminal:     {terminal.name}",
            f"Dilihat / looked at:  {utc_text(now)}",
            f"Alasan / reason:      {refused.reason}",
            "",
        )
    )


def receipt_text(report: ImportReport, terminal: TerminalSettings, serial: str, now: datetime) -> str:
    """Return the report that is written beside an imported file."""
    about = report.about()
    span = f"{about['first'] or '-'} ... {about['last'] or '-'}".replace("T", " ")
    return "\n".join(
        (
            "HADIR",
            "AMAN DICABUT: isi berkas ini sudah tersimpan. / SAFE TO REMOVE: what is in this file is stored.",
            "",
            f"Berkas / file:        {about['name']} ({about['size']} byte)",
            f"SHA-256:              {about['sha256']}",
            f"Mesin / terminal:     {terminal.name} ({serial})",
            f"Dibaca / read:        {utc_text(now)}",
            f"Baris / lines:        {about['lines']}",
            f"Absen / punches:      {about['punches']}, {span}",
            f"Baru / new:           {about['new']}",
            f"Sudah ada / known:    {about['known']}",
            f"Berulang / repeated:  {about['repeated']}",
            f"Tidak terbaca / unreadable: {about['unreadable']}",
            "",
        )
    )
