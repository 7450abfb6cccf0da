"""Lines of text: cut out of any stream, checked, read by an office's pattern, and never guessed."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadRecord, RawPunch, Untimed
from drivers.line import wire
from drivers.line.wire import Checksum, FrameReader, Framing, Message, MessageParser, checksum, encode
from tests.eight_ways import eight_ways

# A fixed width of the PIN: a line that lost its beginning must not fit.
GRAMMAR = MessageParser(
    re.compile(r"\$(?P<pin>\d{4}),(?P<date>[\d-]{10}) (?P<time>[\d:]{8}),(?P<state>\d*),(?P<verify>\d+)#")
)
TEXT = b"$1001,2026-09-04 07:30:00,0,1#"
OTHER = b"$0070,2026-09-04 07:31:00,,15#"
KINDS: list[tuple[Framing, Checksum]] = [
    (framing, kind) for framing in ("line", "stx") for kind in ("none", "xor", "sum8", "crc16")
]


class UnreadableError(Exception):
    """A reader has met what it cannot read."""


class Strict:
    """A cutter and a grammar that stop at what they cannot read."""

    def __init__(self, framing: Framing, kind: Checksum) -> None:
        self._cutter = FrameReader(framing, kind)
        self._stopped = False

    @property
    def missing(self) -> int:
        """How many bytes are needed next."""
        return self._cutter.missing

    def feed(self, data: bytes) -> Iterator[object]:
        """Give what is readable; UnreadableError at what is not, and ever after."""
        for message in self._cutter.feed(data):
            event = GRAMMAR.read(message)
            self._stopped |= isinstance(event, BadRecord)
            if self._stopped:
                break
            yield event
        if self._stopped or b"\xff" in bytes(self._cutter._held) or b"\0" in bytes(self._cutter._held):
            self._stopped = True
            raise UnreadableError


def parsed(framing: Framing, kind: Checksum, *texts: bytes) -> list[tuple[bytes, object]]:
    """Return texts as they go over the line, and what they say."""
    found: list[tuple[bytes, object]] = []
    for text in texts:
        raw = encode(text, framing, kind)
        if framing == "line":
            raw = raw.replace(b"\r\n", b"\n")
        (message,) = FrameReader(framing, kind).feed(raw)
        found.append((raw, GRAMMAR.read(message)))
    return found


@pytest.mark.parametrize(("framing", "kind"), KINDS)
def test_eight_ways(framing: Framing, kind: Checksum) -> None:
    """Whole, in pieces, doubled, coalesced, behind noise: the same punches, and never another."""
    frames = parsed(framing, kind, TEXT, OTHER)
    assert all(isinstance(value, RawPunch) for _, value in frames)
    eight_ways(lambda: Strict(framing, kind), frames, UnreadableError)


def test_punch() -> None:
    """Everything as it was sent."""
    ((raw, value),) = parsed("stx", "crc16", TEXT)
    assert isinstance(value, RawPunch)
    assert (value.pin, str(value.local_time), value.state, value.verify) == ("1001", "2026-09-04 07:30:00", 0, 1)
    assert value.raw == raw
    ((_, other),) = parsed("line", "none", OTHER)
    assert isinstance(other, RawPunch)
    assert (other.pin, other.state, other.verify, other.work_code) == ("0070", None, 15, None)


def test_checksums() -> None:
    """The check value that catalogues print for each algorithm, and a wrong one of each."""
    assert checksum("crc16", b"123456789") == b"\x4b\x37"
    assert checksum("sum8", b"123456789") == b"\xdd"
    assert checksum("xor", b"123456789") == b"\x31"
    for framing, kind in KINDS:
        raw = encode(TEXT, framing, kind)
        (message,) = FrameReader(framing, kind).feed(raw.replace(b"1001", b"1002"))
        assert (message.fault is None) == (kind == "none")


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
def test_line_ends(ending: bytes) -> None:
    """However a line ends, it is one message."""
    assert [message.text for message in FrameReader("line", "none").feed(TEXT + ending + OTHER + ending)] == [
        TEXT,
        OTHER,
    ]


def test_noise_between_messages() -> None:
    """It is a message of its own, that states nothing; the punch behind it is read."""
    noise, punch = FrameReader("stx", "xor").feed(b"\xff\xfe" + encode(TEXT, "stx", "xor") + b"\r\n")
    assert (noise.raw, noise.text) == (b"\xff\xfe", None)
    assert isinstance(GRAMMAR.read(punch), RawPunch)
    broken, punch = FrameReader("stx", "none").feed(b"\x02$10" + encode(TEXT, "stx", "none"))
    assert (broken.raw, broken.text) == (b"\x02$10", None)
    assert punch.text == TEXT


def test_silence_ends_a_message() -> None:
    """A half message does not spoil the next one."""
    cutter = FrameReader("line", "none")
    assert list(cutter.feed(b"$10")) == []
    (half,) = cutter.pause()
    assert isinstance(GRAMMAR.read(half), BadRecord)
    assert [message.text for message in cutter.feed(TEXT + b"\n")] == [TEXT]
    assert list(cutter.pause()) == []


def reading(pattern: str, text: bytes, **options: str) -> object:
    """Read a text by a pattern."""
    return MessageParser(re.compile(pattern), **options).read(Message(text, text, None))


def test_who_and_when() -> None:
    """A card stands in where there is no PIN; without a time the host's is wanted; codes are numbers or absent."""
    card = reading(r"(?P<card>[0-9A-F]+)", b"00A1F3")
    assert card == Untimed("00A1F3", None, None, None, b"00A1F3")
    both = reading(r"(?P<card>\w+);(?P<pin>\d*);(?P<state>\w*)", b"00A1F3;7;1")
    assert isinstance(both, Untimed)
    assert (both.pin, both.state) == ("7", 1)
    fallback = reading(r"(?P<card>\w+);(?P<pin>\d*)", b"00A1F3;")
    assert isinstance(fallback, Untimed)
    assert fallback.pin == "00A1F3"
    dated = reading(
        r"(?P<pin>\d+) (?P<date>\S+) (?P<time>\S+)", b"7 04/09/26 0730", date_format="%d/%m/%y", time_format="%H%M"
    )
    assert isinstance(dated, RawPunch)
    assert str(dated.local_time) == "2026-09-04 07:30:00"


@pytest.mark.parametrize(
    ("pattern", "text", "reason"),
    [
        (r"(?P<pin>\d+)", b"1001x", "pattern"),
        (r"(?P<pin>.*)", b"  ", "PIN"),
        (r"(?P<pin>.*)", b"1" * 25, "PIN"),
        (r"(?P<pin>.*)", b"10\xff1", "ascii"),
        (r"(?P<pin>\d),(?P<state>.*)", b"1,IN", "state"),
        (r"(?P<pin>\d),(?P<date>.*),(?P<time>.*)", b"1,2026-02-30,07:30:00", "date"),
        (r"(?P<pin>\d),(?P<date>.*),(?P<time>.*)", b"1,04/09/2026,07:30:00", "date"),
    ],
)
def test_what_is_not_understood(pattern: str, text: bytes, reason: str) -> None:
    """It is kept with its bytes and states why."""
    bad = reading(pattern, text)
    assert isinstance(bad, BadRecord)
    assert reason in bad.reason
    assert bad.raw == bad.stable == text


@given(
    kind=st.sampled_from(KINDS),
    parts=st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([encode(TEXT, *kind) for kind in KINDS])), max_size=20
    ),
    step=st.integers(1, 50),
)
def test_any_bytes(kind: tuple[Framing, Checksum], parts: list[bytes], step: int) -> None:
    """Whatever comes, and however it is cut: the same messages, every byte in one, none longer than it may be."""
    data = b"".join(parts)
    whole, pieces = FrameReader(*kind), FrameReader(*kind)
    messages = [*whole.feed(data), *whole.pause()]
    assert messages == [
        *(message for at in range(0, len(data), step) for message in pieces.feed(data[at : at + step])),
        *pieces.pause(),
    ]
    without_ends = data.translate(None, b"\r\n")
    assert b"".join(message.raw for message in messages).translate(None, b"\r\n") == without_ends
    for message in messages:
        assert len(message.raw) <= wire.MAX_MESSAGE
        assert isinstance(GRAMMAR.read(message), RawPunch | BadRecord)
