"""The interface of drivers: the protocols they implement, the values they return, the errors they raise.

A driver implements the protocol of one family of terminals and imports nothing from the gateway. Its rules:

* A terminal object lives only inside ``with driver.connect(options) as terminal``; there is no "not connected" state.
* A driver raises only subclasses of :class:`DriverError`. Each is named after the reaction it requires.
* A driver returns the records as the terminal sent them: not sorted, nothing guessed or filled in. A record that cannot
  be decoded is a :class:`BadRecord`; the records after it are still delivered.
* A driver keeps no state between visits and never logs a PIN.
* No driver can clear a log, write users, or read templates, photos or names: the commands it may send are an
  allow-list constant in the driver. The one thing that may be written is the clock, by :class:`SettableClock`.
"""

import errno
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self, cast, runtime_checkable
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from drivers.receiver.registry import Handler, Key
from drivers.textfile import read_comm_key
from drivers.values import Seconds, duration_between

Via = Literal["log", "live", "push", "soap", "serial", "file", "app"]

MARK_MOST = 255
"""Maximum length of the name and of the text of a mark, in characters: see :class:`Delivery`."""

OVERLAP = 8
"""Number of known records in front of new ones, which prove that a reading continues the stored log."""


class Reason(StrEnum):
    """A known reason why a terminal cannot be read; people get the advice that belongs to it."""

    NAME_UNKNOWN = "name_unknown"
    """The host name cannot be resolved."""
    NO_ROUTE = "no_route"
    """This computer has no route to the network of the address."""
    PORT_CLOSED = "port_closed"
    """The host refuses connections to the port."""
    PORT_PERMISSION = "port_permission"
    """The user of this process may not open the serial port."""
    PORT_IN_USE = "port_in_use"
    """Another program has locked the serial port."""
    PORT_MISSING = "port_missing"
    """The serial port does not exist."""
    FILES_UNREADABLE = "files_unreadable"
    """The folder or file with the exports cannot be read."""
    KEY_FILE = "key_file"
    """The file with the communication key cannot be read, or holds something else."""
    KEY_REFUSED = "key_refused"
    """The terminal refuses the communication key."""
    ENCRYPTED = "encrypted"
    """The terminal requires the encrypted variant of its protocol."""
    ACCESS_PANEL = "access_panel"
    """A door access panel answers, not an attendance terminal."""
    SERIAL_UNREPORTED = "serial_unreported"
    """The terminal does not report a serial number."""
    SERIAL_DIFFERS = "serial_differs"
    """A terminal with another serial number answers."""
    SERIAL_TWICE = "serial_twice"
    """The serial number belongs to another configured terminal."""
    NOT_CALLED = "not_called"
    """The terminal calls by itself, and has not done so for long."""
    FIRST_CALL = "first_call"
    """The terminal calls by itself, and its first call is waited for. No error."""
    SERVICE_MISSING = "service_missing"
    """The terminal has no web service for its log."""
    LOG_CUT = "log_cut"
    """The terminal sends fewer records than it counts."""
    LAYOUT_UNKNOWN = "layout_unknown"
    """No known record layout fits the log."""


class DriverError(Exception):
    """Base class of all errors of drivers; never raised itself.

    The message is technical English. ``reason`` is for programs; None where no known reason applies. ``capture`` holds
    the last bytes exchanged, as text lines of hex, where they help to understand what went wrong.
    """

    reason: Reason | None = None
    capture: str | None = None

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


def connect_reason(exc: OSError | UnicodeError) -> Reason | None:
    """Return why a connection to a host failed; None where only the host's silence is known."""
    if isinstance(exc, socket.gaierror | UnicodeError):
        return Reason.NAME_UNKNOWN
    return {errno.ENETUNREACH: Reason.NO_ROUTE, errno.ECONNREFUSED: Reason.PORT_CLOSED}.get(exc.errno or 0)


class TerminalUnavailable(DriverError):  # noqa: N818 - named after the required reaction
    """The terminal does not answer now: retry later."""


class TerminalRefused(DriverError):  # noqa: N818 - named after the required reaction
    """The terminal answers and refuses: a person must act, so retry slowly."""


class ProtocolError(DriverError):
    """The terminal violated its protocol: drop the connection, keep the capture."""


class UnreadableLog(ProtocolError):  # noqa: N818 - named after the condition
    """The log was received whole, but no known record layout fits it: keep ``body`` for analysis by a person.

    The terminal works and the next reading would fail in the same way: a retry soon is useless.
    """

    reason = Reason.LAYOUT_UNKNOWN

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body
        """The log without its protocol framing; of a very long log only the beginning."""


class RawPunch(NamedTuple):
    """One punch as the terminal recorded it; nothing is rounded, judged or corrected."""

    pin: str | None
    """The PIN as enrolled; None where the record carries only the terminal's internal user number ``uid``."""
    uid: int | None
    local_time: datetime
    """The terminal's wall clock, naive."""
    state: int | None
    """Raw code of the in/out key; None where this kind of record has none."""
    verify: int | None
    """Raw code of the way the person was verified; None where this kind of record has none."""
    work_code: str | None
    """None where this kind of record has no work code."""
    raw: bytes
    source_id: str | None = None
    """The source's own identifier of the record, where it has one; ``raw`` contains it. See :class:`Delivery`."""


class BadRecord(NamedTuple):
    """Bytes in the place of a record that cannot be decoded as a punch."""

    raw: bytes
    stable: bytes
    """``raw`` without the fields that may differ between two readings of the same record (index fields)."""
    reason: str
    size: int | None = None
    """How many bytes there were, where ``raw`` is not all of them."""
    sha256: str | None = None
    """Of all of them, in hexadecimal, where ``raw`` is not all of them."""


class Untimed(NamedTuple):
    """A delivered punch without a time; its time is the time of reception."""

    pin: str
    state: int | None
    verify: int | None
    work_code: str | None
    raw: bytes


class Hint(NamedTuple):
    """A live event without a usable record; the log must be read."""

    reason: str


Record = RawPunch | BadRecord


@dataclass(frozen=True, slots=True)
class Reading:
    """Contiguous records of a log, oldest first.

    Valid until the next ``read`` or ``between`` of the same terminal, or the end of the conversation; records that were
    already yielded stay readable.
    """

    start: int
    """Position of the first record as the terminal served it; it may differ from the requested one."""
    total: int
    """Records in the whole log at the moment of reading."""
    records: Iterable[Record]
    """``total - start`` records, fetched and decoded as they are iterated.

    A slow terminal takes minutes to send its log: records can be stored while the rest is being received. Iteration
    may raise DriverError midway; a second iteration repeats the received records and fetches the rest.
    """
    layout: str
    """Name of the record layout that was found."""
    by_uid: bool = False
    """The records carry ``uid`` instead of ``pin``: see :class:`Enrolled`."""
    prepared_s: float = 0.0
    """How long the terminal prepared its log before it sent any of it; it serves no other request meanwhile."""
    whole_only: bool = False
    """The terminal can only send its whole log: a long one is read at intervals."""


@dataclass(frozen=True, slots=True)
class TerminalInfo:
    """Identity of the terminal at an address."""

    serial: str
    model: str | None
    firmware: str | None
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How full the log is; None where the terminal does not report it."""

    records: int | None
    """As reported. Some terminals report 0 and hold punches: only a reading proves that a log is empty."""
    capacity: int | None
    new: int | None = None
    """Those at the end that are marked new; None where the terminal keeps no such marks: see :class:`Delivering`."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The terminal's wall clock and the duration of the request, which bounds the error of the comparison."""

    local_time: datetime
    round_trip_s: float
    age_s: float = 0.0
    """How long ago it was read: a terminal that cannot be requested to show its clock shows it now and then."""


class Terminal(Protocol):
    """The methods of every terminal."""

    def serial(self) -> str:
        """Request the serial number; empty where the terminal does not report one. One small request."""

    def identify(self) -> TerminalInfo:
        """Request everything that identifies the terminal."""

    def read_clock(self) -> ClockReading | None:
        """Request the wall clock; None where the terminal has none or shows an impossible date."""


@runtime_checkable
class Networked(Protocol):
    """A terminal with a network address of its own."""

    def mac_address(self) -> str | None:
        """Return the link-layer address that answers, as the kernel knows it; None where it lies behind a router."""


@runtime_checkable
class Logged(Protocol):
    """A terminal that keeps a log."""

    def sizes(self) -> Sizes:
        """Request how many records the log holds and can hold. One small request."""

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the log from position ``start`` to its end; ``layout`` is the one found in it earlier, if any.

        Raises UnreadableLog where no known layout explains what the terminal sends.
        """


@runtime_checkable
class Ranged(Protocol):
    """A terminal that can select records by date."""

    def between(self, first: datetime, last: datetime, layout: str | None) -> list[Record] | None:
        """Read the records dated from ``first`` to ``last``, both included, in the order of the log.

        They have no position: a record whose clock was wrong is found under its wrong date. ``layout`` is the one found
        in the log earlier, if any. None where this terminal does not support the request or its answer is unusable.
        """


@runtime_checkable
class SettableClock(Protocol):
    """A terminal whose clock can be set; used only where the configuration enables it."""

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock to ``to``, to the second; TerminalRefused where the terminal refuses.

        The caller reads the clock back to verify the change.
        """


@runtime_checkable
class Enrolled(Protocol):
    """A terminal whose log names persons by an internal number."""

    def pins(self) -> Mapping[int, str]:
        """Return the current PIN of each internal user number. Names and passwords are discarded undecoded."""


@runtime_checkable
class Live(Protocol):
    """A terminal with a log that also sends punches as they happen; the log confirms or contradicts them.

    A terminal without a log is :class:`Delivering`.
    """

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Yield the events from now on; return when ``timeout_s`` seconds have passed."""


class Defect(NamedTuple):
    """A part of a file that cannot be decoded as a punch."""

    offset: int
    """Of its first byte."""
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Export(ABC):
    """One file of records that a terminal wrote; the whole file was read and verified."""

    name: str
    """As it may be shown; see :func:`drivers.safe_files.printable`."""
    mark: str
    """Changes when the file is modified or replaced, as far as its metadata shows."""
    size: int
    sha256: str
    """Of the file, in hexadecimal."""
    lines: int
    """Those that hold something."""
    punches: int
    first: datetime | None
    """The earliest date in it that is not of a clock that was reset."""
    last: datetime | None
    defects: tuple[Defect, ...]
    """Where it cannot be read, the first hundred places."""

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Read the records in the file's order; TerminalUnavailable where the file was removed or has changed."""


def _no_report(_text: str) -> bool:
    return False


class Refused(NamedTuple):
    """A file that looks like an export and is not read."""

    name: str
    mark: str
    reason: str
    why: Literal["content", "name", "elsewhere"] = "content"
    """``content``: no record in it can be trusted. ``name``: its terminal is unknown, or it may not be opened.
    ``elsewhere``: it belongs to another terminal, which may read it."""
    serial: str | None = None
    """Serial number of the other terminal that the file belongs to, where the file states it."""
    write_report: Callable[[str], bool] = _no_report
    """Writes a text for people beside the file; returns whether that succeeded."""


class Unsettled(NamedTuple):
    """A file that is still being written."""

    name: str


class Settling(NamedTuple):
    """No file is ready: files must be unchanged for a while before they are read. Yielded every second until then."""


class Settlement(NamedTuple):
    """What became of the records of a delivery; all of them are stored."""

    new: int = 0
    known: int = 0
    quarantined: int = 0
    report: str | None = None
    """A text for people, which a source that can keeps beside the records; None: nothing new is to be said."""


class Delivery:
    """Records that their source keeps, or sends again, until they are settled.

    A driver yields it in a ``with`` block of its own::

        with Delivery(records, "serial", settle=self._forget) as delivery:
            yield delivery

    The gateway stores the records and then calls :meth:`settle`, once. Where it does not, because the disk is full, the
    gateway stops or storing fails, the end of the block refuses the delivery: its records must be delivered again.
    """

    def __init__(
        self,
        records: Iterable[Record | Untimed],
        via: Via,
        start: int | None = None,
        *,
        total: int | None = None,
        layout: str | None = None,
        file: Export | None = None,
        mark: tuple[str, str] | None = None,
        settle: Callable[[Settlement], bool] = lambda _settlement: True,
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe records that may be fetched while they are iterated; ``via`` is how they reached this computer.

        ``start`` is the position of the first of them in the terminal's log, with ``total`` records in that log at this
        moment and its ``layout``, as in a :class:`Reading`; ``records`` can then be iterated again, and all have a
        time. Without ``start`` they have no place in a log: those of a ``file`` are known by their keys.

        All others are collected in memory and stored in one transaction, all or none. With ``via`` "serial" each is a
        punch of its own, also where two are equal: a line sends each once. With any other ``via`` the source may send
        them again, in the same delivery or later: a record equal to a stored one in person, time, state, verify, work
        code and ``source_id`` is that punch (None equals everything: one of two formats lacks the field), and records
        of one person and second that differ are numbered by their first arrival. Such records need a time.

        ``mark`` is a name and an opaque text that is stored in the same transaction, also where no record is new, and
        replaces the text stored under this name before: see :class:`Resumable`. Only for records without ``start`` and
        ``file``.

        ``settle`` is called after the records are stored, ``refuse`` where they are not. ``settle`` returns False
        where the source did not receive the answer, or the report in it; raises DriverError where the conversation
        is over. Neither is ever called again.
        """
        if (start is None) != (total is None):
            raise ValueError("a delivery has both start and total, or neither")
        if mark is not None and (start is not None or file is not None):
            raise ValueError("a mark belongs to records that have neither a place in a log nor a file")
        if mark is not None and max(map(len, mark)) > MARK_MOST:
            raise ValueError(f"the name and the text of a mark have up to {MARK_MOST} characters")
        self.records = records
        self.via = via
        self.mark = mark
        self.start = start
        self.reading: Reading | None = None
        """The records as a part of the terminal's log; None without ``start``."""
        if start is not None and total is not None:
            self.reading = Reading(start, total, cast("Iterable[Record]", records), layout or "")
        self.file = file
        self._settle = settle
        self._refuse = refuse
        self._state: Literal["not in a with block", "open", "settled already", "over"] = "not in a with block"

    def __enter__(self) -> Self:
        self._state = "open"
        return self

    def __exit__(self, *_: object) -> None:
        was_open, self._state = self._state == "open", "over"
        if was_open:
            self._refuse()

    def check_open(self) -> None:
        """Raise RuntimeError where the delivery cannot be settled; call it before the records are stored."""
        if self._state != "open":
            raise RuntimeError(f"this delivery is {self._state}")

    def settle(self, settlement: Settlement) -> bool:
        """State that every record is stored durably; return False where the source did not receive that.

        Raises DriverError where the conversation is over, RuntimeError for a second call or one after the block.
        """
        self.check_open()
        self._state = "settled already"  # whatever follows: an answer that may have arrived is never repeated
        return self._settle(settlement)


class Notice(NamedTuple):
    """Something about a terminal that people have to know; yielded by ``deliveries()`` where it happens."""

    code: Literal[
        "ack_form_changed",
        "post_unreadable",
        "serial_from_two_addresses",
        "signature_refused",
        "stamp_reversed",
        "table_discarded",
        "table_held",
        "upload_too_long",
    ]
    """Code of the incident: :mod:`gateway.incidents` has its message."""
    values: Mapping[str, str]
    """The words in that message; nothing personal."""


Delivered = Delivery | Refused | Unsettled | Settling | Notice


@runtime_checkable
class Delivering(Protocol):
    """A terminal, folder, line or caller that brings records by itself and keeps them until they are stored.

    With :class:`Logged` it is a terminal that marks the end of its log as new: it yields one delivery with a ``start``,
    an empty one where nothing is marked. Settling it removes the marks of all but the last :data:`OVERLAP` records,
    which prove the next time that the delivery continues the stored log.
    """

    def deliveries(self, timeout_s: float) -> Generator[Delivered, None, None]:
        """Yield what is delivered; return when ``timeout_s`` seconds have passed, or where nothing more can come.

        A refused delivery is yielded again by a later call. The gateway closes the generator; the ``with`` block of a
        :class:`Delivery` then refuses what was not settled.
        """


class SpanAnswer(NamedTuple):
    """The result of a request about the records of a span of time."""

    records: int | None
    """How many the span holds, or how many were delivered again; None: the terminal does not support the request, or
    has not answered in time."""


@runtime_checkable
class Recountable(Delivering, Protocol):
    """A terminal that counts the records between two moments, and delivers them again on request.

    It answers minutes later, while it delivers; one request at a time.
    """

    def log_sizes(self) -> Sizes:
        """Return what the terminal last reported of its log, without a request."""

    def request(self, first: datetime, last: datetime, *, again: bool) -> bool:
        """Request how many records are dated from ``first`` to ``last``, or, with ``again``, these records.

        They arrive as deliveries. False where a request is outstanding.
        """

    def answer(self) -> SpanAnswer | None:
        """Return the result of the last request, once; None while it is outstanding."""


@runtime_checkable
class Resumable(Delivering, Protocol):
    """A terminal that continues where its last stored delivery ended: its deliveries have marks, such as PUSH stamps.

    A driver keeps no state between two conversations; the gateway stores the marks with the records.
    """

    def resume(self, marks: Mapping[str, str]) -> None:
        """Receive the stored text of each mark; called once, before every other method of the terminal.

        Empty at the first contact, after the serial number changed, and where a damaged ledger was recovered: the
        terminal then sends everything again, and what is stored already is recognised.
        """


@contextmanager
def marked_new(terminal: Delivering) -> Iterator[Reading | None]:
    """Yield the records that a terminal with a log marks as new, to look at them: they stay marked."""
    with closing(terminal.deliveries(0.0)) as items:
        yield next((item.reading for item in items if isinstance(item, Delivery)), None)


@runtime_checkable
class Removable(Delivering, Protocol):
    """A place where files of records lie until a person takes it away, such as a flash disk.

    Every delivery has a ``file``. A failure with one file is a :class:`Refused` for that file, and the others are still
    delivered; while files settle, :class:`Settling` is yielded.
    """

    def present(self) -> bool:
        """Return whether the place exists and holds anything."""

    def skip(self, marks: Collection[str]) -> None:
        """Leave out the files with these marks from now on: they were processed before."""


class DriverOptions(BaseModel):
    """Options of every driver; drivers derive their own, and the gateway reads them from the terminal's entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    """What the office calls the terminal."""
    timeout: Annotated[Seconds, duration_between("100ms", "10m")] = 10.0
    """Bound on one small request and its answer."""
    bulk_timeout: Annotated[Seconds, duration_between("1s", "1h")] = 120.0
    """Bound on one prepare or one chunk of a log."""

    @staticmethod
    def read_comm_key(path: Path) -> object:
        """Read a file with a communication key of this family; raises OSError, or TextFileError for another content."""
        return read_comm_key(path)

    def place(self) -> str | None:
        """Return the normalised address or port; no two terminals share one. None: no fixed place."""
        places = (getattr(self, option, None) for option in ("address", "port"))
        return next((place.strip().lower() for place in places if isinstance(place, str)), None)


class Labels(NamedTuple):
    """Known meanings of a family's raw codes; for display, never in place of the codes."""

    state: Mapping[int | None, str]
    verify: Mapping[int | None, str]


@dataclass(frozen=True, slots=True)
class Search:
    """The hosts of a discovery run, and its limits."""

    hosts: Iterable[str]
    """IPv4 addresses, each of them once; consumed one by one during the search."""
    port: int | None = None
    """None: the default port of this family."""
    comm_key_file: Path | None = None
    """A file with the communication key for terminals that require one."""
    rate: float = 50.0
    """Connection attempts in one second, at most."""
    timeout_s: float = 1.0
    """An address without an answer for this time counts as unused."""
    stop: Event = field(default_factory=Event)
    """Set it to end the search: open conversations are closed properly, and their results are still yielded."""


@dataclass(frozen=True, slots=True)
class DiscoveredTerminal:
    """A host that answered, with the data received before ``error``, if any, ended the conversation."""

    host: str
    entry: Mapping[str, str]
    """The options that reach it, as in a terminal's entry of the configuration."""
    info: TerminalInfo | None = None
    """None: no conversation was opened."""
    clock_read_at: datetime | None = None
    """This computer's time, with a zone, when the clock was read."""
    clock: ClockReading | None = None
    sizes: Sizes | None = None
    error: DriverError | None = None


Finding = DiscoveredTerminal
"""The former name, for drivers of other packages."""


class CallerPort(Protocol):
    """What the gateway gives to the driver of a terminal that calls this computer. All methods are thread-safe."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the terminal's clock."""

    def register(self, key: Key, handler: Handler) -> AbstractContextManager[None]:
        """Let ``handler`` serve the requests of ``key`` within the block; ValueError where another one does."""

    def count_refused(self, key: Key, why: str) -> None:
        """Count a request of ``key`` that its handler refused, by the reason; for the status and the doctor."""

    def note_ahead(self, key: Key, seconds: int) -> None:
        """Note how far the latest time in an upload of ``key`` lies ahead of its reception; less than 0: behind."""

    def wake(self) -> None:
        """Request that :meth:`Delivering.deliveries` is called now, or a visit begins: something has arrived."""

    @property
    def sets_clock(self) -> bool:
        """Whether the configuration lets the terminal's clock be set."""

    def trusted_now(self) -> datetime | None:
        """Return this computer's time, with a zone; None where its clock is not synchronised."""


class Attached(Protocol):
    """A terminal that calls this computer, while the gateway serves it; its state lasts from visit to visit."""

    def connect(self) -> AbstractContextManager[Terminal]:
        """Begin a visit; TerminalUnavailable where the terminal has not called for so long that it counts as lost.

        Returns at once, and so do all methods of the terminal: hundreds share a few threads.
        ``deliveries(timeout_s)`` is called with 0, and again after each :meth:`CallerPort.wake`.
        """


@runtime_checkable
class Awaited(Attached, Protocol):
    """A terminal that calls regularly: until its first call it is waited for, and is neither online nor lost."""

    @property
    def has_called(self) -> bool:
        """Whether it has called since the gateway serves it."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver as the gateway uses it: name, options, and the function that connects."""

    name: str
    options: type[DriverOptions]
    connect: Callable[[Any], AbstractContextManager[Terminal]]
    """Called with an instance of ``options``; raises :class:`DriverError` where no conversation opens."""
    discover: Callable[[Search], Generator[DiscoveredTerminal | None, None, None]] | None = None
    """Searches for terminals: yields one item for each host when its result is known, None for an unused address.

    Raises TerminalUnavailable at the end where this computer had no route to any host. Closing the generator stops the
    search too. None: terminals of this family cannot be discovered.
    """
    at: Callable[[str], DriverOptions] | None = None
    """Build options from an address alone; ValidationError for an invalid address. None: ``address`` is the only option
    without a default."""
    labels: Labels | None = None
    """None: the codes of ZKTeco, which many brands share."""
    via: Via = "log"
    """The transport of log records: ``serial`` where the family uses a serial protocol."""
    attach: Callable[[Any, CallerPort], AbstractContextManager[Attached]] | None = None
    """Registers a terminal that calls this computer, with an instance of ``options``, a child of
    :class:`drivers.receiver.caller.CallerOptions`; the gateway keeps the block open as long as it serves the terminal.
    None: the family does not call. Where it is given, the gateway uses it in place of ``connect``."""
    has_log: bool = True
    """Whether its terminals have a log in which records have places: the entry's ``start`` is a place in it."""
    has_serial: bool = True
    """Whether its terminals report a serial number. False: the configured one counts, and ``serial()`` is not called by
    the gateway; the options declare ``serial``, and a terminal without one is refused."""
