"""The driver of apps that post: each request with the right signature is a delivery, answered after the commit.

An app keeps its records until it has the answer, and posts them again until then. It has no log that could be read and
no clock that could be requested, and it is silent while there are no punches: so silence is no outage.
"""

import hmac
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Condition
from typing import Annotated, ClassVar, NamedTuple, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from drivers.base import (
    CallerPort,
    Delivered,
    Delivery,
    Driver,
    Notice,
    RawPunch,
    Reason,
    Record,
    Settlement,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.receiver.caller import CallerOptions
from drivers.receiver.http import Reply, Request
from drivers.receiver.registry import Body, Collected, Exchange, UrlPath
from drivers.textfile import TextFileError, read_token
from drivers.webhook import wire

WAITING_MAX = 8
"""Posts that may wait for the worker."""
NOTICES_MAX = 20
REFUSED = Reply(503)


def _pointer(text: str) -> str:
    wire.pointer(text)
    return text


def _field_pointer(text: str) -> str:
    if not wire.pointer(text):
        raise ValueError("a pointer to a field begins with a slash, such as /pin")
    return text


def _state_text(text: str) -> str:
    if not 1 <= len(text) <= wire.MOST_TEXT:
        raise ValueError(f"the text of a state has 1 to {wire.MOST_TEXT} characters")
    return text


Pointer = Annotated[str, AfterValidator(_field_pointer)]
Code = Annotated[int, Field(strict=True, ge=0, le=wire.CODES[-1])]


class Fields(BaseModel):
    """Where the fields stand in a record: JSON Pointers. Nothing else of it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    pin: Pointer = "/pin"
    """The PIN, a text or a whole number."""
    time: Pointer = "/at"
    """The time, ISO 8601 with seconds, with or without offset."""
    state: Pointer | None = "/kind"
    """In or out: a code, or a text of ``states``; null: not read."""
    verify: Pointer | None = None
    """The code of how the person was verified; null: not read."""
    id: Pointer | None = "/id"
    """The app's own identifier of the record: it distinguishes two records of one second; null: not read."""


class WebhookOptions(CallerOptions):
    """Options of an app, or another vendor's hub, that posts JSON to the receiver."""

    takes_time: ClassVar[bool] = False
    serial: str | None = None
    """A name of your own for the source that never changes: the punches' identity contains it."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """It posts to /hook/ and this; null: the entry's name."""
    secret_file: Path
    """A file with the secret that signs the bodies, of 16 or more letters and digits."""
    items: Annotated[str, AfterValidator(_pointer)] | None = "/records"
    """JSON Pointer to the list of records in a body; null: the body is one record."""
    fields: Fields = Fields()
    """JSON Pointers to the fields in a record."""
    states: dict[Annotated[str, AfterValidator(_state_text)], Code] = Field({"masuk": 0, "pulang": 1})
    """Text of a state → code; a record with another text is set aside."""
    allow_nip: bool = False
    """Whether a PIN may look like a NIP; otherwise its record is set aside, without it."""

    @model_validator(mode="after")
    def _serial_is_given(self) -> Self:
        if self.serial is None:
            raise ValueError("serial is missing; write a name of your own for the app, such as APP-PRESENSI")
        return self

    def key(self) -> UrlPath:
        """Return the path that it posts to."""
        return UrlPath(f"/hook/{self.path or self.name}")

    def secret(self) -> bytes:
        """Read the secret; TerminalRefused where the file is gone or holds something else."""
        try:
            return read_token(self.secret_file).encode("ascii")
        except (OSError, TextFileError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            raise TerminalRefused(
                f"the secret cannot be read from {self.secret_file} ({reason})", reason=Reason.KEY_FILE
            ) from exc

    def form(self, zone: ZoneInfo) -> wire.Form:
        """Return how bodies are read."""
        named = ((name, getattr(self.fields, name)) for name in get_args(wire.FieldName))
        fields: dict[wire.FieldName, tuple[str, ...]] = {
            name: wire.pointer(path) for name, path in named if path is not None
        }
        items = None if self.items is None else wire.pointer(self.items)
        return wire.Form(zone, fields, items, self.states, self.allow_nip)


class _Post(NamedTuple):
    """A body with the right signature that waits for the worker."""

    body: bytes
    exchange: Exchange


class _SignedBody(Collected):
    """Collects a body, and computes its signature meanwhile."""

    def __init__(self, secret: bytes, stated: bytes, then: Callable[[bytes, bool], Reply | None]) -> None:
        super().__init__(wire.BODY_BYTES, None, lambda body: then(body, self._is_right()))
        self._stated = stated
        self._computed = hmac.new(secret, digestmod="sha256")

    def feed(self, piece: bytes) -> None:
        super().feed(piece)
        self._computed.update(piece)

    def _is_right(self) -> bool:
        return hmac.compare_digest(self._computed.digest(), self._stated)


def _refusal(status: int, text: str) -> Reply:
    allowed = {"Allow": "POST"} if status == 405 else {}
    return Reply(status, wire.error(text), allowed, "application/json")


class WebhookCaller:
    """An app as long as the gateway serves it, and the handler of its requests. Thread-safe."""

    def __init__(self, options: WebhookOptions, port: CallerPort) -> None:
        self.options = options
        self.port = port
        self._form = options.form(port.zone)
        self._secret: bytes | None = None
        self._signature_failed = False
        """A signature was wrong since the secret was read."""
        self._arrived = Condition()
        self._waiting: deque[_Post] = deque()
        self._notices: deque[Notice] = deque(maxlen=NOTICES_MAX)

    @contextmanager
    def connect(self) -> Iterator["WebhookTerminal"]:
        """Begin a visit; TerminalRefused where the secret cannot be read."""
        self._secret = None
        self._secret = self.options.secret()
        yield WebhookTerminal(self)

    # Called by the receiver's loop.

    def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
        """Take the head of a request: without a signature nothing of its body is kept."""
        if request.method != "POST":
            return _refusal(405, "post records here")
        secret, stated = self._secret, wire.stated_signature(request.headers)
        if secret is None:
            return REFUSED
        if stated is None:
            self._count("no_signature")
            return _refusal(401, "the header X-Hub-Signature-256 is missing, or not sha256= and 64 hexadecimal digits")
        return _SignedBody(secret, stated, lambda body, is_right: self._take(body, exchange, is_right=is_right))

    def _take(self, body: bytes, exchange: Exchange, *, is_right: bool) -> Reply | None:
        """Hand a body over to the worker; its reply follows when its records are stored."""
        if not is_right:
            self._count("wrong_signature")
            self._signature_failed = True
            self._note(Notice("signature_refused", {}))
            return _refusal(401, "the signature is not that of this body with the configured secret")
        with self._arrived:
            while self._waiting and not self._waiting[0].exchange.is_open:
                self._waiting.popleft()  # held too long: it is posted again
            if len(self._waiting) >= WAITING_MAX:
                return REFUSED
            self._waiting.append(_Post(body, exchange))
            self._arrived.notify_all()
        self.port.wake()
        return None

    def _count(self, why: str) -> None:
        self.port.count_refused(self.options.key(), why)

    def _note(self, notice: Notice) -> None:
        with self._arrived:
            if notice not in self._notices:
                self._notices.append(notice)
            self._arrived.notify_all()
        self.port.wake()

    # Called by the worker.

    def taken(self, timeout_s: float) -> Notice | _Post | None:
        """Return what has arrived; None where nothing does within ``timeout_s`` seconds."""
        if self._signature_failed:
            self._signature_failed = False
            self._secret = self.options.secret()  # it may have been exchanged
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._notices, timeout_s)
            if self._notices:
                return self._notices.popleft()
            return self._waiting.popleft() if self._waiting else None

    def read(self, post: _Post) -> list[Record] | Notice:
        """Return the records of a post; where it cannot be read, refuse it and return what people have to know."""
        try:
            return wire.records_in(post.body, self._form, self._secret or b"")
        except wire.Refused as exc:
            self._count(exc.why)
            post.exchange.reply(_refusal(exc.status, str(exc)))
            return Notice("post_unreadable", {"reason": str(exc)})

    def note_lead(self, records: list[Record]) -> None:
        """Report how far the latest time of a post lies ahead of its reception."""
        now = self.port.trusted_now()
        times = [record.local_time for record in records if isinstance(record, RawPunch)]
        if now is not None and times:
            here: datetime = now.astimezone(self.port.zone).replace(tzinfo=None)
            self.port.note_ahead(self.options.key(), round((max(times) - here).total_seconds()))

    def close(self) -> None:
        """Refuse what waits; it is posted again."""
        with self._arrived:
            waiting, self._waiting = list(self._waiting), deque()
        for post in waiting:
            post.exchange.reply(REFUSED)


class WebhookTerminal:
    """The app during one visit."""

    def __init__(self, caller: WebhookCaller) -> None:
        self._caller = caller

    def serial(self) -> str:
        """Return the configured name: an app has no serial number."""
        return self._caller.options.serial or ""

    def identify(self) -> TerminalInfo:
        """Return the configured name; an app reports nothing else."""
        return TerminalInfo(self.serial(), None, None)

    def read_clock(self) -> None:
        """Return None: a post may be late by any time, so that its times prove no offset."""
        return

    def deliveries(self, timeout_s: float) -> Generator[Delivered, None, None]:
        """Yield the records of posts, and notices; return when ``timeout_s`` seconds have passed.

        Several users of an app may post all the time: what still waits then is left to the next call, and the worker
        is woken for it. Otherwise it would neither stop nor be polled, and would keep its thread from other workers.
        """
        caller = self._caller
        deadline_s = time.monotonic() + timeout_s
        taken = 0
        while (item := caller.taken(max(0.0, deadline_s - time.monotonic()))) is not None:
            taken += 1
            if isinstance(item, Notice):
                yield item
            elif item.exchange.is_open:  # one that was held too long is posted again
                yield from self._offered(item)
            if taken >= WAITING_MAX and time.monotonic() >= deadline_s:
                caller.port.wake()
                return

    def _offered(self, post: _Post) -> Generator[Delivered, None, None]:
        records = self._caller.read(post)
        if isinstance(records, Notice):
            yield records
            return
        if not records:
            post.exchange.reply(_counted(Settlement()))
            return
        self._caller.note_lead(records)

        def settle(settlement: Settlement) -> bool:
            return post.exchange.reply(_counted(settlement))

        def refuse() -> None:
            post.exchange.reply(REFUSED)

        with Delivery(records, "app", settle=settle, refuse=refuse) as delivery:
            yield delivery


def _counted(settlement: Settlement) -> Reply:
    return Reply(200, wire.settled(settlement), content_type="application/json")


@contextmanager
def attach(options: WebhookOptions, port: CallerPort) -> Iterator[WebhookCaller]:
    """Serve the app within the block."""
    caller = WebhookCaller(options, port)
    try:
        with port.register(options.key(), caller):
            yield caller
    finally:
        caller.close()


@contextmanager
def connect(options: WebhookOptions) -> Iterator[WebhookTerminal]:
    """Raise TerminalUnavailable: only the gateway's receiver can be called."""
    raise TerminalUnavailable(f"{options.name}: an app cannot be called; it posts to the gateway's receiver by itself")
    yield  # makes this a generator


def at(address: str) -> WebhookOptions:
    """Raise ValidationError: no address reaches an app."""
    text = "an app cannot be called; it posts to the gateway: docs/webhook.md"
    details = InitErrorDetails(type=PydanticCustomError("not_callable", text), input=address)
    raise ValidationError.from_exception_data("webhook", [details])


DRIVER = Driver("webhook", WebhookOptions, connect, at=at, via="app", attach=attach, has_log=False, has_serial=False)
