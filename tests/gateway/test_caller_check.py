"""What the doctor reports of terminals that call."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.caller_check import judge_app, judge_caller, judge_receiver
from gateway.findings import FINDINGS
from gateway.texts import Language

NOW = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)


def caller(**changes: Any) -> dict[str, Any]:
    """Return a terminal that called a moment ago and is well but for the given values."""
    return {
        "serial": "SYN0000000001",
        "address": "192.168.1.77",
        "first_seen": "2026-11-29T00:00:00Z",
        "last_seen": "2026-11-30T00:59:50Z",
        "last_post": None,
        "requests": {"cdata": 1, "getrequest": 90},
        "refused": {},
        "host": "192.168.1.10:8088",
        "proxied": False,
        "device_type": "att",
        "push_version": "2.4.1",
    } | changes


def receiver(**changes: Any) -> dict[str, Any]:
    """Return a receiver that is well but for the given values."""
    return {
        "listen": "192.168.1.10:8088",
        "open": True,
        "problem": None,
        "replies": {"200": 5},
        "closed": {},
        "faulty_addresses": {},
        "callers": {},
        "strangers": [],
    } | changes


OTHER = caller(serial="SYN0000000002")


@pytest.mark.parametrize(
    ("seen", "outcome", "name"),
    [
        (receiver(), "passed", "receiver_open"),
        (receiver(open=False, problem="Address already in use"), "failed", "receiver_closed"),
        (receiver(strangers=[OTHER]), "warned", "strangers_call"),
        (receiver(faulty_addresses={"10.0.0.1": "tls_on_plain_port"}), "warned", "callers_with_tls"),
        (receiver(faulty_addresses={"10.0.0.1": "not_http"}), "passed", "receiver_open"),
        (receiver(closed={"tls": 3}, replies={}), "warned", "callers_without_tls"),
        (receiver(closed={"tls": 3}), "passed", "receiver_open"),
    ],
)
def test_the_port_and_those_who_call_in_vain(seen: dict[str, Any], outcome: str, name: str) -> None:
    """One finding, the most urgent one."""
    found = judge_receiver(seen)

    assert (found.outcome, found.name) == (outcome, name)
    check_texts(found)


@pytest.mark.parametrize(
    ("seen", "last_punch", "findings"),
    [
        (receiver(), None, ["never_called"]),
        (receiver(listen="0.0.0.0:8088"), None, ["never_called"]),
        (receiver(listen="127.0.0.1:8088"), None, ["receiver_is_local"]),
        (receiver(strangers=[OTHER]), None, ["another_serial_calls"]),
        (receiver(callers={"gate": caller()}), "2026-11-30T07:59:00", ["calls", "fine", "fine", "serial"]),
        (receiver(callers={"gate": caller()}), None, ["calls", "fine", "fine", "serial", "only_polls"]),
        (
            receiver(callers={"gate": caller(proxied=True, device_type="acc")}),
            "2026-11-30T07:59:00",
            ["calls", "proxy_is_on", "access_control_mode", "serial"],
        ),
        (
            receiver(callers={"gate": caller(host="192.168.1.10:8088:8088")}),
            "2026-11-30T07:59:00",
            ["calls", "port_in_address", "fine", "serial"],
        ),
        (
            receiver(callers={"gate": caller(host="[fd00::10]:8088")}),
            "2026-11-30T07:59:00",
            ["calls", "fine", "fine", "serial"],
        ),
        (
            receiver(callers={"gate": caller(refused={"too_often": 21})}),
            "2026-11-30T07:59:00",
            ["calls", "calls_too_often", "fine", "serial"],
        ),
        (receiver(callers={"gate": caller(refused={"elsewhere": 91})}), None, ["called_from_elsewhere"]),
        (
            receiver(callers={"gate": caller(refused={"elsewhere": 2})}),
            "2026-11-30T07:59:00",
            ["calls", "fine", "fine", "serial"],
        ),
        (receiver(callers={"gate": caller(last_seen="2026-11-30T00:30:00Z")}), None, ["stopped_calling"]),
    ],
)
def test_a_terminal_is_judged_by_its_calls(seen: dict[str, Any], last_punch: str | None, findings: list[str]) -> None:
    """No call, another serial number, only polls, a proxy, a port in the address, access-control mode."""
    found = [*judge_caller("gate", seen, last_punch=last_punch, now=NOW)]

    assert [one.name for one in found] == findings
    assert all(one.outcome != "failed" for one in found[:-1])
    for one in found:
        check_texts(one)


def test_the_address_stands_beside_the_menu_where_it_is_typed() -> None:
    """Of all addresses of this computer none is the terminal's."""
    (found,) = judge_caller("gate", receiver(), last_punch=None, now=NOW)
    (anywhere,) = judge_caller("gate", receiver(listen="0.0.0.0:8088"), last_punch=None, now=NOW + timedelta(1))

    assert found.values == {"host": "192.168.1.10", "port": "8088"}
    assert anywhere.values["host"] == "`ip address`"


def check_texts(found: Any) -> None:
    """Demand text and, for a problem, advice in both languages, with every value filled in."""
    text = FINDINGS[found.name]
    for language in Language:
        assert "{" not in text.text.into(language, **found.values)
        assert (text.advice is None) == (found.outcome == "passed")
        if text.advice is not None:
            assert "{" not in text.advice.into(language, **found.values)


def app(refused: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """Return an app that posted a moment ago."""
    return caller(requests={"POST presensi": 9}, refused=refused or {}, **{"ahead_s": -2, **changes})


@pytest.mark.parametrize(
    ("callers", "findings"),
    [
        ({}, ["never_posted"]),
        ({"gate": app()}, ["posts", "fine", "fine", "posts_to"]),
        ({"gate": app({"elsewhere": 9})}, ["called_from_elsewhere"]),
        ({"gate": app({"wrong_signature": 9})}, ["posts", "fine", "signature_wrong", "posts_to"]),
        ({"gate": app({"no_signature": 1})}, ["posts", "fine", "signature_wrong", "posts_to"]),
        ({"gate": app({"too_often": 99})}, ["posts", "posts_too_often", "fine", "posts_to"]),
        ({"gate": app(ahead_s=61)}, ["posts", "fine", "fine", "posts_to", "app_clock_ahead"]),
        ({"gate": app({"no_json": 1, "too_long": 2})}, ["posts", "fine", "fine", "posts_to", "posts_unreadable"]),
    ],
)
def test_apps_that_post(callers: dict[str, Any], findings: list[str]) -> None:
    """From where, with which signatures, with which clock, and with what; silence at night is no failure."""
    now = NOW + timedelta(days=3)

    found = [*judge_app("gate", "/hook/presensi", receiver(callers=callers), now=now)]

    assert [finding.name for finding in found] == findings
    failed = [finding.name for finding in found if finding.outcome == "failed"]
    assert failed == ([name for name in findings if name == "called_from_elsewhere"] or _never_signed(callers))
    for finding in found:
        check_texts(finding)


def _never_signed(callers: dict[str, Any]) -> list[str]:
    return ["signature_wrong"] if callers.get("gate", {}).get("refused") == {"wrong_signature": 9} else []
