"""Simulated Anviz terminals: their memory, their answers, and the line that connects them.

Three layers, each usable without the next::

    SimulatedTerminal   the memory of a terminal: log, marks, clock; ``punch`` adds a record
    Faults              the faults of the line that are on
    Simulator           a pseudo-terminal or a TCP port with one or several terminals

The line is half-duplex and, with ``baudrate``, as slow as a serial line; two terminals that send at once damage both
answers.
"""

import os
import select
import shutil
import socket
import tempfile
import threading
import time
import tty
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.anviz import wire
from drivers.anviz.wire import Frame
from drivers.base import Record
from drivers.console import Console, count_of_punches, new_clock, number
from drivers.faults import NamedFaults

RET_FAILURE = 0x01
PEOPLE = 50
BITS_PER_BYTE = 10
"""On a serial line: a start bit, eight data bits, a stop bit."""
STEP_S = 0.01
"""Interval at which a slow line delivers bytes."""
QUICK_S = 0.002
"""Delay of an answer without the fault ``slow``."""


def _local_now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - a terminal's wall clock has no zone


# --- memory -------------------------------------------------------------------------------------------------------


class SimulatedTerminal:
    """The memory of one terminal. Safe to use from several threads.

    A full log overwrites its oldest record. ``now`` is the true local time; the clock is off by ``clock_offset``.
    """

    def __init__(
        self,
        *,
        device_id: int = 1,
        serial: str = "SIM0000000000001",
        model: str = "SIM-A300",
        firmware: str = "05.18.A1",
        capacity: int = 50_000,
        epoch: date = wire.EPOCH,
        real_time: bool = True,
        users: Mapping[int, str] | None = None,
        clock_offset: timedelta = timedelta(0),
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.device_id = device_id
        self.serial = serial
        self.model = model
        self.firmware = firmware
        self.capacity = capacity
        self.epoch = epoch
        self.real_time = real_time
        """Whether it sends punches without a request."""
        self.users = dict(users or {number: str(1000 + number) for number in range(1, PEOPLE + 1)})
        """Internal number → PIN, as enrolled; a terminal also records PINs that are not enrolled."""
        self.clock_offset = clock_offset
        self.requests: Counter[int] = Counter()
        """All commands addressed to this terminal."""
        self.acknowledged: list[int] = []
        """Number of marks that each CLEAR requested to remove."""
        self.refused = 0
        """Requests that this terminal does not serve: all that write, and unknown ones."""
        self.on_punch: Callable[[Frame], None] = lambda _frame: None
        self._now = now
        self._lock = threading.RLock()
        self._log: list[bytes] = []
        self._marked = 0
        self._download: deque[bytes] = deque()
        self._sent = b""

    @property
    def count(self) -> int:
        """Records in the log."""
        return len(self._log)

    @property
    def marked(self) -> int:
        """Records that are marked new."""
        return self._marked

    def records(self) -> list[Record]:
        """Return the log, decoded."""
        with self._lock:
            return [wire.decode_record(raw, self.epoch) for raw in self._log]

    def clock(self) -> datetime:
        """Return the time that the terminal's own clock shows."""
        return (self._now() + self.clock_offset).replace(microsecond=0)

    def punch(
        self, pin: str, state: int = 0, verify: int = 1, moment: datetime | None = None, work_code: int = 0
    ) -> datetime:
        """Record a punch, and send it on the line if real-time mode is on.

        Returns the recorded time. Raises ValueError, and changes nothing, where a value fits no record.
        """
        moment = (moment or self.clock()).replace(microsecond=0)
        record = wire.encode_record(pin, moment, epoch=self.epoch, state=state, verify=verify, work_code=work_code)
        self.append(record)
        if self.real_time:
            self.on_punch(Frame(self.device_id, wire.CMD_REAL_TIME + wire.ANSWER, record))
        return moment

    def append(self, *records: bytes) -> None:
        """Add records to the log unchanged, without an event."""
        with self._lock:
            self._log += records
            self._marked += len(records)
            del self._log[: max(0, len(self._log) - self.capacity)]
            self._marked = min(self._marked, len(self._log))

    def clear(self) -> None:
        """Empty the log, as the terminal's menu does; no request on the line does this."""
        with self._lock:
            self._log.clear()
            self._marked = 0

    def unmark(self, count: int | None = None) -> None:
        """Remove the mark *new* from the oldest ``count`` marked records, as other software does; None: from all."""
        with self._lock:
            self._marked -= min(self._marked, self._marked if count is None else count)

    def restart(self) -> None:
        """Drop the state of a download."""
        with self._lock:
            self._download.clear()
            self._sent = b""

    def answer(self, request: Frame) -> Frame:
        """Return the answer to a request addressed to this terminal."""
        with self._lock:
            self.requests[request.command] += 1
            data = self._data(request)
            self.refused += data is None
        command = request.command + wire.ANSWER
        if data is None:
            return Frame(self.device_id, command, ret=RET_FAILURE)
        return Frame(self.device_id, command, data)

    def _data(self, request: Frame) -> bytes | None:
        match request.command:
            case wire.CMD_SERIAL:
                return self.serial.encode().ljust(16, b"\0")
            case wire.CMD_MODEL:
                return self.model.encode().ljust(8, b"\0")
            case wire.CMD_INFO:
                return self.firmware.encode().ljust(8, b"\0") + bytes.fromhex("000000 0A 00 02 10 00 00 02")
            case wire.CMD_CLOCK:
                return wire.encode_clock(self.clock())
            case wire.CMD_DEVICE_ID:
                return self.device_id.to_bytes(4, "big")
            case wire.CMD_RECORD_INFO:
                return wire.encode_record_info(wire.RecordInfo(len(self._log), self._marked), users=len(self.users))
            case wire.CMD_RECORDS if len(request.data) == 2:
                return self._batch(*request.data)
            case wire.CMD_CLEAR if len(request.data) == 4 and request.data[0] == wire.FLAGS_OF_OLDEST:
                count = int.from_bytes(request.data[1:], "big")
                self.acknowledged.append(count)
                self.unmark(count)
                return request.data[1:]
        return None

    def _batch(self, parameter: int, count: int) -> bytes | None:
        if parameter == wire.RESEND:
            return self._sent or None
        if parameter == wire.ALL:
            self._download = deque(self._log)
        elif parameter == wire.NEW:
            self._download = deque(self._log[len(self._log) - self._marked :])
        elif parameter != wire.CONTINUE:
            return None
        records = [self._download.popleft() for _ in range(min(count, wire.BATCH, len(self._download)))]
        self._sent = wire.encode_batch(b"".join(records))
        return self._sent


# --- faults of the line -------------------------------------------------------------------------------------------


@dataclass
class Faults(NamedFaults):
    """The faults that are on; a number is the count of answers that remain to be damaged."""

    noise: int = 0
    """Answers with noise before and after them."""
    crc: int = 0
    """Answers with one inverted bit."""
    half: int = 0
    """Answers without their second half."""
    collision: int = 0
    """Answers damaged by another terminal that sends at the same time."""
    silent: int = 0
    """Requests that are lost."""
    mute: int = 0
    """Answers that are lost."""
    echo: bool = False
    """Requests are echoed, as on a two-wire line."""
    between: bool = False
    """Live records are sent between a request and its answer."""
    slow: float = 0.0
    """Seconds before a request is answered."""


NOISE = bytes.fromhex("00 FF A5 00 13 37 A5")
"""Ends with the first byte of a frame."""


# --- the line -----------------------------------------------------------------------------------------------------

HELP = (
    "Commands: punch PIN [STATE] [VERIFY] [DEVICE_ID], rush N, clock +7m | -30s | 2000-01-02T00:00:00, status, "
    "unplug, plug, faults, fault NAME[=VALUE|=off], help."
)


class Simulator:
    """Terminals on one line, reachable at ``port`` while the block runs.

    ``where`` is ``pty`` for a pseudo terminal, or ``tcp:PORT`` (0: a free one). ``baudrate`` None: as fast as it goes.
    """

    def __init__(
        self,
        terminals: SimulatedTerminal | Sequence[SimulatedTerminal],
        where: str = "pty",
        *,
        host: str = "127.0.0.1",
        baudrate: int | None = None,
    ) -> None:
        listed = (terminals,) if isinstance(terminals, SimulatedTerminal) else tuple(terminals)
        self.terminals = {terminal.device_id: terminal for terminal in listed}
        self.faults = Faults()
        self.baudrate = baudrate
        self.bytes_in = 0
        self.bytes_out = 0
        self.on_answer: Callable[[Frame], None] = lambda _answer: None
        """Called with each answer before it is sent."""
        self._first = listed[0]
        self._host = host
        self._tcp = int(where.removeprefix("tcp:")) if where.startswith("tcp:") else None
        self._reader = wire.FrameReader()
        self._events: deque[Frame] = deque()
        self._folder: Path | None = None
        self._listener: socket.socket | None = None
        self._descriptor: int | None = None
        self._closes: list[Callable[[], None]] = []
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._console = Console(
            HELP,
            {
                "punch PIN [STATE] [VERIFY] [DEVICE_ID]": self._typed_punch,
                "rush N": self._rush,
                "clock CHANGE": self._clock,
                "status": self._status,
                "unplug": self._typed_unplug,
                "plug": self._typed_plug,
                "faults": self._fault_values,
                "fault ORDER": self._typed_fault,
            },
        )

    def __enter__(self) -> Self:
        if self._tcp is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hadir-anviz-"))
        for terminal in self.terminals.values():
            terminal.on_punch = self._queue_event
        try:
            self.plug()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    @property
    def port(self) -> str:
        """The port as in a configuration; the same after the line was unplugged and plugged in again."""
        if self._folder is not None:
            return str(self._folder / "ttyUSB0")
        return f"tcp://{self._host}:{self._tcp}"

    def plug(self) -> None:
        """Connect the line."""
        if self._thread is not None:
            return
        self._reader = wire.FrameReader()
        if self._folder is not None:
            self._plug_pty(self._folder / "ttyUSB0")
        else:
            self._listener = socket.create_server((self._host, self._tcp or 0))
            self._tcp = self._listener.getsockname()[1]
            self._closes.append(self._listener.close)
        ours, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._closes += [ours.close, self._waker.close]
        self._thread = threading.Thread(target=self._serve, args=(ours,), name=f"simulator {self.port}", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Disconnect the line, also in the middle of a frame; the terminals go on."""
        thread, self._thread = self._thread, None
        if thread is not None and self._waker is not None:
            with suppress(OSError):
                self._waker.send(b"!")
            if thread is not threading.current_thread():
                thread.join()
        if self._folder is not None:
            (self._folder / "ttyUSB0").unlink(missing_ok=True)
        self._hang_up()
        while self._closes:
            with suppress(OSError):
                self._closes.pop()()

    def _plug_pty(self, link: Path) -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        # Clients open the port by this name: udev's names stay while ttyUSB numbers change.
        link.symlink_to(os.ttyname(theirs))
        self._descriptor = ours
        # ``theirs`` stays open: otherwise the line would hang up whenever a client leaves.
        self._closes.append(lambda: os.close(theirs))

    def _hang_up(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _queue_event(self, event: Frame) -> None:
        self._events.append(event)
        waker = self._waker
        if waker is not None:
            with suppress(OSError):
                waker.send(b"e")

    def _serve(self, wake: socket.socket) -> None:
        """Receive and send until unplugged; one thread, as the line is half-duplex."""
        while self._thread is threading.current_thread():  # not its successor, after a new plug
            watched: list[int] = [wake.fileno()]
            if self._descriptor is not None:
                watched.append(self._descriptor)
            if self._listener is not None:
                watched.append(self._listener.fileno())
            ready, _, _ = select.select(watched, (), ())
            if wake.fileno() in ready:
                wake.recv(4096)
            try:
                if self._listener is not None and self._listener.fileno() in ready:
                    self._accept(self._listener)
                elif self._descriptor is not None and self._descriptor in ready:
                    self._receive()
                if not self.faults.between:
                    self._send_events()
            except _Unplugged:
                return
            except OSError:
                if self._listener is None:
                    return
                self._hang_up()

    def _accept(self, listener: socket.socket) -> None:
        # One client at a time, the newest: the one before may be half-open.
        self._hang_up()
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._descriptor = connection.detach()
        self._reader = wire.FrameReader()

    def _receive(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - only called when it was ready
        received = os.read(self._descriptor, 4096)
        if not received:
            raise ConnectionResetError
        self.bytes_in += len(received)
        self._pace(len(received))
        if self.faults.echo:
            self._send(received)
        for request in self._reader.feed(received):
            if not request.is_answer and not self.faults.consume("silent"):
                self._reply(request)

    def _reply(self, request: Frame) -> None:
        addressed = (
            list(self.terminals.values())
            if request.channel == wire.BROADCAST
            else [self.terminals[request.channel]]
            if request.channel in self.terminals
            else []
        )
        if not addressed:
            return
        self._wait(self.faults.slow or QUICK_S)
        answers = [terminal.answer(request) for terminal in addressed]
        if self.faults.between:
            self._send_events()
        if self.faults.consume("mute"):
            return
        self.on_answer(answers[0])
        raw = answers[0].to_bytes()
        for other in answers[1:]:
            raw = _collided(raw, other.to_bytes())
        self._send(self._with_faults(raw))

    def _with_faults(self, raw: bytes) -> bytes:
        if self.faults.consume("collision"):
            raw = _collided(raw, Frame(0xFFFFFFFF, raw[5], b"\x55" * 8).to_bytes())
        if self.faults.consume("crc"):
            middle = len(raw) // 2
            raw = raw[:middle] + bytes((raw[middle] ^ 0x10,)) + raw[middle + 1 :]
        if self.faults.consume("half"):
            raw = raw[: len(raw) // 2]
        if self.faults.consume("noise"):
            raw = NOISE + raw + NOISE
        return raw

    def _send_events(self) -> None:
        while self._events:
            event = self._events.popleft()
            if self._descriptor is not None:
                self._send(event.to_bytes())

    def _send(self, raw: bytes) -> None:
        """Send at the speed of the line; OSError or _Unplugged where the line is disconnected meanwhile."""
        step = len(raw) if self.baudrate is None else max(1, round(self.baudrate / BITS_PER_BYTE * STEP_S))
        begun = time.monotonic()
        for at in range(0, len(raw), step):
            piece = raw[at : at + step]
            if self.baudrate is not None:
                self._wait(begun + (at + len(piece)) * BITS_PER_BYTE / self.baudrate - time.monotonic())
            descriptor = self._descriptor
            if self._thread is None or descriptor is None:
                raise _Unplugged
            self.bytes_out += len(piece)
            while piece:
                try:
                    piece = piece[os.write(descriptor, piece) :]
                except BlockingIOError:
                    self._wait(STEP_S)  # no client reads; a real line would lose it

    def _pace(self, count: int) -> None:
        if self.baudrate is not None:
            self._wait(count * BITS_PER_BYTE / self.baudrate)

    def _wait(self, seconds: float) -> None:
        """Wait; _Unplugged where the line is disconnected meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._thread is None:
                raise _Unplugged
            time.sleep(min(left, STEP_S))

    # --- typed commands -------------------------------------------------------------------------------------------

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _typed_unplug(self) -> str:
        self.unplug()
        return "The line is unplugged; the terminals go on."

    def _typed_plug(self) -> str:
        self.plug()
        return f"The line is plugged in at {self.port}."

    def _typed_fault(self, order: str) -> str:
        return f"{self.faults.switch(order)}."

    def _fault_values(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self.faults).items())

    def _typed_punch(self, pin: str, state: str = "0", verify: str = "1", device_id: str = "") -> str:
        terminal = self.terminals.get(number(device_id, 10)) if device_id else self._first
        if terminal is None:
            raise ValueError(f"no terminal has the number {device_id}")
        moment = terminal.punch(pin, number(state), number(verify))
        return f"{pin} punched at {moment:%Y-%m-%d %H:%M:%S} (state {state}, verify {verify})."

    def _rush(self, count: str) -> str:
        wanted = count_of_punches(count)
        terminals = list(self.terminals.values())
        for index in range(wanted):
            terminal = terminals[index % len(terminals)]
            people = list(terminal.users.values())
            terminal.punch(people[index // len(terminals) % len(people)])
        return f"{wanted} punches made; the logs hold {sum(terminal.count for terminal in terminals)}."

    def _clock(self, change: str) -> str:
        terminal = self._first
        moved = new_clock(terminal.clock(), change, "2000-01-02T00:00:00")
        terminal.clock_offset += moved - terminal.clock()
        return f"The clock shows {terminal.clock():%Y-%m-%d %H:%M:%S}."

    def _status(self) -> str:
        summaries = [
            f"terminal {terminal.device_id}, serial {terminal.serial}: {terminal.count} of {terminal.capacity} records "
            f"({terminal.marked} new), clock {terminal.clock():%Y-%m-%d %H:%M:%S}"
            for terminal in self.terminals.values()
        ]
        plugged = "plugged in" if self._thread is not None else "unplugged"
        return f"{self.port}, {plugged}, {self.bytes_in} bytes in, {self.bytes_out} bytes out; {'; '.join(summaries)}."


class _Unplugged(Exception):  # noqa: N818 - never leaves this module
    """The line was disconnected."""


def _collided(one: bytes, other: bytes) -> bytes:
    """Return the bytes on a line on which two terminals send at once; neither answer is valid."""
    both = bytes(a & b for a, b in zip(one, other, strict=False))
    return both + max(one, other, key=len)[len(both) :]


def history(seed: int, records: int, end: datetime, *, epoch: date = wire.EPOCH) -> Iterator[bytes]:
    """Yield the records of an invented office: ``records`` punches up to ``end``, one every few minutes."""
    step = timedelta(seconds=97 + seed % 53)
    for index in range(records):
        moment = end - step * (records - index)
        pin = str(1001 + (index * 7 + seed) % PEOPLE)
        verify = 8 if index % 4 else 1
        state = int(moment.hour >= 12)
        yield wire.encode_record(pin, moment, epoch=epoch, state=state, verify=verify)
