"""Receipts and what is sent again: nothing is confirmed without a receipt of the centre, nothing changes a byte."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from drivers.base import BadRecord, RawPunch, Reading, Record
from gateway import event as event_module
from gateway.event import ReadingContext
from gateway.ledger import (
    Judgement,
    Ledger,
    LedgerFull,
    LedgerReader,
    Receipt,
    ResendCounts,
    RetainedInfo,
    Selection,
    receipt_from,
)
from gateway.ledger import delivery as module
from gateway.ledger.schema import SETTLED

SOURCE = "/hadir/3602-bkpsdm/gw-01"
SERIAL = "CEXA193960001"
MORNING = datetime(2026, 9, 4, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
NOW = datetime(2026, 9, 4, 1, tzinfo=UTC)
AT = "2026-09-04T01:00:00Z"


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return what it shows."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """Start at one in the morning, UTC."""
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """Open a ledger in which twenty punches of two days wait, and a record that cannot be read."""
    ledger = Ledger(tmp_path, SOURCE, now=clock)
    ledger.pin_serial("lobby", SERIAL)
    records: list[Record] = [
        RawPunch("1001", None, MORNING + timedelta(days=day, seconds=second), 0, 1, "0", bytes([day, second]))
        for day in (0, 1)
        for second in range(10)
    ]
    context = ReadingContext(
        "lobby", SERIAL, ZoneInfo("Asia/Jakarta"), "log", NOW, True, None, False, timedelta(minutes=1)
    )
    records.append(BadRecord(b"\x01junk", b"junk", "impossible date"))
    ledger.record_reading(context, Reading(0, len(records), records, "40"))
    yield ledger
    ledger.close()


def receipt(ledger: LedgerReader, upto: int, *missing: tuple[int, int]) -> Receipt:
    """Return the centre's word about the present stream."""
    return Receipt(stream=ledger.stream, upto=upto, missing=missing, at=AT)


def send_all(ledger: Ledger) -> None:
    """Let the broker take everything."""
    ledger.mark_sent(event.sequence for event in ledger.pending(0, 10_000))
    ledger.flush_marks()


def waiting(ledger: LedgerReader) -> list[int]:
    """Return the numbers of what waits."""
    return [event.sequence for event in ledger.pending(0, 10_000)]


def rows(ledger: LedgerReader, statement: str) -> list[Any]:
    """Ask the file itself."""
    connection = sqlite3.connect(ledger.path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def log_bytes(ledger: LedgerReader) -> int:
    """Return the size of the write-ahead log, which every write makes longer."""
    return ledger.path.with_name(f"{ledger.path.name}-wal").stat().st_size


def settled(ledger: LedgerReader) -> list[int]:
    """Return the numbers of the events whose bodies may be forgotten."""
    statement = "SELECT sequence FROM event WHERE " + SETTLED + " ORDER BY sequence"  # noqa: S608 - our own words
    return [row[0] for row in rows(ledger, statement)]


def forget(ledger: Ledger, *sequences: int) -> None:
    """Do what retention does."""

    def work(transaction: Any) -> None:
        for sequence in sequences:
            transaction.connection.exec_driver_sql("UPDATE event SET body = NULL WHERE sequence = ?", (sequence,))

    ledger.do(work)


# ---------------------------------------------------------------- what a receipt must look like


def test_a_receipt_is_read() -> None:
    """As the contract writes it; what is not known of it is ignored."""
    stream = str(uuid4())
    text = json.dumps({"stream": stream, "upto": 1200, "missing": [[3, 3], [1150, 1163]], "at": AT, "later": 1})
    assert receipt_from(text.encode()) == Receipt(stream=stream, upto=1200, missing=((3, 3), (1150, 1163)), at=AT)


GOOD: dict[str, Any] = {"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "upto": 100, "missing": [], "at": AT}


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": "lobby"},
        {"stream": "6F9C2D1E-8A47-4C53-9B0E-2F6D1A7C4E80"},
        {"stream": None},
        {"upto": -1},
        {"upto": 1.0},
        {"upto": "100"},
        {"upto": True},
        {"upto": 2**63},
        {"missing": None},
        {"missing": [[1]]},
        {"missing": [[1, 2, 3]]},
        {"missing": [[0, 2]]},
        {"missing": [[3, 2]]},
        {"missing": [[5, 9], [9, 12]]},
        {"missing": [[5, 9], [1, 2]]},
        {"missing": [[99, 101]]},
        {"missing": [[2 * n, 2 * n] for n in range(1, 502)], "upto": 5000},
        {"at": "yesterday"},
        {"at": None},
    ],
    ids=str,
)
def test_a_receipt_that_says_anything_else_is_refused(wrong: dict[str, Any]) -> None:
    """With a reason, and without repeating what was sent."""
    assert receipt_from(json.dumps(GOOD).encode()).upto == 100
    with pytest.raises(ValueError, match=r".") as caught:
        receipt_from(json.dumps(GOOD | wrong).encode())
    assert "yesterday" not in str(caught.value)


@pytest.mark.parametrize("garbage", [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"upto":1}', b" " * 70_000])
def test_garbage_is_refused(garbage: bytes) -> None:
    """Bytes that are no receipt raise one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        receipt_from(garbage)


def test_five_hundred_ranges_are_accepted(ledger: Ledger) -> None:
    """As many as the contract allows fit into what a broker may pass on."""
    missing = [[10**12 + 2 * n, 10**12 + 2 * n] for n in range(500)]
    text = json.dumps(GOOD | {"missing": missing, "upto": 10**13}).encode()
    assert len(receipt_from(text).missing) == 500


# ---------------------------------------------------------------- what is confirmed


def test_a_receipt_confirms_all_but_what_is_missing(ledger: Ledger, clock: Clock) -> None:
    """Counts, the days of the tally and the moment of the last confirmation show it."""
    send_all(ledger)
    assert ledger.counts().confirmed == 0
    clock.pass_by(5)
    assert ledger.note_receipt(receipt(ledger, 15, (3, 4), (12, 12))) is Judgement.NEWS
    counts = ledger.counts()
    assert (counts.confirmed, counts.missing) == (12, 3)
    assert counts.last_confirmed_ms == round(clock.now.timestamp() * 1000)
    tally = {day.day: (day.in_ledger, day.sent, day.confirmed) for day in ledger.tally("lobby")}
    assert tally == {date(2026, 9, 4): (10, 10, 8), date(2026, 9, 5): (10, 10, 4), None: (1, 1, 0)}


def test_what_says_nothing_new_writes_nothing(ledger: Ledger, clock: Clock) -> None:
    """A centre may repeat itself on every connection."""
    assert ledger.note_receipt(receipt(ledger, 15, (3, 4))) is Judgement.NEWS
    before = ledger.counts()
    written = log_bytes(ledger)
    clock.pass_by(60)
    assert ledger.note_receipt(receipt(ledger, 15, (3, 4))) is Judgement.KNOWN
    assert ledger.note_receipt(receipt(ledger, 9, (3, 4))) is Judgement.KNOWN
    assert ledger.counts() == before
    assert log_bytes(ledger) == written


def test_upto_only_rises_and_missing_overrides(ledger: Ledger) -> None:
    """A centre that was restored from a backup gets back what it lost, and loses nothing that it does not name."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 18, (16, 17)))
    ledger.note_receipt(receipt(ledger, 10, (2, 5)))
    assert (ledger.counts().confirmed, ledger.counts().missing) == (12, 6)
    assert rows(ledger, "SELECT first, last FROM missing ORDER BY first") == [(2, 5), (16, 17)]
    ledger.note_receipt(receipt(ledger, 16, (2, 2)))
    assert rows(ledger, "SELECT first, last FROM missing ORDER BY first") == [(2, 2), (17, 17)]
    ledger.note_receipt(receipt(ledger, 21))
    assert (ledger.counts().confirmed, ledger.counts().missing) == (21, 0)


def test_covering_implies_sent(ledger: Ledger) -> None:
    """A receipt may overtake the broker's acknowledgement, and heals what the broker refused for good."""
    ledger.park(7, 0x99)
    ledger.park(9, 0x99)
    ledger.flush_marks()
    ledger.note_receipt(receipt(ledger, 12, (4, 5), (9, 9)))
    assert waiting(ledger) == [4, 5, *range(13, 22)]
    assert ledger.counts().parked == 1
    assert rows(ledger, "SELECT sequence FROM event WHERE parked IS NOT NULL") == [(9,)]
    ledger.note_receipt(receipt(ledger, 12))
    assert waiting(ledger) == list(range(13, 22))
    assert ledger.counts().parked == 0


def test_a_receipt_above_what_was_assigned_opens_a_stream_and_confirms_nothing(ledger: Ledger) -> None:
    """Up to the highest sequence assigned it is valid; one more proves that the ledger was set back."""
    assert ledger.note_receipt(receipt(ledger, 21)) is Judgement.NEWS
    before = ledger.stream
    assert ledger.note_receipt(receipt(ledger, 22)) is Judgement.SET_BACK
    assert (ledger.stream != before, len(ledger.streams())) == (True, 2)
    assert ledger.counts().confirmed == 21


def test_one_rollback_opens_one_stream_by_whatever_ways_it_is_proven(ledger: Ledger) -> None:
    """A receipt from the broker, one from a file and the retained info at once: each is judged in the transaction."""
    above = receipt(ledger, 500)
    info = RetainedInfo(stream=ledger.stream, sequence=500)
    together = threading.Barrier(8)
    found: list[Judgement] = []

    def claim(number: int) -> None:
        together.wait()
        found.append(ledger.judge_info(info) if number % 2 else ledger.note_receipt(above))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == {Judgement.SET_BACK: 1, Judgement.SUPERSEDED: 7}
    assert [stream.reason for stream in ledger.streams()] == [None, "rolled_back"]


def test_forged_claims_open_one_stream_an_hour(tmp_path: Path) -> None:
    """Also over a restart; what comes sooner is ignored and changes nothing."""
    now = [datetime(2026, 9, 7, 1, tzinfo=UTC)]
    found = []
    for minutes in (0, 1, 59, 61, 62):
        now[0] = datetime(2026, 9, 7, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        with closing(Ledger(tmp_path / "forged", "/hadir/o/g", now=lambda: now[0])) as ledger:
            found += [ledger.note_receipt(receipt(ledger, 9_000_000)) for _ in range(3)]
    opened, repeated = Judgement.SET_BACK, Judgement.REPEATED
    assert found == [opened, repeated, repeated, *[repeated] * 6, opened, repeated, repeated, *[repeated] * 3]


def test_receipts_survive_a_restart(ledger: Ledger, tmp_path: Path) -> None:
    """They are on the disk before anything is concluded from them."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 20, (3, 3)))
    ledger.close()
    again = Ledger(tmp_path, SOURCE)
    assert (again.counts().confirmed, again.counts().missing) == (19, 1)
    again.close()


def test_a_new_stream_has_receipts_of_its_own(ledger: Ledger) -> None:
    """Its sequences begin at 1; what the stream before never had confirmed is not confirmed by the new one."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 15, (3, 4)))
    ledger.open_stream("restored")
    ledger.record_note(event_module.TERMINAL_LOST, None, NOW, {})
    assert ledger.assigned() == 2
    ledger.note_receipt(receipt(ledger, 2, (1, 1)))
    assert rows(ledger, "SELECT first, last FROM missing ORDER BY first") == [(3, 4), (16, 21), (22, 22)]
    assert (ledger.counts().confirmed, ledger.counts().missing) == (14, 9)
    ledger.note_receipt(receipt(ledger, 2))
    assert rows(ledger, "SELECT first, last FROM missing ORDER BY first") == [(3, 4), (16, 21)]


# ---------------------------------------------------------------- what may be forgotten


def test_whose_word_settles(ledger: Ledger) -> None:
    """Auto: the broker's until a receipt was ever received, the centre's from then on; or always one of them."""
    assert settled(ledger) == []
    send_all(ledger)
    everything = list(range(1, 22))
    assert settled(ledger) == everything
    ledger.trust("centre")
    assert settled(ledger) == []
    ledger.trust("auto")
    assert settled(ledger) == everything
    ledger.note_receipt(receipt(ledger, 0))
    assert settled(ledger) == []
    ledger.note_receipt(receipt(ledger, 5, (2, 3)))
    assert settled(ledger) == [1, 4, 5]
    ledger.trust("broker")
    assert settled(ledger) == everything


def test_what_waits_or_is_parked_is_never_settled(ledger: Ledger) -> None:
    """Not even by the broker's word."""
    ledger.trust("broker")
    ledger.park(1, 0x99)
    ledger.mark_sent([2])
    ledger.flush_marks()
    assert settled(ledger) == [2]


def test_a_replaced_stream_is_settled_by_the_broker(ledger: Ledger) -> None:
    """Its end will never be confirmed; the disk must not fill with it."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 5))
    assert settled(ledger) == [1, 2, 3, 4, 5]
    ledger.open_stream("restored")
    send_all(ledger)
    assert settled(ledger) == list(range(1, 22))
    ledger.note_receipt(receipt(ledger, 1))
    assert settled(ledger) == list(range(1, 23))


def test_a_receipt_is_stored_where_nothing_else_may_be_written(ledger: Ledger) -> None:
    """On a full disk it is what makes bodies go; whatever is to be recorded must wait."""
    send_all(ledger)
    ledger._disk_guard.note_disk_full()
    with pytest.raises(LedgerFull):
        ledger.record_note(event_module.TERMINAL_LOST, None, NOW, {})
    with pytest.raises(LedgerFull):
        ledger.resend_missing()
    assert ledger.note_receipt(receipt(ledger, 5)) is Judgement.NEWS
    ledger.trust("centre")
    assert settled(ledger) == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- what is sent again


def test_what_the_centre_misses_waits_again_once_a_minute(ledger: Ledger, clock: Clock) -> None:
    """Not while it waits or travels, not within a minute of the broker's word, and then without a changed byte."""
    bodies = {event.sequence: event.body for event in ledger.events(0, 100)}
    send_all(ledger)
    requested = []
    ledger.on_resend = lambda: requested.append(1)
    ledger.note_receipt(receipt(ledger, 20, (3, 4), (18, 18)))
    clock.pass_by(59)
    assert ledger.resend_missing() == ResendCounts(0, 0)
    assert requested == []
    clock.pass_by(2)
    assert ledger.resend_missing() == ResendCounts(3, 0)
    assert requested == [1]
    assert waiting(ledger) == [3, 4, 18]
    assert ledger.again_upto() == 18
    assert ledger.resend_missing() == ResendCounts(0, 0)
    ledger.mark_sent([3, 4, 18])
    ledger.flush_marks()
    assert ledger.resend_missing() == ResendCounts(0, 0)
    clock.pass_by(61)
    ledger.note_receipt(receipt(ledger, 20, (4, 4)))
    assert ledger.resend_missing() == ResendCounts(1, 0)
    assert {event.sequence: event.body for event in ledger.events(0, 100)} == bodies


def test_a_clock_that_steps_back_does_not_keep_what_is_missing(ledger: Ledger, clock: Clock) -> None:
    """Sent in the future is long enough ago."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 20, (3, 4)))
    clock.pass_by(-86_400)
    assert ledger.resend_missing() == ResendCounts(2, 0)


def test_much_that_is_missing_waits_again_in_steps(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no transaction is long."""
    monkeypatch.setattr(module, "STEP", 4)
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 20, (1, 3), (5, 10)))
    clock.pass_by(61)
    assert [ledger.resend_missing().events for _ in range(4)] == [4, 4, 1, 0]
    assert waiting(ledger) == [1, 2, 3, *range(5, 11)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(3, 5), [3, 4, 5]),
        (Selection(20, 999), [20, 21]),
        (Selection(terminal="lobby"), list(range(1, 22))),
        (Selection(terminal="gate"), []),
        (Selection(days=(date(2026, 9, 5), date(2026, 9, 5))), list(range(11, 21))),
        (Selection(terminal="lobby", days=(date.min, date(2026, 9, 4))), list(range(1, 11))),
        (Selection(9, 12, days=(date(2026, 9, 4), date(2026, 9, 5))), [9, 10, 11, 12]),
    ],
    ids=str,
)
def test_chosen_events_wait_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, selection: Selection, expected: list[int]
) -> None:
    """By number, by terminal, by day, in steps, without a changed byte, and each once."""
    monkeypatch.setattr(module, "STEP", 4)
    bodies = [event.body for event in ledger.events(0, 100)]
    send_all(ledger)
    assert ledger.resend(selection) == ResendCounts(len(expected), 0)
    assert waiting(ledger) == expected
    assert ledger.resend(selection) == ResendCounts(0, 0)
    assert [event.body for event in ledger.events(0, 100)] == bodies


def test_a_replay_of_what_is_confirmed_is_not_undone_by_the_next_receipt(ledger: Ledger) -> None:
    """Another subscriber may want it; the centre's receipt for it changes nothing."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 10))
    ledger.resend(Selection(3, 4))
    ledger.note_receipt(receipt(ledger, 21))
    assert waiting(ledger) == [3, 4]


def test_a_replay_takes_up_again_what_the_broker_had_refused_for_good(ledger: Ledger) -> None:
    """The request states why it will be taken now."""
    send_all(ledger)
    ledger.resend(Selection(7, 7))
    ledger.park(7, 0x99)
    ledger.flush_marks()
    assert ledger.resend(Selection(7, 8)) == ResendCounts(2, 0)
    assert waiting(ledger) == [7, 8]


def test_pruned_bodies_are_reported_once_with_id_and_digest(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In numbered events of bounded length, each in the stream it was in."""
    monkeypatch.setattr(module, "PRUNED_PER_NOTE", 3)
    send_all(ledger)
    known = {
        sequence: (identity, digest)
        for sequence, identity, digest in rows(ledger, "SELECT sequence, id, digest FROM event")
    }
    ledger.note_receipt(receipt(ledger, 20, (3, 9)))
    forget(ledger, 4, 5, 6, 8)
    clock.pass_by(61)
    assert ledger.resend_missing() == ResendCounts(3, 4)
    assert waiting(ledger) == [3, 7, 9, 22, 23]
    reported = [json.loads(event.body) for event in ledger.events(21, 10)]
    assert [event["type"] for event in reported] == [event_module.BODY_FORGOTTEN] * 2
    listed = [entry for event in reported for entry in event["data"]["events"]]
    assert [entry["sequence"] for entry in listed] == [4, 5, 6, 8]
    for entry in listed:
        identity, digest = known[entry["sequence"]]
        assert (entry["id"].replace("-", ""), entry["digest"]) == (identity.hex(), digest)
    assert {event["data"]["stream"] for event in reported} == {ledger.stream}
    clock.pass_by(61)
    assert ledger.resend_missing().forgotten == 0
    assert ledger.resend(Selection(4, 5)) == ResendCounts(0, 2)
    assert ledger.last_sequence() == 23


def test_pruned_bodies_of_an_older_stream_are_reported_by_its_numbers(ledger: Ledger) -> None:
    """A replay may reach back over streams; every event of it speaks of one."""
    send_all(ledger)
    first = ledger.stream
    second = ledger.open_stream("restored")
    send_all(ledger)
    forget(ledger, 21, 22)
    assert ledger.resend(Selection(21, 22)) == ResendCounts(0, 2)
    reported = [json.loads(event.body)["data"] for event in ledger.events(22, 10)]
    assert [(data["stream"], [entry["sequence"] for entry in data["events"]]) for data in reported] == [
        (first, [21]),
        (second, [1]),
    ]


def test_what_the_centre_may_lack_is_whatever_is_not_settled(ledger: Ledger) -> None:
    """StoredEvent, refused, missing, or only taken by the broker; in order, page by page, from a moment on."""
    send_all(ledger)
    ledger.note_receipt(receipt(ledger, 12, (3, 4)))
    ledger.park(15, 0x99)
    ledger.flush_marks()
    lacking = [3, 4, *range(13, 22)]
    assert [event.sequence for event in ledger.unsettled(0, 100)] == lacking
    assert [event.sequence for event in ledger.unsettled(4, 3)] == lacking[2:5]
    assert (ledger.count_unsettled(0), ledger.count_unsettled(4)) == (11, 9)
    moment = ledger.unsettled(0, 1)[0].recorded_ms
    assert (ledger.count_unsettled(0, moment), ledger.count_unsettled(0, moment + 3_600_000)) == (11, 0)
    assert sorted([*settled(ledger), *lacking]) == list(range(1, 22))
