"""``hadir simulate``: simulated terminals, to try Hadir without real ones."""
# ruff: noqa: T201 - a command line prints

import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from drivers.anviz import simulator as anviz_simulator
from drivers.line import simulator as line_simulator
from drivers.push import simulator as push_simulator
from drivers.soap import simulator as soap_simulator
from drivers.textfile import TextFileError, read_token
from drivers.webhook import simulator as webhook_simulator
from drivers.zkteco import simulator as zkteco_simulator
from gateway.cli.base import command_group, print_stderr
from gateway.cli.output import grouped
from gateway.cli.terminal_options import duration, signed_duration

T = TypeVar("T")


class Simulator(Protocol):
    """A simulated terminal with a console."""

    def control(self, line: str) -> str:
        """Run one console command; return its output."""


class Framing(StrEnum):
    """How a message is delimited on a serial line."""

    LINE = "line"
    STX = "stx"


class Checksum(StrEnum):
    """Checksum of a message on a serial line."""

    NONE = "none"
    XOR = "xor"
    SUM8 = "sum8"
    CRC16 = "crc16"


app = command_group()
simulate = command_group("Serve a simulated terminal.")
app.add_typer(simulate, name="simulate")


OFFICE_ZONE = "Asia/Jakarta"
"""Default zone of simulated clocks: the time of an office, also on a computer whose zone is UTC."""
Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for everybody.")]
PunchEvery = Annotated[float | None, typer.Option(parser=duration, metavar="DURATION", help="People punch this often.")]
ClockOffset = Annotated[
    float,
    typer.Option(parser=signed_duration, metavar="DURATION", help="How far the clock is off, such as +7m or -30s."),
]
BeginningFaults = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[=VALUE]", help="What goes wrong from the beginning; may be given several times."),
]
ClockZone = Annotated[
    str, typer.Option(metavar="ZONE", help="The zone its clock shows; the gateway's `timezone` must be the same.")
]


@simulate.callback()
def _simulate() -> None:
    """Serve a simulated terminal."""


# Longer than 60 lines, as the next: most of them declare the options, and building a terminal names each once more.
@simulate.command()
def zkteco(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 4370,
    host: Host = "127.0.0.1",
    records: Annotated[int, typer.Option(min=0, help="Records in the log to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same log.")] = 1,
    people: Annotated[int, typer.Option(min=1, help="People enrolled: 1001, 1002 and so on.")] = 50,
    layout: Annotated[str, typer.Option(help="Layout of the records: 40, 49, 22, 16, 8 or 8-ma300.")] = "40",
    comm_key: Annotated[int, typer.Option(min=0, max=999_999, help="Communication key; 0: none.")] = 0,
    serial: Annotated[str, typer.Option(help="Serial number.")] = "SIM0000000001",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "Simulated F18",
    clock_offset: ClockOffset = 0.0,
    capacity: Annotated[int, typer.Option(min=1, help="Records that fit; then the oldest is overwritten.")] = 100_000,
    event_length: Annotated[int, typer.Option(help="Bytes of a live event: 10, 12, 14, 32, 36, 37 or 52.")] = 32,
    attlog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Take the log from a USB export, attlog.dat."),
    ] = None,
    timezone: ClockZone = OFFICE_ZONE,
    punch_every: PunchEvery = None,
    one_conversation: Annotated[bool, typer.Option("--one-conversation", help="Serve one client at a time.")] = False,
    fault: BeginningFaults = None,
    faults: Annotated[bool, typer.Option("--faults", help="List what can go wrong, and end.")] = False,
) -> None:
    """Serve a ZKTeco terminal over TCP and UDP until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock +7m, fault hang-up=read, faults, status, help.
    """
    if faults:
        print(zkteco_simulator.SimulatedTerminal().faults.listing())
        return
    try:
        terminal = zkteco_simulator.build(
            now=_clock_in(timezone),
            serial=serial,
            layout=layout,
            people=people,
            records=records,
            seed=seed,
            attlog=attlog,
            comm_key=comm_key,
            clock_offset_s=clock_offset,
            capacity=capacity,
            event_length=event_length,
            one_conversation=one_conversation,
        )
    except (ValueError, OSError) as exc:
        raise typer.BadParameter(f"{exc}.") from None
    terminal.model = model
    _switch(terminal.faults.switch_on, fault)
    with _serving(lambda: zkteco_simulator.Simulator(terminal, host, port), f"{host}:{port}", "0") as (simulator, stop):
        print(
            f"Terminal {serial} with {grouped(terminal.count)} records at {simulator.address}, TCP and UDP. "
            f"Its clock shows {timezone}. "
            f"Try: hadir probe {simulator.address}{' --comm-key-file FILE' if comm_key else ''}",
            flush=True,
        )
        if terminal.unusable_lines:
            print_stderr(
                f"hadir: {grouped(terminal.unusable_lines)} lines of {attlog} are no punches and were left out"
            )
        _run_console(simulator, stop, punch_every)


# Longer than 60 lines, as the one before: most of them declare the options.
@simulate.command()
def anviz(
    port: Annotated[
        str, typer.Option(metavar="pty|tcp:PORT", help="A pseudo terminal, or a TCP port; tcp:0 chooses a free one.")
    ] = "pty",
    host: Host = "127.0.0.1",
    device_id: Annotated[
        list[int] | None, typer.Option(min=1, max=0xFFFFFFFF, help="Number of a terminal on the line; 1. Repeatable.")
    ] = None,
    records: Annotated[int, typer.Option(min=0, help="Records in each log to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same log.")] = 1,
    serial: Annotated[str, typer.Option(help="Serial number; with several terminals their numbers are added.")] = "SIM",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "SIM-A300",
    baudrate: Annotated[
        int | None, typer.Option(min=300, help="Be as slow as a line of this speed; by default as fast as it goes.")
    ] = None,
    clock_offset: Annotated[
        float,
        typer.Option(
            parser=signed_duration, metavar="DURATION", help="How far the clocks are off, such as +7m or -30s."
        ),
    ] = 0.0,
    capacity: Annotated[int, typer.Option(min=1, help="Records that fit; then the oldest is overwritten.")] = 50_000,
    epoch: Annotated[
        str, typer.Option(metavar="DATE", help="The day from which records count: 2000-01-02 or 2000-01-01.")
    ] = "2000-01-02",
    real_time: Annotated[bool, typer.Option(help="Tell of punches as they happen.")] = True,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="What goes wrong on the line; type faults. Repeatable."),
    ] = None,
    timezone: ClockZone = OFFICE_ZONE,
    punch_every: PunchEvery = None,
) -> None:
    """Serve Anviz terminals on a serial line or a TCP port until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock +7m, unplug, plug, fault crc=3, status, help.
    """
    if not re.fullmatch("pty|tcp:[0-9]{1,5}", port) or int(port.partition(":")[2] or 0) > 65535:
        raise typer.BadParameter("write pty, or tcp: and a port number.", param_hint="--port")
    counted_from, now = _date(epoch, "--epoch"), _clock_in(timezone)
    numbers = dict.fromkeys(device_id or [1])
    terminals = []
    for number in numbers:
        terminal = anviz_simulator.SimulatedTerminal(
            device_id=number,
            serial=serial if len(numbers) == 1 else f"{serial}{number}",
            model=model,
            capacity=capacity,
            epoch=counted_from,
            real_time=real_time,
            clock_offset=timedelta(seconds=clock_offset),
            now=now,
        )
        try:
            terminal.append(*anviz_simulator.history(seed + number, records, terminal.clock(), epoch=terminal.epoch))
        except ValueError as exc:
            raise typer.BadParameter(f"{exc}.", param_hint="--records") from None
        terminals.append(terminal)
    simulator = anviz_simulator.Simulator(terminals, port, host=host, baudrate=baudrate)
    _switch(simulator.faults.switch, fault)
    with _serving(lambda: simulator, f"{host} {port}", "tcp:0") as (_, stop):
        who = f"Terminal {next(iter(numbers))}" if len(numbers) == 1 else f"Terminals {', '.join(map(str, numbers))}"
        print(
            f"{who} with {grouped(records)} records at {simulator.port}. "
            + (
                f"Try: hadir probe {simulator.port} --driver anviz"
                if len(numbers) == 1
                else "Configure each device_id."
            )
            + f" Clock: {timezone}.",
            flush=True,
        )
        _run_console(simulator, stop, punch_every)


def _switch(switch: Callable[[str], object], orders: list[str] | None) -> None:
    """Switch faults on; BadParameter for an unknown one."""
    try:
        for order in orders or ():
            switch(order)
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.", param_hint="--fault") from None


def _date(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a date as YYYY-MM-DD.", param_hint=option) from None


def _clock_in(timezone: str) -> Callable[[], datetime]:
    """Return a function that returns the local time of a zone; BadParameter for an unknown zone."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise typer.BadParameter(f"there is no time zone {timezone}.", param_hint="--timezone") from None
    return lambda: datetime.now(zone).replace(tzinfo=None)


@simulate.command(name="line")
def text_line(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Listen as a TCP converter, 0 on a free port; else a serial port."),
    ] = None,
    host: Host = "127.0.0.1",
    framing: Annotated[Framing, typer.Option(help="What a message stands between.")] = Framing.LINE,
    checksum: Annotated[Checksum, typer.Option(help="How a message is checked.")] = Checksum.NONE,
    punch_every: PunchEvery = None,
) -> None:
    """Talk like a terminal on a serial line, or behind a TCP converter, until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, noise, half, slow 300, unplug, plug, help.
    """

    def make() -> line_simulator.Simulator:
        return line_simulator.Simulator(tcp=port, host=host, framing=framing.value, checksum=checksum.value)

    with _serving(make, f"{host}:{port}", "0") as (simulator, stop):
        print(f"A line at {simulator.port}. It is read with pattern: '{line_simulator.PATTERN}'", flush=True)
        _run_console(simulator, stop, punch_every)


class Firmware(StrEnum):
    """Dialect of a terminal that calls."""

    V20 = "2.0"
    V22 = "2.2"
    V24 = "2.4"
    V242 = "2.4.2"
    ACC = "acc"


@simulate.command()
def push(
    server: Annotated[
        str, typer.Option(metavar="URL", help="The receiver that it calls, as typed into its menu.")
    ] = "http://127.0.0.1:8088",
    serial: Annotated[str, typer.Option(help="Serial number.")] = "SIM0000000001",
    firmware: Annotated[
        Firmware, typer.Option(help="Dialect: 2.0 and 2.2 speak HTTP/1.0, acc is that of access control.")
    ] = Firmware.V24,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "Simulated K40",
    comm_key: Annotated[str | None, typer.Option(help="The key that it sends as pushcommkey.")] = None,
    records: Annotated[int, typer.Option(min=0, help="Records in the log to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same log.")] = 1,
    clock_offset: ClockOffset = 0.0,
    timezone: ClockZone = OFFICE_ZONE,
    punch_every: PunchEvery = None,
    pace: Annotated[
        float, typer.Option(min=0.001, max=10.0, help="Factor of all its pauses; 0.1 calls ten times as often.")
    ] = 1.0,
    fault: BeginningFaults = None,
) -> None:
    """Call a receiver like a ZKTeco terminal with PUSH (ADMS) until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock -1h, restart, fault lost-reply, status, help.
    """
    now = _clock_in(timezone)
    terminal = push_simulator.SimulatedTerminal(
        serial=serial, firmware=firmware.value, model=model, comm_key=comm_key, now=now
    )
    terminal.offset = timedelta(seconds=clock_offset)
    terminal.log += push_simulator.history(seed, records, terminal.clock())
    _switch(terminal.faults.switch, fault)
    try:
        simulator = push_simulator.Simulator(terminal, server, pace=pace)
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.", param_hint="--server") from None
    with _serving(lambda: simulator, server, "0") as (_, stop):
        print(
            f"Terminal {serial} with {grouped(records)} records, firmware {firmware.value}, calls {server}. "
            f"Its clock shows {timezone}.",
            flush=True,
        )
        _run_console(simulator, stop, punch_every)


@simulate.command()
def webhook(
    secret_file: Annotated[
        Path,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The file with the secret that signs posts."),
    ],
    server: Annotated[
        str, typer.Option(metavar="URL", help="The receiver that it posts to.")
    ] = "http://127.0.0.1:8088",
    path: Annotated[str, typer.Option(help="It posts to /hook/ and this.")] = "presensi",
    records: Annotated[int, typer.Option(min=0, help="Records to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="Part of the records' identifiers.")] = 1,
    clock_offset: ClockOffset = 0.0,
    timezone: ClockZone = OFFICE_ZONE,
    punch_every: PunchEvery = None,
    pace: Annotated[
        float, typer.Option(min=0.001, max=10.0, help="Factor of all its pauses; 0.1 posts ten times as often.")
    ] = 1.0,
    fault: BeginningFaults = None,
) -> None:
    """Post to a receiver like an attendance app until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock -1h, fault lost-reply, status, help.
    """
    now = _clock_in(timezone)
    try:
        secret = read_token(secret_file)
    except (OSError, TextFileError) as exc:
        raise typer.BadParameter(f"{exc}.", param_hint="--secret-file") from None
    zone = ZoneInfo(timezone)
    app = webhook_simulator.App(zone=zone, now=lambda: now().replace(tzinfo=zone), name=path, seed=seed)
    app.offset = timedelta(seconds=clock_offset)
    for index in range(records):
        app.punch(str(1001 + index % 50), moment=app.clock() - timedelta(seconds=97 * (records - index)))
    _switch(app.faults.switch, fault)
    try:
        simulator = webhook_simulator.Simulator(app, server, path, secret, pace=pace)
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.", param_hint="--server") from None
    with _serving(lambda: simulator, server, "0") as (_, stop):
        print(
            f"An app with {grouped(records)} records posts to {server}/hook/{path}. Its clock shows {timezone}.",
            flush=True,
        )
        _run_console(simulator, stop, punch_every)


class Board(StrEnum):
    """Dialect of a terminal with a web service."""

    OLD = "old"
    NEW = "new"


@simulate.command()
def soap(
    web_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the web service; 0 chooses a free one.")] = 8080,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the other protocol; 0 chooses a free one.")] = 4370,
    shut: Annotated[bool, typer.Option("--shut", help="The port of the other protocol is shut.")] = False,
    host: Host = "127.0.0.1",
    firmware: Annotated[
        Board, typer.Option(help="Dialect: old is HTTP/1.0 of ZEM boards, new sends chunks, attributes and names.")
    ] = Board.OLD,
    records: Annotated[int, typer.Option(min=0, help="Records in the log to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same log.")] = 1,
    people: Annotated[int, typer.Option(min=1, help="People enrolled: 1001, 1002 and so on.")] = 50,
    comm_key: Annotated[int, typer.Option(min=0, max=999_999, help="Communication key; 0: none.")] = 0,
    serial: Annotated[str, typer.Option(help="Serial number.")] = "SIM0000000001",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "Simulated X100-C",
    clock_offset: ClockOffset = 0.0,
    timezone: ClockZone = OFFICE_ZONE,
    punch_every: PunchEvery = None,
    fault: BeginningFaults = None,
) -> None:
    """Serve a Solution terminal with a web service, and port 4370 beside it, until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock +7m, fault cut, faults, status, help.
    """
    try:
        terminal = zkteco_simulator.build(
            now=_clock_in(timezone),
            serial=serial,
            people=people,
            records=records,
            seed=seed,
            comm_key=comm_key,
            clock_offset_s=clock_offset,
        )
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.") from None
    terminal.model = model
    simulator = soap_simulator.Simulator(
        terminal, host, web_port=web_port, port=None if shut else port, firmware=firmware.value
    )
    _switch(simulator.web.faults.switch, fault)
    with _serving(lambda: simulator, f"{host}, port {web_port} or {port},", "0 and --web-port 0") as (_, stop):
        print(
            f"Terminal {serial} with {grouped(terminal.count)} records, firmware {firmware.value}, web service at "
            f"{host}:{simulator.web.port}, other protocol {'shut' if shut else f'at {simulator.address}'}. "
            f"Its clock shows {timezone}.",
            flush=True,
        )
        _run_console(simulator, stop, punch_every)


@contextmanager
def _serving(make: Callable[[], AbstractContextManager[T]], where: str, free: str) -> Iterator[tuple[T, socket.socket]]:
    """Start a simulator; yield it with a socket that becomes readable when it is to stop.

    BadParameter where the address ``where`` cannot be used; ``free`` is the port that names any free one.
    """
    with _stop_signal() as stop, ExitStack() as stack:
        try:
            simulator = stack.enter_context(make())
        except OSError as exc:
            what = f"{where} cannot be used ({exc.strerror}); --port {free} chooses a free port."
            raise typer.BadParameter(what, param_hint="--port") from None
        yield simulator, stop


@contextmanager
def _stop_signal() -> Iterator[socket.socket]:
    """Yield a socket that becomes readable on SIGTERM and Ctrl-C."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def send_stop(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            sender.send(b"!")

    before = {number: signal.signal(number, send_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    with receiver, sender:
        try:
            yield receiver
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _run_console(simulator: Simulator, stop: socket.socket, punch_every: float | None) -> None:
    """Run typed console commands until a stop signal; the end of the input does not stop the simulator."""
    # A thread that reads sys.stdin could not be stopped, so this loop uses select.
    watched: list[Any] = [stop] if sys.stdin is None else [stop, sys.stdin.fileno()]
    typed = b""
    if sys.stdin is not None and sys.stdin.isatty():
        print(simulator.control("help"), flush=True)
    next_punch = time.monotonic() + (punch_every or 0)
    while True:
        wait_s = None if punch_every is None else max(0.0, next_punch - time.monotonic())
        ready, _, _ = select.select(watched, (), (), wait_s)
        if stop in ready:
            return
        if not ready and punch_every is not None:
            next_punch += punch_every
            simulator.control("rush 1")
        for descriptor in ready:
            received = os.read(descriptor, 65536)
            if not received:
                watched.remove(descriptor)
            *lines, typed = (typed + received + (b"" if received else b"\n")).split(b"\n")
            for line in lines:
                if line.strip() or received:
                    print(simulator.control(line.decode("utf-8", "replace")), flush=True)
