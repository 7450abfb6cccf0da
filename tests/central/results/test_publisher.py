"""Results reach the broker: written with the revision, deleted after the acknowledgement, never lost, one by one."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from central.closing.close import close
from central.inbox import Broker, Inbox
from central.json_text import load_json
from central.policy.office import OfficePolicies
from central.registers.importing import Paper, enter_file
from central.registers.read import scan_register
from central.results.messages import Message
from central.results.publisher import HOLD_S, INTERVAL_S, MAX_IN_FLIGHT, Publisher
from central.store import Store, closings, marks, outbox, results
from central.store.engine import Database
from central.store.outbox import OUTBOX
from central.timesheet.affected import Mark
from central.timesheet.outcome import outcome_of
from tests import contract
from tests.broker import WAIT_S, Subscriber, eventually
from tests.broker import Broker as Mosquitto
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import address

BOTH_STORES = True
CRASH = [sys.executable, str(Path(__file__).parent / "crash_results.py")]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office of two people, judged on Wednesday morning, 2 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:05:00", "2026-09-01 07:20:00", "2026-09-01 16:05:00")
    found.at("2026-09-02 05:00")
    found.close()  # else no inbox may receive into it
    found.database = Database(tmp_path / "centre.db")
    found.recompute = found.worker()
    yield found
    found.database.close()


@contextmanager
def inbox(port: int, db: Path | str) -> Iterator[Inbox]:
    """Run an inbox in a thread."""
    store = Store(db)
    running = Inbox(Broker("127.0.0.1", port, tls=False), store)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(WAIT_S)
        store.close()
        assert not thread.is_alive()


def numbers(centre: Centre) -> tuple[int, int]:
    """Return how many messages wait, and how many are set aside."""
    with centre.database.reading() as connection:
        return outbox.numbers(connection)


def rows(centre: Centre) -> list[tuple[str, str, str, int]]:
    """Return the messages that wait: unit, date, person, revision."""
    with centre.database.reading() as connection:
        columns = OUTBOX.c.unit, OUTBOX.c.date, OUTBOX.c.person, OUTBOX.c.revision
        return [tuple(row) for row in connection.execute(select(*columns).order_by(OUTBOX.c.id))]


def revisions(centre: Centre) -> set[str]:
    """Return the ids of the messages about all revisions."""
    columns = results.RESULT.c.person, results.RESULT.c.date, results.RESULT.c.revision
    with centre.database.reading() as connection:
        return {f"{person}/{on}/{number}" for person, on, number in connection.execute(select(*columns))}


class Sink:
    """A broker in memory: what was published, with the answers still to be given."""

    def __init__(self, answer: Callable[[dict[str, Any]], int] = lambda _: 0) -> None:
        self.answer = answer
        self.published: list[dict[str, Any]] = []
        self.open: dict[int, dict[str, Any]] = {}
        self._mid = 0

    def publish(self, message: Message) -> int:
        """Take a message."""
        self._mid += 1
        event = json.loads(message.payload)
        contract.check(message.topic, message.payload)
        self.published.append(event)
        self.open[self._mid] = event
        return self._mid

    def acknowledge(self, publisher: Publisher, mids: list[int] | None = None) -> None:
        """Answer messages, or all of them."""
        for mid in list(self.open) if mids is None else mids:
            assert publisher.published(mid, self.answer(self.open.pop(mid)))

    def ids(self) -> list[str]:
        """Return the ids of what was published."""
        return [event["id"] for event in self.published]


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def drain(publisher: Publisher, sink: Sink, clock: Clock, rounds: int = 20) -> None:
    """Let a publisher send and the broker answer, for some seconds of the clock."""
    for _ in range(rounds):
        publisher.step(sink.publish)
        sink.acknowledge(publisher)
        clock.now_s += INTERVAL_S
    publisher.settle()


def test_results_reach_subscribers_as_the_contract_says(centre: Centre, tmp_path: Path) -> None:
    """Every revision once as a verdict, each unit's dates as summaries, the newest one retained; nobody is named."""
    expected = revisions(centre)
    assert expected
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "hadir/result/#") as subscriber:
        with inbox(broker.port, centre.database.address):
            eventually(lambda: numbers(centre) == (0, 0), what="the acknowledgement of all results")
            found = subscriber.wait_for(lambda messages: len(messages) >= len(expected) + 3)
        with Subscriber(broker.port, "hadir/result/#") as late:
            (kept,) = late.wait_for(lambda messages: messages)

    for message in found:
        contract.check(message.topic.removeprefix("hadir/"), message.text)
        assert (message.qos, message.content_type) == (1, "application/cloudevents+json")
        assert not any(word in message.text for word in ("Contoh", "Kepala", "1001"))
    days = [message for message in found if message.topic == "hadir/result/v1/dinas/day"]
    assert {message.payload["id"] for message in days} == expected
    assert not any(message.retain for message in days)
    summaries = {m.payload["data"]["date"]: m for m in found if m.topic == "hadir/result/v1/dinas/summary"}
    assert max(summaries) == kept.payload["data"]["date"]
    assert [on for on, message in summaries.items() if message.retain] == [max(summaries)]
    monday = summaries["2026-08-31"].payload["data"]
    assert {name: monday[name] for name in ("planned", "present", "late", "early", "missing", "absent")} == {
        "planned": 2,
        "present": 1,
        "late": 1,
        "early": 0,
        "missing": 0,
        "absent": 1,
    }


def test_a_closing_and_its_adjustments_are_published_as_the_contract_says(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without names and kinds of leave; a summary of the same date does not take the closing's place."""
    office, made = OfficePolicies(POLICIES), list[int]()
    for on, moment in ((date(2026, 8, 31), "2026-09-02 05:00"), (date(2026, 9, 1), "2026-10-02 05:00")):
        centre.at(moment)
        made.append(close(centre.database, office, "dinas", on, closed_by="Kepala", paper="Contoh 9", now=centre.now))
        if on.month == 8:
            leave = "person,kind,from,until,paper\na,sick,2026-08-31,2026-08-31,Contoh 10/2026\n"
            enter_file(
                centre.database,
                scan_register(_file(centre, leave), "leave"),
                office,
                Paper("Kepala Contoh", "Contoh 10/2026"),
                centre.now,
            )
    with centre.database.writing() as connection:
        outbox.add(connection, [], [("dinas", date(2026, 8, 1)), ("dinas", date(2026, 9, 1))])
    sink, clock = Sink(), Clock()
    for name in ("adjustments_of", "totals_of"):  # each message reads its own row, however many the closing has
        monkeypatch.delattr(closings, name)
    drain(Publisher(centre.database, monotonic_s=clock), sink, clock)

    closed = [event for event in sink.published if event["type"] == "hadir.period.closed.v1"]
    (adjusted,) = [event for event in sink.published if event["type"] == "hadir.adjustment.made.v1"]
    ids = {f"closing/dinas/2026-08-01/{made[0]}": 0, f"closing/dinas/2026-09-01/{made[1]}": 1}
    assert {event["id"]: event["data"]["adjustments"] for event in closed} == ids
    assert (adjusted["id"], adjusted["data"]["cut"]) == (f"adjustment/a/2026-08-01/{made[1]}", "-0.5")
    assert not any(word in json.dumps([closed, adjusted]) for word in ("Contoh", "Kepala", "sick", '"1001"'))
    assert numbers(centre) == (0, 0)


def _file(centre: Centre, text: str) -> Path:
    path = centre.folder / "later.csv"
    path.write_text(text, "utf-8")
    return path


def test_messages_are_stored_with_their_revisions_or_not_at_all(centre: Centre) -> None:
    """One transaction: what is undone leaves neither."""
    before, stored = rows(centre), revisions(centre)
    (last,) = centre.history("a", "2026-08-31")[-1:]
    with suppress(ZeroDivisionError), centre.database.writing() as connection:
        results.add(connection, [last._replace(revision=last.revision + 1)], [outcome_of(load_json(last.content))])
        raise ZeroDivisionError
    assert (rows(centre), revisions(centre)) == (before, stored)

    with centre.database.writing() as connection:
        results.add(connection, [last._replace(revision=last.revision + 1)], [outcome_of(load_json(last.content))])

    assert rows(centre)[-2:] == [
        ("dinas", "2026-08-31", "a", last.revision + 1),
        ("dinas", "2026-08-31", "", 0),
    ]


def test_judging_again_without_a_difference_publishes_nothing(centre: Centre) -> None:
    """Also when everything is judged again."""
    sink, clock = Sink(), Clock()
    publisher = Publisher(centre.database, monotonic_s=clock)
    drain(publisher, sink, clock)
    assert numbers(centre) == (0, 0)
    with centre.database.writing() as connection:
        marks.mark(connection, [Mark("scope:all", date.min, date.max)], {"kind": "rebuild"}, "")

    centre.recompute.run()

    assert numbers(centre) == (0, 0)


@pytest.mark.file_only  # 20 histories; two kills of a process follow, on both databases
@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_any_point_loses_nothing(centre: Centre, seed: int) -> None:
    """In whatever order the broker answers, and wherever the program ends: everything arrives, and nothing is left."""
    chance = random.Random(seed)
    sink, clock = Sink(), Clock()
    publisher = Publisher(centre.database, monotonic_s=clock)
    expected = revisions(centre)
    for _ in range(40):
        publisher.step(sink.publish)
        assert len(sink.open) <= MAX_IN_FLIGHT
        mids = chance.sample(list(sink.open), chance.randint(0, len(sink.open)))
        sink.acknowledge(publisher, mids)
        clock.now_s += INTERVAL_S
        if chance.random() < 0.3:  # the process ends: what the broker has not answered is on no connection any more
            sink.open.clear()
            publisher = Publisher(centre.database, monotonic_s=clock)
    sink.open.clear()
    drain(Publisher(centre.database, monotonic_s=clock), sink, clock)

    assert expected <= set(sink.ids())
    assert numbers(centre) == (0, 0)
    once = {event["id"]: event for event in sink.published if event["type"] == "hadir.day.judged.v1"}
    assert all(event == once[event["id"]] for event in sink.published if event["id"] in once)


@pytest.mark.parametrize("place", ["published", "acknowledged"])
def test_an_inbox_that_is_killed_publishes_again(centre: Centre, tmp_path: Path, place: str) -> None:
    """SIGKILL after the message has left, and after the broker's answer, before anything of it is deleted."""
    expected = revisions(centre)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "hadir/result/#") as subscriber:
        command = [*CRASH, str(broker.port), address(tmp_path / "centre.db"), place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert any(line.strip() == place for line in process.stdout), "the inbox ended"
            finally:
                process.send_signal(signal.SIGKILL)
        assert numbers(centre)[0] >= len(expected)
        with inbox(broker.port, centre.database.address):
            eventually(lambda: numbers(centre) == (0, 0), what="the acknowledgement of all results")
            subscriber.wait_for(lambda messages: expected <= {message.payload["id"] for message in messages})


def test_a_message_that_the_broker_refuses_for_good_is_set_aside(centre: Centre) -> None:
    """That one alone; it is named, counted, and tried again when the program starts."""
    refused = "a/2026-08-31/1"
    sink, clock = Sink(lambda event: 0x99 if event["id"] == refused else 0), Clock()
    with capture_logs() as log:
        drain(Publisher(centre.database, monotonic_s=clock), sink, clock)

    assert numbers(centre) == (0, 1)
    assert [(line["event"], line["reason"]) for line in log] == [("result_set_aside", "payload_format_invalid")]
    assert revisions(centre) <= set(sink.ids())
    sink.answer = lambda _: 0
    again = Publisher(centre.database, monotonic_s=clock)
    again.begin()
    drain(again, sink, clock)
    assert sink.ids().count(refused) == 2
    assert numbers(centre) == (0, 0)


def test_a_verdict_that_cannot_be_read_is_set_aside(centre: Centre) -> None:
    """A damaged row costs its own message, and the summary that counts it."""
    where = results.RESULT.c.person == "a", results.RESULT.c.date == "2026-08-31", results.RESULT.c.revision == 1
    with centre.database.writing() as connection:
        connection.execute(update(results.RESULT).where(*where).values(content="{"))
    sink, clock = Sink(), Clock()

    with capture_logs() as log:
        drain(Publisher(centre.database, monotonic_s=clock), sink, clock)

    assert {line["event"] for line in log} == {"result_set_aside"}
    assert all("JSONDecodeError" in line["reason"] for line in log)
    assert revisions(centre) - set(sink.ids()) == {"a/2026-08-31/1"}
    assert numbers(centre)[0] == 0


def test_a_message_larger_than_the_broker_takes_is_set_aside(centre: Centre) -> None:
    """Sending it would end the connection, again and again."""
    sink, clock = Sink(), Clock()
    publisher = Publisher(centre.database, monotonic_s=clock)
    publisher.connected(1200)

    with capture_logs() as log:
        drain(publisher, sink, clock)

    assert numbers(centre)[0] == 0
    assert {line["reason"] for line in log} == {"packet_too_large"}
    assert all(len(json.dumps(event, separators=(",", ":"))) < 1200 for event in sink.published)
    assert numbers(centre)[1] == len(revisions(centre) - set(sink.ids())) > 0


def test_a_unit_that_is_refused_waits_and_others_go_on(centre: Centre, tmp_path: Path) -> None:
    """A real access list that lacks one unit: its messages wait; when the right is given they arrive."""
    centre.enter("units", "key,name,parent,zone,from,until\nuptd-1,Contoh,dinas,,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,uptd-1,2026-08-24,\n")
    centre.at("2026-09-02 05:10")
    units = {row[0] for row in rows(centre)}
    assert units == {"dinas", "uptd-1"}
    acl = "topic readwrite hadir/v1/#\ntopic read #\ntopic write hadir/result/v1/{}/#\n"
    with (
        Mosquitto(tmp_path, acl=acl.format("dinas")) as broker,
        Subscriber(broker.port, "hadir/result/#") as subscriber,
    ):
        with capture_logs() as log, inbox(broker.port, centre.database.address):
            eventually(lambda: {row[0] for row in rows(centre)} == {"uptd-1"}, what="the results of the other unit")
            eventually(lambda: any(line["event"] == "result_refused" for line in log), what="the refusal")
        assert [line["reason_code"] for line in log if line["event"] == "result_refused"] == [0x87]
        assert numbers(centre)[1] == 0
        broker.set_acl(acl.format("#").replace("/#/#", "/#"))
        broker.reload()
        with inbox(broker.port, centre.database.address):
            eventually(lambda: numbers(centre) == (0, 0), what="the results of the unit")
        subscriber.wait_for(lambda _: subscriber.on("/uptd-1/summary"))
    assert {message.payload["data"]["unit"] for message in subscriber.on("/uptd-1/day")} == {"uptd-1"}


def test_a_hold_ends_by_itself_and_grows(centre: Centre) -> None:
    """A quota that is lifted later: the unit is tried again after a minute, then after two."""
    full = True
    sink, clock = Sink(lambda _: 0x97 if full else 0), Clock()
    publisher = Publisher(centre.database, monotonic_s=clock)
    with capture_logs() as log:
        publisher.step(sink.publish)
        first = len(sink.published)
        sink.acknowledge(publisher)
        clock.now_s += HOLD_S[0] - 1
        publisher.step(sink.publish)
        assert len(sink.published) == first
        clock.now_s += 1 + INTERVAL_S
        publisher.step(sink.publish)
        assert len(sink.published) == 2 * first
        sink.acknowledge(publisher)
        clock.now_s += HOLD_S[0] + INTERVAL_S
        publisher.step(sink.publish)
        assert len(sink.published) == 2 * first
    assert [line["event"] for line in log] == ["result_refused"]
    full = False
    clock.now_s += HOLD_S[0]
    drain(publisher, sink, clock)
    assert numbers(centre) == (0, 0)


def test_a_person_who_moves_changes_both_units_summaries(centre: Centre) -> None:
    """The one that is left counts one less, the other one more; later revisions are below the new unit."""
    sink, clock = Sink(), Clock()
    publisher = Publisher(centre.database, monotonic_s=clock)
    drain(publisher, sink, clock)
    sink.published.clear()
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    centre.enter(
        "people",
        "key,name,employment,unit,from,until\nb,Contoh Dua,pppk,dinas,2026-08-24,2026-08-31\n"
        "b,Contoh Dua,pppk,upt,2026-09-01,\n",
    )
    centre.at("2026-09-02 05:20")
    drain(publisher, sink, clock)

    summaries = {
        event["data"]["unit"]: event["data"]["planned"]
        for event in sink.published
        if event["type"] == "hadir.unit.summarised.v1" and event["data"]["date"] == "2026-09-01"
    }
    moved = [event["data"] for event in sink.published if event["id"].startswith("b/2026-09-01/")]
    assert [one["unit"] for one in moved] == ["upt"]
    assert summaries == {"dinas": 1, "upt": 1}
