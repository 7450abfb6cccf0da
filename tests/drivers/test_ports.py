"""Serial ports that fail in ways that are no OSError by themselves."""

import os
import pty
import termios
from collections.abc import Iterator
from typing import Any

import pytest
import serial

from drivers.base import TerminalUnavailable
from drivers.line.simulator import PATTERN
from drivers.line.terminal import LineOptions, connect
from drivers.ports import open_port


@pytest.fixture
def port() -> Iterator[str]:
    """Return the name of a pseudo-terminal."""
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


FAILURES = [
    termios.error(5, "Input/output error"),
    ValueError("Invalid baud rate"),
    TypeError("'NoneType'"),
    OSError(5),
]


@pytest.mark.parametrize("exc", FAILURES, ids=lambda exc: type(exc).__name__)
def test_a_port_that_fails_while_it_is_opened(port: str, monkeypatch: pytest.MonkeyPatch, exc: Exception) -> None:
    """An adapter is pulled out in that moment, or refuses the speed."""

    def fail(*_: Any, **__: Any) -> None:
        raise exc

    monkeypatch.setattr(serial.Serial, "_reconfigure_port", fail)
    with pytest.raises(TerminalUnavailable, match="cannot be opened"):
        open_port(port, 9600, 1.0)


@pytest.mark.parametrize("name", ["read", "write", "fileno"])
@pytest.mark.parametrize("exc", FAILURES, ids=lambda exc: type(exc).__name__)
def test_a_port_that_fails_while_it_is_used(
    port: str, monkeypatch: pytest.MonkeyPatch, exc: Exception, name: str
) -> None:
    """Whatever pyserial raises is an OSError for drivers."""
    opened = open_port(port, 9600, 1.0)

    def fail(*_: Any, **__: Any) -> None:
        raise exc

    monkeypatch.setattr(serial.Serial, name, fail)
    uses = {"read": opened.receive, "write": lambda: opened.send(b"x"), "fileno": opened.fileno}
    with pytest.raises(OSError, match=r"."):
        uses[name]()
    monkeypatch.undo()
    opened.close()


def test_a_name_that_cannot_be_one() -> None:
    """A label longer than the DNS allows."""
    with pytest.raises(TerminalUnavailable):
        open_port(f"tcp://{'a' * 70}.id:4001", 9600, 1.0)


def test_a_line_whose_port_is_gone(port: str) -> None:
    """The pseudo-terminal's other side is closed, and the port has no number any more."""
    options = LineOptions(name="gate", port=port, pattern=PATTERN, serial="G1")
    with connect(options) as line:
        line._port.close()
        with pytest.raises(TerminalUnavailable):
            list(line.events(1.0))
