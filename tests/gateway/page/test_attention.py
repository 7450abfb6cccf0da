"""What people are advised to look at."""

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.advice import BROKER_FINDINGS
from gateway.broker_status import BrokerStatus
from gateway.findings import FINDINGS
from gateway.page.attention import attention, condition, ever_confirmed, reason_text
from gateway.page.messages import Messages
from gateway.texts import Language

ID = Messages("id", datetime(2026, 11, 24, 10, tzinfo=ZoneInfo("Asia/Jakarta")))
EN = Messages("en", datetime(2026, 11, 24, 10, tzinfo=ZoneInfo("Asia/Jakarta")))
WELL: dict[str, Any] = {
    "state": "online",
    "since": "2026-11-24T00:00:00Z",
    "cause": None,
    "reason": None,
    "clock": {"offset_ms": 2000, "bound_ms": 500},
    "records": 100,
    "capacity": 1000,
    "fills": None,
    "silent_since": None,
}


HEALTHY: dict[str, Any] = {
    "room": "all",
    "clock_synchronised": True,
    "missing": 0,
    "last_sent": "2026-11-24T02:00:00Z",
    "last_confirmed": "2026-11-24T02:00:00Z",
}
CONNECTED = BrokerStatus(connected=True)


def seen(
    broker: BrokerStatus = CONNECTED,
    health: dict[str, Any] | None = None,
    *,
    confirm: str = "auto",
    **terminal: Any,
) -> dict[str, Any]:
    """Return a status where everything is well but for the given values."""
    return {
        "broker": broker.text(),
        "broker_status": json.loads(json.dumps(broker.data())),
        "confirm": confirm,
        "health": {**HEALTHY, **(health or {})},
        "reason_codes": {"lobby": terminal.pop("reason_code", None)},
        "terminals": {"lobby": WELL | terminal},
    }


def looked_at(*arguments: Any, **changes: Any) -> list[tuple[bool, str]]:
    """Return what is to be looked at."""
    return [(item.urgent, item.what) for item in attention(seen(*arguments, **changes), {"lobby": 60.0}, EN)]


def test_nothing_where_all_is_well() -> None:
    """A page that cries wolf is not read."""
    assert looked_at() == []


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        ({"state": "offline", "cause": "unavailable"}, (True, "lobby does not answer, since 07:00:00")),
        ({"state": "offline", "cause": "refused"}, (True, "lobby answers and refuses the gateway, since 07:00:00")),
        ({"state": "offline", "cause": "protocol"}, (True, "What answers at lobby is not understood, since 07:00:00")),
        (
            {"state": "offline", "cause": "internal"},
            (True, "lobby cannot be read because of a fault in hadir, since 07:00:00"),
        ),
        ({"state": "offline", "cause": "brand_new"}, (True, "lobby does not answer, since 07:00:00")),
        ({"state": "offline", "since": None}, (False, "lobby has not been read yet")),
        ({"state": "offline"}, (False, "lobby has not been read yet")),
        ({"clock": {"offset_ms": -61_000, "bound_ms": 500}}, (False, "lobby: its clock is 1 min 1 s behind")),
        ({"records": 800}, (False, "lobby: its log is 80 % full")),
        ({"silent_since": "2026-11-24T01:00:00Z"}, (False, "lobby answers, but no punch since 08:00:00")),
    ],
)
def test_terminals(terminal: dict[str, Any], expected: tuple[bool, str]) -> None:
    """Each trouble of a terminal."""
    assert looked_at(**terminal) == [expected]


@pytest.mark.parametrize(
    "terminal",
    [
        {"clock": None},
        {"clock": {"offset_ms": 60_000, "bound_ms": 500}},
        {"clock": {"offset_ms": 61_000, "bound_ms": 62_000}},
        {"records": 799},
        {"records": None},
        {"capacity": None},
        {"capacity": 0},
    ],
)
def test_what_is_within_bounds_or_unknown_is_no_trouble(terminal: dict[str, Any]) -> None:
    """No person is sent to a terminal without need."""
    assert looked_at(**terminal) == []


@pytest.mark.parametrize(
    ("broker", "health", "expected"),
    [
        (BrokerStatus(), {}, (True, "The broker is not connected")),
        (BrokerStatus(connected=True, unsubscribed=["batch"]), {}, (True, "The broker does not accept everything")),
        (CONNECTED, {"room": "news"}, (False, "The disk is nearly full")),
        (CONNECTED, {"room": "none"}, (True, "The disk is full: reading has stopped")),
        (CONNECTED, {"clock_synchronised": False}, (False, "This machine's clock is not synchronised")),
        (CONNECTED, {"missing": 1200}, (False, "The centre lacks 1,200 events")),
        (
            CONNECTED,
            {"last_confirmed": "2026-11-22T02:00:00Z"},
            (False, "The centre has confirmed nothing since 22 Nov 09:00:00"),
        ),
    ],
)
def test_gateway(broker: BrokerStatus, health: dict[str, Any], expected: tuple[bool, str]) -> None:
    """Each trouble on the way to the centre."""
    assert looked_at(broker, health) == [expected]


def test_the_urgent_comes_first() -> None:
    """What stops punches before what only spoils them."""
    expected = looked_at(
        BrokerStatus(), {"clock_synchronised": False}, state="offline", cause="unavailable", records=1000
    )
    assert [urgent for urgent, _ in expected] == [True, True, False, False]


@pytest.mark.parametrize("messages", [EN, ID], ids=["en", "id"])
@pytest.mark.parametrize(
    ("terminal", "advice"),
    [
        ({"cause": "unavailable", "reason": "192.168.1.201:4370 does not answer within 10 s"}, "silent"),
        (
            {"cause": "unavailable", "reason": "cannot be reached (Connection refused)", "reason_code": "port_closed"},
            "port_closed",
        ),
        ({"cause": "refused", "reason": "compare", "reason_code": "key_refused"}, "key_refused"),
        ({"cause": "refused", "reason": "k (No such file)", "reason_code": "key_file"}, "key_file"),
        ({"cause": "refused", "reason": "A, not B", "reason_code": "serial_differs"}, "serial_differs"),
        ({"cause": "internal", "reason": "ZeroDivisionError"}, "driver_failed"),
    ],
)
def test_advice_for_a_terminal_follows_its_cause(terminal: dict[str, Any], advice: str, messages: Messages) -> None:
    """A wrong key is no broken cable; what was met stands beside it as the log has it."""
    (item,) = attention(seen(state="offline", **terminal), {"lobby": 60.0}, messages)
    expected = FINDINGS[advice].advice
    assert expected is not None
    assert item.do == expected.into(Language(messages.language))
    spoken = Language(messages.language)
    meaning = FINDINGS[advice].text.into(spoken, reason=terminal["reason"])
    assert item.detail == (terminal["reason"] if spoken is Language.ENGLISH else meaning)
    assert terminal["reason"] in item.detail


@pytest.mark.parametrize("messages", [EN, ID], ids=["en", "id"])
@pytest.mark.parametrize("cause", BROKER_FINDINGS)
def test_advice_for_the_broker_follows_its_cause(cause: str, messages: Messages) -> None:
    """A wrong password is no broken network."""
    (item,) = attention(seen(BrokerStatus(cause=cause, reason="why")), {"lobby": 60.0}, messages)
    expected = FINDINGS[BROKER_FINDINGS[cause]].advice
    assert expected is not None
    assert item.do.endswith(expected.into(Language(messages.language)))
    assert "{" not in item.do
    assert item.urgent


def test_a_wrong_password_is_not_called_a_network() -> None:
    """What the office's administrator reads."""
    (item,) = attention(seen(BrokerStatus(cause="login", reason="…")), {"lobby": 60.0}, ID)
    assert item.what == "Broker menolak login gateway ini"
    assert "jaringan" not in item.do
    assert "kata sandi" in item.do


def test_a_wrong_zone_is_reported_before_a_wrong_clock() -> None:
    """Two hours are a zone; seven minutes are a clock; of an unsynchronised gateway neither is known."""

    def found(offset_ms: int, synchronised: bool = True) -> tuple[str, str]:
        clock = {"offset_ms": offset_ms, "bound_ms": 500}
        items = attention(seen(health={"clock_synchronised": synchronised}, clock=clock), {"lobby": 60.0}, ID)
        item = next(item for item in items if item.code.startswith("terminal_"))
        return item.code, item.do

    code, do = found(-7_200_000)
    assert code == "terminal_zone"
    assert do.startswith("Lihat dulu layar mesin.")
    assert "`timezone:`" in do
    assert found(-420_000)[0] == "terminal_clock"
    code, do = found(-420_000, synchronised=False)
    assert do.startswith("Jangan ubah jam mesin")


def test_a_centre_that_has_never_confirmed() -> None:
    """It is a trouble where delivery waits for it; where a centre may do without receipts it is merely not known."""
    never = {"last_confirmed": None}
    assert looked_at(health=never) == []
    assert looked_at(health=never, confirm="centre") == [(False, "The centre has never confirmed anything")]
    assert looked_at(health={**never, "last_sent": None}, confirm="centre") == []
    assert not ever_confirmed(seen(health=never))
    assert ever_confirmed(seen())


@pytest.mark.parametrize(
    ("state", "cause", "expected"),
    [
        ("online", None, "answers"),
        ("offline", None, "not read yet"),
        ("offline", "unavailable", "no answer"),
        ("offline", "refused", "refuses"),
        ("offline", "protocol", "cannot be read"),
        ("offline", "internal", "cannot be read"),
        ("offline", "brand_new", "no answer"),
    ],
)
def test_the_card_of_a_terminal_says_how_it_is(state: str, cause: str | None, expected: str) -> None:
    """One that answers and refuses is not called silent."""
    assert EN(condition({"state": state, "cause": cause}, None)) == expected


def test_a_terminal_whose_first_call_is_awaited() -> None:
    """Neither *not read yet*, which nothing could end, nor *no answer*."""
    state = {"state": "offline", "cause": None, "since": None, "reason": "waiting for its first call"}
    assert EN(condition(state, "first_call")) == "waits for its first call"
    assert reason_text(state, "first_call", ID) == "menunggu mesin menghubungi gateway untuk pertama kali"
    assert looked_at(**state, reason_code="first_call") == [
        (False, "lobby has not called yet since the gateway started")
    ]


def receiver(**changes: Any) -> dict[str, Any]:
    """Return the status of a receiver where all is well but for the given values."""
    return {"listen": "10.1.2.3:8088", "open": True, "problem": None, "strangers": [], "callers": {}} | changes


def caller(number: int, **refused: int) -> dict[str, Any]:
    """Return a terminal that called."""
    return {"serial": f"SYN{number}", "address": f"10.1.2.{number}", "refused": refused}


@pytest.mark.parametrize(
    ("state", "urgent", "what", "detail"),
    [
        (
            receiver(open=False, problem="Address already in use"),
            True,
            "No terminal can call: the port 10.1.2.3:8088 is not open",
            "Address already in use",
        ),
        (
            receiver(strangers=[caller(7)]),
            False,
            "A terminal calls that is not configured: SYN7, from 10.1.2.7",
            "",
        ),
        (
            receiver(strangers=[caller(number) for number in range(7)]),
            False,
            "7 terminals call that are not configured",
            "SYN0 (10.1.2.0), SYN1 (10.1.2.1), SYN2 (10.1.2.2), SYN3 (10.1.2.3), SYN4 (10.1.2.4), …",
        ),
        (
            receiver(callers={"gate": caller(9, elsewhere=3), "lobby": caller(8, too_often=1)}),
            False,
            "gate calls from an address where it may not be: 10.1.2.9",
            "",
        ),
        (
            receiver(callers={"app": caller(9, wrong_signature=3, no_signature=1, no_json=7)}),
            False,
            "app: 4 posts with a wrong signature, or none, were refused",
            "",
        ),
        (
            receiver(callers={"app": caller(9) | {"ahead_s": 3600}, "other": caller(8) | {"ahead_s": 60}}),
            False,
            "app: the newest record of its last post lies 3,600 s in the future",
            "",
        ),
    ],
)
def test_terminals_that_call_need_a_person_too(state: dict[str, Any], urgent: bool, what: str, detail: str) -> None:
    """Each with advice, in both languages."""
    (item,) = attention(seen() | {"receiver": state}, {"lobby": 60.0}, EN)
    (translated,) = attention(seen() | {"receiver": state}, {"lobby": 60.0}, ID)

    assert (item.urgent, item.what, item.detail) == (urgent, what, detail)
    assert item.do.endswith(("hadir reload.", "no offset.")) or "find out" in item.do
    assert (translated.what, translated.do) != (item.what, item.do)


@pytest.mark.parametrize("state", [None, receiver(), receiver(open=False)])
def test_a_receiver_that_is_off_or_well_needs_no_one(state: dict[str, Any] | None) -> None:
    """Also for the moment in which it opens."""
    assert attention(seen() | {"receiver": state}, {"lobby": 60.0}, EN) == []
