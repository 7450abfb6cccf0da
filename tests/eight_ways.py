"""The eight ways in which frames come out of a network, tried on a reader that cuts a stream into frames."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import pytest


@runtime_checkable
class FrameReader(Protocol):
    """A reader that skips what is no frame."""

    skipped: int

    def pause(self) -> Iterable[object]:
        """Give up what is incomplete; give the frames hidden behind it."""


class StreamReader(Protocol):
    """Cuts a stream into frames."""

    def feed(self, data: bytes, /) -> Iterable[object]:
        """Take what arrived; give what is now complete."""

    @property
    def missing(self) -> int:
        """How many bytes are known to be needed next; 0 between two frames."""


def eight_ways(
    make: Callable[[], StreamReader], frames: Sequence[tuple[bytes, object]], error: type[Exception] | None
) -> None:
    """Assert that the readers ``make`` makes find ``frames`` (bytes of the stream, what must be given for them).

    Whole, byte by byte, doubled, coalesced, cut, split at every offset, after noise (``error``, and never a frame), and
    followed by the beginning of another frame, which is kept. ``error`` None means a reader that skips noise: it must
    find the frame behind it, at the latest when the line's pause is reported to it.
    """
    stream = b"".join(raw for raw, _ in frames)
    values = [value for _, value in frames]
    assert list(make().feed(stream)) == values, "coalesced"
    assert _byte_by_byte(make(), stream) == values, "all byte by byte"
    for raw, value in frames:
        whole = make()
        assert list(whole.feed(raw)) == [value], "whole"
        assert whole.missing == 0, "whole: nothing is missing"
        assert _byte_by_byte(make(), raw) == [value], "byte by byte"
        assert list(make().feed(raw + raw)) == [value, value], "doubled"
        for at in range(1, len(raw)):
            _cut(make(), raw, value, at)
            split = make()
            assert [*split.feed(raw[:at]), *split.feed(raw[at:])] == [value], f"split at {at}"
            trailed = make()
            assert list(trailed.feed(raw + raw[:at])) == [value], f"followed by {at} bytes of another"
            assert list(trailed.feed(raw[at:])) == [value], f"the {at} bytes that followed were kept"
        for noise in (b"\0", b"\xff\xff\xff", raw[1:], raw[:1] + b"\0"):
            if error is not None:
                _after_noise(make(), noise + raw, error)
            else:
                _through_noise(make(), noise, raw, value)
        if error is None:
            for at in range(1, len(raw)):
                _through_noise(make(), raw[:at], raw, value)
                _through_noise(make(), raw[:at] + bytes((raw[at] ^ 0x40,)) + raw[at + 1 :], raw, value)


def _byte_by_byte(reader: StreamReader, stream: bytes) -> list[object]:
    return [value for byte in stream for value in reader.feed(bytes((byte,)))]


def _cut(reader: StreamReader, raw: bytes, value: object, at: int) -> None:
    assert list(reader.feed(raw[:at])) == [], f"cut at {at}"
    given: list[object] = []
    while reader.missing:
        assert at + reader.missing <= len(raw), f"at {at}, more is said to be missing than there is"
        following = at + reader.missing
        given += reader.feed(raw[at:following])
        at = following
    assert (given, at) == ([value], len(raw)), "what was said to be missing completes the frame"


def _after_noise(reader: StreamReader, stream: bytes, error: type[Exception]) -> None:
    given: list[object] = []
    with pytest.raises(error):
        given.extend(reader.feed(stream))
    assert given == [], "a frame was found in noise"
    with pytest.raises(error):
        given.extend(reader.feed(b""))
    assert given == [], "a reader that met noise goes on"


def _through_noise(reader: StreamReader, noise: bytes, raw: bytes, value: object) -> None:
    assert isinstance(reader, FrameReader)
    given = [*reader.feed(noise), *reader.feed(raw), *reader.pause()]
    assert given == [value], f"{value} was not found behind {noise.hex(' ')}"
    assert reader.skipped == len(noise), "what was skipped is what was noise"
