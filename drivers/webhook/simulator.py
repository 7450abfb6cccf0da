"""A simulated attendance app that posts to a receiver, with faults by name.

It keeps its records until the answer counts all of them, posts them again until then, and sends what an app sends
beside: name, position, photo. Written from docs/webhook.md, not from the driver.
"""

import hashlib
import hmac
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from drivers.console import Console, count_of_punches, new_clock, number
from drivers.faults import NamedFaults

BATCH = 50
RETRY_S = 5.0
DELAY_S = 2.0
"""Pause between two looks for something to post."""
KINDS = {0: "masuk", 1: "pulang"}
PRIVATE = {
    "name": "Siti Rahma",
    "lat": -6.208763,
    "lon": 106.845599,
    "photo": "/9j/4AAQSkZJRgABAQ" + "A" * 2000,
}
"""What apps send beside; the gateway must not keep it."""
HELP = (
    "Commands: punch PIN [STATE], rush N, clock +7m | -30s | 2000-01-02T00:00:00, status, faults, "
    "fault NAME[=VALUE|=off], help."
)

_SAMPLE = {"pin": "9", "at": "2026-11-30T07:30:00+07:00", "kind": "masuk"}


class Punch(NamedTuple):
    """One record of the app."""

    identifier: str
    pin: str
    moment: datetime
    """With the app's zone."""
    state: int

    @property
    def local_time(self) -> datetime:
        """Its second by the wall clock of the app's zone, naive."""
        return self.moment.replace(tzinfo=None, microsecond=0)

    def json(self) -> dict[str, Any]:
        """Return it as the app posts it: with a fraction of a second, an offset, and private things."""
        at = self.moment.isoformat(timespec="milliseconds")
        return {"id": self.identifier, "pin": self.pin, "at": at, "kind": KINDS.get(self.state, self.state), **PRIVATE}


@dataclass
class Faults(NamedFaults):
    """The faults that are on; a number is the count of posts that remain to be damaged, or of further ones."""

    lost_reply: int = 0
    """Posts whose reply is lost: the gateway has stored them, and they are posted again."""
    cut_upload: int = 0
    """Posts whose body ends in the middle."""
    repeat: int = 0
    """Posts that are made again although they were answered."""
    wrong_signature: int = 0
    """Posts that are signed with another secret."""
    no_signature: int = 0
    """Posts without a signature."""
    no_json: int = 0
    """Further posts that are no JSON."""
    deep: int = 0
    """Further posts with lists nested 10,000 deep."""
    nan: int = 0
    """Further posts with NaN in place of a number."""
    latin1: int = 0
    """Further posts that are not UTF-8."""
    other_form: int = 0
    """Further posts without the list of records."""
    too_long: int = 0
    """Further posts of 20 MB."""
    bad_record: int = 0
    """Posts with a record among the others that cannot be read: no PIN, a key twice, NUL, half a surrogate."""
    nip: int = 0
    """Posts with a record among the others whose PIN is a NIP."""
    unknown_state: int = 0
    """Posts with a record among the others whose state is unknown."""
    far_future: int = 0
    """Records made with a clock of the year 2103."""
    reset: int = 0
    """Records made with a clock of the year 2000."""
    slow: float = 0.0
    """Seconds between two bytes of a request."""
    mute: bool = False
    """Nothing is posted: records stay in the app."""


def _further(name: str) -> bytes:
    """Return the body of a further post that must not be stored."""
    private = json.dumps(PRIVATE)[1:-1]
    bodies = {
        "no_json": b'{"records": [' + private.encode(),
        "deep": b'{"records": [{"pin": "9", "at": ' + b"[" * 10_000 + b"]" * 10_000 + b"}]}",
        "nan": b'{"records": [{"pin": NaN, "lat": Infinity}]}',
        "latin1": '{"records": [{"pin": "9", "name": "J\xf6rg"}]}'.encode("latin-1"),
        "other_form": json.dumps({"data": [_SAMPLE | PRIVATE]}).encode(),
    }
    return bodies[name]


BAD_RECORDS = (
    '{"at": "2026-11-30T07:30:00+07:00", "kind": "masuk", "name": "Siti Rahma"}',
    '{"pin": "9", "pin": "10", "at": "2026-11-30T07:30:01+07:00"}',
    '{"pin": "9\\u0000x", "at": "2026-11-30T07:30:02+07:00"}',
    '{"pin": "\\ud800", "at": "2026-11-30T07:30:03+07:00"}',
    '{"pin": 1e999, "at": "2026-11-30T07:30:04+07:00"}',
    '{"pin": "9", "at": "2026-02-31T07:30:05+07:00"}',
    '{"pin": {"name": "Siti Rahma"}, "at": "2026-11-30T07:30:06+07:00"}',
    '"Siti Rahma"',
)
"""Records that cannot be read, as they are posted."""
NIP = "198503122010011001"


SET_ASIDE = {
    "bad_record": BAD_RECORDS,
    "nip": (json.dumps(_SAMPLE | {"pin": NIP, "id": "nip"}),),
    "unknown_state": (json.dumps(_SAMPLE | {"kind": "istirahat", "id": "state"}),),
}
"""Fault → further records of a post, which cannot be taken."""


class Answer(NamedTuple):
    """What the receiver answered."""

    status: int
    body: bytes


class App:
    """The records of an app and its clock. Thread-safe."""

    def __init__(
        self, *, zone: ZoneInfo, now: Callable[[], datetime] | None = None, name: str = "app", seed: int = 1
    ) -> None:
        """``now`` returns the time with a zone."""
        self.zone = zone
        self.name = name
        self.seed = seed
        self.faults = Faults()
        self.offset = timedelta(0)
        """How far its clock is off."""
        self.records: list[Punch] = []
        """All that it ever made."""
        self.delivered = 0
        """Number of records, from the first, that were answered."""
        self.lock = threading.Lock()
        self._now = now or (lambda: datetime.now(zone))

    def clock(self) -> datetime:
        """Return what its clock shows."""
        return self._now().astimezone(self.zone) + self.offset

    def punch(self, pin: str, state: int = 0, *, moment: datetime | None = None) -> datetime:
        """Make a record, and return its time."""
        made = moment or self.clock()
        if self.faults.consume("far_future"):
            made = made.replace(year=2103, day=min(made.day, 28))
        if self.faults.consume("reset"):
            made = made.replace(year=2000, day=min(made.day, 28))
        with self.lock:
            self.records.append(Punch(f"{self.name}-{self.seed}-{len(self.records) + 1}", pin, made, state))
        return made

    def pending(self) -> list[Punch]:
        """Return the records that were not answered, at most a batch."""
        with self.lock:
            return [] if self.faults.mute else self.records[self.delivered : self.delivered + BATCH]


class Simulator:
    """An app that posts, in a thread of its own while the block runs."""

    def __init__(
        self, app: App, server: str, path: str, secret: str, *, pace: float = 1.0, timeout_s: float = 60.0
    ) -> None:
        """``server`` is a URL such as http://192.168.1.10:8088; ``pace`` multiplies all pauses."""
        self.app = app
        self.posts = 0
        self.answers: Counter[int] = Counter()
        """Status of answers → how many; 0: none came."""
        self.counted: Counter[str] = Counter()
        """Sums of the counts in the answers."""
        parts = urlsplit(server if "//" in server else f"http://{server}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{server!r} is no address; write http://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port or 80
        self._target = f"{parts.path.rstrip('/')}/hook/{path}"
        self._secret = secret
        self._pace = pace
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"app {path}", daemon=True)
        self._console = Console(
            HELP,
            {
                "punch PIN [STATE]": self._typed_punch,
                "rush N": self._rush,
                "clock TIME": self._clock,
                "status": self._status,
                "faults": app.faults.listing,
                "fault ORDER": self._typed_fault,
                "fault NAME off": lambda name: f"{app.faults.switch(f'{name}=off')}.",
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

    def punch(self, pin: str, state: int = 0) -> datetime:
        """Make a record, which is posted at once, and return its time."""
        moment = self.app.punch(pin, state)
        self._wake.set()
        return moment

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _typed_punch(self, pin: str, state: str = "0") -> str:
        moment = self.punch(pin, number(state, 3))
        return f"{pin} punched at {moment.replace(tzinfo=None, microsecond=0)}."

    def _rush(self, count: str) -> str:
        wanted = count_of_punches(count)
        for index in range(wanted):
            self.app.punch(str(1001 + index % 50))
        self._wake.set()
        return f"{wanted} punches made."

    def _clock(self, text: str) -> str:
        shown = self.app.clock().replace(tzinfo=None, microsecond=0)
        self.app.offset += new_clock(shown, text, "2000-01-02T00:00:00") - shown
        return f"The clock shows {self.app.clock().replace(tzinfo=None, microsecond=0)}."

    def _typed_fault(self, order: str) -> str:
        state = self.app.faults.switch(order)
        self._wake.set()
        return f"{state}."

    def _status(self) -> str:
        app = self.app
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counted.items())) or "none counted"
        return f"{len(app.records)} records, {app.delivered} delivered, {self.posts} posts; {counts}."

    # The app's own loop.

    def _run(self) -> None:
        while not self._stop.is_set():
            self._post_further()
            is_well = self._post_pending()
            if not is_well or not self.app.pending():
                self._wake.wait((DELAY_S if is_well else RETRY_S) * self._pace)
                self._wake.clear()

    def _post_further(self) -> None:
        """Post what must not be stored, where such a fault is on."""
        faults = self.app.faults
        for name in ("no_json", "deep", "nan", "latin1", "other_form"):
            if faults.consume(name):
                self.post(_further(name))
        if faults.consume("too_long"):
            self.post(b'{"records": [' + b" " * 20 * 1024 * 1024 + b"]}")

    def _post_pending(self) -> bool:
        """Post records; False where they were not answered as stored."""
        app = self.app
        batch = app.pending()
        if not batch:
            return True
        bad = [name for name in SET_ASIDE if getattr(app.faults, name)]
        bodies = [record for name in bad for record in SET_ASIDE[name]]
        bodies += [json.dumps(made.json()) for made in batch]
        body = f'{{"app": "simulated", "records": [{", ".join(bodies)}]}}'.encode()
        answer = self.post(body, damage=True)
        counts = _counts(answer)
        if counts is None or sum(counts.values()) != len(bodies):
            return False
        self.counted += Counter(counts)
        for name in bad:
            app.faults.consume(name)
        if not app.faults.consume("repeat"):
            with app.lock:
                app.delivered += len(batch)
        return True

    def post(self, body: bytes, *, damage: bool = False) -> Answer | None:
        """Post a body; None where there was no answer. ``damage``: the faults of posts apply."""
        self.posts += 1
        answer, faults = None, self.app.faults
        names = ("wrong_signature", "no_signature", "cut_upload", "lost_reply") if damage else ()
        fault = next((name for name in names if faults.consume(name)), None)  # one at a time
        with suppress(OSError), socket.create_connection((self._host, self._port), self._timeout_s) as sock:
            answer = self._exchange(sock, body, fault)
        self.answers[0 if answer is None else answer.status] += 1
        return answer

    def _exchange(self, sock: socket.socket, body: bytes, fault: str | None) -> Answer | None:
        secret = self._secret[::-1] if fault == "wrong_signature" else self._secret
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        lines = [
            f"POST {self._target} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([] if fault == "no_signature" else [f"X-Hub-Signature-256: sha256={signature}"]),
        ]
        sent = "\r\n".join((*lines, "", "")).encode() + body
        if fault == "cut_upload":
            sock.sendall(sent[: len(sent) - len(body) // 2])
            return None
        if slow := self.app.faults.slow:
            for at in range(len(sent)):
                sock.sendall(sent[at : at + 1])
                if self._stop.wait(slow):
                    return None
        else:
            sock.sendall(sent)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        head, found, text = received.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        if not (found and match) or fault == "lost_reply":
            return None
        return Answer(int(match[1]), text)


def _counts(answer: Answer | None) -> dict[str, int] | None:
    """Return the counts of the answer after the commit; None for any other."""
    if answer is None or answer.status != 200:
        return None
    counts = json.loads(answer.body)
    return {name: counts[name] for name in ("stored", "known", "quarantined")}
