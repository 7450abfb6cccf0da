"""Files in folders that others may write to: a flash disk, a folder of exports, the data directory of another user.

Whoever fills such a folder chooses the names and kinds of what lies in it. A name may be a link to a file of ours, a
pipe that never answers, a device, a folder, a file without end, or a text that a screen takes for a command. So:

* A folder is opened once and everything in it is reached from that descriptor, one name at a time; no link is followed.
  The path of the folder itself comes from a person or a configuration, and may have links in it.
* Only regular files are opened, and only after a look that opens nothing: opening a device may already do something.
* New files have unpredictable names and must not exist; they take the place of an older file in one step, on the disk.
* What is read is bounded by the caller.

Everything raises OSError; :class:`FileRefused`, one of them, where what lies there is not what may lie there.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Self

MAX_NAMES = 10_000
"""Names of one folder that are looked at; no folder of ours, and no terminal's, has as many."""
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


class FileRefused(OSError):  # noqa: N818 - named by what is the matter
    """What lies under a name is a link, a device or the like, or larger than it may be; ``strerror`` says which."""


def printable(text: str) -> str:
    r"""Return a name as it may be shown, logged, stored and sent: what is not printable is written as ``\x1b``.

    That holds for escape sequences, line ends, marks that turn the direction of writing, and bytes of a name that is
    not UTF-8. A backslash is doubled, so that two names never look the same.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class Folder:
    """A folder held open by its descriptor. Every name is that of something directly in it."""

    def __init__(self, path: Path, *, _handle: int | None = None) -> None:
        """Open the folder at ``path``, whose links are followed: the caller chose it."""
        self.path = path
        """As it was opened, for messages; a name that is not UTF-8 must go through :func:`printable` first."""
        self._handle = os.open(path, _FOLDER) if _handle is None else _handle

    def close(self) -> None:
        """Let go of the folder; what was opened in it stays open."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Looking.

    def names(self, most: int = MAX_NAMES) -> list[str]:
        """Return the names in the folder, sorted, of the first ``most`` that the disk gives."""
        found: list[str] = []
        with os.scandir(self._handle) as entries:
            for entry in entries:
                if len(found) == most:
                    break
                found.append(entry.name)
        return sorted(found)

    def stat(self, name: str) -> os.stat_result | None:
        """Return what lies under a name, of a link the link itself; None where there is nothing."""
        try:
            return os.stat(_component(name), dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_folder(self, name: str) -> bool:
        """Tell whether a folder, and not a link to one, lies under a name."""
        found = self.stat(name)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def free(self) -> int:
        """Return how many bytes the disk takes from this process."""
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

    def read(self, name: str, most: int) -> bytes:
        """Return what a regular file holds; FileRefused where that is more than ``most`` bytes."""
        with self.open(name) as file:
            pieces, left = [], most + 1
            while left and (piece := file.read(min(left, 1 << 20))):
                pieces.append(piece)
                left -= len(piece)
        if not left:
            raise FileRefused(errno.EFBIG, f"larger than {most:,} bytes", self._place(name))
        return b"".join(pieces)

    # Writing.

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Make a folder in this one, unless it is there."""
        with suppress(FileExistsError):
            os.mkdir(_component(name), mode, dir_fd=self._handle)
        if not self.is_folder(name):
            raise FileRefused(errno.ENOTDIR, "in the way of a folder", self._place(name))

    def update(self, name: str, mode: int = 0o644) -> BinaryIO:
        """Open a regular file for reading and writing, unbuffered; it is made where there is none."""
        with suppress(FileExistsError):
            return self.create(name, mode)
        return os.fdopen(self._opened(name, _UPDATE), "r+b", buffering=0)

    def create(self, name: str, mode: int = 0o600) -> BinaryIO:
        """Make a file for reading and writing, unbuffered; FileExistsError where anything has that name."""
        return os.fdopen(os.open(_component(name), _CREATE, mode, dir_fd=self._handle), "r+b", buffering=0)

    def remove(self, name: str) -> None:
        """Remove a file, or a link, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(_component(name), dir_fd=self._handle)

    def rename(self, name: str, to: str) -> None:
        """Let a file take another name in this folder, and the place of a regular file that has it."""
        self.check_place(to)
        os.rename(_component(name), _component(to), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    @contextmanager
    def draft(self, name: str, mode: int = 0o600, *, replace: bool = True) -> Iterator[BinaryIO]:
        """Write a file that appears under its name whole or not at all, forced to the disk.

        It takes the place of a regular file of that name; where ``replace`` is False one that is there stays, and
        FileExistsError is raised. Nothing remains where the body of the ``with`` raises.
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

    def write(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file whole or not at all; see :meth:`draft`."""
        with self.draft(name, mode) as file:
            write_all(file, data)

    def check_place(self, name: str) -> None:
        """Raise FileRefused where something else than a regular file has a name that is to be written."""
        if self.stat(name) is not None:
            self._refuse_kind(name)

    def match_owner(self, file: BinaryIO) -> None:
        """Give a file that root made to whoever the folder belongs to; nothing for anybody else."""
        if os.geteuid() == 0:
            owner = os.fstat(self._handle)
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)

    def sync(self) -> None:
        """Make sure that the names in the folder survive a power cut."""
        os.fsync(self._handle)

    def _opened(self, name: str, flags: int) -> int:
        self._refuse_kind(name)
        handle = os.open(name, flags, dir_fd=self._handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # exchanged since that look
            os.close(handle)
            raise FileRefused(errno.EINVAL, "not a file any more", self._place(name))
        return handle

    def _refuse_kind(self, name: str) -> None:
        """Raise FileNotFoundError where there is nothing, FileRefused where it is no regular file."""
        mode = os.stat(_component(name), dir_fd=self._handle, follow_symlinks=False).st_mode
        for holds, number, what in _KINDS:
            if holds(mode):
                raise FileRefused(number, what, self._place(name))

    def _place(self, name: str) -> str:
        return str(self.path / name)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that a person named, for reading: its folder is as they say, the file itself is no link."""
    with Folder(path.parent) as folder, folder.open(path.name) as file:
        yield file


def read(path: Path, most: int) -> bytes:
    """Return what a file holds that a person named; see :meth:`Folder.read`."""
    with Folder(path.parent) as folder:
        return folder.read(path.name, most)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) or 0 :]


def _component(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise FileRefused(errno.EINVAL, "not the name of a file", name)
    return name
