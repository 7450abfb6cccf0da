"""One bad message costs itself: it is rejected and counted, and neither memory nor file grow by it without bound."""

import json
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from central.coverage import GAP_GRACE_S, MAX_GAPS
from central.event import MAX_BYTES, MAX_EVENT_BYTES
from central.store import IngestResult, Message, Store, StoreError, rejections, streams
from central.store import batch as batches
from central.store.punches import Arrived, PunchBatch
from tests.central.memory import peak_growth
from tests.central.sealing import GATEWAY, Source, batch, dumped, payload
from tests.central.stores import STORES
from tests.central.test_event import HOSTILE, hostile
from tests.central.test_store import BATCH, INFO, OTHER, PUNCHES, THEIRS, Centre

BOTH_STORES = True


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Return a new centre."""
    centre = Centre(tmp_path / "centre.db")
    yield centre
    centre.store.close()


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("in_batch", [False, True])
def test_what_once_ended_the_inbox_costs_itself(centre: Centre, kind: str, in_batch: bool) -> None:
    """Its siblings are stored, it is kept aside with a reason, and its place is requested again."""
    source = Source()
    first, spoiled, last = (payload(event) for event in source.punches(3))
    bad = hostile(kind, json.loads(spoiled))
    bodies = [first, bad, last]

    result = centre.ingest(
        *(
            [Message(BATCH, b"[" + b",".join(bodies) + b"]")]
            if in_batch
            else [Message(PUNCHES, body) for body in bodies]
        )
    )

    assert result == IngestResult(stored=2, rejected=1)
    ((reason, kept, times),) = centre.rows("SELECT reason, payload, times FROM rejected")
    assert reason in ("not_an_event", "not_json")
    assert bad.startswith(kept)
    assert times == 1
    centre.reopen()
    assert centre.ingest(Message(PUNCHES, bad)) == IngestResult(rejected=1)
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (3, ((2, 2),))
    assert centre.faults() == []
    assert centre.ingest(Message(PUNCHES, spoiled)) == IngestResult(stored=1)


@pytest.mark.parametrize(
    "raised",
    [RuntimeError("x"), RecursionError(), UnicodeEncodeError("utf-8", "", 0, 1, ""), sqlite3.IntegrityError("x")],
)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_storing_an_event_raises_rejects_that_event(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, raised: Exception, seed: int
) -> None:
    """In the middle of its statements, after part of it was written; what is in memory is what is in the file then."""
    dice = random.Random(seed)
    source = Source()
    source.punches(20)
    add, doomed = PunchBatch.add, {event["id"] for event in dice.sample(source.events, 5)}

    def failing(self: PunchBatch, arrived: Arrived, received: str) -> None:
        if arrived.event.id in doomed:
            raise raised
        add(self, arrived, received)

    monkeypatch.setattr(PunchBatch, "add", failing)
    queue = [*source.events]
    dice.shuffle(queue)
    result = centre.ingest(*queue[:9], Message(BATCH, batch(*queue[9:])))

    assert result == IngestResult(stored=15, rejected=5)
    assert {row[0] for row in centre.rows("SELECT id FROM event")}.isdisjoint(doomed)
    assert [row[:2] for row in centre.rows("SELECT reason, count(*) FROM rejected GROUP BY 1")] == [("failed", 5)]
    (line,) = centre.logged("message_rejected")
    assert line["detail"].startswith(f"{type(raised).__name__} in test_belts.py:")
    missing = [number for number, event in enumerate(source.events, 1) if event["id"] in doomed]
    centre.now_s += GAP_GRACE_S
    held_range = centre.held_range()
    assert [place for first, last in held_range.missing for place in range(first, last + 1)] == [
        place for place in missing if place <= held_range.upto
    ]
    assert centre.faults() == []
    monkeypatch.undo()
    assert centre.ingest(*source.events) == IngestResult(stored=5, repeated=15)
    assert centre.held_range() == (20, ())
    assert centre.faults() == []


def test_a_gateway_whose_first_message_fails_is_not_half_there(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the file nor in memory."""
    source = Source()
    with monkeypatch.context() as patch:
        patch.setattr(PunchBatch, "write", lambda *_: 1 / 0)
        assert centre.ingest(source.punch(1)) == IngestResult(rejected=1)
        assert centre.store.empty
        assert centre.rows("SELECT name FROM gateway UNION ALL SELECT name FROM stream") == []

    assert centre.ingest(source.events[0]) == IngestResult(stored=1)
    assert centre.held_range() == (1, ())


@pytest.mark.parametrize(
    ("on_file", "on_server"),
    [
        (sqlite3.OperationalError("disk I/O error"), psycopg.errors.DiskFull("no space left")),
        (sqlite3.DatabaseError("malformed"), psycopg.OperationalError("server closed the connection")),
    ],
)
def test_what_the_database_makes_fail_ends_the_store(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, on_file: Exception, on_server: Exception
) -> None:
    """It is no message's fault: nothing of the transaction is stored, and nothing is rejected."""
    source = Source()
    source.punches(3)

    def failing(*_: object) -> None:
        raise on_file if STORES.server is None else on_server

    monkeypatch.setattr(PunchBatch, "write", failing)
    with pytest.raises(StoreError, match=r"centre\.db: |postgresql://\S+: "):
        centre.ingest(*source.events)
    monkeypatch.undo()
    centre.reopen()

    assert centre.rows("SELECT * FROM event") == []
    assert centre.rows("SELECT * FROM rejected") == []


@pytest.mark.parametrize("topic", ["\ud800", "a/b/punch/\ud800", "x\0y", "\x1b[2J", "", "t" * 70_000])
def test_no_topic_stops_the_store(centre: Centre, topic: str) -> None:
    """Rejected, and shown in the log without what would move a terminal's cursor."""
    assert centre.ingest(Message(topic, b"{}")) == IngestResult(rejected=1)

    (line,) = centre.logged("message_rejected")
    assert line["topic"].isascii()
    assert line["topic"].isprintable()
    assert len(line["topic"]) < 2000


@pytest.mark.parametrize("value", ["abc", 10**30, {"a": 1}, True, None], ids=repr)
def test_no_value_of_an_event_ends_a_query_of_the_views(centre: Centre, value: object) -> None:
    """A view has a column for it on a server: there is nothing of another kind in it, and the rows beside it stay."""
    source = Source()
    centre.ingest(source.punch(1), source.punch(2, state=value, verify=value), source.punch(3))

    rows = centre.rows("SELECT sequence, state, verify FROM punches ORDER BY sequence")

    assert [rows[0], rows[2]] == [(1, 0, 1), (3, 0, 1)]
    assert rows[1][0] == 2
    if STORES.server is not None:
        assert rows[1][1:] == ((1, 1) if value is True else (None, None))


# ---------------------------------------------------------------- quotas


def test_streams_without_number_fill_neither_memory_nor_the_file(centre: Centre) -> None:
    """So many a day; the rest is counted. Other gateways go on, and so does this one with what it had."""
    source, other = Source(), Source("other", OTHER)
    centre.ingest(source.punch(1))

    def attack(first: int, last: int) -> None:
        centre.ingest(
            *(Message(PUNCHES, payload(Source(f"stream-{number}").punch(1))) for number in range(first, last))
        )

    attack(0, 1500)
    assert peak_growth(lambda: attack(1500, 2000)) < 8 * 1024 * 1024
    centre.ingest(source.punch(2))
    centre.ingest(other.punch(1), topic=THEIRS)

    assert centre.rows("SELECT count(*) FROM stream WHERE gateway = 1") == [(streams.MAX_STREAMS_A_DAY,)]
    assert centre.rows("SELECT times FROM rejected_counted WHERE reason = 'too_many_streams'") == [(901,)]
    assert centre.rows("SELECT count(*) FROM rejected") == [(rejections.MAX_REJECTED,)]
    assert [line["reason"] for line in centre.logged("quota_reached")] == ["too_many_streams"]
    assert centre.reported()[OTHER] == ("other", (1, ()))


def test_streams_may_begin_again_the_next_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that was attacked, or whose card dies, is not locked out for ever."""
    monkeypatch.setattr(streams, "MAX_STREAMS_A_DAY", 3)
    moment = [datetime(2026, 9, 4, 8, 0, tzinfo=UTC)]
    store = Store(tmp_path / "centre.db", now=lambda: moment[0])

    def arrive(name: str) -> IngestResult:
        return store.ingest([Message(PUNCHES, payload(Source(name).punch(1)))])

    results = [arrive(f"s{number}") for number in range(5)]
    moment[0] += timedelta(days=1, seconds=1)

    assert [result.stored for result in results] == [1, 1, 1, 0, 0]
    assert [arrive(f"s{number}").stored for number in (0, 4)] == [0, 1]
    assert store.ingest([Message(INFO, Source("s4").info())]) == IngestResult()
    assert [receipt.stream for receipt in store.receipts()] == ["s4"]
    store.close()


def test_gaps_without_number_are_refused_and_the_receipt_stays_true(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would open one gap too many is not held; what closes gaps is, and then the rest is."""
    monkeypatch.setattr("central.coverage.MAX_GAPS", 5)
    source = Source()
    source.punches(30)

    result = centre.ingest(*source.events[1::2])

    assert result == IngestResult(stored=5, rejected=10)
    assert centre.streams()[0].quotas == ["too_many_gaps"]
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (10, ((1, 1), (3, 3), (5, 5), (7, 7), (9, 9)))
    assert centre.ingest(source.events[10]) == IngestResult(stored=1)
    assert centre.ingest(*source.events) == IngestResult(stored=24, repeated=6)
    assert centre.held_range() == (30, ())
    assert centre.faults() == []
    assert MAX_GAPS == 10_000


def test_places_that_are_called_forgotten_open_no_gaps_without_number(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event can name thousands of them."""
    monkeypatch.setattr("central.coverage.MAX_GAPS", 5)
    source, old = Source(), Source("old")
    old.punches(40)

    assert centre.ingest(source.forget(*old.events[1::2], stream="old")) == IngestResult(stored=1)

    assert len(centre.rows("SELECT * FROM gap")) == 5
    assert len(centre.rows("SELECT * FROM forgotten")) == 5


def test_claims_of_one_place_without_number(centre: Centre) -> None:
    """A fork keeps some of them; each more would have to be compared with all."""
    source = Source()
    source.punch(1)
    forged = [Source() for _ in range(30)]
    for number, one in enumerate(forged):
        one.punch(100 + number)

    result = centre.ingest(source.events[0], *(one.events[0] for one in forged))

    assert result == IngestResult(stored=batches.MAX_CLAIMS, rejected=31 - batches.MAX_CLAIMS)
    (stream,) = centre.streams()
    assert (stream.forks, stream.quotas) == ([1], ["too_many_forks"])


def test_a_receipt_does_not_confirm_a_place_at_which_an_event_was_refused(centre: Centre) -> None:
    """Whoever fills places before the gateway does must not make it remove what is held nowhere else."""
    source = Source()
    source.punches(5)
    forged = [Source() for _ in range(batches.MAX_CLAIMS)]
    for number, one in enumerate(forged):
        one.events = source.events[:2]
        one.punch(100 + number)
    centre.ingest(*source.events[:2], *(one.events[2] for one in forged))

    assert centre.ingest(*source.events[2:]) == IngestResult(stored=2, rejected=1)

    assert centre.held_range() == (5, ((3, 3),))
    centre.reopen()
    assert centre.held_range() == (5, ((3, 3),))
    assert centre.ingest(source.events[2]) == IngestResult(rejected=1)
    assert centre.ingest(source.punch(7)) == IngestResult(stored=1)
    assert centre.held_range() == (6, ((3, 3),))
    assert [stream.quotas for stream in centre.streams()] == [["too_many_forks"]]


def test_what_quotas_refused_of_forgotten_places_is_no_fault_of_the_file(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verification finds what somebody changed, and nothing else."""
    monkeypatch.setattr("central.coverage.MAX_GAPS", 5)
    source, old = Source(), Source("old")
    old.punches(40)
    centre.ingest(source.forget(*old.events[1::2], stream="old"))

    assert centre.faults() == []
    with centre.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE forgotten SET id = 'other' WHERE sequence = 4")
    assert (4, "the table of pruned events differs from what the gateway's events state") in centre.faults()


def test_rejected_messages_are_kept_up_to_a_number_and_then_counted(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By message and by byte, for each gateway and for all together; also after the next opening."""
    monkeypatch.setattr(rejections, "MAX_REJECTED", 3)
    monkeypatch.setattr(rejections, "MAX_REJECTED_BYTES", 10_000)
    monkeypatch.setattr(rejections, "MAX_REJECTED_OF_ALL", 6)
    centre.ingest(Source().punch(1))
    centre.ingest(Source("other", OTHER).punch(1), topic=THEIRS)

    centre.ingest(*(Message(PUNCHES, b"{" * number) for number in range(1, 6)))
    centre.ingest(Message(THEIRS, b"x" * 9_998), Message(THEIRS, b"y" * 10_000), Message(THEIRS, b"zz"))
    centre.reopen()
    centre.ingest(*(Message("a/b/c", b"%d" % number) for number in range(3)), Message(PUNCHES, b"[[["))
    assert centre.ingest(Message(PUNCHES, b"{"), Message(PUNCHES, b"{")) == IngestResult(rejected=2)

    assert centre.rows(
        "SELECT gateway, count(*), sum(times) FROM rejected GROUP BY gateway ORDER BY coalesce(gateway, '')"
    ) == [
        (None, 1, 1),
        (GATEWAY, 3, 5),
        (OTHER, 2, 2),
    ]
    assert centre.rows("SELECT gateway, reason, times FROM rejected_counted ORDER BY gateway") == [
        ("", "topic", 2),
        (GATEWAY, "not_json", 3),
        (OTHER, "not_json", 1),
    ]


def test_gateways_without_number_are_refused(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a broker that is not ours can make them up."""
    monkeypatch.setattr(streams, "MAX_GATEWAYS", 3)

    for number in range(6):
        gateway = f"office/gw-{number}"
        centre.ingest(Source(gateway=gateway).punch(1), topic=f"{gateway}/punch/lobby")

    assert len(centre.reported()) == 3
    assert centre.rows("SELECT reason, count(*) FROM rejected GROUP BY reason") == [("too_many_gateways", 3)]


@pytest.mark.file_only  # memory is taken by reading, before any database
@pytest.mark.parametrize(
    "message",
    [
        b"[" + b"[]," * (MAX_BYTES // 3 - 1) + b"1]",
        b"[[" + b"{}," * (MAX_EVENT_BYTES // 3 - 1) + b"1]]",
        b"[[" + b"12345," * (MAX_EVENT_BYTES // 6 - 1) + b"1]]",
        b'["' + "\N{GRINNING FACE}".encode() * (MAX_BYTES // 4 - 1) + b'"]',
        b"[" + b'"\\\\",' * (MAX_BYTES // 40 - 1) + b"1]",
        b'["' + b"\\\\" * (MAX_BYTES // 2 - 2) + b'"]',
        b"[" * (MAX_BYTES // 8),
        b'{"a":' * (MAX_BYTES // 5),
        dumped({"x": ["a"] * 60_000}).encode(),
    ],
    ids=lambda message: repr(message[:12]),
)
def test_no_message_takes_much_memory(centre: Centre, message: bytes) -> None:
    """However it is made; what is stored beside it is stored."""
    source = Source()
    centre.ingest(source.punch(1))

    growth = peak_growth(lambda: centre.ingest(Message(BATCH, message), source.punch(2)))

    assert growth < 32 * 1024 * 1024
    assert centre.held_range() == (2, ())
