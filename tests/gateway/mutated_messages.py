"""Attacks on what the broker brings: valid receipts, retained infos and requests, each changed in two places.

``attack(seed)`` runs one case against the gateway's own readers and a real ledger, and raises AssertionError where a
message does more than it may: a receipt that is not valid changes nothing, no stream is opened twice, and no reader
raises anything but its refusal.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from gateway import commands
from gateway.ledger import Ledger, info_from, receipt_from
from tests.mutation import encode_json, mutate_bytes, mutate_json

SOURCE = "/hadir/3602-bkpsdm/gw-01"
EVENTS = 20
COMMANDS = ("poll", "reconcile", "replay", "report", "set-clock")


def receipt(stream: str) -> dict[str, Any]:
    """Return a valid receipt."""
    return {"stream": stream, "upto": 12, "missing": [[3, 4], [9, 9]], "at": "2026-09-04T00:31:00Z"}


def info(stream: str) -> dict[str, Any]:
    """Return a valid retained info."""
    return {
        "at": "2026-09-04T01:26:00.120Z",
        "version": "0.1.0",
        "stream": stream,
        "predecessor": {"stream": stream, "sequence": 7, "digest": "sha256:" + "0" * 64},
        "sequence": 12,
        "timezone": "Asia/Jakarta",
        "terminals": [{"name": "lobby", "driver": "zkteco", "timezone": "Asia/Jakarta"}],
        "delivery": {"window": 100, "batch_from": 200, "batch_bytes": 65536, "confirm": "auto"},
    }


def requests(stream: str) -> list[dict[str, Any]]:
    """Return valid arguments of requests."""
    return [
        {"terminal": "lobby"},
        {"sequence": [3, 9], "stream": stream},
        {"terminal": "lobby", "from": "2026-09-01", "to": "2026-09-30"},
        {"day": "2026-09-04"},
        {"withheld": True, "terminal": "lobby"},
    ]


class _Lobby:
    """A terminal that takes every request."""

    name = "lobby"
    zone = ZoneInfo("Asia/Jakarta")
    state = type("State", (), {"payload": staticmethod(lambda: {"state": "online"})})

    def request(self, *, full: bool = False) -> None:
        """Take it."""

    def request_set_clock(self) -> bool:
        """Take it."""
        return True

    def release(self, _first: object, _last: object) -> int:
        """Release nothing."""
        return 0


@contextmanager
def target() -> Iterator[Ledger]:
    """Open a ledger with some events."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), SOURCE)
        try:
            ledger.pin_serial("lobby", "CEXA193960001")
            moment = datetime(2026, 9, 4, 7, tzinfo=UTC)
            for number in range(EVENTS):
                ledger.record_note("hadir.gateway.resumed.v1", None, moment, {"number": number})
            yield ledger
        finally:
            ledger.close()


def attack(seed: int, ledger: Ledger | None = None) -> None:
    """Run one case; ``ledger`` is a :func:`target` that several cases share, by default one of its own."""
    if ledger is None:
        with target() as own:
            attack(seed, own)
        return
    random = Random(seed)
    kind = random.choice(("receipt", "info", "request"))
    valid: Any = {
        "receipt": receipt(ledger.stream),
        "info": info(ledger.stream),
        "request": random.choice(requests(ledger.stream)),
    }[kind]
    if random.random() < 0.8:
        payload = encode_json(mutate_json(valid, random))
    else:
        payload = mutate_bytes(json.dumps(valid).encode(), random)
    before = len(ledger.streams()), ledger.last_sequence()
    {"receipt": _receipt, "info": _info, "request": _request}[kind](ledger, payload, random)
    opened = len(ledger.streams()) - before[0]
    assert opened in (0, 1), f"seed {seed}: {opened} streams were opened by one message"
    assert ledger.last_sequence() == before[1] + opened, f"seed {seed}: a message made events"
    assert ledger.failure is None, f"seed {seed}: {ledger.failure!r}"


def _receipt(ledger: Ledger, payload: bytes, _random: Random) -> None:
    before = ledger.counts()
    try:
        receipt_from(payload)
    except ValueError:
        _refused(ledger, payload)
        assert ledger.counts() == before, "a receipt that is not valid changed something"
        return
    try:
        commands.take_receipt(ledger, payload.decode())
    except commands.Refusal:
        assert ledger.counts() == before, "a receipt that was refused changed something"


def _refused(ledger: Ledger, payload: bytes) -> None:
    try:
        commands.take_receipt(ledger, payload.decode("utf-8", "surrogateescape"))
    except commands.Refusal:
        return
    raise AssertionError("a receipt that is not valid was taken")


def _info(ledger: Ledger, payload: bytes, _random: Random) -> None:
    try:
        claimed = info_from(payload)
    except ValueError:
        return
    ledger.judge_info(claimed)


def _request(ledger: Ledger, payload: bytes, random: Random) -> None:
    answers: list[dict[str, Any]] = []
    desk = commands.Commands(COMMANDS, ledger, [_Lobby()], report=dict, now=lambda: datetime(2026, 9, 5, tzinfo=UTC))
    failed: list[BaseException] = []
    try:
        answers.append(desk.run(random.choice(COMMANDS), payload))
    except commands.Refusal as exc:
        json.dumps(str(exc)).encode()
    except Exception as exc:  # noqa: BLE001 - what it is stands in the assertion
        failed.append(exc)
    assert not failed, f"a request raised {failed[0]!r}"
    json.dumps(answers).encode()
