"""Judges terminals and apps that call, by what the receiver has seen of them: for the doctor. Pure.

A terminal that calls cannot be visited. What went wrong is judged from who called, from where and with what.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

SILENT = timedelta(minutes=10)
"""A terminal calls every 15 s to 2 minutes; after an error some wait 5."""
ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 - compared
SHOWN = 5
"""Serial numbers that are named in one line."""
AHEAD_S = 60
"""A record is not made after it was posted: so far two right clocks may differ."""
UNREADABLE = ("no_json", "other_form", "too_many", "too_long")
"""Why an app's posts are refused that have the right signature."""
REFUSED_MUCH = 20
"""Requests above the limit of one terminal that are no single burst."""


class CallerFinding(NamedTuple):
    """One result: a step and a finding of the doctor."""

    step: str
    outcome: Literal["passed", "warned", "failed", "skipped"]
    name: str
    values: Mapping[str, Any]


def judge_receiver(receiver: Mapping[str, Any]) -> CallerFinding:
    """Judge the port and those who call in vain; ``receiver`` is its part of the daemon's status."""
    listen, faults = receiver["listen"], receiver["faulty_addresses"]
    if not receiver["open"]:
        return CallerFinding("receiver", "failed", "receiver_closed", {"listen": listen, "reason": receiver["problem"]})
    if receiver["closed"].get("tls") and not receiver["replies"]:
        return CallerFinding("receiver", "warned", "callers_without_tls", {"count": receiver["closed"]["tls"]})
    encrypted = [address for address, fault in faults.items() if fault == "tls_on_plain_port"]
    if encrypted:
        return CallerFinding("receiver", "warned", "callers_with_tls", {"addresses": _some(encrypted)})
    if receiver["strangers"]:
        serials = _some([f"{caller['serial']} ({caller['address']})" for caller in receiver["strangers"]])
        return CallerFinding("receiver", "warned", "strangers_call", {"serials": serials})
    return CallerFinding("receiver", "passed", "receiver_open", {"listen": listen})


def judge_caller(
    name: str, receiver: Mapping[str, Any], *, last_punch: str | None, now: datetime
) -> Iterator[CallerFinding]:
    """Judge how a configured terminal calls: the steps up to its serial number, then whether punches arrive.

    ``last_punch`` is that of the terminal's state. The last finding is a failure where nothing arrives from it.
    """
    caller = receiver["callers"].get(name)
    if caller is None:
        yield _never_called(receiver)
        return
    host, values = caller["host"], {"address": caller["address"], "host": caller["host"]}
    since = now - datetime.fromisoformat(caller["last_seen"])
    served = sum(caller["requests"].values()) > sum(caller["refused"].values())
    if caller["refused"].get("elsewhere") and not served:
        yield CallerFinding("route", "failed", "called_from_elsewhere", values)
        return
    if since > SILENT:
        minutes = int(since.total_seconds() // 60)
        yield CallerFinding("route", "failed", "stopped_calling", {**values, "minutes": minutes})
        return
    yield CallerFinding("route", "passed", "calls", values)
    if caller["proxied"]:
        yield CallerFinding("port", "warned", "proxy_is_on", values)
    elif host.count(":") > 1 and not host.startswith("["):
        yield CallerFinding("port", "warned", "port_in_address", values)
    elif caller["refused"].get("too_often", 0) > REFUSED_MUCH:
        yield CallerFinding("port", "warned", "calls_too_often", values)
    else:
        yield CallerFinding("port", "passed", "fine", {})
    if caller["device_type"].lower() == "acc":
        yield CallerFinding("key", "warned", "access_control_mode", {})
    else:
        yield CallerFinding("key", "passed", "fine", {})
    yield CallerFinding("serial", "passed", "serial", {"serial": caller["serial"]})
    if last_punch is None:
        yield CallerFinding("record", "warned", "only_polls", {})


def unsigned_posts(caller: Mapping[str, Any]) -> int:
    """Return how many posts of an app were refused for their signature."""
    refused: Mapping[str, int] = caller["refused"]
    return refused.get("wrong_signature", 0) + refused.get("no_signature", 0)


def judge_app(name: str, path: str, receiver: Mapping[str, Any], *, now: datetime) -> Iterator[CallerFinding]:
    """Judge how a configured app posts to ``path``: from where, its signatures, its clock, what it posts.

    Its silence is no failure: it posts when people punch. The counts are those since the gateway started.
    """
    caller = receiver["callers"].get(name)
    if caller is None:
        host, _, port = receiver["listen"].rpartition(":")
        shown = "ADDRESS" if host in ANY_ADDRESS else host
        yield CallerFinding("route", "warned", "never_posted", {"path": path, "url": f"http://{shown}:{port}{path}"})
        return
    refused = caller["refused"]
    served = sum(caller["requests"].values()) > sum(refused.values())
    minutes = int((now - datetime.fromisoformat(caller["last_seen"])).total_seconds() // 60)
    values = {"address": caller["address"], "minutes": max(0, minutes)}
    if refused.get("elsewhere") and not served:
        yield CallerFinding("route", "failed", "called_from_elsewhere", values)
        return
    yield CallerFinding("route", "passed", "posts", values)
    often = refused.get("too_often", 0) > REFUSED_MUCH
    yield (
        CallerFinding("port", "warned", "posts_too_often", {}) if often else CallerFinding("port", "passed", "fine", {})
    )
    if unsigned := unsigned_posts(caller):
        yield CallerFinding("key", "warned" if served else "failed", "signature_wrong", {"count": unsigned})
    else:
        yield CallerFinding("key", "passed", "fine", {})
    yield CallerFinding("serial", "passed", "posts_to", {"path": path})
    if caller["ahead_s"] is not None and caller["ahead_s"] > AHEAD_S:
        yield CallerFinding("terminal_clock", "warned", "app_clock_ahead", {"seconds": f"{caller['ahead_s']:,}"})
    if unreadable := sum(refused.get(why, 0) for why in UNREADABLE):
        yield CallerFinding("record", "warned", "posts_unreadable", {"count": unreadable})


def _never_called(receiver: Mapping[str, Any]) -> CallerFinding:
    """Return why a terminal may never have called."""
    strangers = receiver["strangers"]
    if strangers:
        serials = _some([f"{caller['serial']} ({caller['address']})" for caller in strangers])
        return CallerFinding("serial", "failed", "another_serial_calls", {"serials": serials})
    host, _, port = receiver["listen"].rpartition(":")
    if host in ("127.0.0.1", "[::1]"):
        return CallerFinding("route", "failed", "receiver_is_local", {"listen": receiver["listen"]})
    shown = "`ip address`" if host in ANY_ADDRESS else host
    return CallerFinding("route", "failed", "never_called", {"host": shown, "port": port})


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
