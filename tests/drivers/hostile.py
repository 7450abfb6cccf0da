"""What may lie under a name in a folder of others instead of the file that is expected there."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

Plant = Callable[[Path, Path], None]
"""Puts something at a path; the second path is a file of ours that must stay as it is."""


def _link(path: Path, ours: Path) -> None:
    path.symlink_to(ours)


def _dangling_link(path: Path, ours: Path) -> None:
    path.symlink_to(ours.with_name("made-through-a-link"))


def _link_to_device(path: Path, _ours: Path) -> None:
    path.symlink_to("/dev/zero")


def _pipe(path: Path, _ours: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _ours: Path) -> None:
    path.mkdir()


def _socket(path: Path, _ours: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # The address of a socket has room for a hundred bytes; a relative one is short.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


PLANTS: dict[str, Plant] = {
    "link": _link,
    "dangling link": _dangling_link,
    "link to a device": _link_to_device,
    "pipe": _pipe,
    "folder": _folder,
    "socket": _socket,
}
NAMES = (
    b"caf\xe9_attlog.dat",
    b"\x1b[2J\x1b[31m_attlog.dat",
    b"a\nb\r_attlog.dat",
    b"\\x1b_attlog.dat",
    b"\xe2\x80\xaetad.golttua_attlog.dat",
    b"=cmd_attlog.dat",
    b"-rf_attlog.dat",
    b"n" * 244 + b"_attlog.dat",
)
"""Names that a disk can hold and a program may fall over: not UTF-8, escape sequences, line ends, as long as may be."""


def untouched(ours: Path, content: bytes) -> bool:
    """Return whether a file of ours is as it was, and nothing was made beside it through a link."""
    return ours.read_bytes() == content and not ours.with_name("made-through-a-link").exists()
