"""Streams: one ledger's unbroken life each, and how a ledger notices that its life was broken.

A ledger that was copied, restored from a backup or set back must not go on counting where it believes to be: another
one may have counted there already, and one place in a stream would have two events. It opens a new stream instead,
which names the one before and how far that is known.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

ANOTHER_MACHINE = "another_machine"
ANOTHER_FILE = "another_file"
RESTORED = "restored"
ROLLED_BACK = "rolled_back"
SALVAGED = "salvaged"

_BOARD_PREFIX = "board:"
"""What the mark of a machine's board begins with."""
_VOLATILE_INODES = ("vfat", "msdos", "exfat", "fuse", "9p", "virtiofs", "drvfs")
"""File systems that number their files anew at every mount."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of this ledger. An event's sequence in its stream is its number in the ledger less ``base``."""

    number: int
    id: str
    base: int
    opened_ms: int
    reason: str | None
    """Why the stream before could not go on; None for a ledger's first."""
    lost: int
    """How many numbers up to ``base`` have no event, because a damaged file was salvaged."""
    predecessor: str | None
    last_sequence: int | None
    """The last sequence of the predecessor that is known."""
    last_digest: str | None

    def named_predecessor(self) -> dict[str, object] | None:
        """Return the stream before as the contract writes it."""
        if self.predecessor is None:
            return None
        return {"stream": self.predecessor, "sequence": self.last_sequence, "digest": self.last_digest}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a ledger lives: the machine, and the file."""

    machine: frozenset[str]
    """Marks of the machine; empty where it has none, as in most containers."""
    inode: int | None
    """Number of the file; None where the file system does not keep it."""

    def left(self, now: "Location") -> str | None:
        """Return why a ledger that lived here and is found at ``now`` is another one; None where it is the same.

        Another board makes another machine: a copied SD card takes its machine-id along. Else one common mark makes
        the same machine: network cards are pulled and exchanged, systems are installed anew. What is not known speaks
        for the same one.
        """
        boards = [{mark for mark in home.machine if mark.startswith(_BOARD_PREFIX)} for home in (self, now)]
        if all(boards) and not boards[0] & boards[1]:
            return ANOTHER_MACHINE
        if self.machine and now.machine and not self.machine & now.machine:
            return ANOTHER_MACHINE
        if None not in (self.inode, now.inode) and self.inode != now.inode:
            return ANOTHER_FILE
        return None

    def text(self) -> str:
        """Return what :func:`location_from` reads."""
        return json.dumps({"machine": sorted(self.machine), "inode": self.inode})


def location_from(text: str) -> Location:
    """Return the home that :meth:`Location.text` wrote."""
    fields = json.loads(text)
    return Location(frozenset(fields["machine"]), fields["inode"])


def machine_ids(root: Path = Path("/")) -> frozenset[str]:
    """Return marks of this machine: its machine-id, the addresses of its physical network cards, its board, as hashes.

    A virtual card has an address that says nothing, and a system may have no machine-id, or one that is still to be
    given. Boards such as a Raspberry Pi have a serial number in their device tree, ended by a NUL; PCs show theirs to
    root only.
    """
    found: list[str] = []
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        found += _words(root / name)
    for card in sorted((root / "sys/class/net").glob("*")):
        if (card / "device").exists():
            found += [word for word in _words(card / "address") if word.strip("0:")]
    board = _words(root / "sys/firmware/devicetree/base/serial-number")
    return frozenset((*map(_hash, found), *(_BOARD_PREFIX + _hash(word) for word in board if word.strip("0"))))


def _hash(word: str) -> str:
    return blake2b(word.encode(), digest_size=8, person=b"hadir").hexdigest()


def _words(path: Path) -> Iterable[str]:
    try:
        text = path.read_text("ascii").strip("\0 \t\r\n")
    except (OSError, ValueError):
        return ()
    return () if text in ("", "uninitialized") else (text,)


def inode_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> int | None:
    """Return the number of a file, if its file system keeps it over a restart of the machine."""
    state = path.stat()
    device = f"{os.major(state.st_dev)}:{os.minor(state.st_dev)}"
    try:
        for line in mounts.read_text("utf-8", "replace").splitlines():
            place, _, kind = line.partition(" - ")
            if place.split()[2] == device and kind.startswith(_VOLATILE_INODES):
                return None
    except (OSError, IndexError):
        return None
    return state.st_ino
