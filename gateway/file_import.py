"""A file of records on its way into the ledger: surveyed, stored run by run, put on record, reported.

Whoever reads the file may be another process than the one that has the ledger: the command ``hadir import`` reads it
with the rights of the person who called it, and hands its records to the running daemon.
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
from gateway.control import Unanswered, ask
from gateway.event import ReadingContext, utc_text
from gateway.ledger import BEFORE, SLICE, ImportCounts, Ledger, decoded, encoded
from gateway.settings import TerminalSettings

STORE_S = 60.0
"""How long a busy daemon may take to store one run of records."""


class WrongTerminal(Exception):  # noqa: N818 - says what is the matter
    """A file is not this terminal's, or whose it is cannot be told; the message says why."""


class DaemonUnreachable(Exception):  # noqa: N818 - says what is the matter
    """The daemon that has the ledger did not store what it was given; what it stored before is stored."""


class ImportSink(Protocol):
    """Takes the records of one terminal's files."""

    def begin(self, serial: str | None) -> int:
        """Return the ledger's last sequence. WrongTerminal where another serial is expected, or none is known."""

    def store(self, before: Sequence[Record], records: Sequence[Record], begun_at: int) -> ImportCounts:
        """Store records; see :meth:`Ledger.record_file`."""

    def finish(self, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """Put on record that a file was read to its end; False where that was noted before."""


@dataclass(slots=True)
class Report:
    """What was in a file, and what became of it."""

    export: Export
    filed: ImportCounts = field(default_factory=ImportCounts)
    noted: bool = False
    """It was read to its end for the first time."""

    def about(self) -> dict[str, Any]:
        """Return what the event about the file says."""
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
            **asdict(self.filed),
        }

    def report(self) -> dict[str, Any]:
        """Return everything."""
        return {**self.about(), "defects": [defect._asdict() for defect in self.export.defects]}


def _local(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def filed(
    desk: ImportSink, export: Export, serial: str | None, watched: Callable[[Iterable[Record]], Iterable[Record]] = iter
) -> Report:
    """Store what is new in a file, and put it on record.

    A run of records is stored before the next is read, so an end in the middle costs nothing but a second reading.
    ``watched`` may show how far it is. Raises WrongTerminal, DaemonUnreachable, TerminalUnavailable and LedgerError.
    """
    report = Report(export)
    begun_at = desk.begin(serial)
    before: deque[Record] = deque(maxlen=BEFORE)
    records = iter(watched(export.records()))
    while run := list(islice(records, SLICE)):
        report.filed += desk.store(list(before), run, begun_at)
        before.extend(run)
    report.noted = desk.finish(report.about(), report.report())
    return report


class LedgerSink:
    """Stores into a ledger of this process."""

    def __init__(self, ledger: Ledger, settings: TerminalSettings, zone: ZoneInfo, clock: Clock) -> None:
        self._ledger = ledger
        self._settings = settings
        self._zone = zone
        self._clock = clock

    def begin(self, serial: str | None) -> int:
        """Pin the serial of a terminal that was never read; see :meth:`ImportSink.begin`."""
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
        if others and self._settings.serial is None:
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
        """Put on record that a file was read to its end; False where that was noted before."""
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
    """Hands over to the daemon that runs with ``data_dir``."""

    def __init__(self, data_dir: Path, terminal: str) -> None:
        self._data_dir = data_dir
        self._terminal = terminal

    def begin(self, serial: str | None) -> int:
        """See :meth:`ImportSink.begin`."""
        told = self._ask("file-begin", serial=serial)
        if "misfit" in told:
            raise WrongTerminal(told["misfit"])
        return int(told["sequence"])

    def store(self, before: Sequence[Record], records: Sequence[Record], begun_at: int) -> ImportCounts:
        """See :meth:`ImportSink.store`."""
        texts = [encoded(record) for record in (*before, *records)]
        return ImportCounts(**self._ask("file-store", before=len(before), records=texts, begun_at=begun_at))

    def finish(self, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """See :meth:`ImportSink.finish`."""
        return bool(self._ask("file-finish", about=about, report=report)["noted"])

    def _ask(self, command: str, **arguments: object) -> dict[str, Any]:
        try:
            told = ask(self._data_dir, command, timeout_s=STORE_S, terminal=self._terminal, **arguments)
        except Unanswered as exc:
            raise DaemonUnreachable(str(exc)) from exc
        if told is None:
            raise DaemonUnreachable(f"{self._data_dir}: the gateway that had the ledger does not run any more")
        return told


class Owner(Protocol):
    """A terminal whose files may come."""

    @property
    def settings(self) -> TerminalSettings:
        """Its entry in the configuration."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""


def answers(
    ledger: Ledger, terminals: Collection[Owner], clock: Clock
) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return the daemon's side of :class:`DaemonSink`: control commands by name. ``terminals`` may come and go."""

    def desk(asked: dict[str, Any]) -> LedgerSink:
        for terminal in terminals:
            if terminal.settings.name == asked["terminal"]:
                return LedgerSink(ledger, terminal.settings, terminal.zone, clock)
        raise WrongTerminal(f"the running gateway does not know {asked['terminal']} yet; run `hadir reload`")

    def begin(asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"sequence": desk(asked).begin(asked["serial"])}
        except WrongTerminal as exc:
            return {"misfit": str(exc)}

    def store(asked: dict[str, Any]) -> dict[str, Any]:
        records = [decoded(text) for text in asked["records"]]
        border = int(asked["before"])
        return asdict(desk(asked).store(records[:border], records[border:], int(asked["begun_at"])))

    def finish(asked: dict[str, Any]) -> dict[str, Any]:
        return {"noted": desk(asked).finish(asked["about"], asked["report"])}

    return {"file-begin": begin, "file-store": store, "file-finish": finish}


def refusal(refused: Refused, terminal: TerminalSettings, now: datetime) -> str:
    """Return the text that is left beside a file of which nothing is stored, for whoever brought it."""
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


def receipt(report: Report, terminal: TerminalSettings, serial: str, now: datetime) -> str:
    """Return the text that is left beside a file, for whoever brought it."""
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
