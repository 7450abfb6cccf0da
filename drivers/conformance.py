"""The requirements on every driver, as checks for its own tests; independent of the test runner.

A driver's tests build a :class:`Bench`, a simulated terminal and its state, and call each of :data:`CHECKS` with it::

    @pytest.mark.parametrize("check", CHECKS)
    def test_check(check):
        with my_simulator() as simulator:
            check(Bench(DRIVER, options, ...))

A violated requirement is an AssertionError that names it.
"""

import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pydantic import ValidationError

from drivers.base import (
    OVERLAP,
    BadRecord,
    CallerPort,
    ClockReading,
    Delivered,
    Delivering,
    Delivery,
    Driver,
    DriverError,
    DriverOptions,
    Enrolled,
    Hint,
    Live,
    Logged,
    Ranged,
    RawPunch,
    Recountable,
    Removable,
    Resumable,
    Settlement,
    Sizes,
    SpanAnswer,
    Terminal,
    TerminalInfo,
    Untimed,
)
from drivers.field_docs import field_docs

TIMEOUT_S = 30.0
"""Far longer than any conversation with the options of a bench may take: a conversation still open then hangs."""
LISTEN_S = 0.05


@dataclass(frozen=True)
class Bench:
    """A simulated terminal, its options, and its state as seen from outside."""

    driver: Driver
    options: DriverOptions
    """They reach a simulated terminal without faults that holds ``log``; time-outs of a second or two."""
    log: Sequence[bytes]
    """The raw records that its log, or its files, hold; empty where it keeps none."""
    received: Callable[[], Collection[object]]
    """The kinds of messages that the terminal has received so far."""
    allowed: Collection[object]
    """The allow-list of the driver."""
    state: Callable[[], object]
    """The state that a visit must not change: the log, the enrolled users, whether the terminal is enabled."""
    punch: Callable[[], object] | None = None
    """Makes a punch at the terminal; None where it sends none by itself."""
    options_for_port: Callable[[int], DriverOptions] | None = None
    """Options that reach a TCP port of this machine, with time-outs of half a second at most; None where the family
    has no TCP port."""
    port: CallerPort | None = None
    """Where a terminal that calls is served; None for families that do not call."""

    @contextmanager
    def connect(self) -> Iterator[Terminal]:
        """Begin a visit, as the gateway does."""
        with ExitStack() as stack:
            if self.driver.attach is None or self.port is None:
                terminal = stack.enter_context(self.driver.connect(self.options))
            else:
                attached = stack.enter_context(self.driver.attach(self.options, self.port))
                terminal = stack.enter_context(attached.connect())
            if isinstance(terminal, Resumable):
                terminal.resume({})
            yield terminal


def run_to_end(work: Callable[[], object]) -> BaseException | None:
    """Do ``work`` in a thread; return the exception it ended with. AssertionError where it does not end."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - returned to the caller
            failure.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    _require(not thread.is_alive(), "a conversation does not end: something waits without a deadline")
    return failure[0] if failure else None


def its_interfaces_return_their_types(bench: Bench) -> None:
    """Identity, clock, sizes, log, users, live punches: each in the types of drivers.base, and the log byte by byte."""
    with bench.connect() as terminal:
        _require(isinstance(terminal.serial(), str), "serial() is a text")
        identity = terminal.identify()
        _require(isinstance(identity, TerminalInfo), "identify() is a TerminalInfo")
        configured = getattr(bench.options, "serial", None)
        _require(
            bench.driver.has_serial or (bool(configured) and identity.serial == configured),
            "a terminal that reports no serial number has the configured one",
        )
        clock = terminal.read_clock()
        _require(
            clock is None or (isinstance(clock, ClockReading) and clock.local_time.tzinfo is None), "a naive clock"
        )
        if isinstance(terminal, Logged):
            _read_log(terminal, bench.log)
        if isinstance(terminal, Ranged):
            found = terminal.between(datetime(2020, 1, 1), datetime(2020, 1, 2), None)  # noqa: DTZ001 - wall clocks
            _require(found is None or isinstance(found, list), "between() is a list or None")
        if isinstance(terminal, Recountable):
            _recount(terminal)
        if isinstance(terminal, Enrolled):
            _require(all(isinstance(pin, str) for pin in terminal.pins().values()), "PINs are texts")
        if isinstance(terminal, Removable):
            _require(terminal.present(), "nothing is there")
            _require(_deliver(terminal) == list(bench.log), "not the bytes of the files")
        elif isinstance(terminal, Delivering):
            _require(run_to_end(lambda: _deliver(terminal)) is None, "waiting while nothing is delivered is no error")
        if isinstance(terminal, Live):
            _listen(terminal, bench.punch)
        _require(isinstance(terminal, Logged | Delivering), "a terminal is Logged or Delivering")
        _require(isinstance(terminal, Logged) or not isinstance(terminal, Live), "a terminal with events has a log")


def a_visit_changes_nothing(bench: Bench) -> None:
    """Only commands of the allow-list are sent, and a visit changes nothing."""
    before = bench.state()
    with bench.connect() as terminal:
        _use_all_interfaces(terminal)
    _require(set(bench.received()) <= set(bench.allowed), f"sent and not allowed: {set(bench.received())}")
    _require(bench.state() == before, "the terminal is not as it was before the visit")
    with bench.connect() as terminal:
        _require(isinstance(terminal.serial(), str), "a second visit is like the first")


def a_delivery_is_kept_until_it_is_settled(bench: Bench) -> None:
    """Deliver records again where they were not settled, and not where they were; settle once only."""
    with bench.connect() as terminal:
        if not isinstance(terminal, Delivering):
            return
        bring = bench.punch if bench.punch is not None and not isinstance(terminal, Logged | Removable) else None
        first = _delivered(terminal, bring)
        if not first:
            return
        again = _delivered(terminal, None, settle=True)
        # A terminal that calls may have sent the first one several times meanwhile.
        _require(
            list(dict.fromkeys(again)) == list(dict.fromkeys(first)),
            "a delivery that was not settled is not delivered again",
        )
        rest = _delivered(terminal, None, wait=False)
    kept = first[-OVERLAP:] if isinstance(terminal, Logged) else []
    _require(rest == kept, "a settled delivery is delivered again")


def a_delivery_can_be_recognised(bench: Bench) -> None:
    """Deliver records that may be sent again with a time, and marks only where they are received again."""
    with bench.connect() as terminal:
        if not isinstance(terminal, Delivering) or isinstance(terminal, Logged | Removable):
            return
        if bench.punch is not None:
            bench.punch()
        until = time.monotonic() + TIMEOUT_S
        found = 0
        while not found and bench.punch is not None and time.monotonic() < until:
            with closing(terminal.deliveries(LISTEN_S)) as items:
                for item in items:
                    if isinstance(item, Delivery):
                        found += _check_recognisable(item, terminal)


def a_silent_peer_is_left_in_time(bench: Bench) -> None:
    """Check that a visit to a peer that sends nothing ends, with a DriverError or without records."""
    _visit_peer(bench, b"", stay=True)


def a_closing_peer_ends_the_visit(bench: Bench) -> None:
    """Check that a visit to a peer that closes the connection ends, with a DriverError or without records."""
    _visit_peer(bench, b"", stay=False)


def another_protocol_ends_the_visit(bench: Bench) -> None:
    """Check that a visit to a peer with another protocol ends, with a DriverError or without records."""
    _visit_peer(bench, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + bytes(range(256)), stay=True)
    _visit_peer(bench, bytes(512), stay=False)


def a_closed_port_is_a_driver_error(bench: Bench) -> None:
    """Check that a closed port is a DriverError."""
    if bench.options_for_port is None:
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = bench.options_for_port(port)
    failure = run_to_end(lambda: _visit(bench.driver, options))
    _require(isinstance(failure, DriverError), f"a closed port must be a DriverError, not {failure!r}")


def its_options_are_documented(bench: Bench) -> None:
    """Each option has a docstring, and a number of seconds without its unit is refused."""
    _require(bench.driver.options.__doc__ is not None, "the options have no docstring")
    fields = bench.driver.options.model_fields
    documented = field_docs(bench.driver.options)
    given = {
        fields[name].alias or name: f"{value}s" if isinstance(value, float) else value for name, value in bench.options
    }
    for name, field in fields.items():
        _require(bool(field.description or documented.get(name)), f"the option {name} has no docstring")
        if field.annotation is not float:
            continue
        try:
            bench.driver.options.model_validate(given | {name: 5})
        except ValidationError as exc:
            _require(any(error["loc"] == (name,) for error in exc.errors()), f"{name}: another mistake: {exc}")
        else:
            raise AssertionError(f"the option {name} takes 5 without a unit; make it drivers.base.Seconds")


CHECKS: tuple[Callable[[Bench], None], ...] = (
    its_interfaces_return_their_types,
    a_visit_changes_nothing,
    a_delivery_is_kept_until_it_is_settled,
    a_delivery_can_be_recognised,
    a_silent_peer_is_left_in_time,
    a_closing_peer_ends_the_visit,
    another_protocol_ends_the_visit,
    a_closed_port_is_a_driver_error,
    its_options_are_documented,
)


def _check_recognisable(delivery: Delivery, terminal: Delivering) -> int:
    """Return the number of a delivery's records; AssertionError where a repetition of it could not be recognised."""
    records = list(delivery.records)
    once = delivery.via == "serial"
    _require(
        once or not any(isinstance(record, Untimed) for record in records), "a record that is repeated has no time"
    )
    _require(delivery.mark is None or not once, "a mark needs a source that sends its records again")
    _require(delivery.mark is None or isinstance(terminal, Resumable), "marks are delivered, and never received again")
    identified = ((record.source_id or "", record.raw) for record in records if isinstance(record, RawPunch))
    _require(all(source_id.encode() in raw for source_id, raw in identified), "raw does not contain source_id")
    return len(records)


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)


def _read_log(terminal: Logged, log: Sequence[bytes]) -> None:
    _require(isinstance(terminal.sizes(), Sizes), "sizes() is a Sizes")
    for start in (0, max(0, len(log) - 2), len(log)):
        reading = terminal.read(start)
        records = list(reading.records)
        _require(reading.start <= start, "a reading begins behind the requested place")
        _require((reading.total, len(records)) == (len(log), len(log) - reading.start), "a reading counts otherwise")
        _require(all(isinstance(record, RawPunch | BadRecord) for record in records), "a reading gives something else")
        _require([record.raw for record in records] == list(log[reading.start :]), "raw bytes are not those of the log")
        _require(list(reading.records) == records, "iterated again, a reading gives something else")


def _deliver(terminal: Delivering, *, settle: bool = False) -> list[bytes]:
    """Return the raw bytes of the records of all deliveries; AssertionError for one that is not as it must be."""
    raws: list[bytes] = []
    with closing(terminal.deliveries(LISTEN_S)) as items:
        for item in items:
            _require(isinstance(item, Delivered), "deliveries() gives something else")
            if not isinstance(item, Delivery):
                continue
            records = list(item.records)
            raws += [record.raw for record in records]
            _require(isinstance(terminal, Logged) == (item.reading is not None), "records of a log have a place in it")
            _require(isinstance(terminal, Removable) == (item.file is not None), "a removable place holds files")
            if item.reading is not None:
                _require(len(records) == item.reading.total - item.reading.start, "new records are the end of the log")
            if settle:
                item.settle(Settlement(len(records), report="HADIR\n"))
                _require(isinstance(run_to_end(partial(item.settle, Settlement())), RuntimeError), "settled twice")
    return raws


def _delivered(
    terminal: Delivering, bring: Callable[[], object] | None, *, settle: bool = False, wait: bool = True
) -> list[bytes]:
    """Return the raw bytes of what is delivered after ``bring``; wait until there is something where it is expected."""
    raws: list[bytes] = []
    if bring is not None:
        bring()
    until = time.monotonic() + TIMEOUT_S
    while not raws:
        raws = _deliver(terminal, settle=settle)
        if raws or not wait or time.monotonic() > until:
            break
    return raws


def _recount(terminal: Recountable) -> None:
    """Let the terminal count a span, and deliver it again; each request ends with one answer."""
    _require(isinstance(terminal.log_sizes(), Sizes), "log_sizes() is a Sizes")
    span = (datetime(2020, 1, 1), datetime(2020, 1, 2))  # noqa: DTZ001 - wall clocks
    for again in (False, True):
        _require(terminal.request(*span, again=again), "a request is refused although none is outstanding")
        until = time.monotonic() + TIMEOUT_S
        while (answer := terminal.answer()) is None and time.monotonic() < until:
            _require(not terminal.request(*span, again=again), "a second request while one is outstanding")
            _deliver(terminal, settle=True)
        _require(isinstance(answer, SpanAnswer), "answer() is a SpanAnswer, in the end")


def _listen(terminal: Live, punch: Callable[[], object] | None) -> None:
    _require(run_to_end(lambda: list(terminal.events(LISTEN_S))) is None, "listening while nothing happens is no error")
    if punch is None:
        return
    received: list[object] = []

    def wait() -> None:
        while not received:
            received.extend(terminal.events(LISTEN_S))

    punch()
    _require(run_to_end(wait) is None, "listening to a punch is no error")
    _require(
        all(isinstance(item, RawPunch | Hint) for item in received),
        "events() gives something else",
    )


def _visit_peer(bench: Bench, payload: bytes, *, stay: bool) -> None:
    if bench.options_for_port is None:
        return
    with _peer(payload, stay=stay) as port:
        options = bench.options_for_port(port)
        failure = run_to_end(lambda: _visit(bench.driver, options))
    _require(failure is None or isinstance(failure, DriverError), f"this left the driver: {failure!r}")
    _require(type(failure) is not DriverError, "DriverError itself says nothing about what is to be done")


@contextmanager
def _peer(payload: bytes, *, stay: bool) -> Iterator[int]:
    """Accept every connection to a port, send ``payload``, and stay silent or close."""
    taken: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.sendall(payload)
                if stay:
                    taken.append(connection)
                else:
                    connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def _visit(driver: Driver, options: DriverOptions) -> None:
    with driver.connect(options) as terminal:
        _use_all_interfaces(terminal)


def _use_all_interfaces(terminal: Terminal) -> None:
    """Call every method of the terminal that changes nothing."""
    terminal.identify()
    terminal.read_clock()
    if isinstance(terminal, Logged):
        terminal.sizes()
        list(terminal.read().records)
    if isinstance(terminal, Delivering):
        _deliver(terminal)
    if isinstance(terminal, Ranged):
        terminal.between(datetime(2020, 1, 1), datetime(2020, 1, 1) + timedelta(days=1), None)  # noqa: DTZ001 - wall clocks
    if isinstance(terminal, Recountable):
        _recount(terminal)
    if isinstance(terminal, Enrolled):
        terminal.pins()
    if isinstance(terminal, Live):
        list(terminal.events(LISTEN_S))
