"""The office of a configuration that was checked before and is the same now, from a file in the user's cache.

To read and check a configuration takes several times as long as everything else in `hadir status`. The command keeps
what it shows of a configuration without mistakes, with all that the check depended on: the text, this program, and the
status of each file that a value names. Where any of it differs, the configuration is read and checked again, as it is
where the kept file cannot be read or belongs to another user.

This module imports nothing heavy, and therefore not :mod:`drivers.safe_files` for what it reads.
"""

import json
import os
import stat
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from gateway.office import MAX_TEXT, Office, digest_of, read_text

MIN_AGE_NS = 2_000_000_000
"""A file that changed within this time before it is checked may change once more without another time stamp."""
_CHECKS = [Path(__file__).parent.parent / name for name in ("settings.py", "settings_text.py")]
"""The files of this program that check a configuration; another version of the program has others."""


def checked_office(config: Path) -> Office | None:
    """Return the office of a configuration that this user has checked; None: it is to be checked."""
    try:
        text = read_text(config)
        if text is None or "CREDENTIALS_DIRECTORY" in os.environ:
            return None
        kept = json.loads(_read(place_of(config)))
        states = kept["files"]
        # Another installation of this program may have checked it, by rules of its own.
        if kept["digest"] != digest_of(text) or any(states[str(file)] is None for file in _CHECKS):
            return None
        if any(_state(file) != state for file, state in states.items()):
            return None
        office = Office.of(kept)
        return office if _can_be_data_dir(office.data_dir) else None
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError):
        return None


def to_keep(office: Office, digest: str, files: Iterable[Path], begun_ns: int) -> bytes | None:
    """Return what :func:`checked_office` is to find of a configuration without mistakes; None: it is not to be kept.

    ``digest``: the :func:`gateway.office.digest_of` its text; ``files``: all files and folders that its values name;
    ``begun_ns``: when the check began, as :func:`time.time_ns`.
    It is not kept for a service that systemd passes secrets to, since these may differ at its next start.
    """
    if not digest or "CREDENTIALS_DIRECTORY" in os.environ:
        return None
    states = {str(file): _state(str(file)) for file in (*_CHECKS, *files)}
    newest = max((state[-1] for state in states.values() if state), default=0)
    if newest > begun_ns - MIN_AGE_NS:
        return None
    return json.dumps({**office.data(digest), "files": states}).encode()


def place_of(config: Path) -> Path:
    """Return the file in the user's cache (XDG_CACHE_HOME, else ``~/.cache``) that is about a configuration."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    name = sha256(os.fsencode(config.absolute())).hexdigest()[:32]
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "hadir" / f"{name}.json"


def _read(place: Path) -> bytes:
    """Return the content of a file of this user that nobody else could write; OSError for any other."""
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(place)
        return file.read(MAX_TEXT)


def _can_be_data_dir(folder: Path) -> bool:
    """Return whether it is a folder, or the first start can create it; OSError as for the check of a configuration."""
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        return True


def _state(file: str) -> list[int] | None:
    """Return what changes with the content or the rights of a file, or with the rights of a folder; None: no access."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    rights = [status.st_mode, status.st_uid, status.st_gid]
    if stat.S_ISDIR(status.st_mode):
        return [*rights, 0]
    return [*rights, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
