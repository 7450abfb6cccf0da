import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from central.coverage import GAP_GRACE_S, HeldRange
from central.event import MAX_BYTES
from central.report import Chain, StreamReport, open_readonly, report, verify
from central.store import Database, IngestResult, Message, Store, StoreError, StoreLocked
from central.store.rejections import KEPT_BYTES
from drivers.base import RawPunch, Reading
from gateway.event import GATEWAY_RESUMED, ReadingContext
from gateway.ledger import opened as ledger_opened
from gateway.ledger.delivery import Receipt
from tests.central.fresh import fresh_database
from tests.central.sealing import GATEWAY, STREAM, Event, Source, batch, payload, sealed

BOTH_STORES = True
PUNCHES = f"{GATEWAY}/punch/lobby"
BATCH = f"{GATEWAY}/batch"
OTHER = "3602-bkpsdm/gw-02"
THEIRS = f"{OTHER}/punch/lobby"
INFO = f"{GATEWAY}/info"

WITNESS = ReadingContext(
    terminal="lobby",
    serial="CEXA193960001",
    zone=ZoneInfo("Asia/Jakarta"),
    via="log",
    now=datetime.now(UTC),
    synchronised=True,
    clock=None,
    stepped=False,
    tolerance=timedelta(seconds=60),
)
"""Who reads the terminal of a real ledger."""


@dataclass
class Centre:
    """A store with a clock that a test turns."""

    path: Path
    now_s: float = 1000.0
    log: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.exists():
            fresh_database(self.path)
        self.open()

    def open(self) -> None:
        """Open the file, as after a start."""
        self.store = Store(self.path, monotonic_s=lambda: self.now_s)

    def reopen(self) -> None:
        """Close and open again."""
        self.store.close()
        self.open()

    def ingest(self, *items: Event | Message, topic: str = PUNCHES) -> IngestResult:
        """Ingest in one transaction, events each in a message of its own, and remember what was logged about them."""
        with capture_logs() as log:
            result = self.store.ingest(
                item if isinstance(item, Message) else Message(topic, payload(item)) for item in items
            )
        self.log += log
        return result

    def logged(self, event: str) -> list[Any]:
        """Return the log lines of a name."""
        return [line for line in self.log if line["event"] == event]

    def held_range(self, gateway: str = GATEWAY) -> HeldRange:
        """Return the receipt that the gateway would get now."""
        return self.reported()[gateway][1]

    def reported(self) -> dict[str, tuple[str, HeldRange]]:
        """Return stream and held_range for each gateway."""
        return {receipt.gateway: (receipt.stream, receipt.held_range) for receipt in self.store.receipts()}

    def rows(self, query: str) -> list[Any]:
        """Read as a stranger would, while the store is open."""
        with open_readonly(self.path) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def streams(self) -> list[StreamReport]:
        """Return the report of each stream."""
        with open_readonly(self.path) as connection:
            return report(connection).streams

    def faults(self) -> list[tuple[int, str]]:
        """Return what a verification finds."""
        with open_readonly(self.path) as connection:
            return [(fault.sequence, fault.what) for fault in verify(connection)]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Return a new centre."""
    centre = Centre(tmp_path / "centre.db")
    yield centre
    centre.store.close()


def chain_of(centre: Centre) -> Chain:
    """Return the state of the only stream's chain."""
    (stream,) = centre.streams()
    return stream.chain


def test_events_are_kept_whole_and_a_punch_can_be_read(centre: Centre) -> None:
    """What a central system reads is there when `take` has returned, for another connection too."""
    source = Source()
    source.punch(1, pin="0042")
    source.note()

    assert centre.ingest(*source.events) == IngestResult(stored=2)

    assert centre.rows("SELECT gateway, terminal, pin, local_time, time, state, suspect, sequence FROM punches") == [
        (GATEWAY, "lobby", "0042", "2026-09-04T00:00:01", "2026-09-04T07:30:00+07:00", 0, "[]", 1)
    ]
    assert centre.rows("SELECT sequence, body FROM event ORDER BY key") == [
        (number, payload(event).decode()) for number, event in enumerate(source.events, 1)
    ]
    assert centre.held_range() == (2, ())
    assert centre.faults() == []


def test_a_repeated_event_changes_nothing(centre: Centre) -> None:
    """Singly, in batches, after a restart."""
    source = Source()
    source.punches(5)
    centre.ingest(*source.events)

    assert centre.ingest(*source.events) == IngestResult(repeated=5)
    centre.reopen()
    assert centre.ingest(Message(BATCH, batch(*source.events))) == IngestResult(repeated=5)

    assert len(centre.rows("SELECT * FROM event")) == 5
    assert chain_of(centre) == Chain("unbroken", 1, 5, 0, None)


def test_a_known_punch_in_another_place_fills_that_place(centre: Centre) -> None:
    """Another gateway, or the ledger that replaced a lost one, reads the same terminal: one punch, two events."""
    first, second = Source(), Source("another-stream", "3602-bkpsdm/gw-02")
    first.punches(3)
    second.punches(3)

    centre.ingest(*first.events)
    centre.ingest(*second.events, topic="3602-bkpsdm/gw-02/punch/lobby")

    assert len(centre.rows("SELECT id FROM punches")) == 3
    assert centre.reported() == {
        GATEWAY: (STREAM, HeldRange(3, ())),
        "3602-bkpsdm/gw-02": ("another-stream", HeldRange(3, ())),
    }
    assert [stream.punches for stream in centre.streams()] == [3, 0]


@pytest.mark.parametrize("seed", range(8))
def test_any_order_with_repetitions_and_batches_ends_the_same(centre: Centre, seed: int) -> None:
    """Out of order, doubled, half singly and half in batches, with restarts in between."""
    dice = random.Random(seed)
    source = Source()
    source.punches(60)
    queue = source.events + dice.choices(source.events, k=30)
    dice.shuffle(queue)

    while queue:
        part, queue = queue[: (size := dice.randrange(1, 12))], queue[size:]
        if dice.random() < 0.5:
            centre.ingest(Message(BATCH, batch(*part)))
        else:
            centre.ingest(*part)
        if dice.random() < 0.2:
            centre.reopen()

    assert centre.held_range() == (60, ())
    assert [row[0] for row in centre.rows("SELECT sequence FROM event ORDER BY sequence")] == list(range(1, 61))
    assert chain_of(centre) == Chain("unbroken", 1, 60, 0, None)
    assert centre.faults() == []
    assert centre.logged("chain_broken") == []


def test_a_gap_is_reported_and_then_closed(centre: Centre) -> None:
    """What the broker lost is requested, comes as a batch, and closes the chain."""
    source = Source()
    source.punches(10)
    centre.ingest(*source.events[:3], *source.events[6:])

    assert centre.held_range() == (3, ())
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (10, ((4, 6),))
    assert chain_of(centre) == Chain("unbroken", 1, 3, 0, None)

    centre.ingest(Message(BATCH, batch(*source.events[3:6])))
    assert centre.held_range() == (10, ())
    assert chain_of(centre) == Chain("unbroken", 1, 10, 0, None)


def test_a_restart_remembers_gaps_and_counts_their_age_anew(centre: Centre) -> None:
    """The broker may be about to hand over what was missing; meanwhile no receipt says less than the last one."""
    source = Source()
    source.punches(13)
    centre.ingest(*source.events[:3], *source.events[6:10])
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (10, ((4, 6),))

    centre.reopen()

    assert centre.reported() == {}
    centre.ingest(source.events[10], source.events[12])
    assert centre.reported() == {}
    centre.now_s += GAP_GRACE_S - 1
    centre.ingest(source.events[3])
    assert centre.reported() == {}
    centre.now_s += 1
    assert centre.held_range() == (13, ((5, 6), (12, 12)))

    centre.reopen()
    assert centre.reported() == {}
    centre.ingest(*source.events[4:6], source.events[11])
    assert centre.held_range() == (13, ())


def test_joining_in_mid_stream_is_logged(centre: Centre) -> None:
    """The first `previous` is taken on trust; the beginning is requested, and then nothing is on trust any more."""
    source = Source()
    source.punches(10)

    centre.ingest(*source.events[6:])

    (line,) = centre.logged("stream_joined")
    assert line["sequence"] == 7
    assert chain_of(centre) == Chain("joined", 7, 10, 0, None)
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (10, ((1, 6),))
    centre.ingest(*source.events[:6])
    assert chain_of(centre) == Chain("unbroken", 1, 10, 0, None)


def test_a_broken_chain_is_logged_once_with_the_expected_digest(centre: Centre) -> None:
    """A history that was rewritten before it was sent has its first break where the rewriting began or ended."""
    source = Source()
    source.punches(3)
    source.events[1] = sealed({**source.events[1], "data": {}}, source.events[0]["digest"])

    centre.ingest(*source.events)
    centre.ingest(*source.punches(2))
    centre.reopen()
    centre.ingest(*source.events)

    (line,) = centre.logged("chain_broken")
    expected, found = source.events[1]["digest"], source.events[2]["previous"]
    assert (line["sequence"], line["expected"], line["found"]) == (3, expected, found)
    chain = chain_of(centre)
    assert (chain.state, chain.first, chain.last, chain.breaks) == ("broken", 1, 2, 1)
    assert chain.first_break is not None
    assert (chain.first_break.sequence, chain.first_break.expected) == (3, expected)
    assert (3, "previous is not the digest of the event before") in centre.faults()


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_a_break_is_found_in_whatever_order_its_ends_arrive(centre: Centre, order: tuple[int, ...]) -> None:
    """Each link is judged when its second end is there."""
    source = Source()
    source.punches(3)
    source.events[2] = sealed(source.events[2], "sha256:" + "0" * 64)

    for index in order:
        centre.ingest(source.events[index])

    (line,) = centre.logged("chain_broken")
    assert line["sequence"] == 3
    assert chain_of(centre).last == 2


def test_a_stream_that_does_not_begin_with_its_own_name_is_broken(centre: Centre) -> None:
    """The first `previous` is the hash of the stream's name."""
    event = Source().punch(1)

    centre.ingest(sealed(event, "sha256:" + "0" * 64))

    chain = chain_of(centre)
    assert (chain.state, chain.last) == ("broken", 0)


def test_a_fork_keeps_both_and_is_logged_once(centre: Centre) -> None:
    """Two gateways with one copied ledger: both histories stay, whatever comes again."""
    source, copy = Source(), Source()
    source.punches(4)
    copy.events = source.events[:2]
    copy.punch(99)
    copy.punch(98)

    centre.ingest(*source.events)
    centre.ingest(*copy.events[2:])
    centre.reopen()
    assert centre.ingest(*source.events, *copy.events) == IngestResult(repeated=8)

    assert [line["sequence"] for line in centre.logged("fork_found")] == [3]
    assert len(centre.rows("SELECT * FROM event")) == 6
    assert len(centre.rows("SELECT * FROM punches")) == 6
    (stream,) = centre.streams()
    assert stream.forks == [3, 4]
    assert stream.chain.breaks == 0
    assert centre.held_range() == (4, ())
    assert {sequence for sequence, what in centre.faults() if what.startswith("a fork")} == {3, 4}


def test_a_fork_that_mends_the_chain_leaves_no_break(centre: Centre) -> None:
    """The genuine event arrives behind a forged one: what follows is linked to it."""
    source = Source()
    source.punches(4)
    forged = sealed({**source.events[1], "id": "forged", "type": "other"}, source.events[0]["digest"])

    centre.ingest(source.events[0], forged, *source.events[2:])
    assert chain_of(centre).state == "broken"
    centre.ingest(source.events[1])

    assert chain_of(centre) == Chain("unbroken", 1, 4, 0, None)
    (stream,) = centre.streams()
    assert stream.forks == [2]


@pytest.mark.parametrize("seed", range(15))
def test_breaks_and_forks_are_those_of_the_definition(centre: Centre, seed: int) -> None:
    """Several histories of one stream, torn here and there, in any order: what is noted on the way is what is so."""
    dice = random.Random(seed)
    histories = [Source()]
    histories[0].punches(12)
    for _ in range(3):
        other = Source(events=histories[0].events[: dice.randrange(12)])
        while len(other.events) < 12:
            other.punch(100 + dice.randrange(20))
            if dice.random() < 0.3:
                other.events[-1] = sealed(other.events[-1], dice.choice(histories[0].events)["digest"])
        histories.append(other)
    pool = {event["digest"]: event for history in histories for event in history.events if dice.random() < 0.7}
    order = list(pool.values())
    dice.shuffle(order)

    for event in order:
        centre.ingest(event)
        if dice.random() < 0.1:
            centre.reopen()

    places: dict[int, list[Event]] = {}
    for event in order:
        places.setdefault(int(event["sequence"]), []).append(event)
    ends = {place: {event["digest"] for event in events} for place, events in places.items()}
    ends[0] = {Source().end}
    broken = {
        place
        for place, events in places.items()
        if place - 1 in ends and not ends[place - 1] & {event["previous"] for event in events}
    }
    assert {row[0] for row in centre.rows("SELECT sequence FROM finding WHERE kind = 'break'")} == broken
    (stream,) = centre.streams()
    assert stream.forks == sorted(place for place, events in places.items() if len(events) > 1)
    wrong = {sequence for sequence, what in centre.faults() if what.startswith("previous")}
    assert wrong == broken


def test_an_altered_event_is_kept_aside_and_the_genuine_one_is_requested(centre: Centre) -> None:
    """It fills no place, so the receipt lacks it."""
    source = Source()
    source.punches(3)
    altered = {**source.events[1], "data": {**source.events[1]["data"], "pin": "9999"}}

    taken = centre.ingest(source.events[0], altered, altered, source.events[2])

    assert taken == IngestResult(stored=2, rejected=2)
    (line,) = centre.logged("message_rejected")
    assert line["reason"] == "altered"
    assert "9999" not in str(line)
    assert centre.rows("SELECT gateway, reason, payload, times FROM rejected") == [
        (GATEWAY, "altered", payload(altered), 2)
    ]
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (3, ((2, 2),))
    centre.ingest(source.events[1])
    assert centre.held_range() == (3, ())


def test_a_punch_under_anothers_id_does_not_displace_that_one(centre: Centre) -> None:
    """It fills its place and is reported; the genuine punch is stored when it comes."""
    thief, honest = Source("thief", OTHER), Source()
    punch = honest.punch(1)
    thief.record("hadir.punch.recorded.v1", punch["id"], {**punch["data"], "pin": "666"}, "lobby")

    centre.ingest(*thief.events, topic=THEIRS)
    centre.ingest(punch)

    assert centre.rows("SELECT gateway, pin FROM punches") == [(GATEWAY, punch["data"]["pin"])]
    (line,) = centre.logged("punch_misidentified")
    assert line["sequence"] == 1
    assert [stream.misidentified for stream in centre.streams()] == [[], [1]]


def test_one_gateway_cannot_fill_places_of_another(centre: Centre) -> None:
    """Streams count by the gateway whose topic brought them: a receipt covers only what came from its reader."""
    source, thief = Source(), Source(gateway=OTHER)
    source.punches(2)
    thief.punches(2)
    centre.ingest(source.events[0])

    assert centre.ingest(source.events[1], topic=THEIRS) == IngestResult(rejected=1)
    assert centre.ingest(thief.events[1], topic=THEIRS) == IngestResult(stored=1)

    assert centre.held_range() == (1, ())
    assert centre.rows("SELECT gateway, reason FROM rejected") == [(OTHER, "source_mismatch")]


def test_garbage_is_kept_once_and_counted(centre: Centre) -> None:
    """Nothing is lost and nothing grows without bound; good events beside it are stored."""
    source = Source()
    huge = Message(BATCH, b"x" * (MAX_BYTES + 1))

    taken = centre.ingest(
        *(Message(PUNCHES, b"{"), Message(PUNCHES, b"{"), huge),
        *(Message("a\0b\udc80", b"xx"), Message(PUNCHES, payload(source.punch(1)))),
    )

    assert taken == IngestResult(stored=1, rejected=4)
    assert centre.rows("SELECT reason, size, times, length(payload) FROM rejected ORDER BY size") == [
        ("not_json", 1, 2, 1),
        ("topic", 2, 1, 2),
        ("too_large", MAX_BYTES + 1, 1, KEPT_BYTES),
    ]
    assert len(centre.logged("message_rejected")) == 3


def test_receipts_cover_the_stream_that_info_names(centre: Centre) -> None:
    """Late events of the stream before do not bring it back."""
    old, new = Source("old"), Source("new")
    old.punches(4)
    new.punches(2)
    centre.ingest(*old.events[:3])
    assert centre.reported() == {GATEWAY: ("old", HeldRange(3, ()))}

    centre.ingest(Message(INFO, new.info(assigned=0)))
    assert centre.reported() == {GATEWAY: ("new", HeldRange(0, ()))}
    centre.ingest(old.events[3])
    centre.ingest(*new.events)
    centre.reopen()

    assert centre.reported() == {GATEWAY: ("new", HeldRange(2, ()))}
    assert [(stream.stream, stream.current, stream.events) for stream in centre.streams()] == [
        ("old", False, 4),
        ("new", True, 2),
    ]


def test_without_info_the_stream_received_last_is_the_newest(centre: Centre) -> None:
    """Where info never came, events show it."""
    centre.ingest(Source("old").punch(1))
    centre.ingest(Source("new").punch(2))

    assert centre.reported() == {GATEWAY: ("new", HeldRange(1, ()))}


@pytest.mark.parametrize(
    ("sequence", "digest", "state", "beyond"),
    [(3, "right", "matches", 0), (2, "right", "matches", 1), (3, "wrong", "differs", 0), (9, "right", "not_held", 0)],
)
def test_the_end_of_the_stream_before_is_compared(
    centre: Centre, sequence: int, digest: str, state: str, beyond: int
) -> None:
    """A new stream names the end of the old one as the gateway knows it; the centre may know more, or otherwise."""
    old, new = Source("old"), Source("new")
    old.punches(3)
    centre.ingest(*old.events)
    right = old.events[sequence - 1]["digest"] if sequence <= 3 else old.end
    end = {"stream": "old", "sequence": sequence, "digest": right if digest == "right" else "sha256:" + "0" * 64}

    centre.ingest(Message(INFO, new.info(end)), Message(INFO, new.info(end)))

    predecessor = centre.streams()[1].predecessor
    assert predecessor is not None
    assert (predecessor.stream, predecessor.sequence) == ("old", sequence)
    assert (predecessor.state, predecessor.held_beyond) == (state, beyond)
    assert len(centre.logged("predecessor_differs")) == (state == "differs")
    assert bool(centre.faults()) == (state == "differs")


def test_events_announced_by_info_and_not_received_are_missing(centre: Centre) -> None:
    """The broker dropped the newest events: only info shows it."""
    source = Source()
    source.punches(10)
    centre.ingest(*source.events[:6])
    centre.ingest(Message(INFO, source.info()))

    centre.now_s += GAP_GRACE_S

    assert centre.held_range() == (10, ((7, 10),))
    (stream,) = centre.streams()
    assert (stream.upto, stream.missing) == (10, [(7, 10)])


@pytest.mark.file_only
def test_a_restored_centre_requests_what_it_lacks(centre: Centre, tmp_path: Path) -> None:
    """Its receipts then bring it back to where it was."""
    source = Source()
    source.punches(20)
    centre.ingest(*source.events[:8])
    with closing(sqlite3.connect(centre.path)) as live, closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        live.backup(backup)
    centre.ingest(*source.events[8:15])
    assert centre.held_range() == (15, ())

    centre.store.close()
    for part in tmp_path.glob("centre.db*"):
        part.unlink()
    shutil.copy(tmp_path / "backup.db", centre.path)
    centre.open()
    centre.ingest(Message(INFO, source.info(assigned=15)))
    centre.ingest(source.events[15])
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (16, ((9, 15),))

    centre.ingest(Message(BATCH, batch(*source.events[8:15])))
    centre.ingest(*source.events[16:])
    assert centre.held_range() == (20, ())
    assert chain_of(centre) == Chain("unbroken", 1, 20, 0, None)
    assert centre.faults() == []


def test_what_the_real_ledger_writes_is_what_this_centre_reads(centre: Centre, tmp_path: Path) -> None:
    """Neither knows the other's code: digests, identities and numbering agree."""
    moment = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
    log = [
        *(RawPunch("1001", None, moment, 0, 1, "0", b"same second") for _ in range(2)),
        RawPunch("0042", 42, moment + timedelta(minutes=1), 1, 15, "0", b"a"),
        RawPunch(None, 5, moment + timedelta(minutes=2), 0, 1, "0", b"uid"),
    ]
    with ledger_opened(tmp_path / "data", f"/hadir/{GATEWAY}") as ledger:
        ledger.pin_serial("lobby", "CEXA193960001")
        ledger.record_note(GATEWAY_RESUMED, None, datetime.now(UTC), {"clean": False})
        ledger.record_reading(WITNESS, Reading(0, len(log), log, "40"))
        waiting = ledger.pending(0, 100)
        stream = ledger.stream

    centre.ingest(*(Message(f"{GATEWAY}/{event.topic}", event.body.encode()) for event in waiting))

    assert len(waiting) == 5
    assert centre.rows("SELECT body FROM event ORDER BY sequence") == [(event.body,) for event in waiting]
    assert centre.rows("SELECT pin, uid FROM punches ORDER BY sequence") == [
        ("1001", None),
        ("1001", None),
        ("0042", 42),
        (None, 5),
    ]
    assert centre.reported() == {GATEWAY: (stream, HeldRange(5, ()))}
    assert chain_of(centre) == Chain("unbroken", 1, 5, 0, None)
    assert centre.faults() == []


# ---------------------------------------------------------------- content that is gone


def test_what_the_gateway_has_forgotten_is_no_gap_any_more(centre: Centre) -> None:
    """Its place is held by id and digest, the chain is checked through it, and it is requested no more."""
    source = Source()
    source.punches(10)
    centre.ingest(*source.events[:3], *source.events[6:])
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (10, ((4, 6),))

    centre.ingest(source.forget(*source.events[3:6]))
    centre.reopen()

    assert centre.held_range() == (11, ())
    (stream,) = centre.streams()
    assert (stream.missing, stream.gone, stream.events) == ([], [(4, 6)], 8)
    assert stream.chain == Chain("unbroken", 1, 11, 0, None)
    assert centre.faults() == []
    assert centre.rows("SELECT sequence, id, digest FROM gone") == [
        (place, source.events[place - 1]["id"], source.events[place - 1]["digest"]) for place in (4, 5, 6)
    ]


def test_events_that_the_real_ledger_has_pruned_are_requested_once(centre: Centre, tmp_path: Path) -> None:
    """Receipt, answer, receipt: the gateway states what is gone, and then nothing is missing on either side."""
    moment = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
    log = [RawPunch("1001", None, moment + timedelta(minutes=at), 0, 1, "0", b"") for at in range(9)]
    with ledger_opened(tmp_path / "data", f"/hadir/{GATEWAY}") as ledger:
        ledger.pin_serial("lobby", "CEXA193960001")
        ledger.record_reading(WITNESS, Reading(0, len(log), log, "40"))
        waiting = ledger.pending(0, 100)
        ledger.mark_sent(event.sequence for event in waiting)
        ledger.flush_marks()
        centre.ingest(*(Message(BATCH, event.body.encode()) for event in (*waiting[:3], *waiting[6:])))
        ledger.do(
            lambda transaction: transaction.connection.exec_driver_sql(
                "UPDATE event SET body = NULL WHERE sequence BETWEEN 4 AND 6"
            )
        )
        centre.now_s += GAP_GRACE_S
        for _ in range(2):
            (receipt,) = centre.store.receipts()
            upto, missing = receipt.held_range
            ledger.note_receipt(Receipt(stream=receipt.stream, upto=upto, missing=missing, at="2026-09-04T00:31:00Z"))
            ledger.resend_missing()
            centre.ingest(*(Message(BATCH, event.body.encode()) for event in ledger.pending(0, 100)))
        (receipt,) = centre.store.receipts()
        counts = ledger.counts()

    assert receipt.held_range == (10, ())
    assert (counts.sequence, counts.missing) == (10, 0)
    assert [stream.gone for stream in centre.streams()] == [[(4, 6)]]
    assert centre.faults() == []


def test_some_of_a_gap_may_be_forgotten(centre: Centre) -> None:
    """The rest of it stays missing."""
    source = Source()
    source.punches(10)
    centre.ingest(*source.events[:3], *source.events[6:], source.forget(source.events[4]))

    centre.now_s += GAP_GRACE_S

    assert centre.held_range() == (11, ((4, 4), (6, 6)))
    assert [stream.gone for stream in centre.streams()] == [[(5, 5)]]


def test_content_that_arrives_later_replaces_its_tombstone(centre: Centre) -> None:
    """It came by another road and proves itself by its digest: nothing is gone then, and nothing is in doubt."""
    source = Source()
    source.punches(6)
    centre.ingest(*source.events[:3], *source.events[4:], source.forget(source.events[3]))

    assert centre.ingest(source.events[3]) == IngestResult(stored=1)
    assert centre.ingest(source.events[3], source.events[6]) == IngestResult(repeated=2)

    (stream,) = centre.streams()
    assert (stream.gone, stream.forks, stream.punches) == ([], [], 6)
    assert stream.chain == Chain("unbroken", 1, 7, 0, None)
    assert centre.faults() == []
    assert len(centre.rows("SELECT * FROM punches")) == 6


@pytest.mark.parametrize("first_report", [True, False])
@pytest.mark.parametrize("part", ["id", "digest"])
def test_content_that_is_another_is_a_conflict(centre: Centre, first_report: bool, part: str) -> None:
    """What the gateway states of a place, and what came for it, are both kept; a person has to look."""
    source = Source()
    source.punches(6)
    real = source.events[3]
    reported = source.forget({**real, part: "sha256:" + "0" * 64})
    for event in (reported, real) if first_report else (real, reported):
        centre.ingest(event)
    centre.ingest(*source.events[:3], *source.events[4:6])

    (stream,) = centre.streams()
    assert stream.forks == [4]
    assert stream.chain.breaks == 0
    (line,) = centre.logged("fork_found")
    assert (line["sequence"], {line["expected"], line["found"]}) == (4, {real[part], "sha256:" + "0" * 64})
    assert len(centre.rows("SELECT * FROM event WHERE sequence = 4")) == 1
    assert (4, "a fork: different events claim this place") in centre.faults()


def test_a_chain_that_does_not_lead_through_what_was_forgotten_is_broken(centre: Centre) -> None:
    """The next event names the digest of the one before it, whether that one's content is here or not."""
    source = Source()
    source.punches(5)
    centre.ingest(*source.events[:2], *source.events[3:])

    centre.ingest(source.forget({**source.events[2], "digest": "sha256:" + "0" * 64}))

    chain = chain_of(centre)
    assert (chain.state, chain.last) == ("broken", 3)
    assert chain.first_break is not None
    assert (chain.first_break.sequence, chain.first_break.expected) == (4, "sha256:" + "0" * 64)
    assert (4, "previous is not the digest of the event before") in centre.faults()


def test_what_was_forgotten_of_the_stream_before_closes_its_gaps(centre: Centre) -> None:
    """Also where this centre does not know that stream; receipts go on naming the present one."""
    old, new = Source("old"), Source("new")
    old.punches(4)
    centre.ingest(*old.events[:2], old.events[3])
    centre.ingest(new.forget(old.events[2], stream="old"), new.forget(*old.events, stream="older"))

    assert centre.reported() == {GATEWAY: ("new", HeldRange(2, ()))}
    assert [(stream.stream, stream.gone, stream.missing) for stream in centre.streams()] == [
        ("old", [(3, 3)], []),
        ("new", [], []),
        ("older", [(1, 4)], []),
    ]
    assert centre.faults() == []


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"stream": STREAM},
        {"stream": STREAM, "events": [7, {}, {"sequence": 2}, {"sequence": "2", "id": "a", "digest": "b"}]},
        {"events": [{"sequence": 2, "id": "a", "digest": "sha256:" + "0" * 64}]},
        {"stream": STREAM, "events": [{"sequence": 2, "id": "a", "digest": "0" * 64}]},
        {"stream": STREAM, "events": [{"sequence": 0, "id": "a", "digest": "sha256:" + "0" * 64}]},
        {"stream": STREAM, "events": [{"sequence": 4, "id": "a", "digest": "sha256:" + "0" * 64}]},
        {"stream": STREAM, "events": [{"sequence": 2**62, "id": "a", "digest": "sha256:" + "0" * 64}]},
        {"stream": STREAM, "events": [{"sequence": 2, "id": 5, "digest": "sha256:" + "0" * 64}]},
    ],
)
def test_what_is_forgotten_without_being_named_rightly_stays_missing(centre: Centre, data: object) -> None:
    """The event itself has its place like any other; it can say nothing of itself or of what is to come."""
    source = Source()
    source.punches(3)
    source.record("hadir.body.forgotten.v1", "forgotten", data, "lobby")

    assert centre.ingest(source.events[0], *source.events[2:]) == IngestResult(stored=3)

    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (4, ((2, 2),))
    assert centre.rows("SELECT * FROM forgotten") == []
    assert centre.faults() == []


@pytest.mark.parametrize("seed", range(8))
def test_in_any_order_places_and_findings_are_those_of_the_definition(centre: Centre, seed: int) -> None:
    """Some of what the gateway calls forgotten arrives all the same, before or after the note about it."""
    dice = random.Random(seed)
    source = Source()
    source.punches(40)
    forgotten = sorted(dice.sample(range(40), 20))
    statements = [source.forget(*(source.events[index] for index in forgotten[at : at + 5])) for at in range(0, 20, 5)]
    arrive_too = set(dice.sample(forgotten, 6))
    queue = [event for index, event in enumerate(source.events[:40]) if index not in forgotten or index in arrive_too]
    queue += [*statements, *dice.choices(statements, k=3)]
    dice.shuffle(queue)

    for event in queue:
        centre.ingest(event)
        if dice.random() < 0.1:
            centre.reopen()

    assert centre.held_range() == (44, ())
    (stream,) = centre.streams()
    gone = [place for first, last in stream.gone for place in range(first, last + 1)]
    assert gone == [index + 1 for index in forgotten if index not in arrive_too]
    assert stream.chain == Chain("unbroken", 1, 44, 0, None)
    assert centre.faults() == []


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE event SET body = replace(body, \'"pin":"1002"\', \'"pin":"1003"\') WHERE sequence = 2',
        "UPDATE event SET digest = 'sha256:' || hex(zeroblob(32)) WHERE sequence = 2",
        "DELETE FROM event WHERE sequence = 2",
        "DELETE FROM event WHERE sequence = 5",
        "DELETE FROM punch WHERE event = 2",
        "DELETE FROM gap",
        "INSERT INTO gap (stream, first, last) VALUES (1, 1, 1)",
        "UPDATE stream SET seen = 7",
        "DELETE FROM forgotten",
        "UPDATE forgotten SET digest = 'sha256:' || hex(zeroblob(32))",
    ],
)
@pytest.mark.file_only
def test_verify_finds_what_was_changed_in_the_file(centre: Centre, damage: str) -> None:
    """It believes nothing but the bodies."""
    source = Source()
    source.punches(5)
    centre.ingest(*source.events[:3], source.events[4], source.forget(*Source("old").punches(1), stream="old"))
    assert centre.faults() == []
    centre.store.close()

    with closing(sqlite3.connect(centre.path)) as connection, connection:
        assert connection.execute(damage).rowcount

    assert centre.faults()
    centre.open()


def test_one_writer_at_a_time(centre: Centre) -> None:
    """A second inbox would not know what the first one stores."""
    with pytest.raises(StoreLocked, match="another"):
        Store(centre.path)


@contextmanager
def _full(database: Database) -> Iterator[None]:
    """Let the database file not grow any more, as on a full disk: the limit stays with the connection in the pool."""
    _limit(database, pages=None)
    yield
    _limit(database, pages=2**30 - 1)


def _limit(database: Database, pages: int | None) -> None:
    with database.reading() as connection:
        most = pages or connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")


@pytest.mark.file_only
def test_what_cannot_be_stored_is_stored_not_at_all(centre: Centre) -> None:
    """On a full disk `take` raises, and after the next opening nothing is half there."""
    source = Source()
    source.punches(300)
    centre.ingest(*source.events[:10])

    with _full(centre.store.database), pytest.raises(StoreError, match=r"centre\.db: .*full"):
        centre.ingest(*source.events[10:])
    centre.reopen()

    assert centre.held_range() == (10, ())
    assert centre.faults() == []
    centre.ingest(*source.events)
    assert centre.held_range() == (300, ())


def _text(path: Path) -> None:
    path.write_text("this is not a database, but long enough to look like one" * 20)


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something (x)")


def _newer(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("make", [_text, _other, _newer, Path.mkdir])
@pytest.mark.file_only
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It may be somebody's."""
    path = tmp_path / "other.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(StoreError, match=r"other\.db"):
        Store(path)
    with pytest.raises(StoreError, match=r"other\.db"), open_readonly(path):
        pass

    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.file_only
def test_the_file_is_not_for_everybody(centre: Centre) -> None:
    """It holds PINs and times."""
    assert centre.path.stat().st_mode & 0o007 == 0
