"""Items that need a person's attention, derived from the daemon's status; for the page and `hadir status`. Pure."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from gateway.advice import BROKER_FINDINGS, judge_clock, obstacle
from gateway.broker_status import BrokerStatus
from gateway.caller_check import AHEAD_S, unsigned_posts
from gateway.findings import FINDINGS
from gateway.page.messages import Messages
from gateway.texts import Language as Spoken

FULL_FROM = 80
"""Fill level of a log, in per cent, from which it is shown."""
STRANGERS_SHOWN = 5
"""Terminals that are not configured and named in the item about them; all of them have a list of their own."""
UNCONFIRMED = timedelta(days=1)
"""How much older than the last event sent the centre's last receipt may be."""
_UNFINISHED = ("refused", "protocol", "internal")
"""Causes where a terminal answers and cannot be read."""
_LOGIN = ("login", "certificate", "taken", "replaced")
"""Causes where a broker answers and cannot be used."""


class Item(NamedTuple):
    """One item that needs a person's attention."""

    code: str
    urgent: bool
    what: str
    do: str
    """Advice."""
    detail: str = ""
    """The technical reason, as in the log; in Indonesian, with its meaning before it."""


def attention(status: Mapping[str, Any], tolerances: Mapping[str, float], messages: Messages) -> list[Item]:
    """Return the items, urgent ones first; ``tolerances`` holds how many seconds each terminal's clock may be off."""
    items = [*_gateway(status, messages), *_receiver(status.get("receiver"), messages)]
    synchronised = status["health"]["clock_synchronised"]
    for name, state in status["terminals"].items():
        code = status.get("reason_codes", {}).get(name)
        items += _terminal(name, state, code, tolerances.get(name, 0.0), messages, synchronised=synchronised)
    return sorted(items, key=lambda item: not item.urgent)


def ever_confirmed(status: Mapping[str, Any]) -> bool:
    """Return whether the centre has ever confirmed an event; until then it is unknown whether punches arrive."""
    return status["health"]["last_confirmed"] is not None


def _gateway(status: Mapping[str, Any], t: Messages) -> Iterator[Item]:
    health, broker = status["health"], BrokerStatus.of(status)
    cause = broker.cause
    if not broker.connected:
        name = f"no_broker_{cause}" if cause in _LOGIN else "no_broker"
        do = (
            t("no_broker_do")
            if cause is None
            else f"{t('no_broker_kept')} {_advice(BROKER_FINDINGS.get(cause, 'broker_broke'), t)}"
        )
        yield Item(name, urgent=True, what=t(name), do=do, detail=broker_text(broker, t))
    elif broker.hindered:
        yield Item("held", urgent=True, what=t("held"), do=t("held_do"), detail="; ".join(_held(broker, t)))
    if health["room"] != "all":
        name = f"room_{health['room']}"
        yield Item(name, urgent=health["room"] == "none", what=t(name), do=t("room_do"))
    if not health["clock_synchronised"]:
        yield Item("unsynchronised", urgent=False, what=t("unsynchronised"), do=t("unsynchronised_do"))
    if health["missing"]:
        what = t("missing", count=t.number(health["missing"]))
        yield Item("missing", urgent=False, what=what, do=t("missing_do"))
    confirmed = health["last_confirmed"]
    if confirmed is None:
        if status.get("confirm") == "centre" and health["last_sent"] is not None:
            yield Item("unconfirmed", urgent=False, what=t("unconfirmed"), do=t("unconfirmed_do"))
    elif health["last_sent"] is not None and _apart(confirmed, health["last_sent"]) > UNCONFIRMED:
        what = t("unconfirmed_since", since=t.utc(confirmed))
        yield Item("unconfirmed_since", urgent=False, what=what, do=t("unconfirmed_do"))


def _receiver(receiver: Mapping[str, Any] | None, t: Messages) -> Iterator[Item]:
    """Yield what there is to do about terminals that call."""
    if receiver is None:
        return
    if not receiver["open"] and receiver["problem"]:
        what = t("receiver_closed", listen=receiver["listen"])
        yield Item("receiver_closed", True, what, t("receiver_closed_do"), receiver["problem"])
    strangers = receiver["strangers"]
    if len(strangers) == 1:
        what = t("strangers_one", serial=strangers[0]["serial"], address=strangers[0]["address"])
        yield Item("strangers", False, what, t("strangers_do"))
    elif strangers:
        shown = ", ".join(f"{caller['serial']} ({caller['address']})" for caller in strangers[:STRANGERS_SHOWN])
        more = ", …" if len(strangers) > STRANGERS_SHOWN else ""
        what = t("strangers", count=t.number(len(strangers)))
        yield Item("strangers", False, what, t("strangers_do"), shown + more)
    for name, caller in receiver["callers"].items():
        if caller["refused"].get("elsewhere"):
            what = t("caller_elsewhere", terminal=name, address=caller["address"])
            yield Item("caller_elsewhere", False, what, t("caller_elsewhere_do"))
        if unsigned := unsigned_posts(caller):
            what = t("app_signature", terminal=name, count=t.number(unsigned))
            yield Item("app_signature", False, what, t("app_signature_do"))
        if (ahead_s := caller.get("ahead_s")) is not None and ahead_s > AHEAD_S:
            what = t("app_clock", terminal=name, seconds=t.number(ahead_s))
            yield Item("app_clock", False, what, t("app_clock_do"))


def _terminal(
    name: str, state: Mapping[str, Any], code: str | None, tolerance_s: float, t: Messages, *, synchronised: bool
) -> Iterator[Item]:
    if state["state"] != "online":
        yield _offline(name, state, code, t)
    clock = state["clock"]
    if clock is not None:
        found = judge_clock(clock["offset_ms"], clock["bound_ms"], tolerance_s, synchronised=synchronised)
        if found != "clock_right":
            code = "terminal_zone" if found == "clock_zone" else "terminal_clock"
            yield Item(code, False, t(code, terminal=name, offset=t.offset(clock)), _advice(found, t))
    full = percent(state["records"], state["capacity"])
    if full is not None and full >= FULL_FROM:
        do = t("terminal_full_do")
        if state["fills"]:
            do += " " + t("terminal_full_on", day=t.date(date.fromisoformat(state["fills"])))
        yield Item("terminal_full", False, t("terminal_full", terminal=name, percent=full), do)
    if state["silent_since"] is not None:
        since = t.utc(state["silent_since"])
        what = t("terminal_silent", terminal=name, since=since)
        yield Item("terminal_silent", False, what, t("terminal_silent_do"))


def _offline(name: str, state: Mapping[str, Any], reason_code: str | None, t: Messages) -> Item:
    cause = state["cause"]
    finding = obstacle(cause, reason_code).name
    detail = reason_text(state, reason_code, t)
    do = "" if cause is None else _advice(finding, t)
    if reason_code == "first_call":
        return Item("terminal_awaited", False, t("terminal_awaited", terminal=name), _advice(finding, t))
    if state["since"] is None or cause is None:
        return Item("terminal_waiting", False, t("terminal_waiting", terminal=name), do, detail)
    code = f"terminal_{cause}" if cause in _UNFINISHED else "terminal_offline"
    return Item(code, True, t(code, terminal=name, since=t.utc(state["since"])), do, detail)


def _advice(finding: str, t: Messages) -> str:
    advice = FINDINGS[finding].advice
    return "" if advice is None else advice.into(Spoken(t.language))


def reason_text(state: Mapping[str, Any], code: str | None, t: Messages) -> str:
    """Return why a terminal is not online; ``code`` is the reason for programs.

    In English the technical reason as in the log; in another language what it means, with the technical reason.
    """
    reason = state["reason"] or ""
    if t.spoken is Spoken.ENGLISH or not reason:
        return reason
    if state["cause"] is None:
        return t(condition(state, code))
    return FINDINGS[obstacle(state["cause"], code).name].text.into(t.spoken, reason=reason)


def broker_text(broker: BrokerStatus, t: Messages) -> str:
    """Return the connection to the broker in one line; the reason as for terminals."""
    if broker.connected:
        return "; ".join([t("broker_on"), *_held(broker, t)])
    if broker.reason is None:
        return t("broker_untried")
    if t.spoken is Spoken.ENGLISH:
        return t("broker_off", reason=broker.reason)
    return t("broker_off", reason=f"{t(f'broker_{broker.cause}')} ({broker.reason})")


def _held(broker: BrokerStatus, t: Messages) -> list[str]:
    return [
        *(t("broker_no_subscriber", topic=topic) for topic in broker.unsubscribed),
        *(t("broker_topic_refused", topic=topic, code=f"{code:#04x}") for topic, code in broker.refused.items()),
        *(t("broker_no_subscription", topic=topic) for topic in broker.subscriptions_refused),
    ]


def _apart(earlier: str, later: str) -> timedelta:
    return datetime.fromisoformat(later) - datetime.fromisoformat(earlier)


def condition(state: Mapping[str, Any], code: str | None) -> str:
    """Return the name of the text for a terminal's condition; a terminal that answers and refuses is not *offline*."""
    if state["state"] == "online":
        return "online"
    if code == "first_call":
        return "awaited"
    by_cause = {None: "unvisited", "refused": "refusing", "protocol": "unreadable", "internal": "unreadable"}
    return by_cause.get(state["cause"], "offline")


def percent(records: int | None, capacity: int | None) -> int | None:
    """Return how full a log is, in per cent; None where a size is unknown."""
    return None if records is None or not capacity else 100 * records // capacity
