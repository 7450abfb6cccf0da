"""Copies of a centre: a folder for each, made while it runs, verified by reading it again, and put back.

A copy holds the database, the accounts, the settings and the office's policies, with ``SHA256SUMS`` over all of them.
Files that are not complete lie in a folder whose name says so, until the last step renames it. Secrets (the password at
the broker, keys) are in no copy.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from central.files import create_file, create_folder, give_to_owner, sync_folder
from central.store.copies import Held, copy_database, held_in, put_in_place, unused
from central.store.engine import StoreError
from central.store.sqlite import FILE_MODE

NAME = re.compile(r"centre-\d{8}T\d{6}Z(-\d+)?")
"""The name of a complete copy; the time is UTC."""
PARTIAL = ".partial-"
"""What the name of a copy begins with until it is complete."""
DATABASE, SUMS, ABOUT = "centre.db", "SHA256SUMS", "about.json"
SPARE = 16 * 1024 * 1024
"""Bytes that are to stay free beside a copy."""
_UNKNOWN = datetime.min.replace(tzinfo=UTC)
_CHUNK = 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64})  ((?:[\w.-]+/)*[\w.-]+)")


class CopyError(Exception):
    """A copy cannot be made or put back; the message says which, why, and what to do. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done."""

    made: Held
    """What the copy holds."""
    before: Held | None
    """What the database held that was set aside; None where there was none, or where it could not be read."""
    aside: Path | None
    written: tuple[Path, ...]
    """Files of the copy that were put in place because there was none."""
    differing: tuple[Path, ...]
    """Files in place that differ from the copy's and were left as they are."""


def in_order(folder: Path, at: datetime) -> list[Path]:
    """Return the complete copies in a folder, the newest last; raises OSError.

    The order is that of the times in the copies, whatever their names. A copy of a time after ``at`` was made while the
    clock was ahead: it is older than all others as far as is known.
    """

    def age(copy: Path) -> tuple[bool, datetime, int, str]:
        made = made_at(copy) or _UNKNOWN
        return made <= at, made, len(copy.name), copy.name

    return sorted(_complete(folder), key=age)


def made_at(copy: Path) -> datetime | None:
    """Return when a copy was begun, whatever its folder is named now; None where that cannot be read."""
    try:
        return datetime.fromisoformat(json.loads((copy / ABOUT).read_text("utf-8"))["made"]).astimezone(UTC)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        pass
    try:
        return datetime.strptime(copy.name[7:23], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def make(
    database: Path,
    folder: Path,
    others: Mapping[str, Path],
    at: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Held]:
    """Make a copy in a folder and verify it; ``others`` are files and folders by their names in the copy.

    Returns the copy and what it holds. Raises CopyError and StoreError; then nothing of it is left.
    """
    try:
        create_folder(folder, 0o750)
        with _only_here(folder):
            for stale in folder.glob(f"{PARTIAL}*"):
                shutil.rmtree(stale)
            size = sum(_size(Path(f"{database}{ending}")) for ending in ("", "-wal")) + SPARE
            if (free := shutil.disk_usage(folder).free) < size:
                raise CopyError(f"{folder}: too little room: a copy needs {_mib(size)}, free are {_mib(free)}")
            name = _free_name(folder, at)
            draft = folder / f"{PARTIAL}{name}"
            try:
                create_folder(draft, 0o750)
                held = _fill(draft, database, others, at, progress)
                draft.rename(folder / name)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            sync_folder(folder)
    except OSError as error:
        raise CopyError(f"{error.filename or folder}: {error.strerror}") from error
    return folder / name, held


def prune(folder: Path, keep: int, newest: Path, at: datetime) -> list[Path]:
    """Remove the oldest complete copies of a folder until ``keep`` are left; return them. Raises CopyError.

    ``newest`` stays, whatever times the others state. Copies of a time after ``at`` are neither counted nor removed:
    the clock was ahead then, or it is behind now, and they are the newest.
    """
    removed = []
    try:
        with _only_here(folder):
            past = [copy for copy in in_order(folder, at) if copy.name == newest.name or not _is_ahead(copy, at)]
            for copy in sorted(past, key=lambda copy: copy.name == newest.name)[:-keep]:
                doomed = copy.rename(copy.with_name(f"{PARTIAL}{copy.name}"))  # never half a copy under its name
                shutil.rmtree(doomed)
                removed.append(copy)
    except OSError as error:
        raise CopyError(f"{error.filename or folder}: {error.strerror}") from error
    return removed


def verify(copy: Path) -> Held:
    """Read every file of a copy again and compare it with its sum, then verify the database; raises CopyError."""
    _compare(copy, _sums(copy))
    try:
        return held_in(copy / DATABASE)
    except StoreError as error:
        raise CopyError(f"{error}; take another copy") from error


def newest_valid(folder: Path, at: datetime) -> tuple[Path | None, Held | None, list[str]]:
    """Return the newest copy in a folder that verifies, what it holds, and why newer ones were passed over.

    Raises CopyError where the folder cannot be listed.
    """
    passed_over: list[str] = []
    try:
        found = in_order(folder, at)
    except OSError as error:
        raise CopyError(f"{error.filename or folder}: {error.strerror}") from error
    for copy in reversed(found):
        try:
            return copy, verify(copy), passed_over
        except CopyError as error:
            passed_over.append(str(error))
    return None, None, passed_over


def restore(copy: Path, database: Path, others: Mapping[str, Path], at: datetime, made: Held | None = None) -> Restored:
    """Put a copy in the place of the database, and other files where there is none.

    What was the database is kept beside it. ``made``: what :func:`verify` found in the copy; it is verified where this
    is left out. Raises CopyError and StoreError (StoreLocked where a process uses the database); then everything is as
    it was.
    """
    made = verify(copy) if made is None else made
    sums = _sums(copy)
    create_folder(database.parent, 0o750)
    draft = Path(f"{database}.restoring")
    aside = _free_path(f"{database}.replaced-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    with unused(database) as before:
        try:
            size, free = _size(copy / DATABASE) + SPARE, shutil.disk_usage(database.parent).free
            if free < size:
                raise CopyError(f"{database.parent}: too little room: {_mib(size)} are needed, free are {_mib(free)}")
            draft.unlink(missing_ok=True)
            if _copied(copy / DATABASE, draft, FILE_MODE) != sums[DATABASE]:
                raise CopyError(f"{copy / DATABASE}: changed while it was read; nothing was replaced")
            existed = database.exists()
            put_in_place(draft, database, aside)
        except OSError as error:
            raise CopyError(f"{error.filename or database}: {error.strerror}; nothing was replaced") from error
        finally:
            draft.unlink(missing_ok=True)
    written, differing = _put_others(copy, sums, others)
    return Restored(made, before, aside if existed else None, written, differing)


# --- parts --------------------------------------------------------------------------------------------------------


def _fill(
    draft: Path,
    database: Path,
    others: Mapping[str, Path],
    at: datetime,
    progress: Callable[[int, int], None] | None,
) -> Held:
    copy_database(database, draft / DATABASE, progress)
    held = held_in(draft / DATABASE)
    sums = {}
    for name, source in sorted(_files(others)):
        create_folder((draft / name).parent, 0o750)
        sums[name] = _copied(source, draft / name, source.stat().st_mode & 0o640)
    about = {
        "made": at.astimezone(UTC).isoformat(timespec="seconds"),
        "program": version("hadir-gateway"),
        "revision": held.revision,
        "events": held.events,
        "streams": held.streams,
        "entered": {kind: {"rows": rows, "last": last} for kind, (rows, last) in held.entered.items()},
    }
    create_file(draft / ABOUT, json.dumps(about, indent=2) + "\n", 0o640)
    for name in (DATABASE, ABOUT):
        sums[name] = _digest(draft / name)
    create_file(draft / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())), 0o640)
    _compare(draft, sums)
    for below in {draft, *((draft / name).parent for name in sums)}:
        sync_folder(below)
    return held


def _is_ahead(copy: Path, at: datetime) -> bool:
    made = made_at(copy)
    return made is not None and made > at


def _files(others: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a copy beside the database; names that a person may have written oddly are left out."""
    for name, source in others.items():
        if source.is_dir():
            found = [(f"{name}/{path.relative_to(source).as_posix()}", path) for path in source.rglob("*")]
        else:
            found = [(name, source)]
        found = [(inner, path) for inner, path in found if path.is_file()]
        yield from (
            (inner, path) for inner, path in found if path.is_file() and _LINE.fullmatch(f"{'0' * 64}  {inner}")
        )


def _put_others(
    copy: Path, sums: Mapping[str, str], others: Mapping[str, Path]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    written, differing = [], []
    for name in sorted(sums.keys() - {DATABASE, ABOUT}):
        top, _, inner = name.partition("/")
        if top not in others:
            continue
        target = others[top] / inner if inner else others[top]
        try:
            if not target.exists():
                create_folder(target.parent, 0o755)
                _copied(copy / name, target, (copy / name).stat().st_mode & 0o640)
                written.append(target)
            elif _digest(target) != sums[name]:
                differing.append(target)
        except OSError:
            differing.append(target)  # the database is in place; the person has to look at this file
    return tuple(written), tuple(differing)


def _copied(source: Path, target: Path, mode: int) -> str:
    """Copy a file into a new one, durably; return the SHA-256 of what was read."""
    digest = sha256()
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reading, os.fdopen(file, "wb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        give_to_owner(file, target.parent)
        os.fchmod(file, mode)
        os.fsync(file)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file as the disk has it, not as memory does."""
    digest = sha256()
    with path.open("rb", buffering=0) as file:
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sums(copy: Path) -> dict[str, str]:
    try:
        text = (copy / SUMS).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise CopyError(f"{copy}: no copy of a centre: {SUMS} is missing or unreadable") from None
    lines = [_LINE.fullmatch(line) for line in text.splitlines()]
    sums = {line[2]: line[1] for line in lines if line is not None}
    if None in lines or DATABASE not in sums or any(".." in name.split("/") for name in sums):
        raise CopyError(f"{copy / SUMS}: not as it was written; take another copy")
    return sums


def _compare(copy: Path, sums: Mapping[str, str]) -> None:
    for name, expected in sums.items():
        try:
            found = _digest(copy / name)
        except OSError as error:
            raise CopyError(f"{copy / name}: {error.strerror}; take another copy") from None
        if found != expected:
            raise CopyError(f"{copy / name}: not as it was written (SHA-256 differs); take another copy")


@contextmanager
def _only_here(folder: Path) -> Iterator[None]:
    """Let one process at a time make or remove copies in a folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CopyError(f"{folder}: another copy is being made there; wait for its end") from None
        yield
    finally:
        os.close(lock)


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("centre-*") if NAME.fullmatch(path.name) and (path / SUMS).is_file()]


def _free_name(folder: Path, at: datetime) -> str:
    return _free_path(str(folder / f"centre-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}")).name


def _free_path(wanted: str) -> Path:
    path, number = Path(wanted), 1
    while path.exists():
        number += 1
        path = Path(f"{wanted}-{number}")
    return path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
