"""Byte ports: a serial device of this machine, or a converter on the network. Shared by drivers."""

import errno
import os
import socket
import stat
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import serial
from pydantic import ValidationInfo

from drivers.base import Reason, TerminalUnavailable, connect_reason
from drivers.values import checked_address, refuse_newly, same_address


class Port(Protocol):
    """An opened port; every failure is an OSError."""

    def fileno(self) -> int:
        """Return the descriptor, for select."""

    def receive(self) -> bytes:
        """Return the received bytes; OSError where the port no longer exists."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    def close(self) -> None:
        """Close the port."""


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Convert other exceptions of pyserial to OSError.

    An adapter that is removed during use raises termios.error, one that refuses a speed ValueError, a port that was
    closed meanwhile TypeError.
    """
    try:
        yield
    except (termios.error, ValueError, TypeError, AttributeError) as exc:
        raise OSError(f"the port fails: {exc}") from exc


class _SerialPort:
    def __init__(self, path: str, baudrate: int, timeout_s: float) -> None:
        with _as_os_error():
            # Exclusive: two readers of one port take each other's bytes.
            self._serial = serial.Serial(path, baudrate, timeout=0, write_timeout=timeout_s, exclusive=True)

    def fileno(self) -> int:
        with _as_os_error():
            return int(self._serial.fileno())

    def receive(self) -> bytes:
        with _as_os_error():
            # pyserial reports a port that is readable and has no bytes as unplugged.
            return bytes(self._serial.read(4096))

    def send(self, data: bytes) -> None:
        with _as_os_error():
            self._serial.write(data)

    def close(self) -> None:
        with suppress(OSError), _as_os_error():
            self._serial.close()


class _TcpPort:
    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except UnicodeError as exc:  # a name that is invalid in the DNS
            raise socket.gaierror(f"{host} is not the name of a host") from exc
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A converter that loses power sends nothing: the kernel detects it within about a minute.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes:
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionResetError("the other side closed the connection")
        return data

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


def split_tcp(port: str, default: int | None = None) -> tuple[str, int] | None:
    """Split ``tcp://host:port``; None for a device file, ValueError for anything else.

    The port may be left out where there is a ``default``.
    """
    if port.startswith("/"):
        return None
    host, colon, number = port.removeprefix("tcp://").partition(":")
    usual = ":port" if default is None else f"with :port if not {default}"
    if not port.startswith("tcp://") or not host or any(ch.isspace() or ch in "/'\"" for ch in host):
        raise ValueError(f"not a port; write a device file such as /dev/ttyUSB0, or tcp://host, {usual}")
    if not colon and default is not None:
        return host, default
    if not (number.isascii() and number.isdecimal()) or not 0 < int(number[:9]) < 65536:
        raise ValueError("what follows the last colon is not a port; write a number from 1 to 65535")
    return host, int(number)


def checked_port(port: str, info: ValidationInfo, default: int | None = None) -> str:
    """Return a typed port; ValueError where it cannot be one: see :func:`split_tcp`."""
    port = port.strip()
    if split_tcp(port, default) is not None:
        checked_address(str, port.removeprefix("tcp://"), info)
    elif os.path.exists(port) and not stat.S_ISCHR(os.stat(port).st_mode):  # noqa: PTH110, PTH116 - Path.exists raises on names that no file can have
        refuse_newly(info, "not a serial device; write a device file such as /dev/ttyUSB0")
    return port


def device_of(port: str) -> str:
    """Return the device file that a path leads to; the path itself where its link is removed at this moment."""
    try:
        return os.path.realpath(port)
    except OSError:
        return port


def same_port(port: str, default: int = 0) -> str:
    """Return the normal form of a port, for comparison: a link is replaced by its device."""
    if split_tcp(port, default) is None:
        return device_of(port)
    return f"tcp://{same_address(port.removeprefix('tcp://'), default)}"


_SERIAL_REASONS = {
    errno.EACCES: Reason.PORT_PERMISSION,
    errno.EPERM: Reason.PORT_PERMISSION,
    errno.ENOENT: Reason.PORT_MISSING,
    errno.ENODEV: Reason.PORT_MISSING,
    errno.ENXIO: Reason.PORT_MISSING,
    errno.EBUSY: Reason.PORT_IN_USE,
    errno.EWOULDBLOCK: Reason.PORT_IN_USE,  # of the exclusive lock
}


def open_port(port: str, baudrate: int, timeout_s: float, default: int | None = None) -> Port:
    """Open a port; TerminalUnavailable where it does not exist, or another program uses it."""
    address = split_tcp(port, default)
    try:
        return _TcpPort(*address, timeout_s) if address else _SerialPort(os.fspath(port), baudrate, timeout_s)
    except TimeoutError as exc:
        raise TerminalUnavailable(f"{port} does not answer within {timeout_s:g} s") from exc
    except OSError as exc:
        reason = connect_reason(exc) if address else _SERIAL_REASONS.get(exc.errno or 0)
        why = "another program uses it" if reason is Reason.PORT_IN_USE else exc.strerror or str(exc)
        raise TerminalUnavailable(f"{port} cannot be opened ({why})", reason=reason) from exc
