"""What a driver is: the interfaces it implements, the values it returns, the errors it raises.

A driver speaks to one family of terminals and imports nothing from the gateway. The rules, in words:

* A terminal object lives only inside ``with driver.connect(options) as terminal``; there is no "not connected" state.
* Only children of :class:`DriverError` leave a driver. They are named by the reaction they call for.
* A driver returns what the terminal said: unsorted, unguessed, nothing filled in. A record that cannot be read is a
  :class:`BadRecord`; the thousands behind it are still delivered.
* A driver keeps no state between visits and never logs a PIN.
* No driver can clear a log, write users, or read templates, photos or names: the commands it may send are an
  allow-list constant in the driver. The one thing that may be written is the clock, by :class:`SettableClock`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from drivers.values import Seconds, duration_between

Via = Literal["log", "live", "push", "soap", "serial", "file"]


class DriverError(Exception):
    """Base of everything a driver raises; never raised itself.

    ``capture`` holds the last bytes exchanged, as text lines of hex, where they help to understand what went wrong.
    """

    capture: str | None = None


class TerminalUnavailable(DriverError):  # noqa: N818 - named by the reaction it calls for
    """The terminal does not answer now: come back later."""


class TerminalRefused(DriverError):  # noqa: N818 - named by the reaction it calls for
    """The terminal answers and says no: a person must act, so retry slowly."""


class ProtocolError(DriverError):
    """The terminal sent what its protocol does not allow: drop the connection, keep the capture."""


class UnreadableLog(ProtocolError):  # noqa: N818 - says what was met
    """The log came whole, but no record layout known explains it: keep ``body``, a person must look at it.

    The terminal is well and the next reading would end the same way: asking again soon is of no use.
    """

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body
        """The log as it was sent, without what its protocol puts around it; of a very long one its beginning."""


class RawPunch(NamedTuple):
    """One punch as the terminal said it; nothing is rounded, judged or corrected."""

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


class BadRecord(NamedTuple):
    """Bytes in a record's place that cannot be read as a punch."""

    raw: bytes
    stable: bytes
    """``raw`` without the fields that may differ between two readings of the same record (index fields)."""
    reason: str
    size: int | None = None
    """How many bytes there were, where ``raw`` is not all of them."""
    sha256: str | None = None
    """Of all of them, in hexadecimal, where ``raw`` is not all of them."""


class Untimed(NamedTuple):
    """A punch that a terminal told of as it happened, without a time: whoever hears it knows when."""

    pin: str
    state: int | None
    verify: int | None
    work_code: str | None
    raw: bytes


class Hint(NamedTuple):
    """A live event that tells that something happened but not what: read the log."""

    reason: str


Record = RawPunch | BadRecord


@dataclass(frozen=True, slots=True)
class Reading:
    """A run of log records, oldest first.

    Valid until the next ``read`` or ``between`` of the same terminal, or the end of the conversation; what it has
    handed out already stays readable.
    """

    start: int
    """Position of the first record: what was really served, not what was asked for."""
    total: int
    """Records in the whole log at the moment of reading."""
    records: Iterable[Record]
    """``total - start`` records, fetched and decoded as they are iterated.

    A slow terminal takes minutes to send its log: what has come can be stored while the rest is under way. Iterating
    may raise DriverError midway; iterating again gives what has come again and fetches the rest.
    """
    layout: str
    """Name of the record layout that was found."""
    by_uid: bool = False
    """The records carry ``uid`` instead of ``pin``: see :class:`Enrolled`."""
    prepared_s: float = 0.0
    """How long the terminal was busy preparing its log before it could send any of it; it serves nobody meanwhile."""


@dataclass(frozen=True, slots=True)
class TerminalInfo:
    """Who answers at an address."""

    serial: str
    model: str | None
    firmware: str | None
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How full the log is; None where the terminal cannot say."""

    records: int | None
    """As the terminal says. Some say 0 and hold punches: only a reading proves that a log is empty."""
    capacity: int | None
    new: int | None = None
    """Those at the end that are marked new; None where the terminal keeps no such marks: see :class:`Acknowledging`."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The terminal's wall clock and how long the question took, which bounds the error of the comparison."""

    local_time: datetime
    round_trip_s: float


class Terminal(Protocol):
    """What every terminal can do."""

    def serial(self) -> str:
        """Ask for the serial number; empty where the terminal does not tell one. One small request."""

    def identify(self) -> TerminalInfo:
        """Ask for everything that says what kind of terminal it is."""

    def read_clock(self) -> ClockReading | None:
        """Ask for the wall clock; None where the terminal has none or shows an impossible date."""


@runtime_checkable
class Networked(Protocol):
    """A terminal that is reached over a network of its own."""

    def mac_address(self) -> str | None:
        """Return the link-layer address that answers, as the kernel knows it; None where it lies behind a router."""


@runtime_checkable
class Logged(Protocol):
    """A terminal that keeps a log."""

    def sizes(self) -> Sizes:
        """Ask how many records the log holds and can hold. One small request."""

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the log from position ``start`` to its end; ``layout`` is the one found in it earlier, if any.

        Raises UnreadableLog where no known layout explains what the terminal sends.
        """


@runtime_checkable
class Ranged(Protocol):
    """A terminal that can look for records by date itself."""

    def between(self, first: datetime, last: datetime, layout: str | None) -> list[Record] | None:
        """Read the records dated from ``first`` to ``last``, both included, in the order of the log.

        They have no position: a record whose clock was wrong is found under its wrong date. ``layout`` is the one found
        in the log earlier, if any. None where this terminal does not know the question or answers it unusably.
        """


@runtime_checkable
class SettableClock(Protocol):
    """A terminal whose clock can be set; asked for only where the configuration says so."""

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock to ``to``, to the second; TerminalRefused where the terminal will not.

        Whether it took is for the caller to read back.
        """


@runtime_checkable
class Acknowledging(Logged, Protocol):
    """A terminal that marks the records at the end of its log as new, until it is told that somebody has them."""

    def new(self) -> Reading:
        """Read the records that are marked new; ``Reading.start`` is the place of the first of them in the log."""

    def acknowledge(self, count: int) -> None:
        """Take the mark from the oldest ``count`` records that have it. The records stay.

        Only ever of records that the last :meth:`new` has handed out and that are stored: RuntimeError for any more.
        """


@runtime_checkable
class Enrolled(Protocol):
    """A terminal whose log names persons by an internal number."""

    def pins(self) -> Mapping[int, str]:
        """Read which PIN each internal user number stands for now. Names and passwords are discarded unread."""


@runtime_checkable
class Live(Protocol):
    """A terminal that tells of punches as they happen.

    Where it is not :class:`Logged` too, what it tells is final: there is no log that could confirm it.
    """

    def events(self, timeout_s: float) -> Iterator[RawPunch | Untimed | BadRecord | Hint]:
        """Yield what happens from now on; return when ``timeout_s`` seconds have passed."""


class Defect(NamedTuple):
    """A place in a file that cannot be read as a punch."""

    offset: int
    """Of its first byte."""
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Export(ABC):
    """One file of records that a terminal wrote, looked through to its end, and certain to be one."""

    name: str
    """As it may be shown; see :func:`drivers.safe_files.printable`."""
    mark: str
    """Another one where the file was changed or exchanged, as far as that shows from outside."""
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
        """Read the records in the file's order; TerminalUnavailable where the file is gone or has changed."""


class Refused(NamedTuple):
    """A file that looks like an export and is not read."""

    name: str
    mark: str
    reason: str
    why: Literal["content", "name", "elsewhere"] = "content"
    """``content``: no record in it can be trusted. ``name``: whose it is cannot be told, or it may not be opened.
    ``elsewhere``: it is of another terminal, which may have it read."""
    serial: str | None = None
    """Of the terminal that it is of, where it is of another one and says so."""


class Unsettled(NamedTuple):
    """A file that is still being written."""

    name: str


class Settling(NamedTuple):
    """Nothing yet: files must not change for a while before they are read. Given every second until then."""


@runtime_checkable
class Exporting(Protocol):
    """A place where files with a terminal's records appear, such as a flash disk that people bring."""

    def present(self) -> bool:
        """Whether there is anything to look at."""

    def exports(self, seen: Collection[str]) -> Iterator[Export | Refused | Unsettled | Settling]:
        """Yield the files there are, but not those whose marks have been seen. It takes the time that files settle.

        What a file makes fail is a refusal of that file: the others are still given.
        """

    def write_report(self, about: Export | Refused, receipt: str) -> bool:
        """Leave ``receipt``, a text for people, beside a file that is stored or refused; whether that was possible."""


class DriverOptions(BaseModel):
    """Options every driver has; a driver derives its own, and the gateway reads them from the terminal's entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What the office calls the terminal."""
    timeout: Annotated[Seconds, duration_between("100ms", "10m")] = 10.0
    """Bound on one small request and its answer."""
    bulk_timeout: Annotated[Seconds, duration_between("1s", "1h")] = 120.0
    """Bound on one prepare or one chunk of a log."""

    def place(self) -> str | None:
        """Return where the terminal is, in one spelling for all: no two terminals have one place. None: anywhere."""
        places = (getattr(self, option, None) for option in ("address", "port"))
        return next((place.strip().lower() for place in places if isinstance(place, str)), None)


class Labels(NamedTuple):
    """What a family's raw codes mean, where that is known: for people, and never in place of the codes."""

    state: Mapping[int | None, str]
    verify: Mapping[int | None, str]


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look for terminals, and how gently."""

    hosts: Iterable[str]
    """IPv4 addresses, each of them once; taken one by one as the search gets to them."""
    port: int | None = None
    """None: where terminals of this family usually listen."""
    comm_key_file: Path | None = None
    """A file with the communication key for those that ask for one."""
    rate: float = 50.0
    """Attempts to reach somebody in one second, at most."""
    timeout_s: float = 1.0
    """How long an address may stay silent before nobody is taken to be there."""
    stop: Event = field(default_factory=Event)
    """Set it to end the search: conversations under way are ended properly, and what they found still comes."""


@dataclass(frozen=True, slots=True)
class DiscoveredTerminal:
    """Somebody answered at an address, and what was learned of it before ``error``, if any, ended the conversation."""

    host: str
    entry: Mapping[str, str]
    """The driver's options that reach it, as a terminal's entry in the configuration says them."""
    info: TerminalInfo | None = None
    """None: no conversation came about."""
    clock_read_at: datetime | None = None
    """This computer's time, with a zone, when the clock was asked for."""
    clock: ClockReading | None = None
    sizes: Sizes | None = None
    error: DriverError | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """How the gateway gets at a driver: its name, its options and its front door."""

    name: str
    options: type[DriverOptions]
    connect: Callable[[Any], AbstractContextManager[Terminal]]
    """Called with an instance of ``options``; raises :class:`DriverError` where no conversation comes about."""
    discover: Callable[[Search], Generator[DiscoveredTerminal | None, None, None]] | None = None
    """Looks for terminals: yields one item for each host, as it is settled, None where nobody is.

    Raises TerminalUnavailable in the end where this computer had no way to any host. Closing the generator stops the
    search too. None where terminals of this family cannot be looked for.
    """
    at: Callable[[str], DriverOptions] | None = None
    """Make options of nothing but an address that somebody typed; ValidationError where it is none. None: ``address``
    is the one option that has no default."""
    labels: Labels | None = None
    """None: those of ZKTeco, which many brands share."""
    via: Via = "log"
    """By which road records of the log come: ``serial`` where the family speaks a serial line's protocol."""
