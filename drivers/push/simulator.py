"""A simulated terminal that speaks ZKTeco PUSH and calls a receiver, in the dialects of old and new firmware.

Written from the protocol as terminals speak it, not from the driver. It keeps its punches until the server acknowledges
them, continues at the stamp that it is sent when it begins, and executes commands that it fetches.
"""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from drivers.console import Console, count_of_punches, new_clock, number
from drivers.faults import NamedFaults
from drivers.push.wire import packed

Firmware = Literal["2.0", "2.2", "2.4", "2.4.2", "acc"]
FIRMWARES: dict[Firmware, str] = {
    "2.0": "HTTP/1.0, four fields, no table named, time stamps",
    "2.2": "HTTP/1.0, seven fields, time stamps",
    "2.4": "HTTP/1.1, ten fields, its own place in the log, stamp 9999",
    "2.4.2": "HTTP/1.1, twelve fields with temperature and position",
    "acc": "the security dialect: registry, rtlog",
}
BATCH = 100
"""Punches of one upload; fewer after a failure, as firmware does."""
BATCH_LEAST = 30
TRIES = 3
RETRY_S = 3.0
READ_ONLY = ("DATA QUERY ATTLOG", "VERIFY SUM ATTLOG", "CHECK", "LOG", "INFO")
"""Commands that change nothing; all others are counted as refused writes."""
HELP = (
    "Commands: punch PIN [STATE] [VERIFY], rush N, clock +7m | -30s | 2000-01-02T00:00:00, restart, status, faults, "
    "fault NAME[=VALUE|=off], help."
)


class Punch(NamedTuple):
    """One punch in the terminal's log."""

    pin: str
    moment: datetime
    state: int
    verify: int


@dataclass
class Faults(NamedFaults):
    """The faults that are on; a number is the count of uploads that remain to be damaged."""

    lost_reply: int = 0
    """Uploads whose reply is lost: the server has stored them, and they are sent again."""
    cut_upload: int = 0
    """Uploads whose body ends in the middle."""
    repeat: int = 0
    """Uploads that are sent again although they were acknowledged."""
    stamp_back: int = 0
    """Uploads with a stamp that is lower than the one before."""
    nul: int = 0
    """Uploads with a line that holds NUL and high bytes."""
    long_line: int = 0
    """Uploads with a line of 10 MB."""
    enrolment: int = 0
    """Uploads of operations, users and templates, 20 MB each, without a request."""
    unknown_table: int = 0
    """Uploads of punches under the name of an unknown table."""
    wrong_serial: bool = False
    """The terminal calls with another serial number."""
    proxy: bool = False
    """A proxy is configured in the terminal: it sends absolute URIs."""
    typed_port: bool = False
    """The port stands in the terminal's field for the address, too."""
    chunked: bool = False
    """Bodies are sent in chunks, by firmware that speaks HTTP/1.1."""
    expect: bool = False
    """Bodies wait for the interim reply 100, by firmware that speaks HTTP/1.1."""
    no_count: bool = False
    """VERIFY SUM is not supported."""
    mute: bool = False
    """Nothing is uploaded: punches stay in the terminal."""
    slow: float = 0.0
    """Seconds between two pieces of a request."""


def _local_now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - a terminal's wall clock has no zone


class SimulatedTerminal:
    """The memory of a terminal: its log, its place in it, its clock. Thread-safe."""

    def __init__(
        self,
        *,
        serial: str = "SIM0000000001",
        firmware: Firmware = "2.4",
        model: str = "Simulated K40",
        comm_key: str | None = None,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.serial = serial
        self.firmware = firmware
        self.model = model
        self.comm_key = comm_key
        self.faults = Faults()
        self.offset = timedelta(0)
        """How far its clock is off."""
        self.log: list[Punch] = []
        self.acknowledged: list[Punch] = []
        """Punches whose upload was acknowledged, in that order: the terminal never sends them by itself again."""
        self.commands: Counter[str] = Counter()
        """Commands that it fetched, by their verb."""
        self.refused_writes: list[str] = []
        """Commands that would have changed it."""
        self.registry_code: str | None = None
        self.woken = threading.Event()
        """Set where its loop has something to do before the present pause is over."""
        self._now = now
        self._lock = threading.Lock()
        self._sent = 0
        """Place in the log up to which everything is acknowledged."""
        self._stamp = 0
        """Time stamp of the last acknowledged punch, in firmware that has them."""

    @property
    def has_time_stamps(self) -> bool:
        """Whether its stamp is the time of the last punch, so that a clock set back hides punches."""
        return self.firmware in ("2.0", "2.2")

    @property
    def version(self) -> str:
        """The version of HTTP that it speaks."""
        return "1.0" if self.firmware in ("2.0", "2.2") else "1.1"

    def clock(self) -> datetime:
        """Return what its clock shows."""
        return (self._now() + self.offset).replace(microsecond=0)

    @property
    def count(self) -> int:
        """Number of punches in its log."""
        return len(self.log)

    def punch(self, pin: str, state: int = 0, verify: int = 1, moment: datetime | None = None) -> datetime:
        """Make a punch, which is uploaded at once, and return its time."""
        made = Punch(pin, moment or self.clock(), state, verify)
        with self._lock:
            self.log.append(made)
        self.woken.set()
        return made.moment

    def begin(self, options: dict[str, str]) -> None:
        """Take the options of the server: only its stamp of 0 moves a place of its own."""
        stamp = options.get("ATTLOGStamp", options.get("Stamp", "0"))
        with self._lock:
            if self.has_time_stamps:
                self._stamp = int(stamp) if stamp.isdecimal() else 0
            elif stamp == "0":
                self._sent = 0

    def pending(self, most: int) -> list[Punch]:
        """Return the punches that were not acknowledged, at most so many."""
        if self.faults.mute:
            return []
        with self._lock:
            if not self.has_time_stamps:
                return self.log[self._sent : self._sent + most]
            later = [made for made in self.log if packed(made.moment) > self._stamp]
            return later[:most]

    def stamp_of(self, batch: list[Punch]) -> str:
        """Return the stamp that is sent with an upload."""
        if not self.has_time_stamps:
            return "9999"
        return str(packed(batch[-1].moment)) if batch else str(self._stamp)

    def advance(self, batch: list[Punch]) -> None:
        """Forget an upload that was acknowledged."""
        with self._lock:
            self.acknowledged += batch
            if self.has_time_stamps:
                self._stamp = packed(batch[-1].moment)
            else:
                self._sent += len(batch)

    def between(self, first: datetime, last: datetime) -> list[Punch]:
        """Return the punches of a span, both ends included."""
        with self._lock:
            return [made for made in self.log if first <= made.moment <= last]

    def line(self, made: Punch) -> bytes:
        """Return a punch as this firmware sends it."""
        pin, moment, state, verify = made
        if self.firmware == "acc":
            place = self.log.index(made) + 1
            return (
                f"time={moment}\tpin={pin}\tcardno=8877\tsitecode=0\tlinkid=0\teventaddr=1\tevent=0\tinoutstatus={state}"
                f"\tverifytype={verify}\tindex={place}"
            ).encode()
        fields = [pin, str(moment), str(state), str(verify)]
        if self.firmware != "2.0":
            fields += ["0", "0", "0"]
        if self.firmware == "2.4":
            fields += ["0", "0", "0", ""]
        if self.firmware == "2.4.2":
            fields += ["1", "36.5", "97.7", "+25200", "eyJsYXQiOi02LjIsImxvbiI6MTA2Ljh9"]
        return "\t".join(fields).encode()


def history(seed: int, records: int, end: datetime, people: int = 50) -> Iterator[Punch]:
    """Yield the punches of an invented office: ``records`` up to ``end``, one every few minutes, oldest first."""
    random = Random(seed)  # noqa: S311 - an invented office
    step = timedelta(seconds=97 + seed % 53)
    for index in range(records):
        moment = (end - step * (records - index)).replace(microsecond=0)
        yield Punch(str(1001 + random.randrange(people)), moment, int(moment.hour >= 12), 1)


class Reply(NamedTuple):
    """What the server answered."""

    status: int
    head: bytes
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("latin-1")


class Call:
    """One request after another, each on a connection of its own, as this terminal sends them."""

    def __init__(self, terminal: SimulatedTerminal, server: str, timeout_s: float) -> None:
        """``server`` is a URL such as http://192.168.1.10:8088, with a path where the terminal has one."""
        self._terminal = terminal
        self._timeout_s = timeout_s
        parts = urlsplit(server if "//" in server else f"http://{server}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{server!r} is no address; write http://HOST:PORT")
        self.host, self.port, self._root = parts.hostname, parts.port or 80, parts.path.rstrip("/")

    def send(self, resource: str, query: str = "", body: bytes | None = None, *, damage: bool = False) -> Reply | None:
        """Send a request; None where the server did not answer. ``damage``: the faults of uploads apply."""
        try:
            with socket.create_connection((self.host, self.port), self._timeout_s) as sock:
                return self._exchange(sock, resource, query, body, damage=damage)
        except (OSError, ValueError):
            return None

    def _exchange(
        self, sock: socket.socket, resource: str, query: str, body: bytes | None, *, damage: bool
    ) -> Reply | None:
        faults = self._terminal.faults
        newer = body is not None and self._terminal.version == "1.1"
        chunked, waits = newer and faults.chunked, newer and faults.expect
        sock.sendall(self._head(resource, query, body, chunked=chunked, waits=waits))
        if waits and b" 100 " not in sock.recv(4096):
            return None
        if body is not None:
            sent = (
                b"%X\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked and body else b"0\r\n\r\n" if chunked else body
            )
            if damage and faults.consume("cut_upload"):
                sock.sendall(sent[: len(sent) // 2])
                return None
            self._write(sock, sent)
        if damage and faults.consume("lost_reply"):
            with suppress(OSError):
                while sock.recv(4096):
                    pass  # the reply arrives at a router that has lost its other side
            return None
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return _parsed(received)

    def _write(self, sock: socket.socket, data: bytes) -> None:
        if not self._terminal.faults.slow:
            sock.sendall(data)
            return
        for at in range(0, len(data), 64):
            sock.sendall(data[at : at + 64])
            time.sleep(self._terminal.faults.slow)

    def _head(self, resource: str, query: str, body: bytes | None, *, chunked: bool, waits: bool) -> bytes:
        terminal = self._terminal
        serial = terminal.serial if not terminal.faults.wrong_serial else f"X{terminal.serial[1:]}"
        target = f"{self._root}/iclock/{resource}?SN={serial}{query}"
        if terminal.faults.proxy:
            target = f"http://{self.host}:{self.port}{target}"
        lines = [
            f"{'GET' if body is None else 'POST'} {target} HTTP/{terminal.version}",
            f"Host: {self.host}:{self.port}{f':{self.port}' if terminal.faults.typed_port else ''}",
        ]
        if terminal.version == "1.0":
            lines += ["User-Agent: iClock Proxy/1.09", "Connection: close", "Accept: */*"]
        else:
            lines += ["User-Agent: iClock Proxy/1.09", "Connection: starting", "Accept: application/push"]
        if body is not None:
            lines += ["Transfer-Encoding: chunked"] if chunked else [f"Content-Length: {len(body)}"]
            lines += ["Content-Type: application/push;charset=UTF-8"] if terminal.version == "1.1" else []
        lines += ["Expect: 100-continue"] if waits else []
        return "\r\n".join((*lines, "", "")).encode("latin-1")


def _parsed(received: bytes) -> Reply | None:
    head, found, body = received.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    return Reply(int(match[1]), head, body) if found and match else None


class Simulator:
    """A terminal that calls a server, in a thread of its own while the block runs."""

    def __init__(
        self,
        terminal: SimulatedTerminal,
        server: str,
        *,
        pace: float = 1.0,
        timeout_s: float = 60.0,
    ) -> None:
        """``pace`` multiplies all pauses: 0.01 makes minutes of waiting a second for a test."""
        self.terminal = terminal
        self.is_online = False
        """The server has accepted it."""
        self.uploads = 0
        """Uploads of punches, acknowledged or not."""
        self.replies: Counter[int] = Counter()
        """Status of replies → how many; 0: none came."""
        self.stamps: list[str] = []
        """Stamps that the server sent when the terminal began."""
        self._call = Call(terminal, server, timeout_s)
        self._pace = pace
        self._stop = threading.Event()
        self._wake = terminal.woken
        self._restart = threading.Event()
        self._batch = BATCH
        self._delay_s, self._error_delay_s = 10.0, 60.0
        self._thread = threading.Thread(target=self._run, name=f"simulator {terminal.serial}", daemon=True)
        self._console = Console(
            HELP,
            {
                "punch PIN [STATE] [VERIFY]": self._typed_punch,
                "rush N": self._rush,
                "clock TIME": self._clock,
                "restart": self._typed_restart,
                "status": self._status,
                "faults": terminal.faults.listing,
                "fault ORDER": lambda order: f"{terminal.faults.switch(order)}.",
                "fault NAME off": lambda name: f"{terminal.faults.switch(f'{name}=off')}.",
            },
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def punch(self, pin: str, state: int = 0, verify: int = 1) -> datetime:
        """Make a punch, which is uploaded at once, and return its time."""
        return self.terminal.punch(pin, state, verify)

    def restart(self) -> None:
        """Switch the terminal off and on: it begins anew."""
        self._restart.set()
        self._wake.set()

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _typed_punch(self, pin: str, state: str = "0", verify: str = "1") -> str:
        moment = self.punch(pin, number(state, 3), number(verify, 3))
        return f"{pin} punched at {moment}."

    def _rush(self, count: str) -> str:
        wanted = count_of_punches(count)
        for index in range(wanted):
            self.terminal.punch(str(1001 + index % 50))
        self._wake.set()
        return f"{wanted} punches made."

    def _clock(self, text: str) -> str:
        shown = self.terminal.clock()
        self.terminal.offset += new_clock(shown, text, "2000-01-02T00:00:00") - shown
        return f"The clock shows {self.terminal.clock()}."

    def _typed_restart(self) -> str:
        self.restart()
        return "The terminal restarts."

    def _status(self) -> str:
        terminal = self.terminal
        return (
            f"{terminal.serial}, {'online' if self.is_online else 'offline'}, {len(terminal.log)} records, "
            f"{len(terminal.acknowledged)} acknowledged, {self.uploads} uploads."
        )

    # The terminal's own loop.

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._restart.is_set():
                self._restart.clear()
                self.is_online = False
            if not self.is_online and not self._begin():
                self._pause(self._error_delay_s)
                continue
            self.is_online = self._upload() and self._enrolment() and self._poll()
            if not self.is_online:
                self._pause(self._error_delay_s)
            elif not self.terminal.pending(1):
                self._pause(self._delay_s)

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds * self._pace)
        self._wake.clear()

    def _send(self, resource: str, query: str = "", body: bytes | None = None, *, damage: bool = False) -> Reply | None:
        reply = self._call.send(resource, query, body, damage=damage)
        self.replies[0 if reply is None else reply.status] += 1
        return reply

    def _begin(self) -> bool:
        terminal = self.terminal
        query = "&options=all"
        if terminal.firmware == "acc":
            query += "&pushver=3.1.2&DeviceType=acc&PushOptionsFlag=1"
        elif terminal.firmware != "2.0":
            query += f"&pushver={'2.2.14' if terminal.firmware == '2.2' else '2.4.1'}&language=73"
        if terminal.comm_key is not None:
            query += f"&pushcommkey={terminal.comm_key}"
        reply = self._send("cdata", query)
        if reply is None or reply.status != 200:
            return False
        if terminal.firmware == "acc":
            return self._register(reply)
        options = _options(reply.text)
        stamp = options.get("ATTLOGStamp" if terminal.firmware != "2.0" else "Stamp")
        if stamp is None:
            return False
        self.stamps.append(stamp)
        self._delay_s = float(options.get("Delay", "10"))
        self._error_delay_s = float(options.get("ErrorDelay", "60"))
        terminal.begin(options)
        if terminal.firmware in ("2.4", "2.4.2"):
            body = f"~DeviceName={terminal.model},MAC=00:17:61:00:00:01,TransactionCount={len(terminal.log)},ComKey=9"
            self._send("cdata", "&table=options", body.encode())
        return True

    def _register(self, reply: Reply) -> bool:
        terminal = self.terminal
        code = _options(reply.text).get("RegistryCode")
        if code is None:
            registered = self._send("registry", "", f"DeviceType=acc,~DeviceName={terminal.model}".encode())
            code = _options(registered.text).get("RegistryCode") if registered is not None else None
        if code is None or "\n" in code:
            return False
        terminal.registry_code = code
        block = self._send("push", "", b"")
        options = _options(block.text) if block is not None and block.status == 200 else {}
        self._delay_s = float(options.get("RequestDelay", "10"))
        self._error_delay_s = float(options.get("ErrorDelay", "60"))
        return "SessionID" in options

    def _upload(self) -> bool:
        """Upload what is pending; False where the server does not accept it."""
        terminal, faults = self.terminal, self.terminal.faults
        while (batch := terminal.pending(self._batch)) and not self._stop.is_set():
            lines = [terminal.line(made) for made in batch]
            if faults.consume("nul"):
                lines.insert(0, b"8\x00\xff\t2026-11-30 07:00:00\t0\t1")
            if faults.consume("long_line"):
                lines.insert(0, b"x" * 10 * 1024 * 1024)
            body = b"\n".join(lines) + b"\n"
            stamp = terminal.stamp_of(batch)
            if faults.consume("stamp_back"):
                stamp = "5"
            table = "XYZLOG" if faults.consume("unknown_table") else "ATTLOG"
            if not self._is_acknowledged(self._query(table, stamp), body, len(lines)):
                self._batch = max(BATCH_LEAST, self._batch - 30)
                return False
            self._batch = min(BATCH, self._batch + 10)
            if not faults.consume("repeat"):
                terminal.advance(batch)
        return True

    def _query(self, table: str, stamp: str) -> str:
        if self.terminal.firmware == "acc":
            return "&table=rtlog"
        if self.terminal.firmware == "2.0" and table == "ATTLOG":
            return f"&Stamp={stamp}"
        return f"&table={table}&Stamp={stamp}"

    def _is_acknowledged(self, query: str, body: bytes, lines: int) -> bool:
        for attempt in range(TRIES):
            self.uploads += 1
            reply = self._send("cdata", query, body, damage=True)
            if reply is not None and reply.status == 200 and re.match(rf"OK(: ?{lines})?\b", reply.text):
                return True
            if self._stop.wait(RETRY_S * (attempt + 1) * self._pace):
                break
        return False

    def _enrolment(self) -> bool:
        """Upload operations, users and templates without a request, where that fault is on."""
        if not self.terminal.faults.consume("enrolment"):
            return True
        template = b"FP PIN=7\tFID=1\tSize=1024\tValid=1\tTMP=" + b"Ts9SUzIxAAAE" * 100 + b"\n"
        body = b"USER PIN=7\tName=Siti Rahma\tPasswd=1234\tCard=99\n" + template * (20 * 1024 * 1024 // len(template))
        reply = self._send("cdata", "&table=OPERLOG&OpStamp=77", body, damage=True)
        return reply is not None and reply.status == 200

    def _poll(self) -> bool:
        """Fetch a command, if any, and execute it; False where the server refuses."""
        terminal = self.terminal
        info = f"&INFO=Ver 6.60 Apr 28 2017,12,30,{len(terminal.log)},10.1.2.9,10"
        reply = self._send("getrequest", info if terminal.firmware != "2.0" else "")
        if reply is None or reply.status != 200 or not reply.body:
            return False
        for line in reply.text.split("\n")[:-1]:
            match = re.fullmatch(r"C:(\w{1,16}):(.*)", line)
            if match is not None:
                self._execute(match[1], match[2])
                self._wake.set()  # the next poll follows at once
        return True

    def _execute(self, identity: str, text: str) -> None:
        terminal = self.terminal
        verb = next((known for known in READ_ONLY if text.startswith(known)), text)
        terminal.commands[verb] += 1
        span = re.search(r"StartTime=([\d: -]{19})\tEndTime=([\d: -]{19})$", text)
        if verb not in READ_ONLY or (verb.startswith(("DATA", "VERIFY")) and span is None):
            terminal.refused_writes += [] if verb in READ_ONLY else [text]
            self._result(f"ID={identity}&Return=-1002&CMD={verb}\n")
        elif verb == "CHECK":
            self._result(f"ID={identity}&Return=0&CMD=CHECK\n")
            self.is_online = False
            self.restart()
        elif span is not None:
            self._answer_span(identity, verb, *span.groups())
        else:
            self._result(f"ID={identity}&Return=0&CMD={verb}\n")

    def _answer_span(self, identity: str, verb: str, first: str, last: str) -> None:
        terminal = self.terminal
        found = terminal.between(datetime.fromisoformat(first), datetime.fromisoformat(last))
        if verb == "VERIFY SUM ATTLOG":
            if terminal.faults.no_count:
                self._result(f"ID={identity}&Return=-1002&CMD=VERIFY SUM\n")
            else:
                span = f"StartTime={first}&EndTime={last}"
                self._result(f"ID={identity}&Return=0&CMD=VERIFY SUM ATTLOG&{span}&AttlogCount={len(found)}\n")
            return
        for at in range(0, len(found), BATCH):
            part = found[at : at + BATCH]
            body = b"".join(terminal.line(made) + b"\n" for made in part)
            if not self._is_acknowledged(self._query("ATTLOG", terminal.stamp_of(part)), body, len(part)):
                self._result(f"ID={identity}&Return=-1005&CMD=DATA QUERY ATTLOG\n")
                return
        self._result(f"ID={identity}&Return={0 if found else -1}&CMD=DATA QUERY ATTLOG\n")

    def _result(self, text: str) -> None:
        """Send the result of a command; firmware keeps it until the server has it."""
        while (reply := self._send("devicecmd", "", text.encode())) is None or reply.status != 200:
            if self._stop.wait(RETRY_S * self._pace):
                return


def _options(text: str) -> dict[str, str]:
    """Return the options in a reply. A last line without an end is dropped by firmware, but for the registry code."""
    lines = text.split("\n")
    kept = lines if text.startswith("RegistryCode=") else lines[:-1]
    return dict(line.split("=", 1) for line in kept if "=" in line)
