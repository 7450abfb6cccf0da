"""A backlog after an outage: our publisher from its ledger, against paho sending the same bodies from memory."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.figures import NONE, Figure, Plan, program, times, yes_no
from benchmarks.first_import import SOURCE, context
from benchmarks.rig import PREFIX, broker, far_away, in_own_process, office, quiet, settings_of, wait_for
from drivers.base import RawPunch, Reading
from drivers.zkteco import layouts
from gateway.ledger import FILE_NAME, Ledger, LedgerReader, StoredEvent, opened
from gateway.mqtt.publisher import Publisher
from gateway.settings import Settings

EVENTS = 60_000
PER_S = 8_000
ARRAYS_PER_S = 20_000
FAR_S, FAR_DRAIN_S = 0.1, 10.0
"""A round trip to a centre far away, and how long all events may take over it."""
FAR_SINGLE = 2_000
"""Events of the baseline there: it is slow, and its pace is even."""
RUNS = 3
WINDOW = 100
DEFAULT_WINDOW = 20
"""What mosquitto allows by default."""
PATIENCE_S = 300.0
TOPICS = (f"{PREFIX}/punch/#", f"{PREFIX}/note", f"{PREFIX}/batch")
ALL, AS_IT_COMES = "max_inflight_messages 0", "# as it comes"


class WatchedLedger(Ledger):
    """A ledger that notes when the first event was fetched and the last one acknowledged."""

    def __init__(self, data_dir: Path) -> None:
        self.began = self.ended = 0.0
        self.done = threading.Event()
        super().__init__(data_dir, SOURCE)
        self.fetched = threading.Event()
        self._left = self.counts().waiting  # a copied ledger has one more: it says that it begins a new stream

    def pending(self, after: int, limit: int, topic: str | None = None) -> list[StoredEvent]:
        """Fetch; the clock starts with the first time."""
        self.began = self.began or time.monotonic()
        self.fetched.set()
        return super().pending(after, limit, topic)

    def punch(self) -> None:
        """Hear of a punch; the clock starts anew, and stops when it is acknowledged like all that waits before it."""
        self._left += 1
        record = RawPunch("9999", None, datetime(2026, 11, 24, 7, 30), 0, 1, "0", b"live")  # noqa: DTZ001 - wall clock
        self.began = time.monotonic()
        self.record_live(replace(context("SIM0000000001"), via="live"), record)

    def mark_sent(self, sequences: Iterable[int]) -> None:
        """Take note; the clock stops when nothing is left. The write that follows within a second is not timed."""
        sent = list(sequences)
        super().mark_sent(sent)
        self._left -= len(sent)
        if not self._left:
            self.ended = time.monotonic()
            self.done.set()


def run(plan: Plan) -> Iterator[Figure]:
    """Measure single messages with both windows, then arrays, near and far."""
    count = plan.size(EVENTS)
    backlog = make_backlog(count, plan.fresh("backlog"))
    for window, line in ((WINDOW, ALL), (DEFAULT_WINDOW, AS_IT_COMES)):
        rates: dict[str, list[float]] = {"single": [], "bare": []}
        cpu: list[float] = []
        for _ in range(RUNS):
            for way, measured in rates.items():
                result = _drained(way, count, window, line, backlog, plan.fresh(way))
                measured.append(count / result["took_s"])
                if way == "single":
                    cpu.append(result["cpu_s"] * 1e6 / count)
        rate, bare = median(rates["single"]), median(rates["bare"])
        full = window == WINDOW
        yield Figure(
            f"drain of {count:,} events, QoS 1, window {window}{'' if full else ' (mosquitto as it comes)'}",
            f"bare paho {bare:,.0f}/s",
            f"{rate:,.0f}/s ({median(cpu):.0f} µs CPU each)",
            times(rate / bare),
            f"≥ {PER_S:,}/s" if full else NONE,
            yes_no(rate >= PER_S) if full else NONE,
        )
    yield from _arrays(plan, count, backlog)
    yield from _behind(plan, count, backlog)


def _arrays(plan: Plan, count: int, backlog: Path) -> Iterator[Figure]:
    fewer = min(count, FAR_SINGLE)
    few = make_backlog(fewer, plan.fresh("backlog"))
    for round_trip_s, baseline in ((0.0, (count, backlog)), (FAR_S, (fewer, few))):
        arrays, singles = [], []
        for _ in range(RUNS):
            took_s = _drained("arrays", count, WINDOW, AS_IT_COMES, backlog, plan.fresh("arrays"), round_trip_s)[
                "took_s"
            ]
            arrays.append(took_s)
            alone, source = baseline
            folder = plan.fresh("single")
            singles.append(
                alone / _drained("single", alone, WINDOW, AS_IT_COMES, source, folder, round_trip_s)["took_s"]
            )
        took_s, single = median(arrays), median(singles)
        near = round_trip_s == 0
        yield Figure(
            f"drain of {count:,} events as arrays, round trip {round_trip_s * 1000:.0f} ms (mosquitto as it comes)",
            f"single messages, window {DEFAULT_WINDOW}: {single:,.0f}/s",
            f"{took_s:.1f} s, {count / took_s:,.0f}/s",
            times(count / took_s / single),
            f"≥ {ARRAYS_PER_S:,}/s" if near else f"≤ {FAR_DRAIN_S:.0f} s",
            yes_no(count / took_s >= ARRAYS_PER_S if near else took_s <= FAR_DRAIN_S),
        )


def _behind(plan: Plan, count: int, backlog: Path) -> Iterator[Figure]:
    for round_trip_s in (0.0, FAR_S):
        took = [
            _drained("behind", count, WINDOW, AS_IT_COMES, backlog, plan.fresh("behind"), round_trip_s)["took_s"]
            for _ in range(RUNS)
        ]
        yield Figure(
            f"live punch behind {count:,} waiting, round trip {round_trip_s * 1000:.0f} ms (mosquitto as it comes)",
            NONE,
            f"{median(took):.1f} s",
            NONE,
            f"≤ {FAR_DRAIN_S:.0f} s",
            yes_no(median(took) <= FAR_DRAIN_S),
        )


def make_backlog(count: int, folder: Path) -> Path:
    """Make a ledger in which ``count`` punches wait."""
    log = office(count).log
    reading = Reading(0, count, layouts.Records(log, layouts.LAYOUTS["40"]), "40")
    with opened(folder, SOURCE) as ledger:
        ledger.pin_serial("lobby", "SIM0000000001")
        ledger.record_reading(context("SIM0000000001"), reading)
        if ledger.counts().waiting != count:
            raise RuntimeError(f"{ledger.counts().waiting} events wait where {count} should")
    return folder / FILE_NAME


def _drained(
    way: str, count: int, window: int, line: str, backlog: Path, folder: Path, round_trip_s: float = 0.0
) -> dict[str, Any]:
    """Drain once, in a process of its own, to a fresh broker and a subscriber that must get everything."""
    shutil.copy(backlog, folder)
    with broker(folder, line) as port, _counting_subscriber(port, count, folder):
        if not round_trip_s:
            return in_own_process("drain", way, port, window, count, folder)
        with far_away(port, round_trip_s) as far_port:
            return in_own_process("drain", way, far_port, window, count, folder)


@contextmanager
def _counting_subscriber(port: int, count: int, folder: Path) -> Iterator[None]:
    """Attach mosquitto's own subscriber; RuntimeError where it does not get ``count`` events."""
    command = [program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(port), "-V", "5", "-q", "1"]
    for topic in TOPICS:
        command += ["-t", topic]
    broker_log, received = folder / "mosquitto.log", folder / "received_file"
    with received.open("wb") as out:
        process = subprocess.Popen(command, stdout=out)
    try:
        wait_for(lambda: all(topic in broker_log.read_text("utf-8") for topic in TOPICS), 10.0, "the subscription")
        yield
        wait_for(lambda: _events_in(received) >= count, 60.0, "the arrival of every event", every_s=0.5)
    finally:
        process.kill()
        process.wait()
        received.unlink()


def _events_in(file: Path) -> int:
    return file.read_bytes().count(b'"sequence":"')


def _publisher(settings: Settings, folder: Path, *, live: bool) -> float:
    ledger = WatchedLedger(folder)
    publisher = Publisher(settings, ledger)
    publisher.start()
    if live and ledger.fetched.wait(PATIENCE_S):
        ledger.punch()
    done = ledger.done.wait(PATIENCE_S)
    publisher.stop(5)
    ledger.close()
    if not done:
        raise RuntimeError("the publisher did not finish")
    return ledger.ended - ledger.began


def _bare_paho(settings: Settings, window: int, count: int, folder: Path) -> float:
    """Send the same bodies from memory, with nothing but a count of what is acknowledged."""
    reader = LedgerReader(folder)
    messages = [(f"{PREFIX}/{event.topic}", event.body.encode()) for event in reader.pending(0, count)]
    reader.close()
    room = threading.Semaphore(window)
    left = count
    done = threading.Event()

    def acknowledged(*_: object) -> None:
        nonlocal left
        left -= 1
        room.release()
        if not left:
            done.set()

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
    properties.ContentType = "application/cloudevents+json"
    properties.PayloadFormatIndicator = 1
    connected = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(window)
    client.on_publish = acknowledged
    client.on_connect = lambda *_: connected.set()
    client.connect(settings.mqtt.host, settings.mqtt.port)
    client.loop_start()
    connected.wait(10)
    began = time.monotonic()
    for topic, body in messages:
        room.acquire()
        client.publish(topic, body, qos=1, properties=properties)
    if not done.wait(PATIENCE_S):
        raise RuntimeError("paho did not finish")
    took_s = time.monotonic() - began
    client.disconnect()
    client.loop_stop()
    return took_s


def main() -> None:
    """Drain once and print how long it took."""
    quiet()
    way, folder = sys.argv[1], Path(sys.argv[5])
    port, window, count = map(int, sys.argv[2:5])
    output = settings_of(port, {"lobby": "127.0.0.1"})
    if way == "single":
        output["delivery"] = {"batch_from": 0}
    settings = Settings.model_validate(output)
    began = time.process_time()
    took_s = (
        _bare_paho(settings, window, count, folder)
        if way == "bare"
        else _publisher(settings, folder, live=way == "behind")
    )
    print(json.dumps({"took_s": took_s, "cpu_s": time.process_time() - began}))


if __name__ == "__main__":
    main()
