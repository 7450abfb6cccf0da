"""Commands of the running gateway: one implementation for the centre (MQTT) and for the control socket.

The centre's requests wait in a short queue and are executed one after the other by a separate thread, so that neither a
slow one nor many of them delay events. No command clears a terminal's log, writes users, reads templates, or changes
the configuration.
"""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.ledger import Judgement, Ledger, LedgerFull, ResendCounts, Selection, receipt_from
from gateway.log import get_logger
from gateway.trace import trace

WAITING_MAX = 16
"""Maximum waiting requests; a further one is answered with ``busy``."""
BURST = 30
PER_S = 1.0
"""Token bucket: burst size and rate of accepted requests; excess requests are not answered."""
TALLY_DAYS = 31
REQUEST_BYTES = 16 * 1024
"""Upper bound of a valid request's size."""

log = get_logger("commands")


class Refusal(Exception):  # noqa: N818 - a result, no defect
    """A request was refused and nothing was changed; ``code`` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Worker(Protocol):
    """The worker methods used by commands."""

    name: str

    @property
    def state(self) -> Any:
        """The terminal's state; ``payload()`` is its message."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the terminal's clock."""

    def request(self, *, full: bool = False) -> object:
        """Request a visit now; ``full`` for one that reads the whole log."""

    def request_set_clock(self) -> bool:
        """Request that the terminal's clock is set; False where its driver cannot set it."""

    def release(self, first: date, last: date) -> int:
        """Add withheld records of these days to the stream; return their number."""


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class Anything(_Arguments):
    """Arguments of a command for one terminal, or for all."""

    terminal: str | None = None


class One(_Arguments):
    """Arguments of a command for one terminal."""

    terminal: str


class Replay(_Arguments):
    """What to send again: a range of sequences, or the records of a terminal, of a day, or of both."""

    sequence: tuple[int, int] | None = None
    """First and last."""
    stream: str | None = None
    """The stream that ``sequence`` counts in; None: the present one."""
    terminal: str | None = None
    day: date | None = None
    first_day: date | None = Field(None, alias="from")
    last_day: date | None = Field(None, alias="to")
    withheld: bool = False
    """Withheld records instead of sent events."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        dated = self.day or self.first_day or self.last_day
        if self.sequence is not None:
            first, last = self.sequence
            if not 1 <= first <= last < 2**62:
                raise ValueError("sequence: write the first and the last one, both 1 or more")
            if dated or self.withheld:
                raise ValueError("write either a range of sequences or days, not both; a withheld record has neither")
        elif self.stream is not None:
            raise ValueError("stream: of no use without sequence")
        if self.day and (self.first_day or self.last_day):
            raise ValueError("write either day, or from and to")
        if self.withheld and self.terminal is None:
            raise ValueError("withheld: name the terminal")
        if not (self.sequence or dated or self.terminal):
            raise ValueError("write what to send again: sequence, day, from and to, or terminal")
        return self

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last requested day; None without one."""
        if self.day is not None:
            return self.day, self.day
        if self.first_day is None and self.last_day is None:
            return None
        return self.first_day or date.min, self.last_day or date.max


_FIELDS = {field.alias or name for name, field in Replay.model_fields.items()}
"""Field names that an error message may repeat."""
T = TypeVar("T", bound=_Arguments)


def replay(ledger: Ledger, requested: Replay) -> ResendCounts:
    """Mark events of the ledger for resending."""
    first, last = requested.sequence or (1, 2**62)
    if requested.sequence is not None:
        base = ledger.base_of(requested.stream or ledger.stream)
        if base is None:
            raise Refusal("unknown_stream", "this ledger never had a stream of that name")
        first, last = base + first, base + last
    return ledger.resend(Selection(first, last, requested.terminal, requested.days))


def take_receipt(ledger: Ledger, payload: str) -> dict[str, Any]:
    """Apply a receipt of the centre from a file, like one from the broker; raises Refusal.

    Returns the confirmed and missing counts, whether the receipt changed anything, and whether a new stream was opened
    because the centre holds more than this ledger.
    """
    try:
        receipt = receipt_from(payload.encode())
    except ValueError as exc:
        raise Refusal("receipt_invalid", f"it cannot be read as a receipt ({exc})") from None
    try:
        judgement = ledger.note_receipt(receipt)
        if judgement in (Judgement.NEWS, Judgement.KNOWN):
            ledger.resend_missing()
    except LedgerFull as exc:
        raise Refusal("disk_full", "there is no room on the disk to note it; make room and try again") from exc
    if judgement is Judgement.FOREIGN:
        raise Refusal("receipt_foreign", "it speaks of a stream that this ledger never had: is it another gateway's?")
    if judgement is Judgement.REPEATED:
        raise Refusal(
            "rollback_repeated",
            "it covers more than this ledger knows, and a new stream was opened for that reason within the last hour; "
            "it is ignored: look who issues these receipts",
        )
    counts = ledger.counts()
    return {
        "news": judgement is Judgement.NEWS,
        "set_back": judgement is Judgement.SET_BACK,
        "confirmed": counts.confirmed,
        "missing": counts.missing,
    }


def read_replay(payload: bytes | str) -> Replay:
    """Decode the arguments of a replay; raises Refusal."""
    return _read(Replay, payload)


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the centre."""

    name: str
    payload: bytes
    answer: Callable[[dict[str, Any]], None]
    """Called once with the answer, unless the rate limit is exceeded."""
    expires: float | None = None
    """Monotonic time after which it must not be executed."""


class Commands:
    """Executes commands."""

    def __init__(
        self,
        allow: Iterable[str],
        ledger: Ledger,
        workers: Collection[Worker],
        *,
        report: Callable[[], dict[str, Any]],
        now: Callable[[], datetime],
    ) -> None:
        """``allow``: commands permitted to the centre; ``workers`` may change; ``report`` returns the status."""
        self._allow = frozenset(allow)
        self._ledger = ledger
        self._workers = workers
        self._status = report
        self._now = now
        self._known: Mapping[str, Callable[[bytes | str], dict[str, Any]]] = {
            "poll": self._poll,
            "reconcile": self._reconcile,
            "replay": self._replay,
            "set-clock": self._set_clock,
            "report": self._report,
        }
        self._queue: queue.Queue[Request | None] = queue.Queue(WAITING_MAX)
        self._tokens, self._counted = float(BURST), time.monotonic()
        self._dropping = False
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    def start(self) -> None:
        """Start executing submitted requests."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Discard waiting requests and end; the request in execution is given ``timeout_s``."""
        while True:
            try:
                self._queue.put_nowait(None)
                break
            except queue.Full:
                with suppress(queue.Empty):  # the thread has taken all of them meanwhile
                    self._queue.get_nowait()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, request: Request) -> None:
        """Enqueue a request of the centre; returns at once. For one thread only."""
        if not self._has_token():
            if not self._dropping:
                log.warning("requests_dropped", reason=f"more than {PER_S:g} a second are asked")
            self._dropping = True
            return
        self._dropping = False
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            request.answer(_refused(Refusal("busy", "too many requests wait already; ask again later")))

    def run(self, name: str, payload: bytes | str) -> dict[str, Any]:
        """Execute a command and return its data; raises Refusal. The payload is a JSON object, or empty."""
        known = self._known.get(name)
        if known is None:
            raise Refusal("unknown_command", f"no such command; there are {', '.join(self._known)}")
        return known(payload)

    def _has_token(self) -> bool:
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._counted) * PER_S)
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _work(self) -> None:
        while (request := self._queue.get()) is not None:
            try:
                request.answer(self._answer(request))
            except Exception as exc:  # noqa: BLE001 - an error in one answer must not end the thread
                log.error("answer_failed", command=request.name, trace=trace(exc))  # noqa: TRY400 - texts hold PINs

    def _answer(self, request: Request) -> dict[str, Any]:
        try:
            self._check(request)
            data = self.run(request.name, request.payload)
        except Refusal as exc:
            log.warning("command_refused", command=request.name, code=exc.code)
            return _refused(exc)
        except LedgerFull:
            log.warning("command_refused", command=request.name, code="disk_full")
            return _refused(Refusal("disk_full", "there is no room on the gateway's disk; ask again when there is"))
        except Exception as exc:  # noqa: BLE001 - an error in one command must not end the thread
            log.error("command_failed", command=request.name, trace=trace(exc))  # noqa: TRY400 - texts hold PINs
            return _refused(Refusal("failed", "the command failed; see the gateway's log"))
        log.info("command_done", command=request.name)
        return {"status": "ok", "data": data}

    def _check(self, request: Request) -> None:
        if request.expires is not None and time.monotonic() >= request.expires:
            raise Refusal("expired", "the request has outlived its message expiry")
        if request.name in self._known and request.name not in self._allow:
            raise Refusal("not_allowed", f"{request.name} is not among the commands this gateway answers")

    # The commands.

    def _poll(self, payload: bytes | str) -> dict[str, Any]:
        return {"terminals": self._visit(payload, full=False)}

    def _reconcile(self, payload: bytes | str) -> dict[str, Any]:
        return {"terminals": self._visit(payload, full=True)}

    def _visit(self, payload: bytes | str, *, full: bool) -> list[str]:
        """Request visits; return the names of the terminals to be visited."""
        name = _read(Anything, payload).terminal
        workers = list(self._workers) if name is None else [self._worker(name)]
        for worker in workers:
            worker.request(full=full)
        return [worker.name for worker in workers]

    def _replay(self, payload: bytes | str) -> dict[str, Any]:
        requested = read_replay(payload)
        worker = None if requested.terminal is None else self._worker(requested.terminal)
        if requested.withheld and worker is not None:
            return {"released": worker.release(*(requested.days or (date.min, date.max)))}
        return replay(self._ledger, requested)._asdict()

    def _set_clock(self, payload: bytes | str) -> dict[str, Any]:
        worker = self._worker(_read(One, payload).terminal)
        if not worker.request_set_clock():
            raise Refusal("not_supported", f"the clock of {worker.name} cannot be set by this gateway")
        return {"terminals": [worker.name]}

    def _report(self, payload: bytes | str) -> dict[str, Any]:
        name = _read(Anything, payload).terminal
        if name is None:
            return self._status()
        worker = self._worker(name)
        state = worker.state.payload()
        since = self._now().astimezone(worker.zone).date() - timedelta(days=TALLY_DAYS - 1)
        days = [
            {**asdict(day), "day": None if day.day is None else day.day.isoformat()}
            for day in self._ledger.tally(name, since)
        ]
        return {"terminal": name, "state": state, "days": days}

    def _worker(self, name: str) -> Worker:
        for worker in self._workers:
            if worker.name == name:
                return worker
        raise Refusal("unknown_terminal", "this gateway has no terminal of that name")


def _read(kind: type[T], payload: bytes | str) -> T:
    if len(payload) > REQUEST_BYTES:
        raise Refusal("invalid_request", f"longer than {REQUEST_BYTES} bytes")
    try:
        return kind.model_validate_json(payload or b"{}")
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1] if str(part) in _FIELDS)
        message = first["msg"].removeprefix("Value error, ")
        raise Refusal("invalid_request", f"{where}: {message}" if where else message) from None


def _refused(refusal: Refusal) -> dict[str, Any]:
    return {"status": "error", "error": {"code": refusal.code, "message": str(refusal)}}
