"""An independent subscriber to the gateway's events and the centre's verdicts, as the contract specifies them."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from gateway.demo.script import Key, Verdict, verdict_of
from gateway.event import RECORDED

CONNECT_S = 120.0
"""Time for the broker to answer, on a busy machine."""
JUDGED = "hadir.day.judged.v1"


@dataclass(frozen=True, slots=True)
class Judged:
    """The newest verdict on a day of a person."""

    person: str
    date: calendar_date
    revision: int
    verdict: Verdict
    times: tuple[str | None, str | None]
    """What the terminal's clock showed at the arrival and at the end, HH:MM; None: no punch."""
    doubts: tuple[str, ...]
    latency_ms: int | None
    """From the finger to the first verdict that rests on its punch, where the finger was ours."""
    number: int
    """Of all verdicts received."""


class Subscriber:
    """Counts events by id, and keeps the newest verdict of each person and date."""

    def __init__(self, port: int) -> None:
        self.ids: set[str] = set()
        self.arrivals = 0
        self.per_terminal: Counter[str] = Counter()
        self.days: dict[Key, Judged] = {}
        self.fingers: dict[tuple[str, str, str], float] = {}
        """Terminal, PIN and the terminal's time → when the finger was on it, monotonic."""
        self._received = 0
        self._punches: dict[str, tuple[str, float | None]] = {}
        """Event id → the terminal's time, and the finger's."""
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-subscriber", protocol=mqtt.MQTTv5)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        topics = ("hadir/v1/+/+/punch/+", "hadir/v1/+/+/batch", "hadir/result/v1/+/day")
        self._client.subscribe([(topic, 1) for topic in topics])
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_S):
            raise RuntimeError("the embedded broker does not let the demo subscribe")

    @property
    def received(self) -> int:
        """Return how many verdicts were received."""
        return self._received

    def judged(self) -> list[Judged]:
        """Return the newest verdict on each day, that received last at the end."""
        with self._lock:
            return sorted(self.days.values(), key=lambda one: one.number)

    def _take(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        arrived = time.monotonic()
        content = json.loads(message.payload)
        for event in content if isinstance(content, list) else [content]:  # a backlog is sent as arrays
            if event["type"] == RECORDED:
                self._count(event)
            elif event["type"] == JUDGED:
                self._judge(event["data"], arrived)

    def _count(self, event: dict[str, Any]) -> None:
        self.arrivals += 1
        if event["id"] in self.ids:
            return
        self.ids.add(event["id"])
        data = event["data"]
        self.per_terminal[data["terminal"]] += 1
        finger = self.fingers.get((data["terminal"], data["pin"], data["local_time"]))
        self._punches[event["id"]] = (data["local_time"], finger)

    def _judge(self, data: dict[str, Any], arrived: float) -> None:
        key = data["person"], calendar_date.fromisoformat(data["date"])
        before = self.days.get(key)
        if before is not None and before.revision >= data["revision"]:
            return
        slots = data.get("slots", [])
        picked = [self._punches.get(slot["punch"] or "", (None, None)) for slot in slots]
        times = [None if shown is None else shown[11:16] for shown, _ in picked]
        fingers = [finger for _, finger in picked if finger is not None]
        latency = None if not fingers else round((arrived - max(fingers)) * 1000)
        if before is not None and before.times == tuple([*times, None, None][:2]):
            latency = before.latency_ms  # a revision for another reason
        self._received += 1
        with self._lock:
            self.days[key] = Judged(
                *key,
                revision=data["revision"],
                verdict=verdict_of(data),
                times=([*times, None, None][0], [*times, None, None][1]),
                doubts=tuple(sorted({doubt["what"] for doubt in data.get("doubts", [])})),
                latency_ms=latency,
                number=self._received,
            )

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
