"""Files in folders that others may write to: a flash disk, a folder of exports, the data directory of another user.

Others choose the names and kinds of the entries in such a folder. A name may be a link to a file of ours, a pipe
without a writer, a device, a folder, an endless file, or a text that a screen interprets as a command. So:

* A folder is opened once, and its entries are opened relative to that descriptor, one name at a time, and no link is
  followed.
  The path of the folder itself comes from a person or a configuration, and may contain links.
* Only regular files are opened, and only after their status was read: opening a device may already have an effect.
* New files have unpredictable names and must not exist; they replace an older file atomically and durably.
* The caller bounds the size of what is read.

All functions raise OSError; its subclass :class:`FileRefused` where an entry is of a kind or size that is not allowed.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Self

_DRAFT = re.compile(r"\.[0-9a-f]{24}\.hadir")
MAX_NAMES = 10_000
"""Names that are read of one folder; no folder of ours, and no terminal's, has as many."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_UPDATE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISLNK, errno.ELOOP, "a link, and links are not followed here"),
    (stat.S_ISDIR, errno.EISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, errno.EINVAL, "a pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)


class FileRefused(OSError):  # noqa: N818 - named after the condition
    """An entry is a link, a device or the like, or larger than allowed; ``strerror`` states which."""


def printable(text: str) -> str:
    r"""Return a name that is safe to show, log, store and send: unprintable characters are written as ``\x1b``.

    These include escape sequences, line ends, marks that change the direction of writing, and bytes of a name that is
    not UTF-8. A backslash is doubled, so that two names are never shown alike.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # Python's form of a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class Folder:
    """A folder that is held open by its descriptor. Every name is that of an entry directly in it."""

    def __init__(self, path: Path, *, _handle: int | None = None) -> None:
        """Open the folder at ``path``, whose links are followed: the caller chose it."""
        self.path = path
        """The opened path, for messages; a name that is not UTF-8 must be passed through :func:`printable` first."""
        self._handle = os.open(path, _FOLDER) if _handle is None else _handle

    def close(self) -> None:
        """Close the folder; files that were opened in it stay open."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Names and status.

    def names(self, limit: int = MAX_NAMES) -> list[str]:
        """Return the first ``limit`` names that the file system returns, sorted."""
        found: list[str] = []
        with os.scandir(self._handle) as entries:
            for entry in entries:
                if len(found) == limit:
                    break
                found.append(entry.name)
        return sorted(found)

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of an entry, of a link that of the link itself; None where there is none."""
        try:
            return os.stat(_component(name), dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_folder(self, name: str) -> bool:
        """Return whether an entry is a folder, and not a link to one."""
        found = self.stat(name)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def free(self) -> int:
        """Return the bytes that this process can write to the disk."""
        disk = os.fstatvfs(self._handle)
        return disk.f_bavail * disk.f_frsize

    # Reading.

    def folder(self, name: str) -> "Folder":
        """Open a folder in this one."""
        try:
            handle = os.open(_component(name), _FOLDER | os.O_NOFOLLOW, dir_fd=self._handle)
        except NotADirectoryError:
            self._refuse_kind(name)
            raise
        return Folder(self.path / name, _handle=handle)

    def open(self, name: str) -> BinaryIO:
        """Open a regular file for reading."""
        return os.fdopen(self._opened(name, _READ), "rb")

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a regular file; FileRefused where it is longer than ``max_bytes``."""
        with self.open(name) as file:
            pieces, left = [], max_bytes + 1
            while left and (piece := file.read(min(left, 1 << 20))):
                pieces.append(piece)
                left -= len(piece)
        if not left:
            raise FileRefused(errno.EFBIG, f"larger than {max_bytes:,} bytes", self._place(name))
        return b"".join(pieces)

    # Writing.

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Create a folder in this one, unless it exists."""
        with suppress(FileExistsError):
            os.mkdir(_component(name), mode, dir_fd=self._handle)
        if not self.is_folder(name):
            raise FileRefused(errno.ENOTDIR, "in the way of a folder", self._place(name))

    def update(self, name: str, mode: int = 0o644) -> BinaryIO:
        """Open a regular file for reading and writing, unbuffered; create it where it does not exist."""
        with suppress(FileExistsError):
            return self.create(name, mode)
        return os.fdopen(self._opened(name, _UPDATE), "r+b", buffering=0)

    def create(self, name: str, mode: int = 0o600) -> BinaryIO:
        """Create a file for reading and writing, unbuffered; FileExistsError where the name exists."""
        return os.fdopen(os.open(_component(name), _CREATE, mode, dir_fd=self._handle), "r+b", buffering=0)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(_component(name), dir_fd=self._handle)

    def rename(self, name: str, to: str) -> None:
        """Rename a file in this folder; it replaces a regular file of the new name."""
        self.check_place(to)
        os.rename(_component(name), _component(to), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    @contextmanager
    def draft(self, name: str, mode: int = 0o600, *, replace: bool = True) -> Iterator[BinaryIO]:
        """Write a file atomically and durably: it appears under its name whole or not at all.

        It replaces a regular file of that name; where ``replace`` is False an existing one stays, and FileExistsError
        is raised. Nothing remains where the body of the ``with`` raises.
        """
        self.check_place(name)
        temporary = f".{token_hex(12)}.hadir"
        file = self.create(temporary, mode)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if replace:
                self.rename(temporary, name)
            else:
                os.link(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle, follow_symlinks=False)
                self.remove(temporary)
            self.sync()
        except BaseException:
            with suppress(OSError):
                self.remove(temporary)
            raise

    def remove_drafts(self, min_age_s: float = 60.0) -> None:
        """Remove the drafts of processes that were killed; a younger one may be under way in another process."""
        for name in filter(_DRAFT.fullmatch, self.names()):
            found = self.stat(name)
            if found is not None and stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > min_age_s:
                self.remove(name)

    def write(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file whole or not at all; see :meth:`draft`."""
        with self.draft(name, mode) as file:
            write_all(file, data)

    def check_place(self, name: str) -> None:
        """Raise FileRefused where a name that is to be written is not that of a regular file."""
        if self.stat(name) is not None:
            self._refuse_kind(name)

    def match_owner(self, file: BinaryIO) -> None:
        """Set the owner of a file that root created to that of the folder; no effect for other users."""
        if os.geteuid() == 0:
            owner = os.fstat(self._handle)
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)

    def sync(self) -> None:
        """Make the names in the folder durable."""
        os.fsync(self._handle)

    def _opened(self, name: str, flags: int) -> int:
        self._refuse_kind(name)
        handle = os.open(name, flags, dir_fd=self._handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # replaced since its status was read
            os.close(handle)
            raise FileRefused(errno.EINVAL, "not a file any more", self._place(name))
        return handle

    def _refuse_kind(self, name: str) -> None:
        """Raise FileNotFoundError where the entry does not exist, FileRefused where it is no regular file."""
        mode = os.stat(_component(name), dir_fd=self._handle, follow_symlinks=False).st_mode
        for holds, number, what in _KINDS:
            if holds(mode):
                raise FileRefused(number, what, self._place(name))

    def _place(self, name: str) -> str:
        return str(self.path / name)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file at a path that a person gave, for reading; its folder may contain links, the file is none."""
    with Folder(path.parent) as folder, folder.open(path.name) as file:
        yield file


def read(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file at a path that a person gave; see :meth:`Folder.read`."""
    with Folder(path.parent) as folder:
        return folder.read(path.name, max_bytes)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) or 0 :]


def _component(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise FileRefused(errno.EINVAL, "not the name of a file", name)
    return name
