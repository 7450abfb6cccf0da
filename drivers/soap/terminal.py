"""The driver of terminals whose log is read over their web service: its options, and a visit.

Port 4370 answers small questions, where it is open: serial number, clock, number of records, and punches as they
happen. The web service serves the log, always the whole of it. A small terminal serves one conversation at a time, so
that of port 4370 is closed before the log is requested, and opened again when it is needed.

The web service answers a wrong communication key like an empty log; the number of records distinguishes the two.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from drivers.arp import mac_address
from drivers.base import (
    ClockReading,
    Driver,
    DriverError,
    DriverOptions,
    Hint,
    ProtocolError,
    RawPunch,
    Reading,
    Reason,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.soap import wire
from drivers.soap.service import Log, Service
from drivers.values import checked_address, same_address
from drivers.zkteco.terminal import DEFAULT_PORT, ZktecoOptions, ZktecoTerminal, conversation, split_address
from drivers.zkteco.transport import Transport

LAYOUT = "soap"
OPEN_TIMEOUT_S = 3.0
"""Time limit of a connection to port 4370: where a firewall discards it, every visit waits so long."""
PART = 0.95
"""A log with fewer rows than this part of the terminal's count is not all of it."""
_SHUT = frozenset({Reason.ENCRYPTED, Reason.ACCESS_PANEL})
"""Refusals of port 4370 that say nothing about the web service."""


def _checked(address: str, info: ValidationInfo) -> str:
    return checked_address(split_address, address, info)


class SoapOptions(DriverOptions):
    """Options of a Solution or ZKTeco terminal with a web service."""

    address: Annotated[str, AfterValidator(_checked), Field(examples=["192.168.1.205"])]
    """Host name or IPv4 address; with ``:port`` where its other protocol is not at port 4370."""
    web_port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 80
    """Port of the web service."""
    comm_key_file: Path | None = None
    """A file that holds the terminal's communication key (0 to 999999); None: no key."""
    serial: str | None = None
    """The serial number, which only port 4370 reports: required where that port is shut."""

    def place(self) -> str:
        """Return address and port of the web service."""
        host, _ = split_address(self.address)
        return f"{same_address(host, self.web_port)}{wire.PATH}"

    def port_4370(self) -> ZktecoOptions:
        """Return the options of the other protocol."""
        return ZktecoOptions.model_construct(
            name=self.name,
            address=self.address,
            comm_key_file=self.comm_key_file,
            timeout=self.timeout,
            bulk_timeout=self.bulk_timeout,
        )


class _Port4370:
    """The conversation over port 4370: opened where it is needed, and closed for the web service."""

    def __init__(self, options: SoapOptions, comm_key: int) -> None:
        self._options = options
        self._comm_key = comm_key
        self._stack = ExitStack()
        self._terminal: ZktecoTerminal | None = None

    def opened(self) -> ZktecoTerminal:
        """Return the conversation; a DriverError where it cannot be opened."""
        if self._terminal is None:
            options = self._options
            host, port = split_address(options.address)
            transport = Transport(
                host,
                port,
                udp=False,
                timeout_s=options.timeout,
                bulk_timeout_s=options.bulk_timeout,
                open_timeout_s=min(options.timeout, OPEN_TIMEOUT_S),
            )
            self._terminal = self._stack.enter_context(conversation(transport, options.port_4370(), self._comm_key))
        return self._terminal

    def close(self) -> None:
        """Close the conversation, if it is open."""
        self._terminal = None
        self._stack.close()


class SoapTerminal:
    """One visit to a terminal of which only the web service answers."""

    def __init__(self, options: SoapOptions, service: Service) -> None:
        self._options = options
        self._service = service

    def serial(self) -> str:
        """Return the configured serial number: the web service does not report it."""
        return self._options.serial or ""

    def identify(self) -> TerminalInfo:
        """Return the serial number; nothing else is known."""
        return TerminalInfo(self.serial(), None, None)

    def mac_address(self) -> str | None:
        """Return the MAC address that answers, as the kernel knows it; None where it lies behind a router."""
        return mac_address(self._service.peer)

    def read_clock(self) -> ClockReading | None:
        """Request the wall clock; None where it is not reported, or shows an impossible time."""
        return self._service.clock()

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock; the caller reads it back."""
        self._service.set_clock(to)

    def sizes(self) -> Sizes:
        """Return nothing: the web service does not report the number of records."""
        return Sizes(None, None)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the whole log, which is all that the web service serves: ``Reading.start`` is 0.

        Raises TerminalUnavailable where it was not received to its end, TerminalRefused where it is empty and should
        not be: the communication key is wrong then.
        """
        del start, layout
        begun_s = time.monotonic()
        log = self._service.log()
        took_s = time.monotonic() - begun_s
        self._check(log)
        return Reading(0, log.rows, log, LAYOUT, prepared_s=took_s, whole_only=True)

    def _check(self, log: Log) -> None:
        """Raise TerminalRefused where a log without records is none."""
        if not log.rows and log.text != wire.NO_DATA:
            raise _wrong_key(
                f"answers {log.text!r}" if log.text else "sends no record and does not say that it is empty"
            )


class CountedSoapTerminal(SoapTerminal):
    """One visit to a terminal that also answers at port 4370."""

    def __init__(self, options: SoapOptions, service: Service, port_4370: _Port4370) -> None:
        super().__init__(options, service)
        self._port_4370 = port_4370
        self._count: int | None = None
        """Records before the log is requested."""

    def serial(self) -> str:
        """Request the serial number; the configured one where the terminal does not report it."""
        return self._port_4370.opened().serial() or super().serial()

    def identify(self) -> TerminalInfo:
        """Request everything that identifies the terminal; missing values are None."""
        return self._port_4370.opened().identify()

    def mac_address(self) -> str | None:
        """Return the MAC address that answers, as the kernel knows it; None where it lies behind a router."""
        return self._port_4370.opened().mac_address()

    def read_clock(self) -> ClockReading | None:
        """Request the wall clock; None where it shows an impossible date."""
        return self._port_4370.opened().read_clock()

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock; TerminalRefused where the terminal refuses."""
        self._port_4370.opened().set_clock(to)

    def sizes(self) -> Sizes:
        """Request how full the log is. One small request."""
        sizes = self._port_4370.opened().sizes()
        self._count = sizes.records
        return sizes

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Yield punches as they happen for ``timeout_s`` seconds."""
        return self._port_4370.opened().events(timeout_s)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the whole log over the web service, as :class:`SoapTerminal` does; also check it against the count."""
        self._port_4370.close()
        return super().read(start, layout)

    def _check(self, log: Log) -> None:
        """Raise TerminalRefused where the log lacks records that the terminal counts.

        It may have been cleared while it was received: only a second count proves that records are missing.
        """
        count = self._count
        if count is not None and log.rows < count * PART:
            count = min(count, self.sizes().records or 0)
        if count is None:
            super()._check(log)
        elif not log.rows and count:
            raise _wrong_key(f"sends no record and holds {count}")
        elif log.rows < count * PART:
            raise TerminalRefused(
                f"the web service sends {log.rows} of {count} records; read this terminal with `driver: zkteco`",
                reason=Reason.LOG_CUT,
            )


def _wrong_key(found: str) -> TerminalRefused:
    return TerminalRefused(
        f"the web service {found}: so it answers a wrong communication key; compare comm_key_file with the key in its "
        "menu (Comm. > PC connection)",
        reason=Reason.KEY_REFUSED,
    )


@contextmanager
def connect(options: SoapOptions) -> Iterator[SoapTerminal]:
    """Begin a visit: with port 4370 where it answers, else with the web service alone.

    Raises the error of port 4370 where that is needed for the serial number.
    """
    comm_key = options.port_4370().comm_key()
    host, _ = split_address(options.address)
    service = Service(
        host,
        options.web_port,
        comm_key,
        timeout_s=options.timeout,
        bulk_timeout_s=options.bulk_timeout,
        may_be_absent=False,
    )
    port_4370 = _Port4370(options, comm_key)
    try:
        port_4370.opened()
    except (TerminalUnavailable, TerminalRefused, ProtocolError) as exc:
        if isinstance(exc, TerminalRefused) and exc.reason not in _SHUT:
            raise
        _check_serial(options, service, exc)
        yield SoapTerminal(options, service)
        return
    service.may_be_absent = True
    try:
        yield CountedSoapTerminal(options, service, port_4370)
    finally:
        port_4370.close()


def _check_serial(options: SoapOptions, service: Service, failure: DriverError) -> None:
    """Raise an error where the serial number is neither configured nor reported."""
    if options.serial is not None:
        return
    if isinstance(failure, TerminalUnavailable) and failure.reason is not Reason.PORT_CLOSED:
        raise failure
    service.clock()
    raise TerminalRefused(
        f"only port {DEFAULT_PORT} reports the serial number, and it does not answer ({failure}); write the number "
        "from the terminal's menu into `serial:`",
        reason=Reason.SERIAL_UNREPORTED,
    )


DRIVER = Driver("soap", SoapOptions, connect, via="soap")
