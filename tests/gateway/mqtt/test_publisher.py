"""From the ledger to the broker: everything arrives, in order, and is marked only when the broker acknowledges it."""

import errno
import gc
import json
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from paho.mqtt import client as mqtt
from structlog.testing import capture_logs

from central import event as central_event
from drivers.base import BadRecord, RawPunch, Reading, Record
from gateway import event as event_module
from gateway.commands import Request
from gateway.event import ReadingContext
from gateway.ledger import Judgement, Ledger, LedgerFull, Receipt, RetainedInfo, Selection
from gateway.ledger import delivery as ledger_delivery
from gateway.ledger.stream import Location, inode_of, machine_ids
from gateway.mqtt import publisher as publisher_module
from gateway.mqtt import window as window_module
from gateway.mqtt.careful import PACKET_MAX, Careful, Pacing
from gateway.mqtt.connection import Connection
from gateway.mqtt.failure import cause_of, error_text
from gateway.mqtt.publisher import Publisher
from gateway.mqtt.session import Session
from gateway.mqtt.takeover import SHORT_SESSIONS_MAX
from gateway.mqtt.timing import PAUSES, Timing
from gateway.mqtt.window import Limits, Window
from gateway.pause import Pause
from gateway.settings import Settings
from tests import contract
from tests.authority import Authority
from tests.broker import (
    CONNECT,
    DISCONNECT,
    MISSING,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    WAIT_S,
    Broker,
    Closing,
    FakeBroker,
    Message,
    Mute,
    Packet,
    Proxy,
    Subscriber,
    connack,
    dynamic_security,
    eventually,
    program,
    puback,
    suback,
)
from tests.threads import thread_failures

ROOT = Path(contract.__file__).parents[1]
PREFIX = "hadir/v1/3602-bkpsdm/gw-01/"
SOURCE = "/hadir/3602-bkpsdm/gw-01"
SERIALS = {"lobby": "CEXA193960001", "gate": "CEXA193960002"}
MORNING = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
NOW = datetime(2026, 9, 7, 1, tzinfo=UTC)
OTHERS_WRITE = "topic readwrite hadir/v1/3602-bkpsdm/gw-01/{}\n"

Log = MutableMapping[str, Any]
Introduction = Callable[[], Iterable[tuple[str, dict[str, Any]]]]


QUICK = Timing(
    pauses={
        "unreachable": Pause(0.1, 0.3),
        "refused": Pause(0.2, 0.4),
        "taken_over": Pause(0.3, 0.6),
        "replaced": PAUSES["replaced"],
    },
    retry_initial_s=0.2,
    retry_max_s=0.8,
    close_s=0.5,
    missing_check_s=0.1,
    subscribe_again_s=0.2,
)
"""Pauses that a test can wait for; their kinds stay apart."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resend after an interval that a test can wait for."""
    monkeypatch.setattr(ledger_delivery, "RESEND_INTERVAL_MS", 300)


class Office:
    """A ledger with terminals, and publishers for it."""

    def __init__(self, folder: Path, name: str = "data", timing: Timing = QUICK) -> None:
        self.folder = folder
        self.timing = timing
        self.ledger = Ledger(folder / name, SOURCE)
        self._read: Counter[str] = Counter()
        self._publishers: list[Publisher] = []
        for terminal, serial in SERIALS.items():
            self.ledger.pin_serial(terminal, serial)

    def settings(self, url: str, *, delivery: dict[str, Any] | None = None, **options: Any) -> Settings:
        """Return the settings for a broker: single messages, unless ``delivery`` states something else."""
        data = {
            "site": "3602-bkpsdm",
            "gateway": "gw-01",
            "timezone": "Asia/Jakarta",
            "mqtt": {"url": url, **options},
            "delivery": {"batch_from": 0, **(delivery or {})},
            "terminals": [{"name": name, "driver": "zkteco", "address": "127.0.0.1"} for name in SERIALS],
        }
        return Settings.model_validate(data, context={"folder": self.folder})

    def publisher(
        self,
        url: str,
        *,
        introduction: Introduction = tuple,
        requests: Callable[[Request], None] = lambda _request: None,
        **options: Any,
    ) -> Publisher:
        """Start a publisher; it is stopped with the test."""
        publisher = Publisher(
            self.settings(url, **options),
            self.ledger,
            introduction=introduction,
            requests=requests,
            timing=self.timing,
        )
        self._publishers.append(publisher)
        publisher.start()
        return publisher

    def punches(self, count: int, terminal: str = "lobby") -> None:
        """Let people punch at a terminal, and read it."""
        first = self._read[terminal]
        self.read([made(second) for second in range(first, first + count)], terminal)

    def read(self, records: list[Record], terminal: str = "lobby") -> None:
        """Store what a terminal has logged since the last time."""
        first = self._read[terminal]
        known = self.ledger.terminal(terminal)
        assert known is not None
        overlap = [made(second) for second in range(known.tail_start, first)]
        reading = Reading(known.tail_start, first + len(records), [*overlap, *records], "40")
        self.ledger.record_reading(context(terminal), reading)
        self._read[terminal] += len(records)

    @property
    def waiting(self) -> int:
        """How many events the broker does not have, as the ledger states."""
        self.ledger.flush_marks()
        return self.ledger.counts().waiting

    def all_sent(self) -> None:
        """Wait until nothing waits."""
        eventually(lambda: self.waiting == 0, what="the end of the drain")

    def close(self) -> None:
        """Stop everything; a thread that has failed fails its test (pytest)."""
        stopped = [publisher.stop(10) for publisher in self._publishers]
        self.ledger.close()
        assert all(stopped)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open one office."""
    office = Office(tmp_path)
    yield office
    office.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Run a broker that allows everything."""
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def logs() -> Iterator[list[Log]]:
    """Collect what is logged."""
    with capture_logs() as entries:
        yield entries


def context(terminal: str = "lobby", **changes: Any) -> ReadingContext:
    """Return who reads."""
    usual = ReadingContext(
        terminal=terminal,
        serial=SERIALS[terminal],
        zone=ZoneInfo("Asia/Jakarta"),
        via="log",
        now=NOW,
        synchronised=True,
        clock=None,
        stepped=False,
        tolerance=timedelta(seconds=60),
    )
    return replace(usual, **changes)


def made(second: int, **changes: Any) -> RawPunch:
    """Make a record of a second of the morning."""
    punch = RawPunch("1001", None, MORNING + timedelta(seconds=second), 0, 1, "0", second.to_bytes(4))
    return punch._replace(**changes)


def events(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the events in some messages, as they came, those of arrays too."""
    lists = [message.payload if isinstance(message.payload, list) else [message.payload] for message in messages]
    return [event for listed in lists for event in listed if "specversion" in event]


def numbers(messages: Iterable[Message]) -> list[int]:
    """Return the sequences of the events in some messages, as they came."""
    return [int(event["sequence"]) for event in events(messages)]


def received(count: int) -> Callable[[list[Message]], bool]:
    """Return whether events 1 to ``count`` have all been received."""
    return lambda messages: set(numbers(messages)) == set(range(1, count + 1))


def named(logs: list[Log], *events: str) -> list[Log]:
    """Return the log lines of some names, or all that say the broker was lost or found."""
    return [entry for entry in logs if entry["event"] in (events or ("broker_lost", "broker_found"))]


def alarms(subscriber: Subscriber) -> list[str]:
    """Return the alarms that were received."""
    return [message.payload["alarm"] for message in subscriber.on("/alarm")]


def obliging(packet: Packet) -> bytes | None:
    """Answer as a broker does."""
    answers = {CONNECT: connack(), PUBLISH: puback(packet.mid), SUBSCRIBE: suback(packet.mid, 1, 1)}
    return {**answers, PINGREQ: b"\xd0\x00"}.get(packet.kind)


def everything(office: Office) -> int:
    """Record one event of every type; return how many there are."""
    ledger = office.ledger
    ledger.record_note(
        event_module.GATEWAY_RESUMED,
        None,
        NOW,
        {"last_alive": None, "resumed": "2026-09-07T01:00:00.000Z", "clean": True},
    )
    ledger.record_note(
        event_module.STREAM_OPENED, None, NOW, {"reason": "another_file", "lost": 0, "predecessor": None}
    )
    about = {"terminal": "lobby", "serial": SERIALS["lobby"]}
    moment = "2026-09-07T01:00:00.000Z"
    lost = {"from": moment, "cause": "unavailable", "reason": "no answer"}
    ledger.record_note(event_module.TERMINAL_LOST, "lobby", NOW, about | lost)
    ledger.record_note(
        event_module.TERMINAL_FOUND, "lobby", NOW, about | {"from": moment, "to": moment, "cause": "unavailable"}
    )
    ledger.record_note(event_module.TERMINAL_CHANGED, "lobby", NOW, about | {"what": "capacity", "threshold": 90})
    clock = {"offset_ms": 0, "bound_ms": 20, "measured": moment}
    ledger.record_note(event_module.CLOCK_STEPPED, "lobby", NOW, about | {"before": clock, "after": clock})
    ledger.record_note(event_module.CLOCK_SET, "lobby", NOW, about | {"before": clock, "after": clock})
    correction = {"synchronised": moment, "correction_ms": -3, "first_sequence": 1, "last_sequence": 4}
    ledger.record_note(event_module.CLOCK_SYNCHRONISED, None, NOW, correction)
    ledger.record_note(event_module.HISTORY_WITHHELD, "lobby", NOW, about | {"records": 3, "start": "now"})
    counts = dict.fromkeys(("size", "lines", "punches", "unreadable", "new", "quarantined", "known", "repeated"), 0)
    file = {"name": "1_attlog.dat", "sha256": 64 * "0", "first": None, "last": None}
    ledger.record_note(event_module.FILE_IMPORTED, "lobby", NOW, about | file | counts)
    gone = {"sequence": 1, "id": str(UUID(int=1)), "digest": f"sha256:{64 * '0'}"}
    ledger.record_note(event_module.BODY_FORGOTTEN, None, NOW, {"stream": ledger.stream, "events": [gone]})
    before = {"stream": str(UUID(int=2)), "sequence": 7, "digest": f"sha256:{64 * '0'}"}
    opened = {"reason": "restored", "lost": 0, "predecessor": before}
    ledger.record_note(event_module.STREAM_OPENED, None, NOW, opened)
    ledger.record_live(context(via="live", now=datetime.now(UTC) - timedelta(hours=1)), made(0, verify=15))
    ledger.record_live(context(via="live"), made(500))
    bad = BadRecord(b"\x01junk", b"junk", "impossible date")
    ledger.record_reading(context(now=datetime.now(UTC) + timedelta(hours=1)), Reading(0, 2, [made(0), bad], "40"))
    return ledger.last_sequence()


# ---------------------------------------------------------------- the introduction and the farewell


def test_a_connection_begins_with_birth_then_greeting_then_evidence(office: Office, broker: Broker) -> None:
    """First `state` with the session, then what the introduction states, all retained; then the events by sequence."""
    office.punches(50)
    health = next(payload for channel, _, payload in contract.examples() if channel == "health")
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, introduction=lambda: [("info", info), ("health", health)])
        messages = subscriber.wait_for(received(50))
        late = Subscriber(broker.port)
        kept = late.wait_for(lambda messages: len(messages) == 3)
        late.close()
    assert [message.topic for message in messages[:3]] == [PREFIX + end for end in ("state", "info", "health")]
    assert messages[0].payload["state"] == "online"
    assert isinstance(messages[0].payload["session"], int)
    assert all(message.retain for message in messages[:3])
    assert numbers(messages[3:]) == list(range(1, 51))
    assert sorted(message.topic for message in kept) == sorted(message.topic for message in messages[:3])


def test_every_message_is_as_the_contract_says(office: Office, broker: Broker) -> None:
    """Each event type goes to its topic with its content type, QoS 1, not retained; state and alarm as documented."""
    count = everything(office)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url)
        publisher.alarm("clock_stepped", "the clock of lobby jumped", "lobby")
        messages = subscriber.wait_for(lambda messages: received(count)(messages) and subscriber.on("/alarm"))
        publisher.stop(5)
        messages = subscriber.wait_for(lambda _: len(subscriber.on("/state")) == 2)
    for message in messages:
        end = message.topic.removeprefix(PREFIX)
        contract.check(end, message.text)
        assert message.qos == 1
        assert message.retain is contract.is_retained(end)
        cloud = "specversion" in message.payload
        assert message.content_type == ("application/cloudevents+json" if cloud else "application/json")
    types = {message.payload["type"] for message in messages if "type" in message.payload}
    assert types == {
        value for name, value in vars(event_module).items() if name.isupper() and str(value).endswith(".v1")
    }
    ends = {message.topic.removeprefix(PREFIX) for message in messages}
    assert ends == {"state", "alarm", "note", "note/lobby", "punch/lobby", "quarantine/lobby"}


def test_a_strangers_subscriber_sees_the_events(office: Office, broker: Broker) -> None:
    """`mosquitto_sub -V 5`, an independent client, prints each event."""
    office.punches(20)
    command = [
        program("mosquitto_sub"),
        "-V",
        "5",
        "-h",
        "127.0.0.1",
        "-p",
        str(broker.port),
        "-q",
        "1",
        "-C",
        "20",
        "-W",
        "15",
        "-F",
        "%C %p",
    ]
    with subprocess.Popen([*command, "-t", PREFIX + "punch/+"], stdout=subprocess.PIPE, text=True) as stranger:
        eventually(lambda: "SUBSCRIBE" in broker.log or "mosq" in broker.log or "auto-" in broker.log)
        time.sleep(0.2)
        office.publisher(broker.url)
        out, _ = stranger.communicate(timeout=WAIT_S)
    lines = [line.split(" ", 1) for line in out.splitlines()]
    assert {kind for kind, _ in lines} == {"application/cloudevents+json"}
    assert [int(json.loads(text)["sequence"]) for _, text in lines] == list(range(1, 21))


def test_a_live_punch_is_published_at_once(office: Office, broker: Broker) -> None:
    """What is recorded while nothing waits does not wait either: a publisher with nothing to do is woken."""
    office.timing = replace(QUICK, idle_s=3600.0)
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: messages)
        office.all_sent()
        office.ledger.record_live(context(via="live"), made(0))
        subscriber.wait_for(received(1))


def test_announcements_are_retained_and_alarms_are_not(office: Office, broker: Broker) -> None:
    """What is announced while connected goes out at once, below the prefix; retained, unless it should not be."""
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url)
        eventually(lambda: publisher.connected)
        publisher.announce("terminal/lobby/state", {"state": "online"})
        publisher.announce("tally/lobby", {"days": []}, retain=False)
        publisher.alarm("terminal_lost", "gone", "lobby")
        subscriber.wait_for(lambda messages: len(messages) == 4)
        (announced,) = subscriber.on("/terminal/lobby/state")
        (tally,) = subscriber.on("/tally/lobby")
        (alarm,) = subscriber.on("/alarm")
    assert (announced.retain, tally.retain, alarm.retain) == (True, False, False)
    assert alarm.payload["terminal"] == "lobby"


def test_alarms_raised_without_a_broker_are_kept_the_newest_hundred(office: Office) -> None:
    """They follow the next introduction, in their order; announcements are left to the introduction."""
    open_now = threading.Event()

    def answer(packet: Packet) -> bytes | None:
        if not open_now.is_set():
            raise Closing
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        for number in range(150):
            publisher.alarm("terminal_lost", str(number))
        publisher.announce("terminal/lobby/state", {"state": "online"})
        eventually(publisher._inbox.empty)
        open_now.set()
        eventually(lambda: len(fake.published("/alarm")) == 100)
        publisher.stop(5)
        reported = [packet.event for packet in fake.received if packet.kind == PUBLISH]
    assert reported[0]["state"] == "online"
    assert [event["message"] for event in reported if "alarm" in event] == [str(number) for number in range(50, 150)]
    assert [alarm["message"] for alarm in publisher.alarms] == [str(number) for number in range(149, 49, -1)]
    assert not fake.published("terminal/lobby/state")


def test_alarms_that_were_on_their_way_are_kept(office: Office) -> None:
    """An alarm that the broker did not acknowledge before it went is published again."""
    lives = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            lives.append(1)
        if packet.kind == PUBLISH and packet.topic.endswith("/alarm") and len(lives) == 1:
            raise Closing
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        publisher.alarm("terminal_lost", "gone", "lobby")
        eventually(lambda: len(fake.published("/alarm")) == 2)
        publisher.stop(5)


def test_a_clean_stop_says_offline_within_five_seconds(office: Office, broker: Broker) -> None:
    """Retained `offline` with the session of the birth, and no will after it; whatever it waits for is interrupted."""
    office.timing = replace(QUICK, idle_s=3600.0)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url)
        subscriber.wait_for(lambda messages: messages)
        assert publisher.stop(WAIT_S)
        eventually(lambda: "disconnected" in broker.log or "closed" in broker.log or not publisher.connected)
        subscriber.wait_for(lambda messages: len(messages) == 2)
        birth, death = (message.payload for message in subscriber.on("/state"))
    assert death["state"] == "offline"
    assert death["session"] == birth["session"]
    assert "at" in death, "that was the will"
    assert not publisher.is_alive
    assert not publisher.connected


def test_what_is_in_flight_at_a_stop_is_still_marked(office: Office, broker: Broker) -> None:
    """A stop in mid-drain waits a moment for acknowledgements, so that few events travel twice."""
    office.punches(300)
    with Proxy(broker.port, ack_delay_s=0.005) as proxy, Subscriber(broker.port) as subscriber:
        publisher = office.publisher(proxy.url)
        eventually(lambda: len(numbers(subscriber.messages)) > 30)
        assert publisher.stop(5)
        arrived = set(numbers(subscriber.messages))
    assert 0 < len(arrived) < 300
    assert {event.sequence for event in office.ledger.pending(0, 1000)} | arrived == set(range(1, 301))
    assert office.waiting == 300 - len(arrived)


def test_a_stop_does_not_wait_for_a_broker_that_is_stuck(office: Office, tmp_path: Path) -> None:
    """A broker that neither reads nor answers, all buffers full, costs a moment and not the keep-alive."""
    with Broker(tmp_path, "max_inflight_messages 0") as broker:
        publisher = office.publisher(broker.url, window=65535)
        eventually(lambda: publisher.connected)
        broker.freeze()
        office.read([made(second, raw=bytes(4000)) for second in range(2000)])  # 17 MB
        eventually(lambda: publisher._inbox.empty)
        begun = time.monotonic()
        assert publisher.stop(WAIT_S)
        assert time.monotonic() - begun < 25, "it waited for the keep-alive"


@pytest.mark.parametrize("mute", [True, False], ids=["connecting", "pausing"])
def test_a_stop_while_connecting_is_quick_and_silent(office: Office, logs: list[Log], mute: bool) -> None:
    """A stop during an attempt or a pause ends at once, without a line about a lost broker."""
    with FakeBroker(lambda _: None) as fake:
        publisher = office.publisher(fake.url if mute else "mqtt://127.0.0.1:9")
        eventually(lambda: fake.received if mute else named(logs))
        assert publisher.stop(WAIT_S)
    assert len(named(logs)) == (0 if mute else 1)


def test_stopping_what_was_never_started_does_nothing(office: Office) -> None:
    """A daemon whose start failed half-way may still stop everything."""
    assert Publisher(office.settings("mqtt://127.0.0.1:9"), office.ledger).stop(1)


LONE = """
import sys, time
from pathlib import Path
from gateway.ledger import Ledger
from gateway.mqtt.publisher import Publisher
from gateway.settings import load
settings = load(Path(sys.argv[1]))
Publisher(settings, Ledger(settings.data_dir, "/hadir/3602-bkpsdm/gw-01")).start()
time.sleep(60)
"""


def test_a_killed_process_is_reported_by_its_will(tmp_path: Path, broker: Broker) -> None:
    """The broker publishes `offline`, retained, with the session of the birth; the next connection has a higher one."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"site: 3602-bkpsdm\ngateway: gw-01\ntimezone: Asia/Jakarta\ndata_dir: data\nmqtt: {{url: '{broker.url}'}}\n"
        "terminals: [{name: lobby, driver: zkteco, address: 127.0.0.1}]\n"
    )
    with Subscriber(broker.port) as subscriber:
        for life in (1, 2):
            with subprocess.Popen([sys.executable, "-c", LONE, str(file)], cwd=ROOT) as process:
                try:
                    subscriber.wait_for(lambda messages, life=life: len(messages) == 2 * life - 1)  # type: ignore[misc]
                finally:
                    process.kill()
            subscriber.wait_for(lambda messages, life=life: len(messages) == 2 * life)  # type: ignore[misc]
        birth, will, second, _ = subscriber.messages
    assert (birth.payload["state"], will.payload["state"]) == ("online", "offline")
    assert will.payload["session"] == birth.payload["session"] < second.payload["session"]
    assert will.retain
    contract.check("state", will.text)


# ---------------------------------------------------------------- sent means acknowledged


def test_nothing_is_marked_before_its_acknowledgement(office: Office) -> None:
    """With acknowledgements withheld everything waits; then exactly what was acknowledged is marked."""
    office.punches(10)
    acknowledge = threading.Event()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and "/punch/" in packet.topic and not acknowledge.is_set():
            return None
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url, window=6)
        eventually(lambda: len(fake.published("/punch/")) == 6)
        assert office.waiting == 10
        acknowledge.set()
        mids = [packet.mid for packet in fake.received if packet.kind == PUBLISH and "/punch/" in packet.topic]
        time.sleep(0.2)
        assert len(fake.published("/punch/")) == 6, "more than the window"
        assert office.waiting == 10
        publisher.stop(5)
        assert len(set(mids)) == 6
    assert office.waiting == 10


@pytest.mark.parametrize(("window", "limit", "most"), [(7, 0, 7), (100, 5, 5), (1, 0, 1)])
def test_no_more_is_in_flight_than_both_sides_allow(
    office: Office, tmp_path: Path, window: int, limit: int, most: int
) -> None:
    """The lower of our window and the broker's receive maximum, state messages and alarms included."""
    office.punches(120)
    with (
        Broker(tmp_path, f"max_inflight_messages {limit}") as broker,
        Proxy(broker.port, ack_delay_s=0.002) as proxy,
        Subscriber(broker.port, session="centre") as subscriber,
    ):
        info = next(payload for channel, _, payload in contract.examples() if channel == "info")
        publisher = office.publisher(proxy.url, window=window, introduction=lambda: [("info", info)] * 3)
        for _ in range(3):
            publisher.alarm("terminal_lost", "gone", "lobby")
        subscriber.wait_for(received(120))
        office.all_sent()
    slack = 6 if limit == 0 else 0  # messages that are no events count against the broker's limit only
    assert most - 1 <= proxy.most_in_flight <= most + slack
    assert proxy.published == 120 + 1 + 3 + 3


def test_a_probe_of_a_silent_topic_stays_within_the_receive_maximum(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying a refused topic again is not worth a protocol error."""
    office.timing = replace(QUICK, retry_initial_s=0.02, retry_max_s=0.02)
    office.punches(3)
    office.punches(200, "gate")
    in_flight = []
    publish = Connection._publish

    def watched(connection: Connection, *args: Any, **options: Any) -> Any:
        result = publish(connection, *args, **options)
        in_flight.append(len(connection._in_flight))
        return result

    monkeypatch.setattr(Connection, "_publish", watched)
    acl = "topic read #\n" + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "punch/gate"))
    with (
        Broker(tmp_path, "max_inflight_messages 4", acl=acl) as broker,
        Subscriber(broker.port) as subscriber,
        Proxy(broker.port, ack_delay_s=0.006) as proxy,
    ):
        office.publisher(proxy.url)
        subscriber.wait_for(lambda messages: len(numbers(messages)) == 200)
    assert max(in_flight) == 4
    assert proxy.published > 3 + 200 + 2, "there were no probes"


def test_a_broker_that_is_down_at_the_start_gets_everything_later(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """However many attempts it takes: one line when it is missing, one when it is there."""
    broker.kill()
    office.punches(30)
    publisher = office.publisher(broker.url)
    time.sleep(1)
    assert not publisher.connected
    assert office.waiting == 30
    broker.start()
    with Subscriber(broker.port):
        office.all_sent()
    assert [entry["event"] for entry in named(logs)] == ["broker_lost", "broker_found"]


def test_a_broker_killed_in_mid_drain_loses_nothing(office: Office, tmp_path: Path, logs: list[Log]) -> None:
    """Killed twice while events stream, without persistence: all arrive at least once, in the end nothing waits."""
    office.punches(600)
    with Broker(tmp_path, persistent=False) as broker:
        subscriber = Subscriber(broker.port, session="centre")
        with Proxy(broker.port, ack_delay_s=0.002) as proxy, subscriber:
            office.publisher(proxy.url, window=20)
            for enough in (100, 300):
                eventually(lambda enough=enough: proxy.published > enough)  # type: ignore[misc]
                broker.kill()
                time.sleep(0.2)
                broker.start()
            office.punches(20)
            office.all_sent()
            subscriber.wait_for(lambda messages: max(numbers(messages)) == 620)
            lines = [entry["event"] for entry in named(logs)]
    assert lines == ["broker_found", "broker_lost"] * 2 + ["broker_found"]


def test_a_persistent_session_at_the_broker_gets_every_event(office: Office, tmp_path: Path) -> None:
    """With a centre that is subscribed all the time the restarted broker passes on every single event."""
    office.punches(400)
    with Broker(tmp_path, persistent=True) as broker, Subscriber(broker.port, session="centre") as subscriber:
        with Proxy(broker.port, ack_delay_s=0.002) as proxy:
            office.publisher(proxy.url, window=20)
            eventually(lambda: proxy.published > 150)
            broker.stop()
            broker.start()
            office.all_sent()
        subscriber.wait_for(received(400))


def test_nothing_is_published_while_disconnected(office: Office, tmp_path: Path) -> None:
    """What is recorded during an outage travels once, from the ledger, not a second time from the library's memory."""
    with (
        Broker(tmp_path, persistent=True) as broker,
        Subscriber(broker.port, session="centre") as subscriber,
        Proxy(broker.port) as proxy,
    ):
        publisher = office.publisher(proxy.url)
        subscriber.wait_for(lambda messages: messages)
        broker.stop()
        eventually(lambda: not publisher.connected)
        before = proxy.published
        office.punches(40)
        time.sleep(0.5)
        assert proxy.published == before
        broker.start()
        office.all_sent()
        subscriber.wait_for(received(40))
        assert proxy.published == before + 41, "the birth and each event once"


def test_acknowledgements_that_come_with_the_end_still_count(office: Office) -> None:
    """PUBACKs in the same breath as the broker's DISCONNECT are marked; only the others travel again."""
    office.punches(10)
    lives = []
    held = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            lives.append(1)
        if packet.kind == PUBLISH and "/punch/" in packet.topic and len(lives) == 1:
            held.append(puback(packet.mid))
            if len(held) == 10:
                raise Closing(b"".join(held[:7]) + bytes([DISCONNECT, 1, 0x8B]))
            return None
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        office.all_sent()
        publisher.stop(5)
        assert len(fake.published("/punch/")) == 10 + 3


def test_many_events_drain_with_flat_memory(office: Office, broker: Broker) -> None:
    """However much waits, at most one fetch and one window of it is held."""
    office.punches(5000)
    held = []
    fetch = Window.fetch

    def watched(window: Window) -> None:
        fetch(window)
        held.append(len(window.buffer) + len(window._in_flight))

    with pytest.MonkeyPatch.context() as patch, Subscriber(broker.port) as subscriber:
        patch.setattr(Window, "fetch", watched)
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: len(messages) > 5000)
        office.all_sent()
        assert numbers(subscriber.messages) == list(range(1, 5001))
    assert max(held) <= window_module.FETCH + 100


def test_old_connections_leave_nothing_behind(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client object, socket or thread survives its connection, even without the garbage collector."""
    office.timing = replace(QUICK, short_session_s=0.0, pauses={**PAUSES, "unreachable": Pause(0.01, 0.02)})
    clients: list[weakref.ref[mqtt.Client]] = []

    def watched(*args: Any, **options: Any) -> Session:
        session = Session(*args, **options)
        clients.append(weakref.ref(session.client))
        return session

    monkeypatch.setattr(publisher_module, "Session", watched)

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            raise Closing
        return obliging(packet)

    gc.disable()
    try:
        with FakeBroker(answer) as fake:
            publisher = office.publisher(fake.url)
            eventually(lambda: len(clients) > 20)
            alive = sum(client() is not None for client in clients)
            publisher.stop(5)
    finally:
        gc.enable()
    assert alive <= 2
    eventually(lambda: not any(thread.name.startswith("paho") for thread in threading.enumerate()))


def test_an_idle_publisher_rests(office: Office, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to do costs no processor time, also with a topic without subscribers."""
    office.punches(5)
    publisher = office.publisher(broker.url)
    eventually(lambda: publisher._context.blocked.topics)
    turns = []
    patience = Connection._next_timeout

    def counted(connection: Connection) -> float:
        turns.append(1)
        return patience(connection)

    monkeypatch.setattr(Connection, "_next_timeout", counted)
    time.sleep(1)
    assert len(turns) < 20


# ---------------------------------------------------------------- refusals


def test_a_refused_password_is_explained_and_retried(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """One line that names mqtt.username; when the file is corrected it connects by itself and publishes the alarm."""
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    users = {"gw-01": "right", "centre": "x"}
    with (
        Broker(tmp_path, users=users) as broker,
        Subscriber(broker.port, username="centre", password="x") as subscriber,
    ):
        office.punches(3)
        publisher = office.publisher(broker.url, username="gw-01", password_file="password")
        eventually(lambda: named(logs, "broker_lost"))
        time.sleep(0.7)
        assert publisher.status.cause == "login"
        assert "refuses the login" in publisher.status_text
        (line,) = named(logs)
        assert "mqtt.username" in line["reason"]
        assert "wrong" not in str(logs)
        assert broker.log.count("hadir-3602-bkpsdm-gw-01") <= 6
        assert office.waiting == 3
        secret.write_text("right\n")
        subscriber.wait_for(received(3))
        office.all_sent()
        assert alarms(subscriber) == ["login_refused"]
    assert "right" not in str(logs)


def test_a_password_file_that_disappears_is_explained(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """Neither a missing nor an unreadable file ends the publisher."""
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    settings = office.settings("mqtt://127.0.0.1:9", username="gw-01", password_file="password")
    secret.unlink()
    publisher = Publisher(settings, office.ledger, timing=QUICK)
    office._publishers.append(publisher)
    publisher.start()
    eventually(lambda: named(logs, "broker_lost"))
    assert "password" in named(logs)[0]["reason"]
    secret.write_bytes(b"\xff\xfe")
    eventually(lambda: len(named(logs)) == 2)
    assert publisher.is_alive


def test_a_denied_topic_waits_and_the_others_flow(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """Nothing of it is marked, one line and one alarm say so; after the correction all of it follows, in order."""
    everyone = "topic read #\n"
    allowed = everyone + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "note/#", "quarantine/#"))
    with Broker(tmp_path, acl=allowed) as broker, Subscriber(broker.port) as subscriber:
        office.punches(150)
        office.read([BadRecord(b"\x01junk", b"junk", "impossible date")])
        office.ledger.record_note(event_module.TERMINAL_CHANGED, "lobby", NOW, {"terminal": "lobby"})
        office.publisher(broker.url, window=10)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {151, 152} and alarms(subscriber))
        time.sleep(1)
        assert office.waiting == 150
        broker.set_acl(allowed + OTHERS_WRITE.format("punch/#"))
        broker.reload()
        messages = subscriber.wait_for(received(152))
        office.all_sent()
    assert sorted(numbers(messages)) == list(range(1, 153)), "none came twice"
    assert numbers(subscriber.on("/punch/lobby")) == list(range(1, 151))
    assert alarms(subscriber) == ["delivery_refused"]
    assert [entry["event"] for entry in named(logs, "topic_refused", "topic_heard")] == ["topic_refused", "topic_heard"]


def test_a_broker_that_hangs_up_after_each_refusal_gets_the_rest(
    tmp_path: Path, office: Office, logs: list[Log]
) -> None:
    """As mosquitto 2.0.11 does with `max_queued_messages 0`: reported as what it is, and the other topics flow."""
    allowed = "topic read #\n" + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "note/#"))
    lines = ("max_queued_messages 0",)
    with Broker(tmp_path, *lines, acl=allowed) as broker, Subscriber(broker.port) as subscriber:
        office.punches(100)
        office.ledger.record_note(event_module.TERMINAL_CHANGED, "lobby", NOW, {"terminal": "lobby"})
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {101} and alarms(subscriber))
        time.sleep(1)
        broker.set_acl(allowed + OTHERS_WRITE.format("punch/#"))
        broker.reload()
        subscriber.wait_for(received(101))
        office.all_sent()
        assert set(alarms(subscriber)) == {"delivery_refused"}
        reasons = [entry["reason"] for entry in named(logs, "broker_lost")]
    assert any("refused messages on punch/lobby" in reason for reason in reasons)
    assert not any("`site` and `gateway`" in reason for reason in reasons)


def test_what_ends_connections_without_a_word_is_found_by_sending_one_by_one(office: Office) -> None:
    """A broker that closes on one topic, and whose answers are lost with it, gets event by event."""
    office.timing = replace(QUICK, ack_s=5.0)
    office.punches(50, "gate")
    office.punches(10)
    in_flight: list[list[int]] = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            in_flight.append([])
        if packet.kind == PUBLISH and "/punch/" in packet.topic:
            in_flight[-1].append(int(packet.event["sequence"]))
            if packet.topic.endswith("/lobby"):
                raise Closing(puback(packet.mid, 0x87) if len(in_flight[-1]) == 1 or len(in_flight) > 2 else b"")
            if len(in_flight) <= 2:
                return None
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: office.waiting == 10)
        publisher.stop(5)
    assert in_flight[2] == list(range(1, 52))


def test_a_denied_state_is_reported_once(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """A refusal of what is no evidence is one line for each topic, and no reason to keep anything back."""
    acl = "topic read #\n" + OTHERS_WRITE.format("punch/#")
    with Broker(tmp_path, acl=acl) as broker, Subscriber(broker.port) as subscriber:
        office.punches(2)
        publisher = office.publisher(broker.url)
        eventually(lambda: publisher.connected)
        for _ in range(5):
            publisher.announce("health", {})
        subscriber.wait_for(received(2))
        office.all_sent()
        eventually(lambda: len(named(logs, "message_refused")) == 2)
        time.sleep(0.1)
    assert {entry["topic"] for entry in named(logs, "message_refused")} == {"state", "health"}
    assert len(named(logs, "message_refused")) == 2


def test_events_without_a_subscriber_are_not_sent(office: Office, broker: Broker, logs: list[Log]) -> None:
    """Without a subscriber all wait and one alarm is raised; who comes later gets all of it, in order, once."""
    with Subscriber(broker.port, "+/+/+/+/alarm") as listener:
        office.punches(250)
        publisher = office.publisher(broker.url)
        listener.wait_for(lambda messages: messages)
        time.sleep(0.5)
        assert office.waiting == 250
        assert publisher.status_text == "connected; no client subscribes to punch/lobby"
        with Subscriber(broker.port) as subscriber:
            messages = subscriber.wait_for(received(250))
            office.all_sent()
        assert alarms(listener) == ["no_subscriber"]
    assert numbers(messages) == list(range(1, 251))
    assert len(named(logs, "topic_unheard")) == 1
    assert len(named(logs, "topic_heard")) == 1


def test_state_without_a_subscriber_is_no_alarm(office: Office, broker: Broker) -> None:
    """0x10 for retained messages means nothing: they are kept for who comes."""
    with Subscriber(broker.port, "+/+/+/+/alarm") as listener:
        publisher = office.publisher(broker.url)
        eventually(lambda: publisher.connected)
        publisher.announce("health", {})
        time.sleep(0.4)
        assert alarms(listener) == []
        publisher.stop(5)
    with Subscriber(broker.port) as late:
        late.wait_for(lambda messages: len(messages) == 2)


def test_a_topic_without_subscriber_is_not_reported_again_after_a_reconnect(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """A new connection repeats neither the line nor the alarm, nor does it send the whole backlog for nothing."""
    office.punches(300)
    with Proxy(broker.port) as proxy:
        publisher = office.publisher(proxy.url, window=10)
        eventually(lambda: named(logs, "topic_unheard"))
        broker.kill()
        eventually(lambda: not publisher.connected)
        before = proxy.published
        broker.start()
        eventually(lambda: publisher.connected)
        time.sleep(0.6)
        assert proxy.published - before < 10
        assert len(named(logs, "topic_unheard")) == 1
        with Subscriber(broker.port) as subscriber:
            subscriber.wait_for(received(300))
            office.all_sent()


def test_a_new_event_is_a_reason_to_try_a_silent_topic(office: Office, broker: Broker) -> None:
    """A centre that is back gets everything with the next punch, not only when the back-off has run out."""
    office.timing = replace(QUICK, retry_initial_s=300.0)
    office.punches(30)
    publisher = office.publisher(broker.url)
    eventually(lambda: publisher._context.blocked.topics)
    with Subscriber(broker.port) as subscriber:
        office.punches(1)
        messages = subscriber.wait_for(received(31))
    assert sorted(numbers(messages)) == list(range(1, 32))  # some were still in flight when the subscriber connected


def test_one_topic_unheard_does_not_hold_up_another(office: Office, broker: Broker) -> None:
    """Who listens to one terminal only gets all of it; the other terminal's punches wait."""
    for _ in range(5):
        office.punches(20)
        office.punches(20, "gate")
    with Subscriber(broker.port, PREFIX + "punch/gate") as subscriber:
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: len(numbers(messages)) == 100)
        eventually(lambda: office.waiting == 100)
        assert {event.topic for event in office.ledger.pending(0, 1000)} == {"punch/lobby"}
        with Subscriber(broker.port, PREFIX + "punch/lobby") as late:
            late.wait_for(lambda messages: len(numbers(messages)) == 100)
            office.all_sent()
        assert len(numbers(subscriber.messages)) == 100


@pytest.mark.parametrize("code", [0x90, 0x99])
def test_a_message_that_can_never_be_taken_is_parked_alone(office: Office, logs: list[Log], code: int) -> None:
    """Topic invalid, payload invalid: that event is set aside, its neighbours go."""
    office.punches(20)

    def answer(packet: Packet) -> bytes | None:
        spoilt = packet.kind == PUBLISH and "/punch/" in packet.topic and int(packet.event["sequence"]) == 7
        return puback(packet.mid, code) if spoilt else obliging(packet)

    with FakeBroker(answer) as fake:
        office.publisher(fake.url)
        office.all_sent()
        eventually(lambda: fake.published("/alarm"))
        assert len(fake.published("/punch/")) == 20
    counts = office.ledger.counts()
    assert (counts.sent, counts.parked) == (19, 1)
    (line,) = named(logs, "message_parked")
    assert line["sequence"] == 7


def test_a_parked_probe_does_not_end_the_probing(office: Office) -> None:
    """A silent topic whose oldest event turns out to be impossible is tried with the next one."""
    office.punches(10)
    times: Counter[str] = Counter()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and "/punch/" in packet.topic:
            sequence = packet.event["sequence"]
            times[sequence] += 1
            lasting = 0x99 if int(sequence) == 1 else 0
            return puback(packet.mid, 0x10 if times[sequence] == 1 else lasting)
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        office.all_sent()
        publisher.stop(5)
    assert (office.ledger.counts().sent, office.ledger.counts().parked) == (9, 1)


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
def test_a_passing_refusal_parks_nothing(office: Office, code: int) -> None:
    """A quota or an unspecified error keeps the events; later they are taken."""
    office.punches(5)
    refusals = iter(range(12))

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and "/punch/" in packet.topic and next(refusals, None) is not None:
            return puback(packet.mid, code)
        return obliging(packet)

    with FakeBroker(answer) as fake:
        office.publisher(fake.url)
        office.all_sent()
    assert office.ledger.counts().parked == 0


# ---------------------------------------------------------------- brokers that misbehave


def test_a_broker_that_says_nothing_is_given_up_and_tried_again(office: Office, logs: list[Log]) -> None:
    """A connection without a CONNACK is no connection."""
    office.timing = replace(QUICK, connect_s=0.2)
    with FakeBroker(lambda _: None) as fake:
        office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3)
    (line,) = named(logs)
    assert "does not answer" in line["reason"]


def test_a_broker_that_acknowledges_nothing_is_left(office: Office, logs: list[Log]) -> None:
    """After the time-out the connection is given up without DISCONNECT, so that the will speaks, and made anew."""
    office.timing = replace(QUICK, ack_s=0.3)
    office.punches(5)
    with FakeBroker(lambda packet: connack() if packet.kind == CONNECT else None) as fake:
        office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3)
        assert office.waiting == 5
        assert not [packet for packet in fake.received if packet.kind == DISCONNECT]
    assert "unacknowledged" in named(logs, "broker_lost")[0]["reason"]


def test_one_message_left_out_is_sent_again(office: Office) -> None:
    """A broker that forgets one PUBACK while it gives others gets that event again on a new connection."""
    office.timing = replace(QUICK, ack_s=0.5)
    office.punches(3)
    forgotten: list[int] = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and not forgotten and packet.event.get("sequence", "").endswith("2"):
            forgotten.append(packet.mid)
            return None
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)

        def done() -> bool:
            publisher.announce("health", {})
            return office.waiting == 0

        eventually(done)
        assert len(fake.published("/punch/")) == 4


@pytest.mark.parametrize(
    "rubbish",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x20\x00",
        b"\x20\x03\x00\x00\x7f",
        b"\x20\xff\xff\xff\xff\xff",
        connack() + b"\x40\x01\x00",
        connack() + b"\x40\x02\x12\x34" + b"\xd0\x05hello",
    ],
    ids=["http", "tls", "empty", "cut", "endless", "short ack", "strange ack"],
)
def test_a_broker_that_answers_rubbish_is_left(office: Office, logs: list[Log], rubbish: bytes) -> None:
    """Bytes that are no MQTT end the attempt, not the publisher."""
    office.timing = replace(QUICK, connect_s=0.2, ack_s=0.3)
    office.punches(3)
    with FakeBroker(lambda packet: rubbish if packet.kind == CONNECT else None) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3)
        assert publisher.is_alive
    assert office.waiting == 3
    assert named(logs, "broker_lost")


def test_connections_that_end_again_and_again_are_explained(office: Office, logs: list[Log]) -> None:
    """Three short lives without a reason: most likely a second machine with our name; then back off."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            raise Closing
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: any("`site` and `gateway`" in entry["reason"] for entry in named(logs, "broker_lost")))
        assert fake.connections == SHORT_SESSIONS_MAX
        publisher.stop(5)


def test_after_an_end_with_events_in_flight_these_go_one_at_a_time(office: Office) -> None:
    """The first break is enough; the events behind them use the whole window again."""
    office.punches(30)
    waiting: list[int] = []
    sent: dict[str, int] = {}
    first_again = threading.Event()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind != PUBLISH or not packet.topic.endswith(("/punch/lobby", "/health")):
            return obliging(packet)
        waiting.append(packet.mid)
        if fake.connections == 1:
            if len(waiting) == 10:
                waiting.clear()
                raise Closing
            return None
        if packet.topic.endswith("/health"):  # everything was sent that may be in flight with the first event
            sent["after the end"] = len(waiting) - 1
        elif int(packet.event["sequence"]) == 1:
            first_again.set()
            return None
        elif int(packet.event["sequence"]) > 10:
            sent["later"] = max(sent.get("later", 0), len(waiting))
            if len(waiting) < 10:
                return None  # only a window of ten fills it
        elif not sent:
            return None
        answers = b"".join(puback(mid) for mid in waiting)
        waiting.clear()
        return answers

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url, window=10)
        assert first_again.wait(WAIT_S)
        publisher.announce("health", {})
        office.all_sent()
    assert sent == {"after the end": 1, "later": 10}


def test_an_end_that_the_broker_explains_is_reported_with_its_reason(office: Office, logs: list[Log]) -> None:
    """A reason code is believed, and not taken for a second machine however often it comes."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            raise Closing(bytes([DISCONNECT, 1, 0x95]))
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: len(named(logs, "broker_lost")) >= 5)
        publisher.stop(5)
    assert all("Packet too large" in entry["reason"] for entry in named(logs, "broker_lost"))


def test_a_session_taken_over_is_explained_at_once(office: Office, logs: list[Log]) -> None:
    """Brokers that say 0x8E need no guessing."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            raise Closing(bytes([DISCONNECT, 1, 0x8E]))
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: named(logs, "broker_lost"))
        publisher.stop(5)
    assert "two machines share one `site` and `gateway`" in named(logs, "broker_lost")[0]["reason"]


def test_two_gateways_with_one_client_id_both_say_so(
    tmp_path: Path, office: Office, broker: Broker, logs: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real broker, which does not report to them why it ends their connections, both find out."""
    twin = Office(tmp_path, "twin")
    reported: dict[str, set[str]] = {}
    warn = Publisher.alarm

    def noted(publisher: Publisher, code: str, message: str, terminal: str | None = None) -> None:
        reported.setdefault(code, set()).add(str(publisher._ledger.path))
        warn(publisher, code, message, terminal)

    monkeypatch.setattr(Publisher, "alarm", noted)
    with ExitStack() as stack:
        stack.callback(twin.close)
        office.publisher(broker.url)
        twin.publisher(broker.url)
        eventually(lambda: len(reported.get("client_id_taken", ())) == 2, what="that both complain")
    assert all(
        "`site` and `gateway`" in e["reason"] for e in named(logs, "broker_lost") if "again and again" in e["reason"]
    )


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
def test_of_an_original_and_its_copy_the_copy_stops_publishing(
    tmp_path: Path, broker: Broker, *, noticed: bool
) -> None:
    """They throw each other out until the copy sees that the original is at work; then the original stays.

    A copy with all marks of the original's machine and file is the one that knows less.
    """
    founder = Office(tmp_path, "original")
    founder.punches(3)
    founder.close()
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    if not noticed:
        path = tmp_path / "copy" / "ledger.db"
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE gateway SET home = ?", (Location(machine_ids(), inode_of(path)).text(),))
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")

    def publishing(office: Office) -> Publisher:
        def introduction() -> list[tuple[str, dict[str, Any]]]:
            return [("info", info | {"stream": office.ledger.stream, "sequence": office.ledger.assigned()})]

        return office.publisher(broker.url, introduction=introduction)

    with ExitStack() as stack:
        original, copy = Office(tmp_path, "original"), Office(tmp_path, "copy")
        stack.callback(original.close)
        stack.callback(copy.close)
        assert (copy.ledger.stream != original.ledger.stream) is noticed
        original.punches(2)
        with Subscriber(broker.port) as centre:
            publishing(original)
            original.all_sent()
            refused = publishing(copy)
            eventually(lambda: "this copy publishes nothing more" in refused.status_text, what="that the copy gives up")
            eventually(lambda: alarms(centre), what="that the original complains")
            original.punches(1)
            original.all_sent()
            assert "client_id_taken" in alarms(centre)
            assert copy.ledger.stream != original.ledger.stream
            copy.punches(1)
            assert copy.waiting >= 1
            assert centre.on("/info")[-1].payload["stream"] == original.ledger.stream


@pytest.mark.parametrize(
    ("end", "stops"),
    [(bytes([DISCONNECT, 1, 0x8E]), True), (bytes([DISCONNECT, 1, 0x8B]), False), (b"", False)],
    ids=["taken over", "shut down", "unexplained"],
)
def test_an_earlier_stream_behind_a_takeover_proves_another_machine(
    tmp_path: Path, logs: list[Log], *, end: bytes, stops: bool
) -> None:
    """A broker that restarts may once show what it had saved before; only with the takeover is it enough."""
    founder = Office(tmp_path, "original")
    founder.close()
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    office = Office(tmp_path, "copy")
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    before = office.ledger.streams()[-1].predecessor
    assert before is not None
    topic = f"{PREFIX}info".encode()
    retained = len(topic).to_bytes(2) + topic + b"\0" + json.dumps(info | {"stream": before, "sequence": 0}).encode()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == SUBSCRIBE and topic in packet.body and fake.connections == 2:
            length = len(retained)
            head = bytes([PUBLISH | 1, length % 128 | 128, length // 128])
            return suback(packet.mid, 1) + head + retained
        if packet.kind == SUBSCRIBE and topic not in packet.body and fake.connections == 1:
            raise Closing(end)
        return obliging(packet)

    with FakeBroker(answer) as fake, ExitStack() as stack:
        stack.callback(office.close)
        publisher = office.publisher(
            fake.url, introduction=lambda: [("info", info | {"stream": office.ledger.stream, "sequence": 1})]
        )
        if stops:
            eventually(lambda: publisher.status.cause == "replaced", what="that the copy stops")
            assert "this copy publishes nothing more" in publisher.status_text
        else:
            office.all_sent()
            assert publisher.connected
        assert fake.connections == 2


# ---------------------------------------------------------------- ways to connect


def test_mqtt_3_1_1_delivers(office: Office, broker: Broker, logs: list[Log]) -> None:
    """The fallback works, and states what it cannot know."""
    office.punches(40)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url, protocol="3.1.1")
        assert numbers(subscriber.wait_for(received(40))) == list(range(1, 41))
        office.all_sent()
        publisher.stop(5)
        subscriber.wait_for(lambda _: len(subscriber.on("/state")) == 2)
    assert len(named(logs, "refusals_invisible")) == 1


def test_a_broker_of_another_protocol_version_is_explained(office: Office, logs: list[Log]) -> None:
    """A broker that knows only MQTT 3.1.1 refuses ours: the line names the setting."""
    with FakeBroker(lambda _: bytes([0x20, 2, 0, 1])) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: named(logs))
        publisher.stop(5)
    assert "mqtt.protocol" in named(logs)[0]["reason"]


def test_a_refusal_that_passes_is_no_reason_to_stay_away(office: Office) -> None:
    """Server busy: come back as to a broker that is down, not as to one that refuses us."""
    office.timing = replace(QUICK, pauses={**QUICK.pauses, "refused": Pause(100, 100)})
    answers = iter([0x89, 0x88])

    def answer(packet: Packet) -> bytes | None:
        return connack(next(answers, 0)) if packet.kind == CONNECT else obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: publisher.connected)
        publisher.stop(5)


def test_tls_with_the_offices_own_authority(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """Only the right authority is trusted; the wrong one is explained, and nothing is sent."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = ours.issue("server")
    office.punches(30)
    lines = [f"certfile {server.certificate}", f"keyfile {server.key}"]
    with Broker(tmp_path, *lines) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        wrong = office.publisher(url, ca_file=str(theirs.ca))
        eventually(lambda: named(logs))
        wrong.stop(5)
        assert "certificate is not trusted" in named(logs)[0]["reason"]
        assert office.waiting == 30
        right = office.publisher(url, ca_file=str(ours.ca))
        # There is no subscriber without TLS here; the refusal for want of a subscriber proves the way to the broker.
        eventually(lambda: named(logs, "topic_unheard"))
        there = ("-h", "127.0.0.1", "-p", str(broker.port), "--cafile", str(ours.ca))
        what = ("-V", "5", "-q", "1", "-C", "30", "-W", "15", "-t", PREFIX + "punch/#")
        command = [program("mosquitto_sub"), *there, *what]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [int(json.loads(line)["sequence"]) for line in out.splitlines()] == list(range(1, 31))
        office.all_sent()
        right.stop(5)


def test_tls_with_a_broker_that_speaks_none_is_explained(office: Office, broker: Broker, logs: list[Log]) -> None:
    """The line names TLS, not a line number of a library."""
    publisher = office.publisher(broker.url.replace("mqtt:", "mqtts:"))
    eventually(lambda: named(logs))
    publisher.stop(5)
    assert "TLS" in named(logs)[0]["reason"] or "cannot be reached" in named(logs)[0]["reason"]


# ---------------------------------------------------------------- arrays

ARRAYS = {"batch_from": 20}
SMALL = {"batch_from": 20, "batch_bytes": 8000}


def batches(subscriber: Subscriber) -> list[Message]:
    """Return the arrays that were received."""
    return subscriber.on("/batch")


def test_a_backlog_goes_as_arrays_in_order(office: Office, broker: Broker) -> None:
    """Each as the contract states, none larger than the setting allows, with the bytes that are stored."""
    count = everything(office)
    office.punches(600, "gate")
    count += 600
    stored = {event.sequence: event.body for event in office.ledger.events(0, 10_000)}
    with Subscriber(broker.port) as subscriber, Proxy(broker.port) as proxy:
        office.publisher(proxy.url, delivery=SMALL)
        messages = subscriber.wait_for(received(count))
        office.all_sent()
        assert max(proxy.sizes) <= 8000
    assert numbers(messages) == list(range(1, count + 1))
    arrays = batches(subscriber)
    assert len(arrays) > 50
    for message in arrays:
        contract.check("batch", message.text)
        assert (message.content_type, message.qos, message.retain) == ("application/cloudevents-batch+json", 1, False)
    assert all(contract.canonical(event) == stored[int(event["sequence"])] for event in events(messages))


@pytest.mark.parametrize(("waits", "arrays"), [(20, False), (21, True)])
def test_few_events_go_one_by_one(office: Office, broker: Broker, waits: int, arrays: bool) -> None:
    """Arrays begin where more wait than the setting states."""
    office.punches(waits)
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, delivery=ARRAYS)
        subscriber.wait_for(received(waits))
        assert bool(batches(subscriber)) is arrays


def test_after_the_backlog_events_go_alone_again(office: Office, broker: Broker) -> None:
    """A live punch has its own topic as soon as nothing much waits."""
    office.punches(100)
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, delivery=ARRAYS)
        subscriber.wait_for(received(100))
        office.all_sent()
        office.punches(1)
        subscriber.wait_for(received(101))
        assert numbers(subscriber.on("/punch/lobby")) == [101]


def test_a_live_punch_behind_a_backlog_comes_in_its_order(office: Office, broker: Broker) -> None:
    """It waits for what was recorded before it, and that does not take long."""
    office.punches(5000)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url, delivery={"batch_from": 200})
        eventually(lambda: publisher.connected)
        office.ledger.record_live(context("gate", via="live"), made(0))
        messages = subscriber.wait_for(received(5001))
    assert numbers(messages) == list(range(1, 5002))


def test_bytes_in_flight_follow_the_line(office: Office, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as answers are quick more may be in flight; where they are slow, less, but always one message."""
    office.punches(2000)
    office.timing = replace(QUICK, flight_initial=20_000, flight_max=100_000)
    rooms: list[int] = []
    pace = Pacing.accepted

    def watched(pacing: Pacing, size: int, took_s: float) -> None:
        pace(pacing, size, took_s)
        rooms.append(pacing.limit)

    monkeypatch.setattr(Pacing, "accepted", watched)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url, delivery=SMALL)
        subscriber.wait_for(received(2000))
        office.all_sent()
        assert rooms == sorted(rooms)
        assert rooms[-1] == 100_000
        publisher.stop(5)
        rooms.clear()
        office.timing = replace(office.timing, fast_ack_s=-1.0, slow_ack_s=0.0)
        office.punches(2000, "gate")
        office.publisher(broker.url, delivery=SMALL)
        subscriber.wait_for(received(4000))
        office.all_sent()
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[-1] == 1


def test_a_centre_that_left_out_batch_gets_everything_one_by_one(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """In order, after one array without a subscriber; one alarm reports it, and later backlogs try again."""
    office.punches(300)
    with (
        Subscriber(broker.port, PREFIX + "punch/+") as subscriber,
        Subscriber(broker.port, PREFIX + "alarm") as mailbox,
    ):
        publisher = office.publisher(broker.url, delivery=SMALL)
        messages = subscriber.wait_for(received(300))
        office.all_sent()
        assert numbers(messages) == list(range(1, 301))
        mailbox.wait_for(lambda messages: messages)
        assert publisher.status_text == "connected; no client subscribes to batch"
        with Subscriber(broker.port, PREFIX + "batch") as late:
            eventually(lambda: time.monotonic() >= publisher._context.blocked.topics["batch"].due)
            office.punches(100)
            late.wait_for(lambda messages: len(numbers(messages)) == 100)
            office.all_sent()
        assert alarms(mailbox) == ["no_subscriber"]
    assert publisher.status_text == "connected"
    assert [entry["topic"] for entry in named(logs, "topic_unheard", "topic_heard")] == ["batch", "batch"]


def test_without_any_subscriber_nothing_is_sent(office: Office, broker: Broker) -> None:
    """Neither arrays nor single events: all is kept, and whoever comes gets it."""
    office.punches(100)
    publisher = office.publisher(broker.url, delivery=ARRAYS)
    eventually(lambda: set(publisher._context.blocked.topics) == {"batch", "punch/lobby"})
    assert office.waiting == 100
    with Subscriber(broker.port) as subscriber:
        subscriber.wait_for(received(100))
        office.all_sent()


def test_a_denied_batch_topic_is_done_without_until_it_is_allowed(
    tmp_path: Path, office: Office, logs: list[Log]
) -> None:
    """A change of the access list while it runs is found out by itself."""
    allowed = "topic read #\n" + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "punch/#"))
    with Broker(tmp_path, acl=allowed) as broker, Subscriber(broker.port) as subscriber:
        office.punches(200)
        office.publisher(broker.url, delivery=ARRAYS)
        subscriber.wait_for(received(200))
        office.all_sent()
        assert not batches(subscriber)
        assert alarms(subscriber) == ["delivery_refused"]
        broker.set_acl(allowed + OTHERS_WRITE.format("batch"))
        broker.reload()

        def another_backlog() -> bool:
            if office.waiting == 0:
                office.punches(30)
            return bool(batches(subscriber))

        eventually(another_backlog, what="an array")
        office.all_sent()
        subscriber.wait_for(received(office.ledger.last_sequence()))
    assert [entry["event"] for entry in named(logs, "topic_refused", "topic_heard")] == ["topic_refused", "topic_heard"]


def test_events_of_a_silent_topic_are_in_no_array(tmp_path: Path, office: Office) -> None:
    """What may not go on its own topic is held back, and follows when it may."""
    allowed = "topic read #\n" + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "batch", "punch/gate"))
    with Broker(tmp_path, acl=allowed) as broker, Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url, delivery=ARRAYS)
        office.punches(1)
        eventually(lambda: "punch/lobby" in publisher._context.blocked.topics)
        office.punches(15)
        office.punches(100, "gate")
        subscriber.wait_for(lambda messages: len(numbers(messages)) == 100)
        assert {event["subject"] for event in events(subscriber.messages)} == {"gate"}
        eventually(lambda: office.waiting == 16)
        broker.set_acl(allowed + OTHERS_WRITE.format("punch/lobby"))
        broker.reload()
        subscriber.wait_for(received(116))
        office.all_sent()


@pytest.mark.parametrize("code", [0x99, 0x97, 0x83])
def test_an_array_that_is_refused_parks_nothing(office: Office, code: int) -> None:
    """Each of its events is requested alone; only what is refused alone is parked."""
    office.punches(50)

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and packet.topic.endswith("/batch"):
            return puback(packet.mid, code)
        spoilt = packet.kind == PUBLISH and "/punch/" in packet.topic and int(packet.event["sequence"]) == 7
        return puback(packet.mid, 0x99) if spoilt else obliging(packet)

    with FakeBroker(answer) as fake:
        office.publisher(fake.url, delivery=ARRAYS)
        office.all_sent()
    counts = office.ledger.counts()
    assert (counts.sent, counts.parked) == (49, 1)


def test_a_broker_killed_between_arrays_loses_nothing(office: Office, tmp_path: Path) -> None:
    """Killed while arrays stream, without persistence: all arrive at least once."""
    office.punches(1000)
    with (
        Broker(tmp_path) as broker,
        Subscriber(broker.port, session="centre") as subscriber,
        Proxy(broker.port, ack_delay_s=0.005) as proxy,
    ):
        office.publisher(proxy.url, delivery=SMALL)
        eventually(lambda: proxy.published > 60)
        broker.kill()
        broker.start()
        office.all_sent()
        subscriber.wait_for(lambda messages: 1000 in numbers(messages))


def test_arrays_work_with_mqtt_3_1_1(office: Office, broker: Broker) -> None:
    """The fallback knows no content type; the arrays are the same."""
    office.punches(300)
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, protocol="3.1.1", delivery=SMALL)
        assert numbers(subscriber.wait_for(received(300))) == list(range(1, 301))
        assert len(batches(subscriber)) > 20
        office.all_sent()


# ---------------------------------------------------------------- sizes


def test_a_brokers_maximum_packet_size_is_kept(office: Office, tmp_path: Path, logs: list[Log]) -> None:
    """What it states at the beginning is enough: nothing is tried that it would not take."""
    office.punches(300)
    with (
        Broker(tmp_path, "max_packet_size 5000") as broker,
        Subscriber(broker.port) as subscriber,
        Proxy(broker.port) as proxy,
    ):
        office.publisher(proxy.url, delivery=ARRAYS)
        subscriber.wait_for(received(300))
        office.all_sent()
        assert max(proxy.sizes) <= 5000
        assert (len(batches(subscriber)) > 50, proxy.connections) == (True, 1)
        assert not named(logs, "broker_lost", "messages_shrunk")


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_a_size_that_ends_the_connection_is_halved(
    office: Office, logs: list[Log], tmp_path: Path, protocol: int | str
) -> None:
    """The limit of a broker that does not announce it (MQTT 3.1.1 never does) is found, in few attempts."""
    office.punches(300)
    with (
        Broker(tmp_path, "max_packet_size 5000") as broker,
        Subscriber(broker.port) as subscriber,
        Mute(broker.port) as mute,
    ):
        office.publisher(mute.url, protocol=protocol, delivery={"batch_from": 20, "batch_bytes": 64_000})
        subscriber.wait_for(received(300))
        office.all_sent()
        assert mute.connections <= 10
        assert 3 <= len(named(logs, "messages_shrunk")) < mute.connections
    assert numbers(subscriber.messages) == list(range(1, 301))
    assert not any("`site` and `gateway`" in entry["reason"] for entry in named(logs, "broker_lost"))


def test_a_broker_with_a_limit_of_its_own_on_messages_is_found_out(office: Office, tmp_path: Path) -> None:
    """Mosquitto's `message_size_limit`: it answers with a code that MQTT does not know there."""
    office.punches(100)
    with (
        Broker(tmp_path, "message_size_limit 3000") as broker,
        Subscriber(broker.port) as subscriber,
        Proxy(broker.port) as proxy,
    ):
        office.publisher(proxy.url, delivery=ARRAYS)
        subscriber.wait_for(received(100))
        office.all_sent()
        assert proxy.connections <= 7
    assert numbers(subscriber.messages) == list(range(1, 101))
    assert office.ledger.counts().parked == 0


def test_the_size_that_was_learned_is_forgotten_in_time(office: Office) -> None:
    """A line that once broke at the wrong moment does not mean small arrays for ever."""
    office.timing = replace(QUICK, limits_kept_s=0.0)
    office.punches(100)
    cut: list[int] = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and packet.topic.endswith("/batch") and not cut:
            cut.append(len(packet.whole))
            raise Closing
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url, delivery=ARRAYS)
        office.all_sent()
        publisher.stop(5)
        sizes = [len(packet.whole) for packet in fake.received if packet.kind == PUBLISH and "batch" in packet.topic]
    assert sizes[0] == sizes[1] == cut[0]


def test_a_single_event_that_is_too_large_is_kept_whole_and_not_sent(office: Office, tmp_path: Path) -> None:
    """Nothing is taken out of an event to make it fit; the ones behind it go."""
    office.read([BadRecord(b"\x01" + bytes(1000), b"junk", "impossible date")])
    office.punches(2, "gate")
    with Broker(tmp_path, "max_packet_size 1500") as broker, Subscriber(broker.port) as subscriber:
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {2, 3} and alarms(subscriber))
        assert alarms(subscriber) == ["message_too_large"]
        eventually(lambda: office.waiting == 1)
    assert not any("raw_sha256" in message.text for message in subscriber.messages)


def test_an_event_that_no_broker_message_can_hold_is_kept_and_reported(office: Office, tmp_path: Path) -> None:
    """Its neighbours go; one alarm names it, and nothing is tried in a loop."""
    office.punches(3)
    long = {"last_alive": None, "resumed": "x" * 3000, "clean": True}
    office.ledger.record_note(event_module.GATEWAY_RESUMED, None, NOW, long)
    office.punches(3)
    with (
        Broker(tmp_path, "max_packet_size 2000") as broker,
        Subscriber(broker.port) as subscriber,
        Proxy(broker.port) as proxy,
    ):
        office.publisher(proxy.url)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {1, 2, 3, 5, 6, 7} and alarms(subscriber))
        eventually(lambda: office.waiting == 1)
        assert alarms(subscriber) == ["message_too_large"]
        assert proxy.connections == 1


# ---------------------------------------------------------------- receipts


def receipt(office: Office, upto: int, *missing: tuple[int, int], **changes: Any) -> dict[str, Any]:
    """Return the centre's word."""
    output = {"stream": office.ledger.stream, "upto": upto, "missing": missing, "at": "2026-09-07T01:00:00Z"}
    return output | changes


def test_receipts_and_commands_are_subscribed_before_any_evidence(office: Office) -> None:
    """Birth, introduction, subscriptions, evidence, in this order; our own `info` is requested before all."""
    office.punches(3)
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with FakeBroker(obliging) as fake:
        publisher = office.publisher(fake.url, introduction=lambda: [("info", info)])
        office.all_sent()
        publisher.stop(5)
        order = [
            packet.topic.removeprefix(PREFIX) if packet.kind == PUBLISH else packet.body
            for packet in fake.received
            if packet.kind in (PUBLISH, SUBSCRIBE)
        ]
    first, birth, introduction, second, *evidence = order
    assert PREFIX.encode() + b"info" in first
    assert (birth, introduction) == ("state", "info")
    assert PREFIX.encode() + b"receipt" in second
    assert PREFIX.encode() + b"cmd/+" in second
    assert evidence == ["punch/lobby"] * 3 + ["state"]


def test_a_receipt_is_received_and_stored(office: Office, broker: Broker) -> None:
    """Retained, or published while subscribed; the ledger stores it."""
    office.punches(30)
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "receipt", receipt(office, 10), retain=True)
        office.publisher(broker.url)
        centre.wait_for(received(30))
        eventually(lambda: office.ledger.counts().confirmed == 10)
        centre.publish(PREFIX + "receipt", receipt(office, 30, (4, 5)), retain=True)
        eventually(lambda: office.ledger.counts().confirmed == 28)
    assert office.ledger.counts().missing == 2


def test_what_the_centre_misses_is_sent_again_in_batch_until_it_is_there(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """With the same bytes, as often as a minute allows; one line when it begins, one when it is over."""
    office.punches(50)
    with Subscriber(broker.port) as centre:
        office.publisher(broker.url, delivery=ARRAYS | {"batch_from": 200})
        first = {int(event["sequence"]): event for event in events(centre.wait_for(received(50)))}
        office.all_sent()
        assert not batches(centre)
        centre.publish(PREFIX + "receipt", receipt(office, 50, (3, 4), (40, 40)), retain=True)
        centre.wait_for(lambda _: numbers(batches(centre)).count(40) >= 2)
        centre.publish(PREFIX + "receipt", receipt(office, 50), retain=True)
        eventually(lambda: named(logs, "events_complete"))
    again = events(batches(centre))
    assert {int(event["sequence"]) for event in again} == {3, 4, 40}
    assert all(event == first[int(event["sequence"])] for event in again)
    (line,) = named(logs, "events_missing")
    assert (line["events"], line["ranges"]) == (3, 2)


@pytest.mark.parametrize("garbage", [b"{", b"[]", b'{"stream": 1}', b"\xff", b'{"upto": 5}'])
def test_a_receipt_that_cannot_be_read_is_reported_once(
    office: Office, broker: Broker, logs: list[Log], garbage: bytes
) -> None:
    """It changes nothing and stops nothing."""
    office.punches(5)
    with (
        Subscriber(broker.port, PREFIX + "punch/+") as subscriber,
        Subscriber(broker.port, PREFIX + "alarm") as mailbox,
    ):
        for _ in range(3):
            subscriber.publish(PREFIX + "receipt", garbage, retain=True)
        office.publisher(broker.url)
        subscriber.wait_for(received(5))
        mailbox.wait_for(lambda messages: messages)
        for _ in range(3):
            subscriber.publish(PREFIX + "receipt", garbage, retain=True)
        subscriber.publish(PREFIX + "receipt", receipt(office, 5), retain=True)
        eventually(lambda: office.ledger.counts().confirmed == 5)
        assert alarms(mailbox) == ["receipt_invalid"]
    assert len(named(logs, "receipt_invalid")) == 1


def test_a_foreign_stream_is_reported_once_and_a_predecessor_is_not(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """Neither changes anything."""
    office.punches(5)
    before = receipt(office, 5)
    office.ledger.open_stream("restored")
    foreign = receipt(office, 5, stream="6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80")
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "receipt", before, retain=True)
        office.publisher(broker.url)
        centre.wait_for(lambda messages: len(numbers(messages)) == 6)
        for output in (before, foreign, foreign):
            centre.publish(PREFIX + "receipt", output, retain=True)
        centre.wait_for(lambda _: alarms(centre))
        centre.publish(PREFIX + "receipt", receipt(office, 1), retain=True)
        eventually(lambda: office.ledger.counts().confirmed == 1)
        assert alarms(centre) == ["receipt_foreign"]
    assert len(named(logs, "receipt_foreign")) == 1


def test_a_receipt_above_what_was_assigned_proves_that_the_ledger_was_set_back(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """A new stream begins, the introduction reports it at once, and evidence goes on in it."""
    office.punches(5)
    old = office.ledger.stream
    with Subscriber(broker.port) as centre:
        info = next(payload for channel, _, payload in contract.examples() if channel == "info")
        office.publisher(broker.url, introduction=lambda: [("info", info | {"stream": office.ledger.stream})])
        centre.wait_for(received(5))
        centre.publish(PREFIX + "receipt", receipt(office, 6), retain=True)
        centre.wait_for(lambda _: alarms(centre) and len(centre.on("/info")) == 2)
        office.punches(1)
        centre.wait_for(lambda messages: len(numbers(messages)) == 7)
        assert alarms(centre) == ["rollback_detected"]
        assert [message.payload["stream"] for message in centre.on("/info")] == [old, office.ledger.stream]
    assert office.ledger.stream != old
    assert [(event["stream"] == old, int(event["sequence"])) for event in events(centre.messages)] == [
        *((True, number) for number in range(1, 6)),
        (False, 1),
        (False, 2),
    ]
    assert len(named(logs, "rollback_detected")) == 1


def test_our_own_retained_info_proves_it_before_anything_is_published(office: Office, broker: Broker) -> None:
    """A ledger that was set back gives no sequence a second time, also where no centre sends receipts."""
    office.punches(5)
    old = office.ledger.stream
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "info", info | {"stream": old, "sequence": 6}, retain=True)
        office.publisher(
            broker.url, introduction=lambda: [("info", info | {"stream": office.ledger.stream, "sequence": 1})]
        )
        centre.wait_for(lambda messages: len(numbers(messages)) == 6 and alarms(centre))
        assert alarms(centre) == ["rollback_detected"]
        assert len(centre.on("/info")) == 2
    assert office.ledger.stream != old
    assert events(centre.messages)[-1]["type"] == event_module.STREAM_OPENED


@pytest.mark.parametrize(
    "retained",
    [
        {"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "sequence": 99},
        {"sequence": 99},
        {"stream": 5, "sequence": None},
        [],
    ],
    ids=str,
)
def test_a_retained_info_that_proves_nothing_is_replaced(office: Office, broker: Broker, retained: object) -> None:
    """One of another ledger, or something that is no info at all."""
    office.punches(5)
    stream = office.ledger.stream
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "info", retained, retain=True)
        office.publisher(broker.url, introduction=lambda: [("info", info)])
        centre.wait_for(lambda _: len(centre.on("/info")) == 2)
        eventually(lambda: office.waiting == 0)
        assert alarms(centre) == []
    assert office.ledger.stream == stream


def test_a_birth_that_is_not_acknowledged_holds_nothing_up_for_long(office: Office) -> None:
    """The introduction and the evidence follow all the same."""
    office.timing = replace(QUICK, birth_s=0.2)
    office.punches(5)
    with FakeBroker(
        lambda packet: None if packet.kind == PUBLISH and packet.topic.endswith("/state") else obliging(packet)
    ) as fake:
        office.publisher(fake.url)
        office.all_sent()


def test_a_refused_subscription_is_reported_once_and_tried_again(office: Office, logs: list[Log]) -> None:
    """Evidence goes out meanwhile; as soon as it is granted, a line reports it."""
    office.punches(5)
    requested: list[int] = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == SUBSCRIBE and b"receipt" in packet.body:
            requested.append(packet.mid)
            return suback(packet.mid, *((0x87, 1) if len(requested) < 4 else (1,)))
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        office.all_sent()
        eventually(lambda: "the subscription to receipt is refused" in publisher.status_text)
        eventually(lambda: named(logs, "subscription_granted"))
        assert publisher.status_text == "connected"
        publisher.stop(5)
        reported = [
            packet.event["alarm"] for packet in fake.received if packet.kind == PUBLISH and "alarm" in packet.topic
        ]
    assert reported == ["subscription_refused"]
    assert len(named(logs, "subscription_refused")) == 1


def test_a_real_broker_that_refuses_the_subscription_gets_the_evidence(
    tmp_path: Path, office: Office, logs: list[Log]
) -> None:
    """Mosquitto with its dynamic security, which answers SUBACK with *not authorised*."""
    rights = {"acltype": "subscribePattern", "topic": "#", "priority": 1, "allow": True}
    denied = {"acltype": "subscribePattern", "topic": PREFIX + "receipt", "priority": 9, "allow": False}
    default = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True)
    (tmp_path / "rights.json").write_text(
        json.dumps(
            {
                "defaultACLAccess": default,
                "clients": [],
                "groups": [{"groupname": "all", "roles": [{"rolename": "one"}]}],
                "roles": [{"rolename": "one", "acls": [rights, denied]}],
                "anonymousGroup": "all",
            }
        )
    )
    lines = (f"plugin {dynamic_security()}", f"plugin_opt_config_file {tmp_path / 'rights.json'}")
    office.punches(5)
    with Broker(tmp_path, *lines) as broker, Subscriber(broker.port, PREFIX + "punch/+") as subscriber:
        office.publisher(broker.url)
        subscriber.wait_for(received(5))
        eventually(lambda: named(logs, "subscription_refused"))
        office.all_sent()
    assert [entry["topic"] for entry in named(logs, "subscription_refused")] == ["receipt"]


@pytest.mark.parametrize("topics", [("info",), ("receipt", "cmd/+")], ids=str)
def test_a_broker_that_hangs_up_on_a_subscription_gets_the_evidence(
    office: Office, logs: list[Log], topics: tuple[str, ...]
) -> None:
    """As some brokers do instead of refusing: after two such ends it is done without, and not taken for a rival."""
    office.punches(5)

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == SUBSCRIBE and any((PREFIX + topic).encode() in packet.body for topic in topics):
            raise Closing
        return obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3 and publisher.connected and named(logs, "subscription_refused"))
        office.all_sent()
        assert fake.connections == 3
        publisher.stop(5)
    assert [entry["topic"] for entry in named(logs, "subscription_refused")] == list(topics)
    assert not any("`site` and `gateway`" in entry["reason"] for entry in named(logs, "broker_lost"))


class Centre:
    """The smallest centre there can be: it keeps what it gets and confirms it each time."""

    def __init__(self, office: Office, port: int, **options: Any) -> None:
        self._office = office
        self._stop = threading.Event()
        self.subscriber = Subscriber(port, PREFIX + "#", session="centre", **options)
        self._thread = threading.Thread(target=self._confirm, daemon=True)
        self._thread.start()

    @property
    def held(self) -> set[int]:
        """The sequences it has."""
        return set(numbers(self.subscriber.messages))

    def _confirm(self) -> None:
        while not self._stop.wait(0.1):
            held, upto = self.held, self._office.ledger.assigned()
            missing: list[list[int]] = []
            for number in range(1, upto + 1):
                if number in held:
                    continue
                if missing and missing[-1][1] == number - 1:
                    missing[-1][1] = number
                else:
                    missing.append([number, number])
            output = receipt(self._office, upto, missing=missing[:500])
            if len(missing) <= 500:
                self.subscriber.publish(PREFIX + "receipt", output, retain=True)

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(WAIT_S)
        self.subscriber.close()


def test_receipts_repair_what_an_overflowing_queue_has_dropped(office: Office, tmp_path: Path) -> None:
    """The broker acknowledged everything; most of it was lost. In the end the centre has all, and confirms all."""
    with Broker(tmp_path, "max_queued_messages 10") as broker:
        Subscriber(broker.port, PREFIX + "#", session="centre").close()  # away, with a session that keeps ten
        office.punches(300)
        publisher = office.publisher(broker.url, delivery={"batch_from": 0})
        office.all_sent()
        publisher.stop(5)
        office.publisher(broker.url, delivery=SMALL)
        centre = Centre(office, broker.port)
        try:
            eventually(lambda: office.ledger.counts().confirmed == 300, what="the repair")
            assert centre.held == set(range(1, 301))
            assert set(numbers(batches(centre.subscriber)))
        finally:
            centre.close()


def test_a_queue_and_a_window_of_one_are_enough_in_the_end(office: Office, tmp_path: Path) -> None:
    """A broker that drops nearly everything it acknowledges delays the centre, and loses it nothing."""
    office.punches(60)
    lines = ("max_inflight_messages 1", "max_queued_messages 1")
    with Broker(tmp_path, *lines) as broker, Proxy(broker.port) as proxy:
        Subscriber(broker.port, PREFIX + "#", session="centre").close()
        publisher = office.publisher(proxy.url, delivery=SMALL)
        office.all_sent()
        assert proxy.most_in_flight == 1
        centre = Centre(office, broker.port)
        try:
            eventually(lambda: office.ledger.counts().confirmed == 60, what="the repair")
            assert centre.held == set(range(1, 61))
        finally:
            centre.close()
            publisher.stop(5)


def test_receipts_repair_what_a_broker_lost_with_its_memory(office: Office, tmp_path: Path) -> None:
    """Killed without persistence after it had acknowledged: its queue is gone, the ledger is not."""
    with Broker(tmp_path, persistent=False) as broker:
        Subscriber(broker.port, PREFIX + "#", session="centre").close()
        office.punches(200)
        office.publisher(broker.url, delivery=SMALL)
        office.all_sent()
        broker.kill()
        broker.start()
        centre = Centre(office, broker.port)
        try:
            eventually(lambda: office.ledger.counts().confirmed == 200, what="the repair")
            assert centre.held == set(range(1, 201))
        finally:
            centre.close()


def test_a_replay_travels_as_arrays(office: Office, broker: Broker) -> None:
    """However little it is, and beside events that come for the first time."""
    office.punches(30)
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, delivery={"batch_from": 200})
        subscriber.wait_for(received(30))
        office.all_sent()
        office.ledger.resend(Selection(5, 7))
        subscriber.wait_for(lambda _: numbers(batches(subscriber)) == [5, 6, 7])
        office.punches(1)
        subscriber.wait_for(lambda _: 31 in numbers(subscriber.on("/punch/lobby")))


def test_a_receipt_for_which_there_is_no_room_is_not_lost(
    office: Office, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is how room is made: it is tried until it can be stored, while evidence goes on."""
    real = office.ledger.note_receipt
    tries: list[int] = []

    def full(output: Receipt) -> Judgement:
        tries.append(1)
        if len(tries) < 4:
            raise LedgerFull("the disk is full")
        return real(output)

    monkeypatch.setattr(office.ledger, "note_receipt", full)
    office.punches(5)
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "receipt", receipt(office, 5), retain=True)
        office.publisher(broker.url)
        centre.wait_for(received(5))
        eventually(lambda: office.ledger.counts().confirmed == 5)


def test_a_ledger_that_was_set_back_says_nothing_while_it_cannot_begin_anew(
    office: Office, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for a new stream there is no evidence, and the proof at the broker stays."""
    real = office.ledger.judge_info
    tries: list[int] = []

    def full(info: RetainedInfo) -> Judgement:
        tries.append(1)
        if len(tries) < 3:
            raise LedgerFull("the disk is full")
        return real(info)

    monkeypatch.setattr(office.ledger, "judge_info", full)
    office.punches(5)
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "info", info | {"stream": office.ledger.stream, "sequence": 6}, retain=True)
        office.publisher(broker.url)
        messages = centre.wait_for(lambda messages: len(numbers(messages)) == 6)
    states = [
        message for message in messages[: messages.index(centre.on("/punch/lobby")[0])] if "state" in message.topic
    ]
    assert [message.payload["state"] for message in states].count("online") == 3
    assert len(tries) == 3


# ---------------------------------------------------------------- requests


class ImportSink:
    """Takes requests and answers them with their own payload."""

    def __init__(self) -> None:
        self.taken: list[Request] = []

    def __call__(self, request: Request) -> None:
        """Answer at once."""
        self.taken.append(request)
        request.answer({"status": "ok", "data": {"said": request.payload.decode()}})


def hears_requests(broker: Broker) -> None:
    """Wait until the publisher has subscribed to them."""
    eventually(lambda: f"{PREFIX}cmd/+" in broker.log, what="the subscription")


def test_a_request_is_answered_where_it_asks_for_it(office: Office, broker: Broker) -> None:
    """On the response topic, with the correlation data; by default on `reply/<name>`."""
    desk = ImportSink()
    with Subscriber(broker.port) as centre:
        office.publisher(broker.url, requests=desk)
        hears_requests(broker)
        centre.publish(PREFIX + "cmd/poll", {"terminal": "lobby"})
        (answer,) = centre.wait_for(lambda _: centre.on("/reply/poll")) and centre.on("/reply/poll")
        contract.check("reply/poll", answer.text)
        assert (answer.retain, answer.correlation) == (False, None)
        centre.publish(PREFIX + "cmd/report", {}, ResponseTopic=PREFIX + "reply/office-7", CorrelationData=b"\x00\xff7")
        centre.wait_for(lambda _: centre.on("/reply/office-7"))
        assert centre.on("/reply/office-7")[0].correlation == b"\x00\xff7"
    assert [request.name for request in desk.taken] == ["poll", "report"]
    assert [request.expires for request in desk.taken] == [None, None]


@pytest.mark.parametrize(
    "topic",
    ["elsewhere", PREFIX + "state", PREFIX + "reply", PREFIX + "reply/", PREFIX + "reply/a//b", "$SYS/x"],
)
def test_an_answer_goes_nowhere_else(office: Office, broker: Broker, topic: str) -> None:
    """A response topic that is not below our own `reply/` is not used."""
    desk = ImportSink()
    with Subscriber(broker.port) as centre:
        office.publisher(broker.url, requests=desk)
        hears_requests(broker)
        centre.publish(PREFIX + "cmd/poll", {}, ResponseTopic=topic)
        centre.wait_for(lambda _: centre.on("/reply/poll"))
        assert {message.topic for message in centre.messages if "reply" in message.topic} == {PREFIX + "reply/poll"}


def test_retained_requests_are_ignored(office: Office, broker: Broker, logs: list[Log]) -> None:
    """Neither those of yesterday nor one that is retained now."""
    desk = ImportSink()
    with Subscriber(broker.port) as centre:
        centre.publish(PREFIX + "cmd/poll", {"when": "yesterday"}, retain=True)
        office.publisher(broker.url, requests=desk)
        hears_requests(broker)
        centre.publish(PREFIX + "cmd/poll", {"when": "now"}, retain=True)
        centre.publish(PREFIX + "cmd/report", {})
        centre.wait_for(lambda _: centre.on("/reply/report"))
    assert [request.name for request in desk.taken] == ["report"]
    assert len(named(logs, "request_ignored")) == 1


def test_a_message_that_meets_a_fault_costs_itself_and_is_logged_once(
    office: Office, broker: Broker, logs: list[Log]
) -> None:
    """However many of them come; evidence goes on."""
    met: list[str] = []

    def failing(request: Request) -> None:
        met.append(request.name)
        raise RuntimeError(request.name)

    with Subscriber(broker.port) as centre:
        office.publisher(broker.url, requests=failing)
        hears_requests(broker)
        for _ in range(5):
            centre.publish(PREFIX + "cmd/poll", {})
        eventually(lambda: len(met) == 5)
        office.punches(3)
        office.all_sent()
    assert len(named(logs, "message_failed")) == 1
    assert len(named(logs, "message_ignored")) == 1


def test_a_request_keeps_its_expiry(office: Office, broker: Broker) -> None:
    """What is left of it counts from when it was received."""
    desk = ImportSink()
    with Subscriber(broker.port) as centre:
        office.publisher(broker.url, requests=desk)
        hears_requests(broker)
        centre.publish(PREFIX + "cmd/poll", {}, MessageExpiryInterval=30)
        eventually(lambda: desk.taken)
    assert desk.taken[0].expires is not None
    assert 0 < desk.taken[0].expires - time.monotonic() <= 30


def test_a_flood_of_requests_does_not_stop_evidence(office: Office, broker: Broker) -> None:
    """Thousands of them, and of receipts, while a backlog drains: everything arrives, little of them is kept."""
    office.punches(500)
    desk = ImportSink()
    done = threading.Event()

    def flood() -> None:
        with Subscriber(broker.port, PREFIX + "alarm") as noisy:
            while not done.is_set():
                for _ in range(50):
                    noisy._client.publish(PREFIX + "cmd/poll", b"{}", qos=0)
                    noisy._client.publish(PREFIX + "receipt", b"{", qos=0)
                # As fast as the broker passes them on: on a busy machine any faster would measure the machine.
                noisy.publish(PREFIX + "cmd/poll", b"{}")

    noise = threading.Thread(target=flood, daemon=True)
    with Subscriber(broker.port, PREFIX + "punch/+") as subscriber:
        office.publisher(broker.url, requests=desk.taken.append)
        hears_requests(broker)
        noise.start()
        eventually(lambda: len(desk.taken) > 100)
        office.punches(500, "gate")
        subscriber.wait_for(received(1000))
        done.set()
        noise.join(WAIT_S)
        office.all_sent()


# ---------------------------------------------------------------- the parts


def test_pauses_double_are_jittered_and_bounded() -> None:
    """Half to one and a half times 1, 2, 4 … seconds, never more than one and a half times the longest."""
    pause = Pause(1.0, 60.0)
    for failures in (*range(1, 12), 1000):
        plain = min(60.0, 2.0 ** min(failures - 1, 16))
        drawn = [pause.after(failures) for _ in range(200)]
        assert plain * 0.5 <= min(drawn) < plain * 0.75
        assert plain * 1.25 < max(drawn) <= plain * 1.5


def test_failures_of_one_kind_do_not_lengthen_the_pauses_of_another(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was down for long and then refuses the login is tried again soon."""
    drawn: list[tuple[str, int]] = []

    def after(pause: Pause, failures: int) -> float:
        drawn.append(("refused" if pause is QUICK.pauses["refused"] else "unreachable", failures))
        return 0.01

    monkeypatch.setattr(Pause, "after", after)
    answers = iter([None] * 3)

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT and next(answers, 0) is None:
            raise Closing
        return connack(0x86)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: len(drawn) >= 5)
        publisher.stop(5)
    assert drawn[:5] == [("unreachable", n) for n in (1, 2, 3)] + [("refused", n) for n in (1, 2)]


def test_a_mistake_in_the_greeting_is_not_hidden(tmp_path: Path, broker: Broker, logs: list[Log]) -> None:
    """Whatever is no trouble with the broker ends the publisher, loudly, and leaves no connection behind."""
    office = Office(tmp_path)

    def introduction() -> list[tuple[str, dict[str, Any]]]:
        raise ZeroDivisionError

    publisher = Publisher(office.settings(broker.url), office.ledger, introduction=introduction)
    before = set(threading.enumerate())
    with thread_failures() as failures:
        publisher.start()
        eventually(lambda: not publisher.is_alive)
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
    assert len(named(logs, "publisher_failed")) == 1
    eventually(lambda: not {each for each in threading.enumerate() if each.name.startswith("paho")} - before)
    office.ledger.close()


def test_without_mosquitto_the_tests_fail_with_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is not installed is never a reason to skip."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(AssertionError) as caught:
        program("mosquitto")
    assert str(caught.value).splitlines()[0] == MISSING


@pytest.mark.parametrize(
    ("exc", "cause"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no_route"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no_route"),
        (TimeoutError("timed out"), "silent"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "port"),
        (ssl.SSLCertVerificationError("certificate has expired"), "certificate"),
        (ssl.SSLError("wrong version number"), "tls"),
        (ConnectionResetError("reset"), "broke"),
    ],
)
def test_why_a_broker_cannot_be_reached_is_data(exc: Exception, cause: str) -> None:
    """The advice to people depends on it, not on words."""
    assert cause_of(exc) == cause


# ---------------------------------------------------------------- what was altered in the ledger


def test_a_body_that_is_not_what_was_written_is_never_sent(office: Office, broker: Broker, logs: list[Log]) -> None:
    """It is set aside with one alarm, its digest keeps its place in the chain, and a replay does not bring it back."""
    office.punches(6)
    office.ledger.close()
    with closing(sqlite3.connect(office.ledger.path)) as other:
        for sequence in (2, 4):
            other.execute("UPDATE event SET body = replace(body, '1001', '6666') WHERE sequence = ?", (sequence,))
        other.commit()
    office.ledger = Ledger(office.ledger.path.parent, SOURCE)
    stored = {event.sequence: event for event in office.ledger.events(0, 50)}

    def pruned(messages: list[Message]) -> set[str]:
        gone = [event for event in events(messages) if event["type"] == event_module.BODY_FORGOTTEN]
        return {one["digest"] for event in gone for one in event["data"]["events"]}  # one note, or one for each

    altered = {stored[2].digest, stored[4].digest}
    with Subscriber(broker.port) as centre:
        office.publisher(broker.url)
        centre.wait_for(
            lambda messages: {1, 3, 5, 6} <= set(numbers(messages)) and pruned(messages) == altered and alarms(centre)
        )
        office.all_sent()  # what is in flight is not sent again
        office.ledger.resend(Selection(1, 6))
        eventually(lambda: len(centre.on("/punch/lobby")) + len(centre.on("/batch")) >= 5, what="the replay")
        office.all_sent()
        assert alarms(centre) == ["body_altered"]
        assert not any('"6666"' in message.text for message in centre.messages)  # digests may have these digits
        assert not {2, 4} & set(numbers(centre.messages))
    assert pruned(centre.messages) == altered
    assert [entry["sequence"] for entry in named(logs, "body_altered")] == [2, 4]
    assert (office.ledger.counts().altered, office.ledger.counts().waiting) == (2, 0)
    assert '"6666"' in str(stored[2].body)


@pytest.mark.parametrize(
    ("message", "code", "hint"),
    [
        ("Basic Constraints of CA cert not marked critical", 89, True),
        ("Missing Authority Key Identifier", 85, True),
        ("self-signed certificate", 18, False),
    ],
)
def test_a_certificate_that_is_only_incomplete_is_explained(message: str, code: int, hint: bool) -> None:
    """Python 3.13 refuses what older ones accepted; what is missing is named, and where a right one is made."""
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message, error.verify_code = message, code
    assert message in error_text(error)
    assert ("docs/broker.md" in error_text(error)) == hint


def test_no_message_is_longer_than_the_centre_reads(office: Office) -> None:
    """Whatever `delivery.batch_bytes` states and the broker would take."""
    settings = office.settings("mqtt://127.0.0.1", delivery={"batch_bytes": "16MiB"})
    limits = Limits(1, PACKET_MAX, lambda _topic, _properties: 100)
    parts = dict.fromkeys(("in_flight", "pacing", "blocked", "unsendable", "alarm"))  # not used
    window = Window(office.ledger, settings.delivery, limits, careful=Careful(3600.0), **parts)  # type: ignore[arg-type]
    assert 4_000_000 < window.payload_limit("batch") < central_event.MAX_BYTES
