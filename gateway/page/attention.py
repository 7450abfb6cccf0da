"""What a person should look at, from what the daemon says of itself. Pure."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from gateway.page.words import Words

FULL_FROM = 80
"""Per cent of a log."""


class Item(NamedTuple):
    """Something to look at."""

    urgent: bool
    what: str
    do: str
    """What to do about it."""


def attention(status: Mapping[str, Any], tolerances: Mapping[str, float], words: Words) -> list[Item]:
    """Return what to look at, the urgent first; ``tolerances`` says how many seconds each terminal may be off."""
    items = [*_gateway(status, words)]
    for name, state in status["terminals"].items():
        items += _terminal(name, state, tolerances.get(name, 0.0), words)
    return sorted(items, key=lambda item: not item.urgent)


def _gateway(status: Mapping[str, Any], t: Words) -> Iterator[Item]:
    health, standing = status["health"], status["broker"]
    if not is_connected(standing):
        yield Item(urgent=True, what=t("no_broker", standing=standing), do=t("no_broker_do"))
    elif standing != "connected":
        yield Item(urgent=True, what=t("held", standing=standing.removeprefix("connected; ")), do=t("held_do"))
    if health["room"] != "all":
        yield Item(urgent=health["room"] == "none", what=t(f"room_{health['room']}"), do=t("room_do"))
    if not health["clock_synchronised"]:
        yield Item(urgent=False, what=t("unsynchronised"), do=t("unsynchronised_do"))
    if health["missing"]:
        yield Item(urgent=False, what=t("missing", count=t.number(health["missing"])), do=t("missing_do"))


def _terminal(name: str, state: Mapping[str, Any], tolerance_s: float, t: Words) -> Iterator[Item]:
    if state["state"] != "online":
        if state["since"] is None:
            yield Item(urgent=False, what=t("terminal_waiting", terminal=name), do=state["reason"] or "")
        else:
            since = t.utc(state["since"])
            yield Item(True, t("terminal_offline", terminal=name, since=since), state["reason"] or "")
    clock = state["clock"]
    if clock is not None and abs(clock["offset_ms"]) > max(tolerance_s * 1000, clock["bound_ms"]):
        yield Item(False, t("terminal_clock", terminal=name, offset=t.offset(clock)), t("terminal_clock_do"))
    full = percent(state["records"], state["capacity"])
    if full is not None and full >= FULL_FROM:
        do = t("terminal_full_do")
        if state["fills"]:
            do += " " + t("terminal_full_on", day=t.date(date.fromisoformat(state["fills"])))
        yield Item(False, t("terminal_full", terminal=name, percent=full), do)
    if state["silent_since"] is not None:
        since = t.utc(state["silent_since"])
        yield Item(False, t("terminal_silent", terminal=name, since=since), t("terminal_silent_do"))


def is_connected(standing: str) -> bool:
    """Tell whether the broker is connected, by the daemon's words for it."""
    return standing.startswith("connected")


def percent(records: int | None, capacity: int | None) -> int | None:
    """Return how full a log is; None where nobody can tell."""
    return None if records is None or not capacity else 100 * records // capacity
