"""The bytes of Kartu terminals, without any I/O.

A question is a word and a line feed, and so is an answer: ``serial``, ``clock``, ``count``, and ``log N``, which is
answered with a line for each record from the Nth on and a line with a full stop.
"""

import re
from datetime import datetime

from drivers.base import BadRecord, RawPunch, Record

SERIAL, CLOCK, COUNT, LOG = b"serial", b"clock", b"count", b"log"
END = b"."
LONGEST = 80
"""Bytes of the longest line; what is longer is no Kartu terminal's."""
_TIME = "%Y-%m-%d %H:%M:%S"
_RECORD = re.compile(rb"([0-9]{1,12});([0-9: -]{19});([0-9])")


class Lines:
    """Cuts what arrives into lines. ValueError where one is longer than any of this family."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the lines that are now complete, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, [*lines, self._rest])) > LONGEST:
            raise ValueError(f"a line of more than {LONGEST} bytes")
        return lines


def decode_clock(answer: bytes) -> datetime | None:
    """Read the wall clock; None where it shows an impossible date."""
    try:
        return datetime.strptime(answer.decode("ascii"), _TIME)  # noqa: DTZ007 - a wall clock has no zone
    except ValueError:
        return None


def decode_record(raw: bytes) -> Record:
    """Read ``PIN;DATE TIME;STATE``. What cannot be read is kept with its bytes, and never guessed."""
    found = _RECORD.fullmatch(raw)
    if found is None:
        return BadRecord(raw, raw, "is not PIN;DATE TIME;STATE")
    moment = decode_clock(found[2])
    if moment is None:
        return BadRecord(raw, raw, "has an impossible date")
    return RawPunch(found[1].decode(), None, moment, int(found[3]), None, None, raw)
