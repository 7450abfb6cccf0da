"""The driver on real lines: a pseudo-terminal and a TCP connection, and what goes wrong on them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice

import pytest
from pydantic import ValidationError

from drivers.base import BadRecord, RawPunch, Settlement, TerminalUnavailable
from drivers.line import terminal
from drivers.line.simulator import NOISE, PATTERN, Simulator
from drivers.line.terminal import LineOptions, LineTerminal, connect
from drivers.line.wire import LineEvent

SERIAL = "LINE00001"


def options(port: object, **more: object) -> LineOptions:
    """Return options that read the simulator."""
    entry = {"name": "gate", "port": port, "pattern": PATTERN, "serial": SERIAL, "timeout": "2s"}
    return LineOptions.model_validate(entry | more)


@pytest.fixture(params=["pty", "tcp"])
def line(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Plug in a line of each kind."""
    with Simulator(tcp=0 if request.param == "tcp" else None) as simulator:
        yield simulator


@contextmanager
def listening(line: Simulator, **more: object) -> Iterator[LineTerminal]:
    """Open a line, and wait until the other side knows."""
    with connect(options(line.port, **more)) as opened:
        assert not line.port.startswith("tcp") or line.wait_for_client()
        yield opened


def settled(opened: LineTerminal, timeout_s: float) -> Iterator[LineEvent]:
    """Yield what is delivered, and settle each."""
    for delivery in opened.deliveries(timeout_s):
        (record,) = delivery.records
        assert delivery.settle(Settlement(1))
        yield record


def received(opened: LineTerminal, count: int) -> list[LineEvent]:
    """Return the next ``count`` deliveries."""
    return list(islice(settled(opened, 20.0), count))


def collect(opened: LineTerminal, rest: list[LineEvent]) -> None:
    """Add what is received until the line is lost."""
    for item in settled(opened, 20.0):
        rest.append(item)  # noqa: PERF402 - what came before the line was lost counts


def pins(items: list[LineEvent]) -> list[str | None]:
    """Return who punched; ``None`` for what could not be read."""
    return [None if isinstance(item, BadRecord) else item.pin for item in items]


def test_messages_become_events(line: Simulator) -> None:
    """In order, whole, with its bytes."""
    with listening(line) as opened:
        moment = line.punch("1001", 1, 2)
        line.punch("0070")
        first, second = received(opened, 2)
    assert isinstance(first, RawPunch)
    assert (first.pin, first.local_time, first.state, first.verify, first.work_code) == ("1001", moment, 1, 2, None)
    assert first.raw == f"1001,{moment:%Y-%m-%d,%H:%M:%S},1,2".encode()
    assert pins([second]) == ["0070"]


def test_time_is_up(line: Simulator) -> None:
    """Silence ends a call, not the conversation."""
    with listening(line) as opened:
        assert list(settled(opened, 0.05)) == []
        line.punch("1001")
        assert pins(received(opened, 1)) == ["1001"]
        assert opened.serial() == ""
        assert opened.read_clock() is None
        assert opened.identify().serial == SERIAL


def test_an_event_is_delivered_until_it_is_settled(line: Simulator) -> None:
    """The terminal never sends it again, so the driver keeps it; two equal ones are two."""
    with listening(line) as opened:
        line.send(b"odd\n")
        line.send(b"odd\n")
        line.punch("1001")
        refused = [next(iter(delivery.records)) for delivery in islice(opened.deliveries(20.0), 3)]
        again = [next(iter(delivery.records)) for delivery in opened.deliveries(0.0)]
        assert again == refused
        assert pins(refused) == [None, None, "1001"]
        assert received(opened, 1) == refused[:1]
        assert list(settled(opened, 0.0)) == refused[1:]
        assert list(settled(opened, 0.0)) == []


def test_noise_half_messages_and_a_slow_line(line: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost no punch."""
    monkeypatch.setattr(terminal, "MESSAGE_GAP_S", 0.2)
    with listening(line) as opened:
        line.send(NOISE)
        line.punch("1001")
        assert pins(received(opened, 3)) == [None, None, "1001"]
        line.send(b"1002,2026-")
        assert pins(received(opened, 1)) == [None]
        line.baudrate = 9600
        line.punch("1003")
        assert pins(received(opened, 1)) == ["1003"]


def test_endless_noise_is_bounded(line: Simulator) -> None:
    """Ten are reported one by one, the rest of the minute as one, with the size and hash of all."""
    with listening(line) as opened:
        for number in range(50):
            line.send(b"noise %d\n" % number)
        line.punch("1001")
        items = received(opened, 11)
        assert pins(items) == [None] * 10 + ["1001"]
        line.unplug()
        rest: list[LineEvent] = []
        with pytest.raises(TerminalUnavailable):
            collect(opened, rest)
    noise = b"".join(b"noise %d" % number for number in range(10, 50))
    (record,) = rest
    assert isinstance(record, BadRecord)
    assert (record.raw, record.size, record.sha256) == (noise, len(noise), sha256(noise).hexdigest())


def test_unplugged_and_plugged_in_again(line: Simulator) -> None:
    """It is unavailable, and then another conversation."""
    with listening(line) as opened:
        line.punch("1001")
        assert pins(received(opened, 1)) == ["1001"]
        line.unplug()
        with pytest.raises(TerminalUnavailable, match="lost"):
            received(opened, 1)
    with pytest.raises(TerminalUnavailable, match="cannot be opened"), connect(options(line.port)):
        pass
    line.plug()
    with listening(line) as opened:
        line.punch("1002")
        assert pins(received(opened, 1)) == ["1002"]


def test_a_port_has_one_reader() -> None:
    """Two readers would take each other's bytes."""
    with (
        Simulator() as line,
        connect(options(line.port)),
        pytest.raises(TerminalUnavailable, match="another program"),
        connect(options(line.port)),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"serial": None}, "serial is missing"),
        ({"port": "COM1"}, "not a port"),
        ({"port": "tcp://host"}, "is not a port"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": r"(?P<state>\d)"}, "names nobody"),
        ({"pattern": r"(?P<pin>\d)(?P<nama>.*)"}, "nama"),
        ({"pattern": r"(?P<pin>\d)(?P<time>.*)"}, "only one"),
    ],
)
def test_options_that_cannot_be(change: dict[str, object], words: str) -> None:
    """Each mistake states what would be right."""
    with pytest.raises(ValidationError, match=re.escape(words)):
        options(**{"port": "/dev/ttyUSB0"} | change)
