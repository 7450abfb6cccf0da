"""Bytes of the ZKTeco standalone protocol (port 4370), both directions. Pure: no sockets, no clocks.

A packet, little-endian::

    | command 2 | checksum 2 | session 2 | reply 2 | data n |        one UDP datagram
    | 50 50 82 7D | length 4 | the packet, ``length`` bytes  |        on TCP

In some answers ``session`` has another meaning: the chunk index in DATA, the event code in events, the state in STATE
answers, the number of bytes sent in the ACK that closes a transfer. The client increments ``reply``; the terminal
echoes it.

Sources: the vendor manual of 2006, captures published by users, open implementations. A firmware that is known to
differ is named at the line concerned. The layouts of log records are in :mod:`drivers.zkteco.layouts`.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from drivers.base import Hint, RawPunch

# Commands and answers, with the names of the vendor manual.
CMD_ATTLOG_RRQ = 13
CMD_USERTEMP_RRQ = 9
CMD_OPTIONS_RRQ = 11
CMD_GET_FREE_SIZES = 50
CMD_GET_TIME = 201
CMD_SET_TIME = 202
CMD_REG_EVENT = 500
CMD_CONNECT = 1000
CMD_EXIT = 1001
CMD_ENABLEDEVICE = 1002
CMD_REFRESHDATA = 1013
CMD_GET_VERSION = 1100
CMD_AUTH = 1102
CMD_PREPARE_DATA = 1500
CMD_DATA = 1501
CMD_FREE_DATA = 1502
CMD_PREPARE_BUFFER = 1503
CMD_READ_BUFFER = 1504
CMD_ATTLOG_BY_TIME = 10004
CMD_ACK_OK = 2000
CMD_ACK_ERROR = 2001
CMD_ACK_UNAUTH = 2005
CMD_BAD = 0xFFFD
CMD_UNKNOWN = 0xFFFF
SECURE_ANSWERS = frozenset({2032, 6001})
"""Answers to CONNECT from firmware that requires encryption."""

FCT_USER = 5
USER_LIST = bytes((FCT_USER,))
"""Data of CMD_USERTEMP_RRQ for users without a buffer; a user number and a finger would request a template."""
EF_ATTLOG = 1
"""Event code of a punch; events with other codes arrive even where only this one was registered."""

TCP_MAGIC = b"\x50\x50\x82\x7d"
SECURE_MAGIC = b"\x50\x50\x83\x7c"
MAX_PACKET = 4 * 1024 * 1024
"""Longest packet or transfer accepted. The longest real ones are whole logs of terminals that serve no part of them.
A transfer is in memory several times while it is received, and no terminal may take more than 32 MB."""
MAX_TABLE = 16 * 1024 * 1024
"""Longest table accepted; it is received in chunks."""

USHRT_MAX = 65535


class WireError(ValueError):
    """Bytes that violate this protocol."""


class SecureFirmware(WireError):  # noqa: N818 - named after the condition
    """The terminal speaks the encrypted variant of the protocol."""


class AccessPanel(WireError):  # noqa: N818 - named after the condition
    """The peer is a door access panel, which uses the same port for another protocol."""


def checksum(packet: bytes) -> int:
    """Return the one's-complement sum of the 16-bit words of ``packet``, whose checksum field must be zero.

    Open clients compute the same number from the *previous* reply id; this is the direct form.
    """
    # Folding the carries back in is the remainder by 65,535, except that it is 0 only where all words are 0. A list of
    # the words would take 18 times as much memory as the packet.
    words = int.from_bytes(packet, "little")
    total = words % USHRT_MAX or (USHRT_MAX if words else 0)
    return ~total & USHRT_MAX


class Packet(NamedTuple):
    """One packet, in either direction."""

    command: int
    session: int
    reply: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """Encode as one UDP datagram."""
        bare = struct.pack("<4H", self.command, 0, self.session, self.reply) + self.data
        return bare[:2] + struct.pack("<H", checksum(bare)) + bare[4:]

    def to_tcp(self) -> bytes:
        """Encode for a TCP stream."""
        packet = self.to_bytes()
        return TCP_MAGIC + struct.pack("<I", len(packet)) + packet

    @classmethod
    def from_bytes(cls, packet: bytes) -> "Packet":
        """Decode one datagram, or a TCP packet without its top header; WireError if it is shorter than a header.

        The checksum is not verified here, see :func:`checksum_holds`: terminals that send wrong ones exist and work.
        """
        if len(packet) < 8:
            raise WireError(f"a packet of {len(packet)} bytes; the shortest has 8")
        command, _, session, reply = struct.unpack_from("<4H", packet)
        return cls(command, session, reply, bytes(packet[8:]))


def checksum_holds(packet: bytes) -> bool:
    """Return whether the checksum of ``packet`` (without top header) is correct."""
    return len(packet) >= 8 and checksum(packet[:2] + b"\0\0" + packet[4:]) == int.from_bytes(packet[2:4], "little")


class StreamReader:
    """Incremental parser of a TCP stream into packets. Garbage is an error: a body may contain the magic itself."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._burst_expected = False
        self._expected = 0

    def expect_burst(self, expected: bool) -> None:
        """Set whether the next DATA packet may be longer than its length field.

        Some Wi-Fi models (AK3750, WL10) send an unbuffered table in one packet with a length field that is too small.
        The true length is announced in the packet before, or is in the first four bytes of the table.
        """
        self._burst_expected = expected
        self._expected = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Append received bytes; yield each packet (without top header) that is now complete.

        Raises WireError (SecureFirmware, AccessPanel) as soon as the stream cannot be this protocol.
        """
        self._buffer += data
        while (length := self._complete_length()) is not None:
            packet = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            yield packet

    @property
    def missing(self) -> int:
        """Bytes that complete the packet in the buffer, by its length field; 0 where the buffer is empty."""
        if not self._buffer:
            return 0
        length = self._declared_length()
        return 8 - len(self._buffer) if length is None else max(0, 8 + length - len(self._buffer))

    def _complete_length(self) -> int | None:
        """Return the length of the first packet in the buffer; None until it is complete."""
        length = self._declared_length()
        if length is not None and self._burst_expected and len(self._buffer) >= 8 + length:
            length = self._burst_length(length)
        return None if length is None or len(self._buffer) < 8 + length else length

    def _burst_length(self, length: int) -> int | None:
        """Return the true length of a packet whose length field is ``length``; None until it can be determined."""
        command = int.from_bytes(self._buffer[8:10], "little")
        declared = length - 8
        number = int.from_bytes(self._buffer[16:20], "little") if declared >= 4 else 0
        if command == CMD_PREPARE_DATA:
            self._expected = number
        if command != CMD_DATA:
            return length
        # Without an announcement the table's own prefix is its length.
        expected = self._expected or 4 + number
        if expected + 8 > MAX_PACKET:
            raise WireError(f"a transfer of {expected} bytes; at most {MAX_PACKET} are accepted")
        if declared < expected:
            behind = self._buffer[8 + length : 12 + length]
            if not behind or (len(behind) < 4 and TCP_MAGIC.startswith(behind)):
                return None
            if behind != TCP_MAGIC:
                length = 8 + expected
        if len(self._buffer) >= 8 + length:
            self._expected = max(0, expected - length + 8)
        return length

    def _declared_length(self) -> int | None:
        head = bytes(self._buffer[:8])
        if not TCP_MAGIC.startswith(head[:4]):
            if head[:1] == b"\xaa":
                raise AccessPanel("the answer is a frame of a door access panel, not of an attendance terminal")
            if SECURE_MAGIC.startswith(head[:4]):
                if len(head) < 4:
                    return None
                raise SecureFirmware("the terminal encrypts the conversation")
            raise WireError("the stream does not begin with a packet of this protocol")
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:8], "little")
        if not 8 <= length <= MAX_PACKET:
            raise WireError(f"a packet header announces {length} bytes; 8 to {MAX_PACKET} bytes are possible")
        return length


def scramble_comm_key(key: int, session: int, tick: int = 50) -> bytes:
    """Return the four bytes with which CMD_AUTH proves knowledge of the communication key ``key`` in ``session``."""
    reversed_bits = int(f"{key & 0xFFFFFFFF:032b}"[::-1], 2)
    mixed = struct.pack("<I", (reversed_bits + session) & 0xFFFFFFFF)
    _, b1, b2, b3 = (byte ^ letter for byte, letter in zip(mixed, b"ZKSO", strict=True))
    return bytes((b2 ^ tick, b3 ^ tick, tick, b1 ^ tick))


# --- time ---------------------------------------------------------------------------------------------------------


_MINUTES = [timedelta(minutes=minute) for minute in range(24 * 60)]
_SECONDS = [timedelta(seconds=second) for second in range(60)]


@lru_cache(maxsize=8192)
def _midnight(days: int) -> datetime | None:
    """Return the date of a count of days in 31-day months; None for a day that no calendar has and after 2099."""
    months, day = divmod(days, 31)
    years, month = divmod(months, 12)
    try:
        return datetime(2000 + years, month + 1, day + 1) if years <= 99 else None  # noqa: DTZ001 - a terminal's wall clock has no zone
    except ValueError:
        return None


def decode_times(packed: Iterable[int]) -> list[datetime | None]:
    """Decode unsigned 32-bit seconds of 372-day years since 2000; None for 31 February and for years after 2099."""
    moments: list[datetime | None] = []
    latest, midnight = -1, None
    for value in packed:
        days, rest = divmod(value, 86400)
        if days != latest:  # a log has many records of one day in a row
            latest, midnight = days, _midnight(days)
        # Adding constants takes half the time of constructing a datetime from its fields.
        moments.append(None if midnight is None else midnight + _MINUTES[rest // 60] + _SECONDS[rest % 60])
    return moments


def decode_time(packed: int) -> datetime | None:
    """Decode one time; see :func:`decode_times`."""
    return decode_times((packed,))[0]


FIRST_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - a terminal's wall clock has no zone
LAST_TIME = datetime(2099, 12, 31, 23, 59, 59)  # noqa: DTZ001 - as above


def encode_time(moment: datetime) -> int:
    """Encode a wall-clock time of the years 2000 to 2099; ValueError for others."""
    if not 2000 <= moment.year <= 2099:
        raise ValueError(f"a terminal knows the years 2000 to 2099, not {moment.year}")
    days = ((moment.year - 2000) * 12 + moment.month - 1) * 31 + moment.day - 1
    return days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second


# --- sizes --------------------------------------------------------------------------------------------------------


def decode_sizes(data: bytes) -> tuple[int | None, int | None]:
    """Return (records, capacity) from the answer to GET_FREE_SIZES; None for what a short answer leaves out.

    Some Wi-Fi models answer with four zero bytes only.
    """
    records = int.from_bytes(data[32:36], "little") if len(data) >= 36 else None
    capacity = int.from_bytes(data[64:68], "little") if len(data) >= 68 else None
    return records, capacity or None


def encode_sizes(*, records: int, capacity: int, users: int) -> bytes:
    """Encode the 92-byte answer of a TFT terminal to GET_FREE_SIZES."""
    fields = [0] * 23
    fields[4], fields[8] = users, records
    fields[14], fields[15], fields[16] = 3000, 5000, capacity
    fields[17], fields[18], fields[19] = 3000, 5000 - users, max(0, capacity - records)
    return struct.pack("<23i", *fields)


# --- PINs ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)  # a log holds the PINs of the same few hundred persons many times
def decode_pin(field: bytes) -> str | None:
    """Return the PIN in a NUL-padded text field; None unless it is 1 to 24 printable ASCII characters.

    The bytes after the first NUL are the rest of an earlier, longer PIN. Surrounding blanks are padding; leading zeros
    are not.
    """
    text = field.partition(b"\0")[0].strip(b" ")
    if not text or not text.isascii():
        return None
    pin = text.decode("ascii")
    return pin if pin.isprintable() and len(pin) <= 24 else None


def encode_text(text: str, width: int) -> bytes:
    """Encode a PIN as a NUL-padded text field of ``width`` bytes; ValueError where it does not fit."""
    if len(text) > width or not text.isascii():
        raise ValueError(f"the PIN {text!r} does not fit into {width} ASCII characters")
    return text.encode("ascii").ljust(width, b"\0")


def encode_number(pin: str) -> int:
    """Return a PIN as an unsigned 32-bit number; ValueError where it is none."""
    number = int(pin) if pin.isascii() and pin.isdigit() else -1
    # A leading zero would be lost: such a terminal cannot hold such a PIN.
    if str(number) != pin or number > 0xFFFFFFFF:
        raise ValueError(f"the PIN {pin!r} does not fit: this layout holds numbers from 0 to 4294967295")
    return number


# --- live events --------------------------------------------------------------------------------------------------

EVENT_ID_WIDTH = {10: 2, 12: 4, 14: 2, 32: 24, 36: 24, 37: 24, 52: 24}
"""Length of a punch event → width of its PIN or internal user number."""


def decode_event(packet: Packet) -> RawPunch | Hint | None:
    """Decode an event (command 500); None where it is not a punch.

    Events of 10 and 14 bytes carry the terminal's internal user number only, and the fields of events of an unknown
    length are unknown: both are a :class:`Hint` to read the log.
    """
    if packet.session != EF_ATTLOG:
        return None
    data = packet.data
    width = EVENT_ID_WIDTH.get(len(data))
    if width is None:
        return Hint(f"event of unknown length {len(data)}")
    if width == 2:
        return Hint("event without a PIN")
    verify, state = data[width], data[width + 1]
    year, month, day, hour, minute, second = data[width + 2 : width + 8]
    try:
        moment = datetime(2000 + year, month, day, hour, minute, second)  # noqa: DTZ001 - wall clock without zone
    except ValueError:
        return Hint("event with an impossible date")
    if year > 99:
        return Hint("event with an impossible date")
    if width == 4:
        # In the old form of this event the high nibble of the state byte means "valid" (vendor manual of 2006).
        pin: str | None = str(int.from_bytes(data[:4], "little"))
        state &= 0x0F
    else:
        pin = decode_pin(data[:24])
    if pin is None:
        return Hint("event whose PIN cannot be read")
    return RawPunch(pin, None, moment, state, verify, None, data)


def encode_event(length: int, *, pin: str, uid: int, moment: datetime, state: int, verify: int) -> bytes:
    """Encode the data of a punch event as a terminal with events of ``length`` bytes sends it."""
    width = EVENT_ID_WIDTH[length]
    user = (
        encode_text(pin, 24) if width == 24 else (encode_number(pin) if width == 4 else uid).to_bytes(width, "little")
    )
    time = bytes((moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute, moment.second))
    return (user + bytes((verify, state)) + time).ljust(length, b"\0")


# --- users --------------------------------------------------------------------------------------------------------

_USER_28 = struct.Struct("<H22xI")
_PIN_OFFSETS = {72: 48, 28: 24, 120: 96}
"""Length of a user record → offset of its PIN: a number in the shortest, text in the others."""
_PRIVILEGES = range(16)
"""One bit for *disabled*, three for the level."""
_TEMPLATE_SLOT = 0x31
"""Value of the privilege field in rows that hold a fingerprint template; a Wi-Fi model (AK3750) mixes them into the
table."""


def decode_pins(body: bytes) -> Mapping[int, str]:
    """Return internal user number → PIN from a user table without its prefix; names and passwords stay undecoded.

    Records have 72, 28 or 120 bytes: the length with the largest share of rows that are users is chosen. Rows that are
    empty or hold a template are skipped. Raises WireError where in no length more than half of the rows are users: a
    wrong length would assign punches to other persons.
    """
    if not body:
        return {}
    candidates = []
    for stride in _PIN_OFFSETS:
        if len(body) % stride == 0:
            users, others = _users(body, stride)
            candidates.append((len(users) / (len(users) + others or 1), users))
    share, pins = max(candidates, key=lambda candidate: candidate[0], default=(0.0, {}))
    if share <= 0.5:
        raise WireError(f"{len(body)} bytes of user table fit no user layout this version knows (28, 72, 120)")
    return pins


def _users(body: bytes, stride: int) -> tuple[dict[int, str], int]:
    """Return the users in rows of ``stride`` bytes, and the number of rows that are no user."""
    pins: dict[int, str] = {}
    others = 0
    for at in range(0, len(body), stride):
        row = body[at : at + stride]
        uid, privilege = int.from_bytes(row[:2], "little"), row[2]
        if privilege == _TEMPLATE_SLOT or not any(row):
            continue
        pin = _user_pin(row)
        # No user has the number 0, and no two users share one.
        if uid and uid not in pins and privilege in _PRIVILEGES and pin is not None:
            pins[uid] = pin
        else:
            others += 1
    return pins, others


def _user_pin(row: bytes) -> str | None:
    at = _PIN_OFFSETS[len(row)]
    if len(row) == 28:
        number = int.from_bytes(row[at : at + 4], "little")
        return str(number) if number else None
    return decode_pin(row[at : at + 24])


def encode_user(stride: int, *, uid: int, pin: str) -> bytes:
    """Encode a user without name or password, of 28, 72 or 120 bytes."""
    if stride == 28:
        return _USER_28.pack(uid, encode_number(pin))
    return struct.pack("<H46x24s" if stride == 72 else "<H94x24s", uid, encode_text(pin, 24))
