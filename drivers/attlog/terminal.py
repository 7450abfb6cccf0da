"""Export files as they lie on a flash disk, in a folder, or anywhere a person names them.

A file is read twice: once to know that it is what it seems to be, its form and its hash, and once for its records.
Nothing is ever written but a receipt beside it, and nothing is removed.
"""

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from drivers.attlog import wire
from drivers.attlog.wire import Form, NotAnExport, Order, Reader
from drivers.base import (
    BadRecord,
    ClockReading,
    Defect,
    Driver,
    DriverOptions,
    Export,
    Record,
    Refused,
    Seconds,
    TerminalInfo,
    TerminalUnavailable,
    Unsettled,
)

PIECE = 256 * 1024
DEFECTS = 100
"""Places in a file that are named; all are counted."""
JUDGED_AFTER = 1000
"""Lines after which a file without one record among them is taken for something else."""
RESET_YEAR = 2000
RECEIPT = ".hadir.txt"
_EXPORTS = re.compile(r"(?i).*_attlog\.dat|attlog\.dat|(?:GLG|AGL|ALOG)[^.]*\.(?:txt|dat|csv|xls)")


class Ambiguous(NotAnExport):
    """The dates of a table can be read in two ways."""


@dataclass(frozen=True, slots=True)
class ExportFile(Export):
    """An export on a disk of this machine. Made by :func:`surveyed`."""

    path: Path
    form: Form
    serial: str | None
    """The serial number that its name or its first line tells."""
    numbers: frozenset[str]
    """Device numbers that its name and its lines tell."""

    def records(self) -> Iterator[Record]:
        """Read the records, in the order of the file."""
        digest = sha256()
        reader = Reader(self.form)
        for piece in _pieces(self.path):
            digest.update(piece)
            for entry in reader.feed(piece):
                yield entry.record
        for entry in reader.close():
            yield entry.record
        if digest.hexdigest() != self.sha256:
            raise TerminalUnavailable(f"{self.path} has changed while it was read; read it again")


def surveyed(path: Path, order: Order | None = None) -> ExportFile:
    """Read a file to its end, once; NotAnExport where it is none, Ambiguous where its dates can be read in two ways.

    ``order`` says how they are meant. TerminalUnavailable where the file cannot be read.
    """
    if (what := wire.refused_name(path.name)) is not None:
        raise NotAnExport(f"by its name the file holds {what}")
    if (mark := _mark(path)) is None:
        raise TerminalUnavailable(f"{path} is gone")
    pieces = _pieces(path)
    piece = next(pieces, b"")
    if not piece:
        raise NotAnExport("the file is empty")
    reader = Reader(replace(wire.recognise(piece[: wire.HEAD]), order=order))
    count = _Count()
    digest, size = sha256(), 0
    while piece:
        digest.update(piece)
        size += len(piece)
        count.add(reader.feed(piece))
        if not count.formed and count.unreadable > JUDGED_AFTER:
            break
        piece = next(pieces, b"")
    count.add(reader.close())
    lines = reader.lines - reader.headers
    if count.formed * 2 < lines:
        raise NotAnExport(f"only {count.formed:,} of its {lines:,} lines have the form of attendance records")
    serial = wire.serial_of(path.name) or reader.serial
    if (number := wire.number_of(path.name)) is not None:
        count.numbers.add(number)
    return ExportFile(
        name=path.name,
        mark=mark,
        size=size,
        sha256=digest.hexdigest(),
        lines=lines,
        punches=count.punches,
        first=count.first,
        last=count.last,
        defects=tuple(count.defects),
        path=path,
        form=replace(reader.form, order=_order(reader)),
        serial=serial,
        numbers=frozenset(count.numbers),
    )


def _order(reader: Reader) -> Order | None:
    if not reader.slashes:
        return None
    if not reader.orders:
        raise NotAnExport("its dates are written day first in some lines and month first in others")
    if len(reader.orders) > 1:
        raise Ambiguous("its dates can be read day first and month first")
    return next(iter(reader.orders))


@dataclass(slots=True)
class _Count:
    """What a survey has met."""

    punches: int = 0
    unreadable: int = 0
    formed: int = 0
    first: datetime | None = None
    last: datetime | None = None
    defects: list[Defect] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)

    def add(self, entries: Iterable[wire.Entry]) -> None:
        """Count what was read."""
        for entry in entries:
            record = entry.record
            self.formed += entry.formed
            if entry.device is not None and entry.device not in self.numbers and len(self.numbers) < DEFECTS:
                self.numbers.add(entry.device)
            if isinstance(record, BadRecord):
                self.unreadable += 1
                if len(self.defects) < DEFECTS:
                    self.defects.append(Defect(entry.offset, record.size or len(record.raw), record.reason))
                continue
            self.punches += 1
            moment = record.local_time
            if moment.year > RESET_YEAR:
                if self.first is None or self.last is None:
                    self.first = self.last = moment
                elif moment > self.last:
                    self.last = moment
                elif moment < self.first:
                    self.first = moment


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as exc:
        raise TerminalUnavailable(f"{path} cannot be read ({exc.strerror or exc})") from exc


class AttlogOptions(DriverOptions):
    """Options of a terminal whose exports people bring on a flash disk."""

    path: Path
    """The folder where the files appear: where the flash disk is mounted, such as /media/absen."""
    number: Annotated[int, Field(strict=True, ge=0, le=99999)] | None = None
    """The terminal's device number, for files named only by it, such as 1_attlog.dat."""
    settle: Seconds = 2.0
    """A file must not change for this long before it is read."""
    serial: str | None = None
    """The terminal's serial number, without which no punch has an identity."""

    @model_validator(mode="after")
    def _serial_is_known(self) -> Self:
        if self.serial is None:
            raise ValueError(
                "serial is missing; a file does not tell whose it is, so write the terminal's serial number"
            )
        return self


class AttlogTerminal:
    """A folder of exports of one terminal. Made by :func:`connect`."""

    def __init__(self, options: AttlogOptions) -> None:
        self._options = options

    def serial(self) -> str:
        """Return nothing: a folder has no serial number, it must be configured."""
        return ""

    def identify(self) -> TerminalInfo:
        """Return what there is to say of a folder."""
        return TerminalInfo(self._options.serial or "", None, None)

    def read_clock(self) -> ClockReading | None:
        """Return None: a folder has no clock."""
        return None

    def present(self) -> bool:
        """Whether the folder is there, and holds anything."""
        try:
            with os.scandir(self._options.path) as found:
                return next(found, None) is not None
        except OSError:
            return False

    def exports(self, seen: Collection[str]) -> Iterator[Export | Refused | Unsettled]:
        """Yield the files that may be this terminal's, in the order of their names."""
        marks = [(path, _mark(path)) for path in self._candidates()]
        before = {path: mark for path, mark in marks if mark is not None and mark not in seen}
        if before:
            time.sleep(self._options.settle)
        for path, mark in before.items():
            if _mark(path) != mark:
                yield Unsettled(path.name)
                continue
            try:
                export = surveyed(path)
            except NotAnExport as exc:
                yield Refused(path.name, mark, str(exc))
            else:
                yield self._refused(export) or export

    def tell(self, export: Export, receipt: str) -> bool:
        """Write the receipt beside the file; False where the disk takes none."""
        place = self._options.path / f"{export.name}{RECEIPT}"
        draft = place.with_name(f".{place.name}.new")
        try:
            with draft.open("w", encoding="utf-8", newline="\r\n") as file:
                file.write(receipt)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        return True

    def _candidates(self) -> list[Path]:
        try:
            with os.scandir(self._options.path) as found:
                names = sorted(entry.name for entry in found if _EXPORTS.fullmatch(entry.name) and entry.is_file())
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise TerminalUnavailable(f"{self._options.path} cannot be read ({exc.strerror or exc})") from exc
        return [self._options.path / name for name in names if not wire.refused_name(name)]

    def _refused(self, export: ExportFile) -> Refused | None:
        if export.serial is not None:
            ours = export.serial == self._options.serial
        elif self._options.number is None:
            reason = "nothing in it tells whose it is but a device number: write this terminal's into `number:`"
            return Refused(export.name, export.mark, reason)
        else:
            ours = export.numbers == {str(self._options.number)}
        return None if ours else Refused(export.name, export.mark, None)


def _mark(path: Path) -> str | None:
    """Return what changes when the file does; None where there is none, as when the disk was pulled out."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{path.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


@contextmanager
def connect(options: AttlogOptions) -> Iterator[AttlogTerminal]:
    """Look at a folder."""
    yield AttlogTerminal(options)


DRIVER = Driver("attlog", AttlogOptions, connect)
