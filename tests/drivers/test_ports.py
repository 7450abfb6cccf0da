"""Serial ports that fail in ways that are no OSError by themselves."""

import errno
import os
import pty
import socket
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import serial

from drivers import ports
from drivers.base import Reason, TerminalUnavailable
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
    with pytest.raises(TerminalUnavailable) as failed:
        open_port(f"tcp://{'a' * 70}.id:4001", 9600, 1.0)
    assert failed.value.reason is Reason.NAME_UNKNOWN


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, Reason.PORT_PERMISSION),
        (errno.ENOENT, Reason.PORT_MISSING),
        (errno.EWOULDBLOCK, Reason.PORT_IN_USE),
        (errno.EIO, None),
    ],
)
def test_the_reason_of_a_failure_to_open(
    port: str, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason | None
) -> None:
    """It follows the number of the error, not its text."""

    def fail(*_: Any, **__: Any) -> None:
        raise serial.SerialException(number, "in any language")

    monkeypatch.setattr(serial.Serial, "open", fail)
    with pytest.raises(TerminalUnavailable) as failed:
        open_port(port, 9600, 1.0)
    assert failed.value.reason is reason


def test_the_reason_where_a_port_is_really_locked_or_missing(port: str, tmp_path: Path) -> None:
    """As the kernel and pyserial report it."""
    first = open_port(port, 9600, 1.0)
    for name, reason in ((port, Reason.PORT_IN_USE), (str(tmp_path / "none"), Reason.PORT_MISSING)):
        with pytest.raises(TerminalUnavailable) as failed:
            open_port(name, 9600, 1.0)
        assert failed.value.reason is reason
    first.close()


def test_the_reason_where_a_device_server_refuses() -> None:
    """The port of a socket that was closed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        number = server.getsockname()[1]
    with pytest.raises(TerminalUnavailable) as failed:
        open_port(f"tcp://127.0.0.1:{number}", 9600, 1.0)
    assert failed.value.reason is Reason.PORT_CLOSED


def test_a_line_whose_port_is_gone(port: str) -> None:
    """The pseudo-terminal's other side is closed, and the port has no number any more."""
    options = LineOptions(name="gate", port=port, pattern=PATTERN, serial="G1")
    with connect(options) as line:
        line._port.close()
        with pytest.raises(TerminalUnavailable):
            list(line.deliveries(1.0))


def test_a_link_that_is_removed_while_it_is_read_stays_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter is unplugged between two system calls: opening it then fails as for any missing port."""

    def removed(_path: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os.path, "realpath", removed)
    assert ports.device_of("/dev/ttyUSB0") == ports.same_port("/dev/ttyUSB0") == "/dev/ttyUSB0"
