"""Export files on a flash disk, in a folder, or at a path that a person gives.

A file is read twice: first for its form, hash and counts, then for its records. Nothing is written but a report beside
it, and nothing is removed.
"""

import errno
import os
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from drivers import safe_files
from drivers.attlog import wire
from drivers.attlog.wire import Form, NotAnExport, Order, Reader, ThirdColumn
from drivers.base import (
    BadRecord,
    ClockReading,
    Defect,
    Delivered,
    Delivery,
    Driver,
    DriverOptions,
    Export,
    Reason,
    Record,
    Refused,
    Settlement,
    Settling,
    TerminalInfo,
    TerminalUnavailable,
    Unsettled,
)
from drivers.safe_files import Folder, printable
from drivers.values import Seconds, duration_between, refuse_newly

PIECE = 256 * 1024
MAX_EXPORT = 256 * 1024**2
"""Bytes of an export; ten times the export of the largest log of a terminal."""
MAX_DEFECTS = 100
"""Defects of a file that are listed; all are counted."""
MAX_UNREADABLE_LINES = 1000
"""Lines after which a file without a record is no export."""
RESET_YEAR = 2000
RECEIPT = ".hadir.txt"
SETTLING_INTERVAL_S = 1.0
"""Interval at which the caller is informed while files settle."""
MAX_SUBFOLDERS = 20
"""Subfolders that are searched for exports, which are not read there."""


class Ambiguous(NotAnExport):
    """The dates of a table have two possible meanings."""


@dataclass(frozen=True, slots=True)
class ExportFile(Export):
    """An export on a disk of this machine. Made by :func:`survey_export`."""

    path: Path
    form: Form
    serial: str | None
    """The serial number in its first line."""
    name_serial: str | None
    """The serial number in its name."""
    number: str | None
    """The device number of most of its lines."""
    name_number: str | None
    """The device number in its name."""

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
            raise TerminalUnavailable(f"{_shown(self.path)} has changed while it was read; read it again")


def survey_export(path: Path, order: Order | None = None, third: ThirdColumn | None = None) -> ExportFile:
    """Read a file to its end, once; NotAnExport where it is none.

    ``order`` and ``third`` are the meaning of its dates and of its five columns: without them, Ambiguous where its
    dates have two possible meanings, AmbiguousColumns where its columns have. TerminalUnavailable where the file
    cannot be read.
    """
    if (what := wire.refused_name(path.name)) is not None:
        raise NotAnExport(f"by its name the file holds {what}")
    if (mark := _mark(path)) is None:
        raise TerminalUnavailable(f"{_shown(path)} is gone")
    pieces = _pieces(path)
    piece = next(pieces, b"")
    if not piece:
        raise NotAnExport("the file is empty")
    reader = Reader(replace(wire.recognise(piece[: wire.HEAD], third), order=order))
    count = _SurveyTotals()
    digest, size = sha256(), 0
    while piece:
        digest.update(piece)
        size += len(piece)
        if size > MAX_EXPORT:
            raise NotAnExport(f"it is larger than {MAX_EXPORT // 1024**2} MiB, which no terminal writes")
        count.add(reader.feed(piece))
        if not count.well_formed and count.unreadable > MAX_UNREADABLE_LINES:
            break
        piece = next(pieces, b"")
    count.add(reader.close())
    lines = reader.lines - reader.headers
    if count.well_formed * 2 < lines:
        raise NotAnExport(f"only {count.well_formed:,} of its {lines:,} lines have the form of attendance records")
    if reader.has_rewritten_pins:
        raise NotAnExport(f"a spreadsheet has rewritten its PINs, such as 1.98E+17; {wire.AS_WRITTEN}")
    if not count.punches:
        why = f" ({count.defects[0].reason})" if count.defects else ""
        raise NotAnExport(f"none of its {lines:,} lines can be read as a punch{why}")
    name_serial = wire.serial_of(path.name)
    return ExportFile(
        name=printable(path.name),
        mark=mark,
        size=size,
        sha256=digest.hexdigest(),
        lines=lines,
        punches=count.punches,
        first=count.first,
        last=count.last,
        defects=tuple(count.defects),
        path=path,
        form=replace(reader.form, order=_order(reader), in_out=not wire.uses_words_for_work(reader.words)),
        serial=reader.serial,
        name_serial=name_serial if name_serial and wire.is_serial(name_serial) else None,
        number=count.device(),
        name_number=wire.number_of(path.name),
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
class _SurveyTotals:
    """The counts of a survey."""

    punches: int = 0
    unreadable: int = 0
    well_formed: int = 0
    first: datetime | None = None
    last: datetime | None = None
    defects: list[Defect] = field(default_factory=list)
    devices: Counter[str] = field(default_factory=Counter)

    def device(self) -> str | None:
        """Return the device number of more than half of the lines that have one."""
        for number, lines in self.devices.most_common(1):
            if lines * 2 > self.devices.total():
                return number
        return None

    def add(self, entries: Iterable[wire.Entry]) -> None:
        """Count the lines that were read."""
        for entry in entries:
            record = entry.record
            self.well_formed += entry.well_formed
            if entry.device is not None:
                known = entry.device in self.devices or len(self.devices) < MAX_DEFECTS
                self.devices[entry.device if known else ""] += 1
            if isinstance(record, BadRecord):
                self.unreadable += 1
                if len(self.defects) < MAX_DEFECTS:
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
        with safe_files.opened(path) as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as exc:
        message = f"{_shown(path)} cannot be read ({exc.strerror or exc})"
        raise TerminalUnavailable(message, reason=Reason.FILES_UNREADABLE) from exc


def _shown(path: Path) -> str:
    return printable(str(path))


def _is_absolute(path: Path, info: ValidationInfo) -> Path:
    if not path.is_absolute():
        refuse_newly(info, "not a whole path; write it from the first slash on, such as /media/absen")
    return path


class AttlogOptions(DriverOptions):
    """Options of a terminal whose exports are brought on a flash disk."""

    path: Annotated[Path, AfterValidator(_is_absolute)]
    """The folder where the files appear: where the flash disk is mounted, such as /media/absen."""
    number: Annotated[int, Field(strict=True, ge=0, le=99999)] | None = None
    """The terminal's device number, for files named only by it, such as 1_attlog.dat."""
    settle: Annotated[Seconds, duration_between("100ms", "10m")] = 2.0
    """A file must not change for this long before it is read."""
    serial: str | None = None
    """The terminal's serial number, without which no punch has an identity."""

    @model_validator(mode="after")
    def _serial_is_known(self) -> Self:
        if self.serial is None:
            raise ValueError(
                "serial is missing; a file does not show whose it is, so write the terminal's serial number"
            )
        return self


class AttlogTerminal:
    """A folder of exports of one terminal. Made by :func:`connect`."""

    def __init__(self, options: AttlogOptions) -> None:
        self._options = options
        self._skipped: set[str] = set()
        """Marks of the files that are not delivered again."""

    def serial(self) -> str:
        """Return an empty text: a folder does not report one."""
        return ""

    def identify(self) -> TerminalInfo:
        """Return the configured serial number; a folder has no other identity."""
        return TerminalInfo(self._options.serial or "", None, None)

    def read_clock(self) -> ClockReading | None:
        """Return None: a folder has no clock."""
        return None

    def present(self) -> bool:
        """Return whether the folder exists and holds anything."""
        try:
            with Folder(self._options.path) as folder:
                return bool(folder.names(1))
        except OSError:
            return False

    def skip(self, marks: Collection[str]) -> None:
        """Leave out the files with these marks; see :class:`drivers.base.Removable`."""
        self._skipped |= set(marks)

    def deliveries(self, timeout_s: float) -> Generator[Delivered, None, None]:  # noqa: ARG002 - a file is there or not
        """Yield the exports in the order of their names, each as a delivery; waits until they have settled."""
        try:
            with Folder(self._options.path) as folder:
                candidates, refused = _candidates(folder)
        except FileNotFoundError:
            return
        except OSError as exc:
            message = f"{_shown(self._options.path)} cannot be read ({exc.strerror or exc})"
            raise TerminalUnavailable(message, reason=Reason.FILES_UNREADABLE) from exc
        skipped = self._skipped.copy()
        yield from (one for one in refused if one.mark not in skipped)
        before = {path: mark for path in candidates if (mark := _mark(path)) is not None and mark not in skipped}
        until = time.monotonic() + (self._options.settle if before else 0)
        while (left := until - time.monotonic()) > 0:
            yield Settling()
            time.sleep(min(left, SETTLING_INTERVAL_S))
        for path, mark in before.items():
            found = self._examine(path, mark)
            if not isinstance(found, ExportFile):
                yield found
                continue
            with Delivery(_records(found), "file", file=found, settle=partial(self._settle, found)) as delivery:
                yield delivery

    def _settle(self, export: ExportFile, settlement: Settlement) -> bool:
        """Write the report beside a stored file; False where that fails."""
        self._skipped.add(export.mark)
        return settlement.report is None or self._write_report(export.path.name, settlement.report)

    def _examine(self, path: Path, mark: str) -> ExportFile | Refused | Unsettled:
        name = printable(path.name)
        if _mark(path) != mark:
            return Unsettled(name)
        try:
            export = survey_export(path)
            return self._refused(export) or export
        except (NotAnExport, TerminalUnavailable) as exc:
            if _mark(path) is None:
                return Unsettled(name)  # the disk was removed
            if isinstance(exc, TerminalUnavailable):
                return Refused(name, mark, str(exc), "name")  # its content is unknown
            return self._reportable(path, Refused(name, mark, str(exc)))
        except Exception as exc:  # noqa: BLE001 - a failure with one file affects that file only
            return self._reportable(path, Refused(name, mark, f"it cannot be read ({type(exc).__name__})"))

    def _reportable(self, path: Path, refused: Refused) -> Refused:
        return refused._replace(write_report=partial(self._write_report, path.name))

    def _write_report(self, name: str, text: str) -> bool:
        """Write a text for people beside a file; False where that fails."""
        try:
            with Folder(self._options.path) as folder:
                folder.write(f"{name}{RECEIPT}", text.replace("\n", "\r\n").encode("utf-8", "backslashreplace"), 0o644)
        except OSError:
            return False
        return True

    def _refused(self, export: ExportFile) -> Refused | None:
        serial = export.serial or export.name_serial
        if serial is not None:
            if serial.casefold() == (self._options.serial or "").casefold():
                return None
            reason = f"it says that it is of the terminal with serial {serial}"
            return Refused(export.name, export.mark, reason, "elsewhere", serial)
        numbers = {number for number in (export.name_number, export.number) if number is not None}
        if self._options.number is None:
            reason = "nothing in it tells whose it is but a device number: write this terminal's into `number:`"
            return Refused(export.name, export.mark, reason, "name")
        if numbers == {str(self._options.number)}:
            return None
        if len(numbers) == 1:
            reason = (
                f"it says that it is of device number {numbers.pop()}, and this terminal's is {self._options.number}"
            )
            return Refused(export.name, export.mark, reason, "elsewhere")
        reason = "nothing in it tells whose it is; `hadir import --terminal` reads it"
        if numbers:
            reason = f"by its name it is of device number {export.name_number}, by its lines of {export.number}"
        return Refused(export.name, export.mark, reason, "name")


def _candidates(folder: Folder) -> tuple[list[Path], list[Refused]]:
    """Return the files to be read, and those that resemble an export and are none."""
    candidates: list[Path] = []
    refused: list[Refused] = []
    names = folder.names(safe_files.MAX_NAMES + 1)
    if len(names) > safe_files.MAX_NAMES:
        reason = f"it holds more than {safe_files.MAX_NAMES:,} names; the others are not looked at"
        refused.append(Refused(_shown(folder.path), f"{len(names)} names", reason, "name"))
    folders: list[str] = []
    for name in names:
        if name.endswith(RECEIPT) or name.startswith("."):
            continue
        if folder.is_folder(name):
            folders.append(name)
        elif wire.is_export(name):
            try:
                folder.check_place(name)
            except FileNotFoundError:
                continue
            except OSError as exc:
                refused.append(_by_name(folder, name, f"it is {exc.strerror or exc}"))
            else:
                if wire.refused_name(name) is None:
                    candidates.append(folder.path / name)
        elif wire.resembles_export(name):
            reason = "its name is not that of an export, such as 1_attlog.dat; `hadir import` reads it under any name"
            if (what := wire.refused_name(name)) is not None:
                reason = f"by its name the file holds {what}; {wire.AS_WRITTEN}"
            refused.append(_by_name(folder, name, reason))
    for name in folders[:MAX_SUBFOLDERS]:
        refused += _exports_in_subfolder(folder, name)
    return candidates, refused


def _exports_in_subfolder(folder: Folder, name: str) -> Iterator[Refused]:
    """Yield the exports in a subfolder, where they are not read."""
    try:
        with folder.folder(name) as inner:
            for one in inner.names(safe_files.MAX_NAMES):
                if wire.is_export(one):
                    reason = f"it lies in a folder; move it up to {_shown(folder.path)}"
                    yield _by_name(inner, one, reason, f"{printable(name)}/")
    except OSError:
        return  # a folder that cannot be opened has no visible exports


def _records(export: ExportFile) -> Iterator[Record]:
    """Read the records of an export; it is opened with the first of them."""
    yield from export.records()


def _by_name(folder: Folder, name: str, reason: str, where: str = "") -> Refused:
    try:
        mark = _mark_of(name, folder.stat(name))
    except OSError:
        mark = None
    return Refused(where + printable(name), f"{where}{mark or name}", reason, "name")


def _mark(path: Path) -> str | None:
    """Return a text that changes when the file does; None where it does not exist, also when the disk was removed."""
    try:
        return _mark_of(path.name, path.lstat())
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO):
            return None
        return f"{path.name} {exc.errno}"


def _mark_of(name: str, found: os.stat_result | None) -> str | None:
    return None if found is None else f"{name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


@contextmanager
def connect(options: AttlogOptions) -> Iterator[AttlogTerminal]:
    """Open a folder of exports."""
    yield AttlogTerminal(options)


DRIVER = Driver("attlog", AttlogOptions, connect, has_log=False, has_serial=False)
