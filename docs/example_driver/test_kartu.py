"""The driver of Kartu terminals: its bytes, and what every driver promises."""

from collections.abc import Callable, Iterator

import pytest
from hadir_kartu import wire
from hadir_kartu.simulator import BEGIN, Simulator
from hadir_kartu.terminal import ALLOWED, DRIVER, KartuOptions

from drivers.base import BadRecord, RawPunch
from drivers.conformance import CHECKS, Bench


def options(port: str, timeout: str = "2s") -> KartuOptions:
    """Return options that reach a terminal."""
    return KartuOptions.model_validate({"name": "gate", "port": port, "timeout": timeout, "bulk_timeout": timeout})


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Put a terminal on a bench."""
    with Simulator() as simulator:
        yield Bench(
            DRIVER,
            options(simulator.port),
            simulator.log,
            written=lambda: simulator.requests,
            allowed=ALLOWED,
            condition=lambda: list(simulator.log),
            reaching=lambda port: options(f"tcp://127.0.0.1:{port}", timeout="300ms"),
        )


@pytest.mark.parametrize("check", CHECKS)
def test_check(check: Callable[[Bench], None], bench: Bench) -> None:
    """The driver keeps it."""
    check(bench)


def test_a_record() -> None:
    """Who, when, and the code of the key, with the bytes as they came."""
    raw = b"0070;2026-09-04 07:30:00;1"
    assert wire.decode_record(raw) == RawPunch("0070", None, BEGIN, 1, None, None, raw)


@pytest.mark.parametrize("raw", [b"", b"x", b"1001;2026-02-30 07:30:00;1", b"1001;2026-09-04 07:30:00;in", b"\xff"])
def test_what_is_no_record_is_kept(raw: bytes) -> None:
    """Nothing is guessed, and the records behind it still come."""
    assert isinstance(wire.decode_record(raw), BadRecord)


def test_lines_come_in_pieces() -> None:
    """However the network cuts them."""
    reader = wire.Lines()
    assert [reader.feed(bytes((byte,))) for byte in b"a\nb\n"] == [[], [b"a"], [], [b"b"]]
    assert reader.feed(b"c\nd\n") == [b"c", b"d"]
