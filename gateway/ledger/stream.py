"""Streams of events, and the detection of copied, restored or rolled-back ledgers.

A ledger that was copied, restored from a backup or rolled back must not continue its stream: another ledger may have
assigned the same sequences, and one place in a stream would have two events. It opens a new stream instead, which names
its predecessor and how far that is known.
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
"""Prefix of the mark of a machine's board."""
_VOLATILE_INODES = ("vfat", "msdos", "exfat", "fuse", "9p", "virtiofs", "drvfs")
"""File systems whose inode numbers change at every mount."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of this ledger. An event's sequence in its stream is its number in the ledger less ``base``."""

    number: int
    id: str
    base: int
    opened_ms: int
    reason: str | None
    """Why the previous stream ended; None for a ledger's first stream."""
    lost: int
    """How many numbers up to ``base`` have no event, because a damaged file was recovered."""
    predecessor: str | None
    last_sequence: int | None
    """The last known sequence of the predecessor."""
    last_digest: str | None

    def named_predecessor(self) -> dict[str, object] | None:
        """Return the predecessor in the contract's form."""
        if self.predecessor is None:
            return None
        return {"stream": self.predecessor, "sequence": self.last_sequence, "digest": self.last_digest}


@dataclass(frozen=True, slots=True)
class Location:
    """The machine and the file of a ledger."""

    machine: frozenset[str]
    """Identifying marks of the machine; empty where it has none, as in most containers."""
    inode: int | None
    """Inode number of the file; None where the file system does not preserve it."""

    def left(self, now: "Location") -> str | None:
        """Return why a ledger from here, found at ``now``, counts as a copy; None where it is the same ledger.

        Another board means another machine: a copied SD card contains its machine-id. Otherwise one common mark means
        the same machine: network cards are replaced, systems are reinstalled. Unknown marks count as equal.
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

    The address of a virtual card identifies nothing, and a system may have no machine-id, or an uninitialised one.
    Boards such as a Raspberry Pi have a serial number in their device tree, ended by a NUL; PCs show theirs to root
    only.
    """
    found: list[str] = []
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        found += _identifiers(root / name)
    for card in sorted((root / "sys/class/net").glob("*")):
        if (card / "device").exists():
            found += [text for text in _identifiers(card / "address") if text.strip("0:")]
    board = _identifiers(root / "sys/firmware/devicetree/base/serial-number")
    return frozenset((*map(_hash, found), *(_BOARD_PREFIX + _hash(text) for text in board if text.strip("0"))))


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=8, person=b"hadir").hexdigest()


def _identifiers(path: Path) -> Iterable[str]:
    try:
        text = path.read_text("ascii").strip("\0 \t\r\n")
    except (OSError, ValueError):
        return ()
    return () if text in ("", "uninitialized") else (text,)


def inode_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> int | None:
    """Return the inode number of a file, if its file system preserves it across a restart of the machine."""
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
