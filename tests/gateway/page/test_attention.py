"""What people are told to look at."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.page.attention import attention
from gateway.page.words import Words

EN = Words("en", datetime(2026, 11, 24, 10, tzinfo=ZoneInfo("Asia/Jakarta")))
WELL: dict[str, Any] = {
    "state": "online",
    "since": "2026-11-24T00:00:00Z",
    "reason": None,
    "clock": {"offset_ms": 2000, "bound_ms": 500},
    "records": 100,
    "capacity": 1000,
    "fills": None,
    "silent_since": None,
}


def looked_at(
    broker: str = "connected", health: dict[str, Any] | None = None, **terminal: Any
) -> list[tuple[bool, str]]:
    """Return what is to be looked at where everything is well but for what is said."""
    status = {
        "broker": broker,
        "health": {"room": "all", "clock_synchronised": True, "missing": 0, **(health or {})},
        "terminals": {"lobby": WELL | terminal},
    }
    return [(item.urgent, item.what) for item in attention(status, {"lobby": 60.0}, EN)]


def test_nothing_where_all_is_well() -> None:
    """A page that cries wolf is not read."""
    assert looked_at() == []


@pytest.mark.parametrize(
    ("terminal", "said"),
    [
        ({"state": "offline"}, (True, "lobby does not answer, since 07:00:00")),
        ({"state": "offline", "since": None}, (False, "lobby has not been read yet")),
        ({"clock": {"offset_ms": -61_000, "bound_ms": 500}}, (False, "lobby: its clock is 1 min 1 s behind")),
        ({"records": 800}, (False, "lobby: its log is 80 % full")),
        ({"silent_since": "2026-11-24T01:00:00Z"}, (False, "lobby answers, but no punch since 08:00:00")),
    ],
)
def test_terminals(terminal: dict[str, Any], said: tuple[bool, str]) -> None:
    """Each trouble of a terminal."""
    assert looked_at(**terminal) == [said]


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
    """Nobody is sent to a terminal for nothing."""
    assert looked_at(**terminal) == []


@pytest.mark.parametrize(
    ("broker", "health", "said"),
    [
        ("not connected yet", {}, (True, "The broker is not connected yet")),
        ("connected; nobody subscribes to batch", {}, (True, "The broker: nobody subscribes to batch")),
        ("connected", {"room": "news"}, (False, "The disk is nearly full")),
        ("connected", {"room": "none"}, (True, "The disk is full: reading has stopped")),
        ("connected", {"clock_synchronised": False}, (False, "This machine's clock is not synchronised")),
        ("connected", {"missing": 1200}, (False, "The centre lacks 1,200 events")),
    ],
)
def test_gateway(broker: str, health: dict[str, Any], said: tuple[bool, str]) -> None:
    """Each trouble on the way to the centre."""
    assert looked_at(broker, health) == [said]


def test_the_urgent_comes_first() -> None:
    """What stops punches before what only spoils them."""
    said = looked_at("not connected yet", {"clock_synchronised": False}, state="offline", records=1000)
    assert [urgent for urgent, _ in said] == [True, True, False, False]
