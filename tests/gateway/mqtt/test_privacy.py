"""No PIN, name or body is shown, whatever message cannot be published: each kind fails once, in each way there is."""

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode

from drivers.base import BadRecord, RawPunch, Reading
from gateway import trace
from gateway.commands import Request
from gateway.ledger import Ledger
from gateway.mqtt.bounded_client import BoundedClient
from gateway.mqtt.publisher import Publisher
from gateway.mqtt.timing import PAUSES, Timing
from gateway.pause import Pause
from gateway.settings import Settings
from tests import contract
from tests.broker import DISCONNECT, PUBACK, PUBLISH, SUBSCRIBE, Closing, FakeBroker, Packet, eventually
from tests.gateway.mqtt.test_bounded_client import PREFIX, message, obliging, remaining
from tests.gateway.mutated_messages import SOURCE
from tests.gateway.test_privacy import CANARIES, MORNING, NAME, NOW, PIN, RAW, SERIAL, context, shown
from tests.gateway.test_privacy_of_files import report
from tests.threads import thread_failures

__all__ = ["shown"]

KINDS = sorted(
    name
    for name in contract.document()["channels"]
    if contract.is_published(name) and not contract.is_of_the_centre(name)
)
"""Channels of the contract that the gateway publishes to."""
PAYLOAD_INVALID, IMPLEMENTATION_ERROR = 0x99, 0x83
REASON = 1000
"""Bytes of the payload that the broker repeats as its reason."""

WAYS = {
    "raised": {"publisher_failed"},
    "unsent": {"broker_lost"},
    "refused": {"message_refused", "message_parked", "topic_refused"},
    "ended": {"broker_lost"},
}
"""How a publish fails, and what is logged then.

The library raises with the payload in its text, or does not take it; the broker refuses it, or ends the connection,
with the payload as its reason.
"""


def packet(kind: int, head: bytes, reason: bytes) -> bytes:
    """Return an answer of MQTT 5 with a Reason String."""
    properties = b"\x1f" + len(reason).to_bytes(2) + reason
    body = head + remaining(len(properties)) + properties
    return bytes([kind]) + remaining(len(body)) + body


@dataclass
class Failing:
    """Lets the first publish of one kind fail in one way; everything else is as with a broker that accepts it."""

    kind: str
    way: str
    payloads: list[bytes] = field(default_factory=list)
    """What could not be published."""
    _answered: bool = False
    _subscriptions: int = 0

    def publish(self, client: BoundedClient, topic: str, payload: bytes, *args: Any, **kwargs: Any) -> Any:
        """Stand in for the library's method."""
        below = topic.removeprefix(PREFIX)
        if self.payloads or not payload or contract.channel_of(below) != self.kind:
            return mqtt.Client.publish(client, topic, payload, *args, **kwargs)
        self.payloads.append(payload)
        if self.way == "raised":
            raise ValueError(f"cannot encode {topic} {payload!r} {PIN} {NAME!r}")
        if self.way == "unsent":
            sent = mqtt.MQTTMessageInfo(60_000)
            sent.rc = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            return sent
        return mqtt.Client.publish(client, topic, payload, *args, **kwargs)

    def answer(self, received: Packet) -> bytes | None:
        """Answer as a broker does, which sends a request once receipts and requests are subscribed to."""
        if received.kind == PUBLISH and not self._answered and self.payloads and self.payloads[0] in received.body:
            self._answered = True
            reason = f"{PIN} CANARY ".encode() + self.payloads[0][:REASON]
            if self.way == "refused":
                return packet(PUBACK, received.mid.to_bytes(2) + bytes([PAYLOAD_INVALID]), reason)
            raise Closing(packet(DISCONNECT, bytes([IMPLEMENTATION_ERROR]), reason))
        answer = obliging(received)
        if received.kind == SUBSCRIBE:
            self._subscriptions += 1
            if self._subscriptions == 2:
                return (answer or b"") + message("cmd/status", b"{}")
        return answer


@contextmanager
def publishing(ledger: Ledger, url: str) -> Iterator[Publisher]:
    """Publish a message of every kind, with canaries wherever a message may have some."""
    few = {"site": "3602-bkpsdm", "gateway": "gw-01", "timezone": "Asia/Jakarta", "delivery": {"batch_from": 3}}
    terminals = [{"name": "lobby", "driver": "zkteco", "address": "127.0.0.1"}]
    settings = Settings.model_validate(
        {**few, "mqtt": {"url": url}, "terminals": terminals}, context={"folder": ledger.path.parent}
    )

    def answered(request: Request) -> None:
        request.answer({"ok": True, "result": {"pin": PIN, "name": NAME.decode(), "raw": RAW.hex()}})

    introduction = [
        (topic, {"stream": ledger.stream, "reason": f"{PIN} CANARY"})
        for topic in ("info", "health", "terminal/lobby/state")
    ]
    brief = Timing(pauses={**PAUSES, **dict.fromkeys(("unreachable", "refused"), Pause(0.05, 0.1))}, close_s=0.3)
    sender = Publisher(settings, ledger, introduction=lambda: introduction, requests=answered, timing=brief)
    sender.alarm("terminal_lost", f"CANARY {PIN}")
    sender.announce("tally/lobby", {"pins": {PIN: 4}, "name": NAME.decode()}, retain=False)
    sender.start()
    try:
        yield sender
    finally:
        assert sender.stop(60)


def fill(ledger: Ledger, kind: str) -> None:
    """Record events of every kind; few where they are to be sent one by one."""
    ledger.pin_serial("lobby", SERIAL)
    ledger.record_note("hadir.gateway.started.v1", None, NOW, {"reason": "CANARY"})
    ledger.record_note("hadir.terminal.lost.v1", "lobby", NOW, {"reason": "CANARY"})
    if kind == "quarantine":
        ledger.record_reading(context(), Reading(0, 1, [BadRecord(RAW + NAME, RAW + NAME, "impossible date")], "40"))
    for second in range(8 if kind == "batch" else 1 if kind == "punch" else 0):
        at = MORNING.replace(second=second)
        ledger.record_live(context("live"), RawPunch(PIN, None, at, 0, 1, "CANARYWC", RAW))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_publish_that_fails_shows_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: io.StringIO, kind: str, way: str
) -> None:
    """Neither in the log nor in its traceback, the status on a screen or the doctor's report."""
    failing = Failing(kind, way)

    def publish(client: BoundedClient, *args: Any, **kwargs: Any) -> Any:
        return failing.publish(client, *args, **kwargs)

    monkeypatch.setattr(BoundedClient, "publish", publish, raising=False)
    with closing(Ledger(tmp_path / "data", SOURCE)) as ledger, FakeBroker(failing.answer) as broker:
        fill(ledger, kind)
        with thread_failures() as failures, publishing(ledger, broker.url) as sender:
            eventually(lambda: any(f'"{event}"' in shown.getvalue() for event in WAYS[way]), what="the log's line")
            shown.write(f"hadir: {sender.status_text}\n")
            eventually(lambda: sender.is_alive == (way != "raised"))
        shown.writelines(f"hadir: {trace.described(failure)}\n{trace.as_text(failure)}\n" for failure in failures)
        assert len(failures) == (way == "raised")
        report(tmp_path, shown)

    assert len(failing.payloads) == 1
    assert kind == "state" or CANARIES.search(failing.payloads[0].decode()), "there was something to show"
    found = CANARIES.search(shown.getvalue())
    assert found is None, shown.getvalue()[max(0, found.start() - 500) : found.end() + 100]
