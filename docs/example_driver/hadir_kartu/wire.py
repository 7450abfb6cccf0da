"""The bytes of Kartu terminals, without any I/O.

Requests and answers are lines that end with a line feed. Commands: ``serial``, ``clock``, ``count``, and ``log N``,
whose answer is a line for each record from the Nth on and a line with a full stop.
"""

import re
from datetime import datetime

from drivers.base import BadRecord, RawPunch, Record

SERIAL, CLOCK, COUNT, LOG = b"serial", b"clock", b"count", b"log"
END = b"."
MAX_LINE = 80
"""Bytes of the longest valid line."""
_TIME = "%Y-%m-%d %H:%M:%S"
_RECORD = re.compile(rb"([0-9]{1,12});([0-9: -]{19});([0-9])")


class LineReader:
    """Splits a stream into lines. Raises ValueError for a line of more than :data:`MAX_LINE` bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Append ``data``; return the completed lines without their line ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, [*lines, self._rest])) > MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE} bytes")
        return lines


def decode_clock(answer: bytes) -> datetime | None:
    """Decode the wall clock; None where it shows an impossible date."""
    try:
        return datetime.strptime(answer.decode("ascii"), _TIME)  # noqa: DTZ007 - a wall clock has no zone
    except ValueError:
        return None


def decode_record(raw: bytes) -> Record:
    """Decode ``PIN;DATE TIME;STATE``; BadRecord with its bytes for any other line. Nothing is guessed."""
    found = _RECORD.fullmatch(raw)
    if found is None:
        return BadRecord(raw, raw, "is not PIN;DATE TIME;STATE")
    moment = decode_clock(found[2])
    if moment is None:
        return BadRecord(raw, raw, "has an impossible date")
    return RawPunch(found[1].decode(), None, moment, int(found[3]), None, None, raw)
