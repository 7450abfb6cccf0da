"""Commands to the gateway: what is allowed is done once, everything else changes nothing."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from drivers.base import RawPunch, Reading, Record
from gateway import commands as module
from gateway.commands import Commands, Refusal, Request, read_replay, take_receipt
from gateway.event import ReadingContext
from gateway.ledger import Ledger, LedgerFull
from tests.broker import WAIT_S, eventually

SOURCE = "/hadir/3602-bkpsdm/gw-01"
MORNING = datetime(2026, 9, 4, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
NOW = datetime(2026, 9, 5, 1, tzinfo=UTC)
EVERYTHING = ("poll", "reconcile", "replay", "report", "set-clock")


class RequestedWorker:
    """Records the commands it gets."""

    def __init__(self, name: str, *, settable: bool = False) -> None:
        self.name = name
        self.requested: list[Any] = []
        self._settable = settable
        self.state = SimpleNamespace(payload=lambda: {"state": "online"})
        self.zone = ZoneInfo("Asia/Jakarta")

    def request(self, *, full: bool = False) -> None:
        """Take note."""
        self.requested.append("full" if full else "visit")

    def request_set_clock(self) -> bool:
        """Take note, if this terminal's clock can be set."""
        if self._settable:
            self.requested.append("set-clock")
        return self._settable

    def release(self, first: date, last: date) -> int:
        """Take note."""
        self.requested.append((first, last))
        return 4


class Office:
    """A ledger with twenty punches of two days, all sent; two workers; commands that answer."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, SOURCE)
        self.ledger.pin_serial("lobby", "CEXA193960001")
        records: list[Record] = [
            RawPunch("1001", None, MORNING + timedelta(days=day, seconds=second), 0, 1, "0", bytes([day, second]))
            for day in (0, 1)
            for second in range(10)
        ]
        zone, minute = ZoneInfo("Asia/Jakarta"), timedelta(minutes=1)
        context = ReadingContext("lobby", "CEXA193960001", zone, "log", NOW, True, None, False, minute)
        self.ledger.record_reading(context, Reading(0, len(records), records, "40"))
        self.ledger.mark_sent(range(1, 21))
        self.ledger.flush_marks()
        self.lobby, self.gate = RequestedWorker("lobby", settable=True), RequestedWorker("gate")
        self.commands = self.made(EVERYTHING)
        self.answers: list[dict[str, Any]] = []

    def made(self, allow: tuple[str, ...]) -> Commands:
        """Return commands that may be requested."""
        return Commands(
            allow, self.ledger, [self.lobby, self.gate], report=lambda: {"version": "0.1.0"}, now=lambda: NOW
        )

    def request(self, name: str, payload: bytes = b"", expires: float | None = None) -> Request:
        """Return a request whose answer is kept."""
        return Request(name, payload, self.answers.append, expires)

    def requested(self, name: str, payload: object = None, expires: float | None = None) -> dict[str, Any]:
        """Submit a request and return its answer."""
        text = b"" if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        before = len(self.answers)
        self.commands.submit(self.request(name, text, expires))
        eventually(lambda: len(self.answers) > before, what="an answer")
        return self.answers[-1]

    @property
    def waiting(self) -> list[int]:
        """Numbers of what waits."""
        return [event.sequence for event in self.ledger.pending(0, 1000)]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office whose commands are carried out."""
    office = Office(tmp_path)
    office.commands.start()
    yield office
    office.commands.stop(5)
    office.ledger.close()


# ---------------------------------------------------------------- the commands


def test_poll_and_reconcile_ask_for_visits(office: Office) -> None:
    """Of one terminal or of all; the answer names them and does not wait for them."""
    assert office.requested("poll", {"terminal": "lobby"}) == {"status": "ok", "data": {"terminals": ["lobby"]}}
    assert office.requested("reconcile") == {"status": "ok", "data": {"terminals": ["lobby", "gate"]}}
    assert (office.lobby.requested, office.gate.requested) == (["visit", "full"], ["full"])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"sequence": [3, 5]}, [3, 4, 5]),
        ({"terminal": "lobby"}, list(range(1, 21))),
        ({"day": "2026-09-05"}, list(range(11, 21))),
        ({"from": "2026-09-05"}, list(range(11, 21))),
        ({"to": "2026-09-04"}, list(range(1, 11))),
        ({"terminal": "lobby", "from": "2026-09-04", "to": "2026-09-04"}, list(range(1, 11))),
        ({"terminal": "gate"}, []),
    ],
    ids=str,
)
def test_replay_lets_events_wait_again(office: Office, payload: dict[str, Any], expected: list[int]) -> None:
    """By sequence, day and terminal; the answer counts them."""
    assert office.requested("replay", payload) == {"status": "ok", "data": {"events": len(expected), "forgotten": 0}}
    assert office.waiting == expected


def test_replay_counts_in_the_stream_that_is_named(office: Office) -> None:
    """Sequences are those of the present stream unless another is named; a foreign one is refused."""
    first = office.ledger.stream
    office.ledger.open_stream("restored")
    office.ledger.mark_sent([21])
    office.ledger.flush_marks()
    office.requested("replay", {"sequence": [1, 1]})
    assert office.waiting == [21]
    office.requested("replay", {"sequence": [2, 3], "stream": first})
    assert office.waiting == [2, 3, 21]
    answer = office.requested("replay", {"sequence": [1, 1], "stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80"})
    assert answer["error"]["code"] == "unknown_stream"


def test_replay_of_what_was_withheld_is_the_workers(office: Office) -> None:
    """It needs the terminal's zone and serial; without days all of it goes."""
    assert office.requested("replay", {"withheld": True, "terminal": "lobby"})["data"] == {"released": 4}
    office.requested("replay", {"withheld": True, "terminal": "lobby", "from": "2026-08-01"})
    assert office.lobby.requested == [(date.min, date.max), (date(2026, 8, 1), date.max)]


def test_set_clock_is_for_terminals_that_can(office: Office) -> None:
    """And for one at a time."""
    assert office.requested("set-clock", {"terminal": "lobby"})["data"] == {"terminals": ["lobby"]}
    assert office.requested("set-clock", {"terminal": "gate"})["error"]["code"] == "not_supported"
    assert office.requested("set-clock")["error"]["code"] == "invalid_request"
    assert (office.lobby.requested, office.gate.requested) == (["set-clock"], [])


def test_report_tells_of_the_gateway_or_of_a_terminal(office: Office) -> None:
    """A terminal's report holds the counts of its last days."""
    assert office.requested("report")["data"] == {"version": "0.1.0"}
    reported = office.requested("report", {"terminal": "lobby"})["data"]
    assert (reported["terminal"], reported["state"]) == ("lobby", {"state": "online"})
    assert [(day["day"], day["in_ledger"], day["sent"]) for day in reported["days"]] == [
        ("2026-09-04", 10, 10),
        ("2026-09-05", 10, 10),
    ]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("reboot", None, "unknown_command"),
        ("clear-log", {"terminal": "lobby"}, "unknown_command"),
        ("poll", {"terminal": "kitchen"}, "unknown_terminal"),
        ("report", {"terminal": "kitchen"}, "unknown_terminal"),
        ("replay", {"terminal": "kitchen"}, "unknown_terminal"),
        ("poll", b"{", "invalid_request"),
        ("poll", b"\xff\xfe", "invalid_request"),
        ("poll", b"[]", "invalid_request"),
        ("poll", b"null", "invalid_request"),
        ("poll", b" " * 20_000, "invalid_request"),
        ("poll", {"terminal": 5}, "invalid_request"),
        ("poll", {"terminal": "lobby", "clear": True}, "invalid_request"),
        ("replay", None, "invalid_request"),
        ("replay", {"sequence": [5, 3]}, "invalid_request"),
        ("replay", {"sequence": [0, 3]}, "invalid_request"),
        ("replay", {"sequence": [1]}, "invalid_request"),
        ("replay", {"sequence": [1, 2], "day": "2026-09-04"}, "invalid_request"),
        ("replay", {"stream": "x", "terminal": "lobby"}, "invalid_request"),
        ("replay", {"day": "2026-09-04", "from": "2026-09-04"}, "invalid_request"),
        ("replay", {"day": "4 September"}, "invalid_request"),
        ("replay", {"day": 1}, "invalid_request"),
        ("replay", {"withheld": True}, "invalid_request"),
        ("replay", {"withheld": True, "sequence": [1, 2], "terminal": "lobby"}, "invalid_request"),
    ],
    ids=str,
)
def test_what_is_refused_changes_nothing(office: Office, name: str, payload: object, code: str) -> None:
    """The answer has a code for programs and a sentence for people."""
    answer = office.requested(name, payload)
    assert (answer["status"], answer["error"]["code"]) == ("error", code)
    assert answer["error"]["message"]
    assert office.waiting == []
    assert (office.lobby.requested, office.gate.requested) == ([], [])


def test_what_is_not_on_the_list_is_not_for_the_centre(office: Office) -> None:
    """People at this machine may still ask for it: they do not come through the broker."""
    office.commands.stop(5)
    office.commands = office.made(("poll",))
    office.commands.start()
    assert office.requested("replay", {"terminal": "lobby"})["error"]["code"] == "not_allowed"
    assert office.waiting == []
    assert office.commands.run("replay", '{"sequence": [1, 2]}') == {"events": 2, "forgotten": 0}


def test_a_request_that_has_expired_is_not_carried_out(office: Office) -> None:
    """Also if it expired while it waited here."""
    assert office.requested("poll", {"terminal": "lobby"}, expires=0.0)["error"]["code"] == "expired"
    assert office.lobby.requested == []


def test_a_command_that_fails_does_not_end_the_answering(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker learns that it failed, the log why, and the next is carried out."""

    def fail(_selection: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(office.ledger, "resend", fail)
    with capture_logs() as logs:
        assert office.requested("replay", {"terminal": "lobby"})["error"]["code"] == "failed"
    assert [entry["event"] for entry in logs] == ["command_failed"]
    assert office.requested("report")["status"] == "ok"


# ---------------------------------------------------------------- how many


class Blocked:
    """Holds the execution of a command up until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        real: Callable[..., Any] = ledger.resend

        def wait(selection: Any) -> Any:
            self.begun.set()
            assert self.go.wait(WAIT_S)
            return real(selection)

        monkeypatch.setattr(ledger, "resend", wait)


def test_requests_wait_in_a_short_queue(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking one never blocks; one too many is refused; those that wait are carried out in order."""
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    office.commands.stop(5)
    office.commands = office.made(EVERYTHING)
    office.commands.start()
    blocked = Blocked(monkeypatch, office.ledger)
    office.commands.submit(office.request("replay", b'{"sequence": [1, 2]}'))
    assert blocked.begun.wait(WAIT_S)
    for _ in range(3):
        office.commands.submit(office.request("poll", b'{"terminal": "lobby"}'))
    assert [answer["error"]["code"] for answer in office.answers] == ["busy"]
    blocked.go.set()
    eventually(lambda: len(office.answers) == 4)
    assert [answer["status"] for answer in office.answers[1:]] == ["ok"] * 3
    assert office.lobby.requested == ["visit"] * 2


def test_a_flood_is_not_answered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst only so many a second are looked at; one line states that others are not."""
    monkeypatch.setattr(module, "BURST", 5)
    monkeypatch.setattr(module, "PER_S", 0.0)
    office.commands.stop(5)
    office.commands = office.made(EVERYTHING)
    office.commands.start()
    with capture_logs() as logs:
        for _ in range(1000):
            office.commands.submit(office.request("poll"))
        eventually(lambda: len(office.lobby.requested) == 5)
    assert len(office.answers) == 5
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["requests_dropped"]


def test_stopping_leaves_what_waits(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's end does not wait for requests."""
    blocked = Blocked(monkeypatch, office.ledger)
    office.commands.submit(office.request("replay", b'{"sequence": [1, 2]}'))
    assert blocked.begun.wait(WAIT_S)
    for _ in range(module.WAITING_MAX):
        office.commands.submit(office.request("poll"))
    office.commands.stop(0.0)
    blocked.go.set()
    eventually(lambda: not office.commands.is_alive)
    assert len(office.lobby.requested) < module.WAITING_MAX


def test_stopping_while_the_last_requests_are_taken(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The full queue may be empty a moment later: the gateway closes its ledger all the same."""
    queue_ = office.commands._queue
    put, full = queue_.put_nowait, [queue.Full]

    def put_once_full(item: Request | None) -> None:
        if full:
            raise full.pop()
        put(item)

    monkeypatch.setattr(queue_, "put_nowait", put_once_full)
    office.commands.stop(5)
    assert not office.commands.is_alive


def test_arguments_are_read_without_a_daemon() -> None:
    """The command line checks them before it sends a request."""
    assert read_replay('{"day": "2026-09-04"}').days == (date(2026, 9, 4), date(2026, 9, 4))
    with pytest.raises(Refusal, match="what to send again"):
        read_replay("{}")


# ---------------------------------------------------------------- a receipt in a file


def receipt(stream: str, upto: int, *missing: tuple[int, int]) -> str:
    """Return what the centre writes."""
    return json.dumps({"stream": stream, "upto": upto, "missing": missing, "at": "2026-09-04T00:31:00Z"})


def test_a_receipt_counts_like_one_from_the_broker(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it covers is confirmed, what it lacks waits again at once; a second time it is no news."""
    monkeypatch.setattr("gateway.ledger.delivery.RESEND_INTERVAL_MS", -1000)  # they were sent a moment ago
    text = receipt(office.ledger.stream, 15, (3, 4))
    assert take_receipt(office.ledger, text) == {"news": True, "set_back": False, "confirmed": 13, "missing": 2}
    assert office.waiting == [3, 4]
    assert take_receipt(office.ledger, text)["news"] is False


def test_a_receipt_of_an_earlier_stream_changes_nothing(office: Office) -> None:
    """It was answered late, and no caller waits for it."""
    earlier = office.ledger.stream
    office.ledger.open_stream("restored")
    before = office.ledger.counts()
    assert take_receipt(office.ledger, receipt(earlier, 20))["news"] is False
    assert office.ledger.counts() == before


def test_a_receipt_above_what_was_assigned_opens_a_stream(office: Office) -> None:
    """This ledger was set back: it must not continue numbers that another copy has used."""
    before = office.ledger.stream
    with capture_logs() as logs:
        assert take_receipt(office.ledger, receipt(before, 21))["set_back"] is True
    assert office.ledger.stream != before
    assert [entry["event"] for entry in logs] == ["rollback_detected", "stream_opened"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "receipt_invalid"), (receipt("6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", 1), "receipt_foreign")],
)
def test_what_is_no_receipt_of_ours_is_refused(office: Office, text: str, code: str) -> None:
    """With a reason, and without a change."""
    before = office.ledger.counts()
    with pytest.raises(Refusal) as caught:
        take_receipt(office.ledger, text)
    assert caught.value.code == code
    assert office.ledger.counts() == before


def test_a_receipt_without_room_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be imported again when there is some."""

    def full(*_: object, **__: object) -> None:
        raise LedgerFull("full")

    monkeypatch.setattr(office.ledger, "note_receipt", full)
    with pytest.raises(Refusal, match="no room"):
        take_receipt(office.ledger, receipt(office.ledger.stream, 1))
