"""Frames and records of Anviz's protocol TC_B, both directions. Pure: no ports, no clocks.

A frame, big-endian except for its checksum, whose low byte comes first::

    | A5 | CH 4 | CMD 1 |       | LEN 2 | DATA n | CRC 2 |        a request
    | A5 | CH 4 | ACK 1 | RET 1 | LEN 2 | DATA n | CRC 2 |        an answer
           |      |       `-- 0: success
           |      `-- CMD + 0x80
           `-- device id; every device answers a request to 0

RS-232, RS-485, USB and TCP carry the same frames. On a line that several devices share, and on one that echoes, a
reader also receives requests and answers of others: the highest bit of the command distinguishes them. A device in
real-time mode sends an unrequested answer, DF, at each punch, also between a request and its answer.

Facts come from the vendor's public descriptions of TC_B (versions 2.1 and 2.15), from captured frames, and from the
agreement of several open implementations; where these contradict the description, a comment at the line says so.
"""

import struct
from binascii import crc_hqx
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from drivers.base import BadRecord, RawPunch, Record

STX = 0xA5
BROADCAST = 0
"""The device id that every device answers."""

# Commands, by their numbers in the vendor's description.
CMD_SERIAL = 0x24
CMD_INFO = 0x30
CMD_CLOCK = 0x38
CMD_RECORD_INFO = 0x3C
CMD_RECORDS = 0x40
CMD_MODEL = 0x48
CMD_CLEAR = 0x4E
CMD_REAL_TIME = 0x5F
CMD_DEVICE_ID = 0x74
ANSWER = 0x80
"""Added to a command in the answer to it."""

RET_SUCCESS = 0

# First byte of a request for records.
CONTINUE = 0x00
ALL = 0x01
NEW = 0x02
RESEND = 0x10

# First byte of CLEAR. Type 0 deletes every record, type 1 also removes the mark of unread records: neither has a name
# here, so that neither can be sent.
FLAGS_OF_OLDEST = 2

RECORD = 14
"""Bytes of one record."""
BATCH = 25
"""Maximum number of records in an answer."""
MAX_DATA = 16 * 1024
"""Maximum accepted length of data; the longest known is the template of a face, 15 KB."""

EPOCH = date(2000, 1, 2)
"""The day from which records count seconds. The description says 1 January; devices count from 2 January."""
STATE_MASK = 0x0F
"""The state is the lower half of its byte; the upper half reports whether a door opened."""
LAST_YEAR = 2099
MAX_RECORDS = 1_000_000
"""Maximum accepted length of a log; the largest device known holds 200,000 records."""

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def checksum(data: bytes) -> bytes:
    """Return the two bytes that end a frame which begins with ``data``: CRC-16/MCRF4XX, low byte first.

    That is the CCITT polynomial with every byte's bits in reverse, and so is the result.
    """
    mirrored = crc_hqx(data.translate(_REVERSED), 0xFFFF)
    return mirrored.to_bytes(2, "big").translate(_REVERSED)


class Frame(NamedTuple):
    """One frame, either direction."""

    channel: int
    command: int
    data: bytes = b""
    ret: int = RET_SUCCESS
    """Result code of an answer; None for a request."""

    @property
    def is_answer(self) -> bool:
        """Whether a device sent it; otherwise it is a request, possibly an echo of our own."""
        return self.command >= ANSWER

    def to_bytes(self) -> bytes:
        """Encode for the line."""
        head = struct.pack(">BIB", STX, self.channel, self.command)
        head += bytes((self.ret,)) if self.is_answer else b""
        body = head + struct.pack(">H", len(self.data)) + self.data
        return body + checksum(body)


class FrameReader:
    """Finds frames in received bytes; bytes that belong to no frame are skipped and counted.

    A byte that looks like the beginning of a frame and is none hides those behind it until :meth:`pause` is called.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0
        """Bytes so far that belong to no frame."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add received bytes; yield each frame that is now complete. An incomplete one is kept."""
        self._buffer += data
        while (size := self._announced()) is not None and len(self._buffer) >= size:
            raw = bytes(self._buffer[:size])
            if checksum(raw[:-2]) != raw[-2:]:
                self._skip(1)
                continue
            del self._buffer[:size]
            yield _frame(raw)

    def pause(self) -> Iterator[Frame]:
        """Discard an incomplete frame after a pause; yield the complete frames behind its first byte."""
        while self._buffer:
            self._skip(1)
            yield from self.feed(b"")

    @property
    def missing(self) -> int:
        """Number of bytes still needed, as far as known; 0 where no frame has begun."""
        size = self._announced()
        return (size or self._head()) - len(self._buffer) if self._buffer else 0

    def _announced(self) -> int | None:
        """Skip to the beginning of a frame and return its length; None where its head is incomplete."""
        while True:
            start = self._buffer.find(STX)
            self._skip(len(self._buffer) if start < 0 else start)
            head = self._head()
            if len(self._buffer) < head:
                return None
            length = int.from_bytes(self._buffer[head - 2 : head], "big")
            if length <= MAX_DATA:
                return head + length + 2
            self._skip(1)

    def _head(self) -> int:
        """Return the number of bytes that determine the frame's length."""
        return 9 if len(self._buffer) > 5 and self._buffer[5] >= ANSWER else 8

    def _skip(self, count: int) -> None:
        del self._buffer[:count]
        self.skipped += count


def _frame(raw: bytes) -> Frame:
    channel, command = struct.unpack_from(">IB", raw, 1)
    if command < ANSWER:
        return Frame(channel, command, raw[8:-2])
    return Frame(channel, command, raw[9:-2], raw[6])


# --- content of answers --------------------------------------------------------------------------------------------


class WireError(ValueError):
    """Data that violates the protocol."""


def decode_text(data: bytes) -> str | None:
    """Return a padded text field; None unless it is printable ASCII."""
    text = data.partition(b"\0")[0].strip(b" \xff")
    return text.decode("ascii") if text.isascii() and text.decode("ascii").isprintable() and text else None


def decode_clock(data: bytes) -> datetime | None:
    """Decode the answer to CLOCK; None for a date that does not exist. WireError for a wrong length."""
    if len(data) != 6:
        raise WireError(f"a clock of {len(data)} bytes; 6 were expected")
    year, *rest = data
    if 2000 + year > LAST_YEAR:
        return None
    try:
        return datetime(2000 + year, *rest)  # type: ignore[arg-type]  # noqa: DTZ001 - a terminal's wall clock has no zone
    except ValueError:
        return None


def encode_clock(moment: datetime) -> bytes:
    """Encode a wall-clock time of the years 2000 to 2099."""
    return bytes((moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute, moment.second))


class RecordInfo(NamedTuple):
    """A device's report about its log."""

    records: int
    """Number of records in the log."""
    new: int
    """Number of records that were not acknowledged: the last ones of the log."""


def decode_record_info(data: bytes) -> RecordInfo:
    """Decode the answer to RECORD_INFO: users, fingers, passwords, cards, records, new records. WireError otherwise."""
    if len(data) != 18:
        raise WireError(f"a record information of {len(data)} bytes; 18 were expected")
    records, new = (int.from_bytes(data[at : at + 3], "big") for at in (12, 15))
    if new > records:
        raise WireError(f"{new} new records among {records}")
    if records > MAX_RECORDS:
        raise WireError(f"a log of {records} records; {MAX_RECORDS} are believed")
    return RecordInfo(records, new)


def encode_record_info(info: RecordInfo, *, users: int) -> bytes:
    """Encode the answer to RECORD_INFO of a device on which each user has one finger enrolled."""
    return b"".join(number.to_bytes(3, "big") for number in (users, users, 0, 0, *info))


def split_batch(data: bytes) -> list[bytes]:
    """Return the encoded records of an answer to RECORDS. WireError where its count contradicts its length."""
    if not data or len(data) != 1 + data[0] * RECORD:
        raise WireError(f"{len(data)} bytes that say they are {data[0] if data else 'no number of'} records")
    return [data[at : at + RECORD] for at in range(1, len(data), RECORD)]


def encode_batch(records: bytes) -> bytes:
    """Encode the answer to RECORDS; ``records`` are at most 255 of them."""
    return bytes((len(records) // RECORD,)) + records


# user id, seconds, way of verification, door and state, work type
_RECORD = struct.Struct(">5sIBB3s")


def decode_record(raw: bytes, epoch: date) -> Record:
    """Decode one record of 14 bytes; ``epoch`` is the day from which this device counts seconds."""
    if len(raw) != RECORD:
        return BadRecord(raw, raw, f"a record of {len(raw)} bytes; {RECORD} were expected")
    user, seconds, verify, state, work = _RECORD.unpack(raw)
    if not any(user):
        return BadRecord(raw, raw, "no user id")
    first = datetime(epoch.year, epoch.month, epoch.day)  # noqa: DTZ001 - wall clock
    last = datetime(LAST_YEAR + 1, 1, 1)  # noqa: DTZ001 - wall clock
    # Compared before it is added up: the calendar itself ends with the year 9999.
    moment = first + timedelta(seconds=seconds) if first < last else last
    if moment >= last:
        return BadRecord(raw, raw, f"a date after {LAST_YEAR} ({seconds} seconds since {epoch})")
    return RawPunch(
        pin=str(int.from_bytes(user, "big")),
        uid=None,
        local_time=moment,
        state=state & STATE_MASK,
        verify=verify,
        work_code=str(int.from_bytes(work, "big")),
        raw=raw,
    )


def encode_record(pin: str, moment: datetime, *, epoch: date, state: int, verify: int, work_code: int = 0) -> bytes:
    """Encode a record; ValueError where a value does not fit one."""
    seconds = (moment - datetime(epoch.year, epoch.month, epoch.day)) // timedelta(seconds=1)  # noqa: DTZ001 - wall clock
    if not (pin.isascii() and pin.isdecimal() and 0 < int(pin) < 1 << 40):
        raise ValueError("a user id is a number from 1 to 1099511627775")
    if not (0 <= seconds < 1 << 32 and moment.year <= LAST_YEAR):
        raise ValueError(f"a record knows the time from {epoch} to {LAST_YEAR}")
    if not (0 <= state <= 255 and 0 <= verify <= 255 and 0 <= work_code < 1 << 24):
        raise ValueError("state and verify are numbers from 0 to 255, a work code one of 24 bits")
    return _RECORD.pack(int(pin).to_bytes(5, "big"), seconds, verify, state, work_code.to_bytes(3, "big"))
