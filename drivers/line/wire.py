"""Lines of text: framed, verified, and parsed by a pattern. Pure: bytes in, records out.

There are two framings: ``line`` ends a message with CR, LF or both; ``stx`` has it between STX and ETX. The checksum of
a line is two or four hexadecimal digits at its end, over the bytes before them. After ETX it is one raw byte or two
(high byte first), over everything between STX and the checksum, ETX included.

The pattern is a regular expression with named groups. ``pin`` is the person; without such a group ``card`` is, as text.
``date`` and ``time`` occur together or not at all. ``state``, ``verify`` and ``work_code`` are the terminal's codes; a
code without a group is None, never a guess.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from drivers.base import BadRecord, RawPunch, Untimed
from drivers.line.bounded_pattern import Pattern, PatternTooSlow

Framing = Literal["line", "stx"]
Checksum = Literal["none", "xor", "sum8", "crc16"]
LineEvent = RawPunch | Untimed | BadRecord

STX, ETX = 0x02, 0x03
MAX_MESSAGE = 256
"""Maximum bytes of a message; more without an end are noise."""
MAX_WORK_CODE = 24
GROUPS = frozenset({"pin", "card", "date", "time", "state", "verify", "work_code"})
_WIDTHS: dict[Checksum, int] = {"none": 0, "xor": 1, "sum8": 1, "crc16": 2}


def checksum(kind: Checksum, data: bytes) -> bytes:
    """Return the checksum of ``data``, high byte first; CRC-16 is that of Modbus."""
    if kind == "none":
        return b""
    if kind == "sum8":
        return bytes((sum(data) & 0xFF,))
    if kind == "xor":
        value = 0
        for byte in data:
            value ^= byte
        return bytes((value,))
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "big")


def encode(text: bytes, framing: Framing, kind: Checksum) -> bytes:
    """Return ``text`` as a terminal sends it: framed, with its checksum."""
    if framing == "stx":
        body = text + bytes((ETX,))
        return bytes((STX,)) + body + checksum(kind, body)
    return text + checksum(kind, text).hex().upper().encode("ascii") + b"\r\n"


class Message(NamedTuple):
    """The bytes of one frame."""

    raw: bytes
    """All bytes, without line ends."""
    text: bytes | None
    """The payload; None where ``fault`` is the reason why there is none."""
    fault: str | None


class FrameReader:
    """Splits a stream into messages. Buffers at most one message, however long the stream or the noise."""

    def __init__(self, framing: Framing, kind: Checksum) -> None:
        self._framing = framing
        self._kind = kind
        self._held = bytearray()

    @property
    def missing(self) -> int:
        """Minimum number of bytes still needed; 0 between two messages."""
        return 1 if self._held else 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes, and the noise between them."""
        for byte in data:
            if self._framing == "stx":
                yield from self._between_marks(byte)
            else:
                yield from self._line(byte)

    def pause(self) -> Iterator[Message]:
        """Discard the incomplete message: the line has been silent for longer than any message takes."""
        if self._held:
            yield self._discarded("the line fell silent in the middle of a message")

    def _line(self, byte: int) -> Iterator[Message]:
        if byte in b"\r\n":
            if self._held:
                yield self._checked_line()
            return
        self._held.append(byte)
        if len(self._held) >= MAX_MESSAGE:
            yield self._discarded("no end of a message in sight")

    def _checked_line(self) -> Message:
        raw = self._take()
        digits = 2 * _WIDTHS[self._kind]
        if not digits:
            return Message(raw, raw, None)
        text, received = raw[:-digits], raw[-digits:]
        if checksum(self._kind, text).hex().encode("ascii") != received.lower():
            return Message(raw, None, "the checksum is wrong")
        return Message(raw, text, None)

    def _between_marks(self, byte: int) -> Iterator[Message]:
        if self._held and self._held[0] != STX and byte == STX:
            yield self._discarded("bytes outside of a message")
        elif self._held and self._held[0] == STX and byte == STX and ETX not in self._held:
            yield self._discarded("a message that another one breaks off")
        self._held.append(byte)
        if self._held[0] == STX:
            end = self._held.find(ETX)
            if end >= 0 and len(self._held) == end + 1 + _WIDTHS[self._kind]:
                yield self._checked_between(end)
                return
        elif byte in b"\r\n":
            if not self._held.strip(b"\r\n"):
                self._held.clear()  # line ends between messages are not noise
            else:
                yield self._discarded("bytes outside of a message")
            return
        if len(self._held) >= MAX_MESSAGE:
            yield self._discarded("no end of a message in sight")

    def _checked_between(self, end: int) -> Message:
        raw = self._take()
        if checksum(self._kind, raw[1 : end + 1]) != raw[end + 1 :]:
            return Message(raw, None, "the checksum is wrong")
        return Message(raw, raw[1:end], None)

    def _discarded(self, fault: str) -> Message:
        return Message(self._take(), None, fault)

    def _take(self) -> bytes:
        raw = bytes(self._held)
        self._held.clear()
        return raw


@dataclass(frozen=True, slots=True)
class MessageParser:
    """Parses messages by the configured pattern and formats."""

    pattern: Pattern
    encoding: str = "ascii"
    date_format: str = "%Y-%m-%d"
    time_format: str = "%H:%M:%S"

    def read(self, message: Message) -> LineEvent:
        """Return the event that a message holds."""
        if message.text is None:
            return _bad(message, message.fault or "")
        try:
            text = message.text.decode(self.encoding)
        except UnicodeDecodeError:
            return _bad(message, f"not text in {self.encoding}")
        try:
            match = self.pattern.fullmatch(text)
        except PatternTooSlow:
            return _bad(message, "the pattern takes too long for it; write one with fewer +, * and repeated groups")
        if match is None:
            return _bad(message, "the pattern does not fit")
        groups = match.groupdict()
        pin = (groups.get("pin") or groups.get("card") or "").strip(" \0")
        if not (1 <= len(pin) <= 24 and pin.isascii() and pin.isprintable()):
            return _bad(message, "PIN is not 1 to 24 printable ASCII characters")
        codes = []
        for name in ("state", "verify"):
            code = (groups.get(name) or "").strip()
            if code and not (code.isascii() and code.isdecimal() and len(code) < 10):
                return _bad(message, f"{name} is not a number; leave that group out of the pattern")
            codes.append(int(code) if code else None)
        state, verify = codes
        work_code = (groups.get("work_code") or "").strip(" \0") or None
        if work_code and not (len(work_code) <= MAX_WORK_CODE and work_code.isascii() and work_code.isprintable()):
            return _bad(message, f"work_code is not up to {MAX_WORK_CODE} printable ASCII characters")
        if groups.get("date") is None or groups.get("time") is None:
            return Untimed(pin, state, verify, work_code, message.raw)
        try:
            moment = self._moment(f"{groups['date']} {groups['time']}")
        except (ValueError, re.error):  # the latter for a format that has a directive twice
            return _bad(message, "no such date, or not written as date_format and time_format say")
        return RawPunch(pin, None, moment, state, verify, work_code, message.raw)

    def _moment(self, text: str) -> datetime:
        moment = datetime.strptime(text, f"{self.date_format} {self.time_format}")  # noqa: DTZ007 - a terminal's wall clock has no zone
        if moment.microsecond or moment.tzinfo is not None:
            raise ValueError
        return moment


def _bad(message: Message, reason: str) -> BadRecord:
    return BadRecord(message.raw, message.raw, reason)
