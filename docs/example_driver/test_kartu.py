"""The driver of Kartu terminals: its wire format, and the conformance checks of every driver."""

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
            received=lambda: simulator.requests,
            allowed=ALLOWED,
            state=lambda: list(simulator.log),
            options_for_port=lambda port: options(f"tcp://127.0.0.1:{port}", timeout="300ms"),
        )


@pytest.mark.parametrize("check", CHECKS)
def test_check(check: Callable[[Bench], None], bench: Bench) -> None:
    """The driver passes the check."""
    check(bench)


def test_a_record() -> None:
    """PIN, time and key code are decoded; the raw bytes are kept."""
    raw = b"0070;2026-09-04 07:30:00;1"
    assert wire.decode_record(raw) == RawPunch("0070", None, BEGIN, 1, None, None, raw)


@pytest.mark.parametrize("raw", [b"", b"x", b"1001;2026-02-30 07:30:00;1", b"1001;2026-09-04 07:30:00;in", b"\xff"])
def test_an_invalid_record_is_a_bad_record(raw: bytes) -> None:
    """An invalid line becomes a BadRecord; nothing is guessed."""
    assert isinstance(wire.decode_record(raw), BadRecord)


def test_lines_are_reassembled() -> None:
    """Lines are complete whatever segments the network delivers."""
    reader = wire.LineReader()
    assert [reader.feed(bytes((byte,))) for byte in b"a\nb\n"] == [[], [b"a"], [], [b"b"]]
    assert reader.feed(b"c\nd\n") == [b"c", b"d"]
