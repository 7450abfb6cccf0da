"""The worker against terminals that do what no well-behaved one does, and a real ledger."""

import json
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import Hint, RawPunch, Reason, Record, TerminalRefused, TerminalUnavailable, UnreadableLog
from gateway.pause import Pause
from gateway.terminal import captures
from gateway.terminal.worker import Worker
from tests import contract
from tests.broker import WAIT_S, eventually
from tests.drivers.hostile import PLANTS, Plant, untouched
from tests.gateway import office as office_module
from tests.gateway.office import polled
from tests.gateway.scripted import ZONE, Script, history, record
from tests.gateway.small_disk import mounted

MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
LONG_S = 1000.0
"""Longer than any test."""


@dataclass(kw_only=True)
class Office(office_module.Office):
    """One scripted terminal, one ledger, one worker at a time."""

    script: Script


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office whose terminal is polled often, unless a test sets it, and soon again after a failure."""
    script = Script()
    entry = {"name": "lobby", "driver": "zkteco", "address": "127.0.0.1", "poll": "30ms"}
    parts = {"script": script, "driver": script.driver(), "entry": entry}
    with Office.opened(tmp_path, Pause(0.02, 0.05), **parts) as office:
        yield office


# ---------------------------------------------------------------- how often a log is prepared


def test_a_slow_terminal_is_left_in_peace_while_it_tells_of_punches(office: Office) -> None:
    """After a preparation of minutes no poll prepares again, though the count grows; live punches still come."""
    office.script.log = history(30, MORNING)
    office.script.prepared_s = LONG_S
    worker = office.visit()
    polled(worker, 2)
    punch = record("2001", office.script.now())

    office.script.log.append(punch)
    office.script.reported.put(punch)
    eventually(lambda: "2001" in office.pins())
    polled(worker, 3)

    assert office.script.reads == [0]
    assert office.ledger.counts().unconfirmed == 1


def test_a_person_does_not_wait_for_the_peace_of_a_terminal(office: Office) -> None:
    """What is requested is read at once, and the result is returned."""
    office.script.log = history(30, MORNING)
    office.script.prepared_s = LONG_S
    worker = office.visit(poll="1h")
    polled(worker)
    office.script.log.append(record("2001", MORNING + timedelta(days=1)))

    result = worker.request(full=True).result(20)

    assert office.script.reads == [0, 0]
    assert result is not None
    assert (result["records"], result["new"]) == (31, 1)


def test_without_live_events_a_slow_terminal_is_read_at_every_poll(office: Office) -> None:
    """There is no other way to hear of a punch."""
    office.script.log = history(30, MORNING)
    office.script.prepared_s = LONG_S
    worker = office.visit(live=False)
    polled(worker)

    office.script.log.append(record("2001", MORNING + timedelta(days=1)))

    eventually(lambda: "2001" in office.pins())


def test_a_hint_during_the_peace_is_kept_and_does_not_make_the_worker_run_in_circles(office: Office) -> None:
    """Neither are requests repeated without end nor is the hint forgotten."""
    office.script.log = history(30, MORNING)
    office.script.prepared_s = 0.02
    worker = office.visit(poll="1h")
    polled(worker)
    worker._visits.plan.rest_until_s = time.monotonic() + LONG_S
    requested = office.script.clock_requests

    office.script.reported.put(Hint("a uid without a PIN"))
    office.script.reported.put(record("2001", office.script.now()))
    eventually(lambda: "2001" in office.pins())
    quiet = office.script.clock_requests
    office.script.log.append(record("2002", MORNING + timedelta(days=1)))
    worker._visits.plan.rest_until_s = 0.0
    eventually(lambda: "2002" in office.pins())

    assert quiet == requested


def altered(log: list[Record], *places: int) -> list[Record]:
    """Return the log with other records in some places."""
    return [
        record("9999", entry.local_time) if place in {index % len(log) for index in places} else entry
        for place, entry in enumerate(log)
        if isinstance(entry, RawPunch)
    ]


def test_an_end_that_does_not_continue_what_is_known_is_read_backwards(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8, 64 and 512 records, each preparation costing the terminal; then everything."""
    office.timing.whole_read_s = 0.0
    office.script.log = history(1500, MORNING)
    worker = office.visit()
    polled(worker)

    office.script.log = [*altered(office.script.log, -1, -5, -30, -400), record("2001", MORNING + timedelta(days=9))]
    eventually(lambda: "2001" in office.pins())

    assert office.script.reads == [0, 1492, 1500 - 64, 1500 - 512, 0]


def test_reading_backwards_respects_the_peace_of_a_slow_terminal(office: Office) -> None:
    """One preparation, then a pause, and the next begins further back."""
    office.script.log = history(1500, MORNING)
    worker = office.visit()
    polled(worker, 2)
    office.script.prepared_s = LONG_S

    office.script.log = [*altered(office.script.log, -1), record("2001", MORNING + timedelta(days=9))]
    eventually(lambda: len(office.script.reads) == 2)
    polled(worker, 3)
    waiting = list(office.script.reads)
    worker._visits.plan.rest_until_s = 0.0
    eventually(lambda: len(office.script.reads) == 3)

    assert waiting == [0, 1492]
    assert office.script.reads[2] == 1500 - 64


def test_a_log_whose_end_never_fits_is_read_whole_once_an_hour(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live punches come meanwhile, and a person can still ask for more."""
    office.script.log = history(1500, MORNING)
    worker = office.visit()
    polled(worker, 2)
    office.script.log = [*altered(office.script.log, -1, -20, -200), record("2001", MORNING + timedelta(days=9))]
    polled(worker, 4)
    waiting = list(office.script.reads)
    requested = worker.request(full=True)
    requested.result(20)
    again = list(office.script.reads)
    office.timing.whole_read_s = 0.0
    office.script.log = [*altered(office.script.log, -1, -21, -201), record("2002", MORNING + timedelta(days=10))]
    eventually(lambda: "2002" in office.pins())

    assert waiting == [0, 1492, 1500 - 64, 1500 - 512]
    assert again == [*waiting, 0]


# ---------------------------------------------------------------- a reading that travels


def test_a_reading_that_is_cut_again_and_again_resumes_where_it_was(office: Office) -> None:
    """Each attempt brings a stretch further; no record is fetched twice but the few that prove the place."""
    office.script.log = history(4000, MORNING)
    cuts = [900, 1700, 3100, 3150]

    def cut(position: int) -> None:
        if cuts and position >= cuts[0]:
            cuts.pop(0)
            raise TerminalUnavailable("the line broke")

    office.script.travel = cut
    office.visit(live=False)
    eventually(lambda: office.ledger.punches() == 4000)

    # 500 records are stored at a time: what came behind the last 500 is fetched again.
    assert office.script.reads[:5] == [0, 492, 1492, 2992, 2992]
    assert office.pins() == [entry.pin for entry in office.script.log if isinstance(entry, RawPunch)]


def test_live_punches_overtake_an_import_that_travels(office: Office) -> None:
    """A punch made when the import is half-way is stored before its second half is."""
    office.script.log = history(3000, MORNING)
    punch = record("2001", MORNING + timedelta(days=9))
    office.script.travel = lambda position: office.script.reported.put(punch) if position == 1200 else None

    worker = office.visit(poll="1h")
    polled(worker)

    assert 1000 < office.pins().index("2001") < 2000


def test_live_punches_overtake_a_full_reading_in_which_nothing_is_new(office: Office) -> None:
    """The nightly reading of a slow terminal takes minutes; a punch made meanwhile does not wait for its end."""
    office.script.log = history(3000, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)
    punch = record("2001", MORNING + timedelta(days=9))
    seen = []

    def travel(position: int) -> None:
        if position == 600:
            office.script.reported.put(punch)
        if position == 2900:
            seen.append(office.ledger.counts().unconfirmed)

    office.script.travel = travel
    worker.request(full=True).result(20)

    assert seen == [1]


def test_a_stop_does_not_wait_for_the_end_of_a_full_reading(office: Office) -> None:
    """Also where everything in it is known."""
    office.script.log = history(3000, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)
    reached: list[int] = []
    half_way = threading.Event()

    def travel(position: int) -> None:
        reached.append(position)
        if position == 1000:
            worker.stop()
            half_way.set()

    office.script.travel = travel
    worker.request(full=True)
    assert half_way.wait(WAIT_S)

    assert worker.join(WAIT_S)
    assert reached[-1] < 2999


# ---------------------------------------------------------------- an unreadable log


def test_an_unreadable_log_is_kept_whole_and_reported_once(office: Office) -> None:
    """The body lies beside its capture, for the daemon's user only; the alarm comes once however often it is tried."""
    office.script.refusal = UnreadableLog("no layout explains 41 bytes a record", b"\x01\x02" * 5000)
    worker = office.visit()
    eventually(lambda: office.script.conversations >= 4)

    bodies = list((office.folder / "captures").glob("*.bin"))
    assert [body.read_bytes() for body in bodies] == [b"\x01\x02" * 5000]
    assert bodies[0].stat().st_mode & 0o077 == 0
    assert "41 bytes" in bodies[0].with_suffix(".txt").read_text()
    assert office.alarms == ["log_unreadable"]
    assert (worker.state.cause, office.pins()) == ("refused", [])
    office.script.refusal, office.script.log = None, history(3, MORNING)
    eventually(lambda: len(office.pins()) == 3)


def test_only_so_many_unreadable_logs_are_kept(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are large."""
    monkeypatch.setattr(captures, "BODIES_KEPT", 2)
    folder = office.folder / "captures"
    folder.mkdir()
    for day in range(4):
        (folder / f"2026090{day}T000000-lobby.bin").write_bytes(b"old")
    office.script.refusal = UnreadableLog("no layout", b"new")
    office.visit()
    eventually(lambda: office.alarms)

    eventually(lambda: len(list(folder.glob("*.bin"))) == 2)
    assert max(folder.glob("*.bin")).read_bytes() == b"new"


@contextmanager
def _no_room_for(folder: Path, size: int) -> Iterator[None]:
    """Let a file of this size find no room: on a full disk where one can be mounted, else by this process's limit."""
    folder.mkdir()
    if mounted(folder, "64k"):
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_capture_that_finds_no_room_costs_nothing_else(office: Office) -> None:
    """It is a help, not evidence: reported once, nothing half-written stays, and the terminal is read as ever."""
    body = b"\x01\x02" * 8_000_000
    office.script.refusal = UnreadableLog("no layout explains 41 bytes a record", body)
    folder = office.folder / "captures"
    with _no_room_for(folder, len(body)), capture_logs() as logs:
        worker = office.visit(live=False)
        for outage in (1, 2):
            eventually(lambda: office.alarms.count("log_unreadable") == outage)  # noqa: B023 - waited for here
            assert list(folder.glob("*.bin")) == []
            office.script.refusal, office.script.log = None, history(3 * outage, MORNING)
            eventually(lambda: office.alarms.count("terminal_found") == outage)  # noqa: B023 - waited for here
            assert len(office.pins()) == 3 * outage
            office.script.refusal = UnreadableLog("no layout explains 42 bytes a record", body)
            office.script.log = history(3 * outage + 1, MORNING)
        worker.stop()
        worker.join(WAIT_S)
    output = [line for line in logs if line["event"] == "capture_failed"]
    assert [line["capture_of"] for line in output] == ["no layout explains 41 bytes a record"]


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_a_capture_is_written_through_nothing(office: Office, plant: Plant) -> None:
    """Where the folder of captures is something else, a capture is not kept, and the terminal is read as ever."""
    ours = office.folder / "ours"
    ours.write_bytes(b"ours")
    plant(office.folder / "captures", ours)
    office.script.refusal = UnreadableLog("no layout", b"body")
    office.visit(live=False)
    eventually(lambda: "log_unreadable" in office.alarms)
    office.script.refusal, office.script.log = None, history(3, MORNING)
    eventually(lambda: len(office.pins()) == 3)
    assert untouched(ours, b"ours")


# ---------------------------------------------------------------- reconciliation


def test_a_full_reading_is_reported_with_the_days_it_found(office: Office) -> None:
    """The tally is as the contract states, and adds up; one by the calendar repeats the last reconciliation."""
    today = office.script.now().replace(hour=7, minute=0, second=0)
    office.script.log = history(5, today - timedelta(days=60)) + history(20, today - timedelta(days=1))
    worker = office.visit(poll="1h")
    polled(worker)

    worker.publish_tally()

    (topic, first), (_, second) = office.published
    contract.check(topic, json.dumps(first))
    contract.check(topic, json.dumps(second))
    assert (first["reconciliation"]["records"], first["reconciliation"]["new"]) == (25, 25)
    assert second["reconciliation"] == first["reconciliation"]
    day = (today - timedelta(days=1)).date().isoformat()
    counts = {"in_log": 20, "in_ledger": 20, "withheld": 0, "sent": 0, "confirmed": 0}
    assert first["days"] == [{"day": day, **counts}]  # what is older than a month is not repeated every night


def test_a_tally_of_a_terminal_never_reached_is_empty(office: Office) -> None:
    """After midnight every terminal has its tally."""
    office.script.silence = TerminalUnavailable("no answer")
    worker = office.visit()

    worker.publish_tally()

    topic, payload = office.published[0]
    contract.check(topic, json.dumps(payload))
    assert (payload["reconciliation"], payload["days"]) == (None, [])


def test_a_log_that_differs_from_what_was_read_is_an_alarm(office: Office) -> None:
    """A record in the midst of what is known: stored, counted as missed, on record, and reported."""
    office.script.log = history(60, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)
    office.script.log.insert(30, record("2001", MORNING + timedelta(minutes=30)))

    result = worker.request(full=True).result(20)

    assert result is not None
    assert (result["missed"], result["invented"], result["new"]) == (1, 0, 1)
    assert "log_differs" in office.alarms
    assert [event["data"]["what"] for event in office.events("terminal.changed")] == ["log_differs"]
    assert office.pins().count("2001") == 1


def test_a_live_event_that_the_log_never_shows_is_reported_by_the_full_reading(office: Office) -> None:
    """It stays published; that the log does not hold it is an event of its own."""
    office.script.log = history(10, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)
    office.script.reported.put(record("2001", office.script.now()))
    eventually(lambda: "2001" in office.pins())

    result = worker.request(full=True).result(20)

    assert result is not None
    assert result["unconfirmed"] == 1
    assert len(office.events("punch.unconfirmed")) == 1


def test_a_night_brings_a_full_reading(office: Office) -> None:
    """The calendar's wish is fulfilled although the count shows that nothing is new."""
    office.script.log = history(100, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)

    worker.schedule_nightly_work()

    eventually(lambda: office.script.reads == [0, 0])


# ---------------------------------------------------------------- reading by date


def by_date(script: Script) -> Callable[[datetime, datetime], list[Record] | None]:
    """Return the honest answer."""
    return lambda first, last: [
        entry for entry in script.log if isinstance(entry, RawPunch) and first <= entry.local_time <= last
    ]


def recent(office: Office, count: int = 40) -> list[Record]:
    """Return a log that ends yesterday."""
    return history(count, office.script.now().replace(hour=6, minute=0, second=0) - timedelta(days=1))


def ranged(office: Office) -> bool | None:
    """Return what the ledger remembers of readings by date."""
    known = office.ledger.terminal("lobby")
    return None if known is None else known.ranged


def test_answers_by_date_that_agree_are_remembered_and_store_nothing(office: Office) -> None:
    """Once at first contact, and not again before six hours have passed."""
    office.script.log, office.script.between = recent(office), by_date(office.script)
    worker = office.visit()
    polled(worker, 4)

    assert ranged(office) is True
    assert len(office.script.ranges) == 1
    first, last = office.script.ranges[0]
    assert (first.hour, first.minute, (last.date() - first.date()).days) == (0, 0, 2)
    assert len(office.pins()) == 40


def test_a_terminal_that_does_not_know_the_command_gets_it_once(office: Office) -> None:
    """Also after a restart."""
    office.script.log, office.script.between = recent(office), lambda _first, _last: None
    for _ in range(2):
        worker = office.visit()
        polled(worker, 2)
        worker.stop()
        worker.join(WAIT_S)

    assert ranged(office) is False
    assert len(office.script.ranges) == 1


def test_a_terminal_that_hangs_at_the_command_gets_it_once(office: Office) -> None:
    """The visit fails, the next one is well."""

    def hang(_first: datetime, _last: datetime) -> list[Record]:
        raise TerminalUnavailable("no answer")

    office.script.log, office.script.between = recent(office), hang
    worker = office.visit()
    polled(worker, 4)

    assert ranged(office) is False
    assert (len(office.script.ranges), office.alarms) == (1, [])


def test_a_record_that_only_the_answer_by_date_shows_makes_the_whole_log_be_read(office: Office) -> None:
    """A full log keeps its count: what tail readings were not shown is found, and it is the log that shows it."""
    office.script.log, office.script.between = recent(office), by_date(office.script)
    worker = office.visit(poll="1h")
    polled(worker)
    eventually(lambda: ranged(office))
    place = office.script.log[20]
    assert isinstance(place, RawPunch)
    office.script.log[20] = record("2001", place.local_time)
    worker._visits._date_check._next_s = 0.0

    worker.request()

    eventually(lambda: "2001" in office.pins())
    eventually(lambda: len(office.script.ranges) == 3)
    assert ranged(office) is True
    assert office.script.reads == [0, 0]


@pytest.mark.parametrize(
    "lie",
    [
        lambda _script, _first, _last: [],
        lambda script, first, _last: [*script.log, record("6666", first + timedelta(hours=1))],
        lambda script, first, _last: [*script.log, record("6666", first - timedelta(days=9))],
    ],
    ids=["nothing", "an invented record", "a record of another day"],
)
def test_a_terminal_with_wrong_answers_by_date_is_not_queried_again(
    office: Office, lie: Callable[[Script, datetime, datetime], list[Record]]
) -> None:
    """A full reading of the log settles it; nothing of the lie is stored."""
    office.script.log = recent(office)
    office.script.between = lambda first, last: lie(office.script, first, last)
    with capture_logs() as logs:
        worker = office.visit()
        eventually(lambda: ranged(office) is False)
        polled(worker, 3)
        worker.stop()
        worker.join(WAIT_S)

    assert len(office.script.ranges) <= 2
    assert len(office.script.reads) <= 2
    assert [line["event"] for line in logs].count("range_distrusted") == 1
    assert len(office.pins()) == 40


# ---------------------------------------------------------------- listening


def test_a_terminal_whose_clock_was_reset_is_not_queried_by_date(office: Office) -> None:
    """The first seconds of 2000 have no days before them; once the clock is right again they are requested."""
    office.script.log, office.script.between = recent(office), by_date(office.script)
    office.script.off = datetime(2000, 1, 1) - datetime.now(ZONE).replace(tzinfo=None)  # noqa: DTZ001 - wall clock
    worker = office.visit()
    polled(worker, 3)
    assert office.script.ranges == []

    office.script.off = timedelta(0)

    eventually(lambda: office.script.ranges)


def test_a_dead_line_is_noticed_between_polls(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was received for a while, so the clock is read; no answer ends the conversation and begins another."""
    office.timing.idle_probe_s = 0.05
    worker = office.visit(poll="1h")
    polled(worker)
    eventually(lambda: office.script.clock_requests > 3)
    assert office.script.conversations == 1

    office.script.silence = TerminalUnavailable("no answer")
    eventually(lambda: office.script.conversations > 2)
    eventually(lambda: not worker.state.online)
    office.script.silence = None

    eventually(lambda: worker.state.online)
    assert office.alarms == ["terminal_lost", "terminal_found"]


def test_events_that_stop_are_registered_for_again(office: Office) -> None:
    """Two polls find unannounced punches: the conversation begins anew; next after four; logged once."""
    office.script.log = history(10, MORNING)
    with capture_logs() as logs:
        worker = office.visit()
        polled(worker, 2)
        for day in range(1, 8):
            office.script.log.append(record("2001", MORNING + timedelta(days=day)))
            eventually(lambda day=day: len(office.pins()) == 10 + day)  # type: ignore[misc]  # a default binds the value
            polled(worker)
        worker.stop()
        worker.join(WAIT_S)

    assert office.script.conversations == 3
    assert [line["event"] for line in logs].count("live_silent") == 1


def test_events_that_come_are_no_silence(office: Office) -> None:
    """Nor are punches that a hint announced, or that were made while no event was received."""
    office.script.log = history(10, MORNING)
    worker = office.visit(poll="50ms")
    polled(worker, 2)
    for day in range(1, 6):
        punch = record("2001", MORNING + timedelta(days=day))
        office.script.log.append(punch)
        office.script.reported.put(punch if day % 2 else Hint("a uid"))
        polled(worker, 2)

    eventually(lambda: len(office.pins()) == 15)
    assert worker._visits.plan.announcements.silent is False


# ---------------------------------------------------------------- setting the clock


def night(office: Office, **script: Any) -> Worker:
    """Begin a night at a terminal whose clock is five minutes slow, after it has been read."""
    office.script.settable = True
    office.script.off = timedelta(minutes=-5)
    for name, value in script.items():
        setattr(office.script, name, value)
    worker = office.visit(clock={"set": "nightly"})
    polled(worker, 2)
    worker.schedule_nightly_work()
    return worker


def test_a_wrong_clock_is_set_at_night_and_read_back(office: Office) -> None:
    """Before and after are on record; it is no jump, also not after a restart."""
    office.script.log = history(3, MORNING)
    worker = night(office)
    eventually(lambda: office.events("clock.set"))
    polled(worker, 2)
    worker.stop()
    worker.join(WAIT_S)
    worker = office.visit()
    polled(worker, 2)

    data = office.events("clock.set")[0]["data"]
    assert data["before"]["offset_ms"] == pytest.approx(-300_000, abs=1500)
    assert abs(data["after"]["offset_ms"]) < 2000
    assert len(office.script.clock_set) == 1
    assert office.events("clock.stepped") == []
    assert office.alarms == ["clock_set"]


def test_a_clock_that_is_right_is_left_alone(office: Office) -> None:
    """Within the tolerance there is nothing to mend."""
    worker = night(office, off=timedelta(seconds=20))
    polled(worker, 3)

    assert (office.script.clock_set, office.alarms) == ([], [])


def test_a_clock_is_not_set_without_the_setting(office: Office) -> None:
    """`never` is the default."""
    office.script.settable, office.script.off = True, timedelta(minutes=-5)
    worker = office.visit()
    polled(worker)
    worker.schedule_nightly_work()
    polled(worker, 3)

    assert office.script.clock_set == []


def test_a_refusal_is_an_alarm_and_not_repeated_in_this_night(office: Office) -> None:
    """The terminal's refusal is reported once."""

    def refuse(_to: datetime) -> None:
        raise TerminalRefused("it is locked")

    worker = night(office, set_clock=refuse)
    eventually(lambda: office.alarms)
    polled(worker, 3)

    assert (office.alarms, len(office.script.clock_set)) == (["clock_not_set"], 1)
    assert office.events("clock.") == []


def test_a_clock_that_does_not_take_is_an_alarm(office: Office) -> None:
    """Read back it shows what it showed before."""
    worker = night(office, set_clock=lambda _to: None)
    eventually(lambda: office.alarms)
    polled(worker, 3)

    assert (office.alarms, len(office.script.clock_set)) == (["clock_not_set"], 1)
    assert office.events("clock.stepped") == []


def test_a_line_that_breaks_while_the_clock_is_set_leaves_the_outcome_to_the_next_visit(office: Office) -> None:
    """It was set although the answer was lost: recorded as set, not as a jump."""

    def set_and_break(to: datetime) -> None:
        office.script.off = to - datetime.now(ZONE).replace(tzinfo=None)
        raise TerminalUnavailable("the line broke")

    worker = night(office, set_clock=set_and_break)
    eventually(lambda: office.events("clock.set"))
    polled(worker, 2)

    assert office.events("clock.stepped") == []
    assert len(office.script.clock_set) == 1


def test_a_clock_too_far_off_is_for_a_person_to_look_at(office: Office) -> None:
    """More than max_set is not set, and reported."""
    worker = night(office, off=timedelta(days=-2))
    eventually(lambda: office.alarms)
    polled(worker, 2)

    assert (office.alarms, office.script.clock_set) == (["clock_not_set"], [])


@pytest.mark.parametrize(("minutes", "is_set"), [(-120, False), (61, False), (-30, False), (46, False), (-38, True)])
def test_a_clock_that_may_be_of_another_zone_is_not_set(office: Office, minutes: int, is_set: bool) -> None:
    """However large max_set is: a wrong `timezone` must not make the one right clock wrong."""
    office.script.settable = True
    office.script.off = timedelta(minutes=minutes)
    worker = office.visit(clock={"set": "nightly"}, max_set="12h")
    polled(worker, 2)
    worker.schedule_nightly_work()
    eventually(lambda: office.alarms)
    polled(worker, 2)

    assert (office.alarms, bool(office.script.clock_set)) == (["clock_set" if is_set else "clock_not_set"], is_set)


def test_a_gateway_that_does_not_know_the_time_sets_no_clock(office: Office) -> None:
    """It waits for a time source as long as the night lasts."""
    office.clock.trusted = False
    worker = night(office)
    polled(worker, 3)
    before = list(office.script.clock_set)
    office.clock.trusted = True

    eventually(lambda: office.script.clock_set)
    assert before == []


def test_no_clock_is_set_near_people_coming_or_going(office: Office) -> None:
    """Three punches within ten minutes, half an hour ago."""
    soon = (datetime.now(ZONE) - timedelta(minutes=40)).replace(tzinfo=None, microsecond=0)
    worker = night(office, log=[record(pin, soon + timedelta(minutes=pin)) for pin in range(1, 4)])
    polled(worker, 3)

    assert (office.script.clock_set, office.alarms) == ([], [])


def test_no_clock_is_set_where_people_will_come(office: Office) -> None:
    """Four weeks of punches at this hour and the next, every day but yesterday and today."""
    hour = datetime.now(ZONE).replace(tzinfo=None, minute=0, second=0, microsecond=0) + timedelta(hours=1)
    log: list[Record] = [record("1001", hour - timedelta(days=ago)) for ago in range(30, 1, -1)]
    worker = night(office, log=log)
    polled(worker, 3)

    assert (office.script.clock_set, office.alarms) == ([], [])


def test_a_clock_is_set_when_a_person_asks(office: Office) -> None:
    """Under the same conditions, whatever the setting states."""
    office.script.settable, office.script.off = True, timedelta(minutes=-5)
    worker = office.visit(poll="1h")
    polled(worker)

    assert worker.request_set_clock() is True

    eventually(lambda: office.events("clock.set"))


def test_a_terminal_whose_clock_cannot_be_set_says_so(office: Office) -> None:
    """To a person at once, and to the night as an alarm."""
    office.script.off = timedelta(minutes=-5)
    worker = office.visit(clock={"set": "nightly"})
    polled(worker)

    assert worker.request_set_clock() is False
    worker.schedule_nightly_work()
    eventually(lambda: office.alarms == ["clock_not_set"])


def test_a_terminal_that_reports_no_serial_number_has_the_configured_one(office: Office) -> None:
    """It is not requested; without one in the configuration the terminal is refused, and the reason states that."""
    office.driver = replace(office.script.driver(), has_serial=False)
    office.script.log = history(3, MORNING)
    worker = office.visit()
    eventually(lambda: worker.state.reason_code is Reason.SERIAL_UNREPORTED)
    worker.stop()
    assert worker.join(WAIT_S)
    other = office.visit(serial="WRITTEN-1")
    eventually(lambda: len(office.pins()) == 3)
    assert other.state.serial == "WRITTEN-1"
