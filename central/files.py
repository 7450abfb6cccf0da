"""Files that commands make for the centre's service: private, whole or not there, and owned by whom their folder is."""

import os
from contextlib import suppress
from pathlib import Path


def give_to_owner(file: int, of: Path) -> None:
    """Let the owner of a file or folder own an open file; done by root only, whose files the service could not use."""
    if os.geteuid() == 0:
        owner = of.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)


def create_file(path: Path, text: str, mode: int) -> None:
    """Write a new file durably; raises FileExistsError where there is one, OSError where it cannot be written."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            give_to_owner(file, path.parent)
            os.fchmod(file, mode)
            os.fsync(file)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def create_folder(path: Path, mode: int) -> bool:
    """Make a folder, and those above it; return whether it was missing. Raises OSError."""
    if path.is_dir():
        return False
    create_folder(path.parent, 0o755)
    path.mkdir()
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_to_owner(opened, path.parent)
        os.fchmod(opened, mode)
    finally:
        os.close(opened)
    return True


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
