"""From the ledger to the broker: everything arrives, in order, and is marked only when the broker says it has it."""

import gc
import json
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from paho.mqtt import client as mqtt
from structlog.testing import capture_logs

from drivers.base import BadRecord, RawPunch, Reading, Record
from gateway import publisher as module
from gateway import punch
from gateway.ledger import Ledger
from gateway.pause import Pause
from gateway.publisher import Publisher
from gateway.punch import Witness
from gateway.settings import Settings
from tests import contract
from tests.broker import (
    CONNECT,
    DISCONNECT,
    MISSING,
    PINGREQ,
    PUBLISH,
    Broker,
    Closing,
    FakeBroker,
    Message,
    Packet,
    Proxy,
    Subscriber,
    connack,
    eventually,
    program,
    puback,
)

ROOT = Path(__file__).parents[2]
PREFIX = "hadir/v1/3602-bkpsdm/gw-01/"
SOURCE = "/hadir/3602-bkpsdm/gw-01"
SERIALS = {"lobby": "CEXA193960001", "gate": "CEXA193960002"}
MORNING = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
NOW = datetime(2026, 9, 7, 1, tzinfo=UTC)
OTHERS_WRITE = "topic readwrite hadir/v1/3602-bkpsdm/gw-01/{}\n"

Log = MutableMapping[str, Any]
Greeting = Callable[[], Iterable[tuple[str, dict[str, Any]]]]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for; their kinds stay apart."""
    monkeypatch.setattr(module, "UNREACHABLE", Pause(0.1, 0.3))
    monkeypatch.setattr(module, "REFUSED", Pause(0.2, 0.4))
    monkeypatch.setattr(module, "TAKEN_OVER", Pause(0.3, 0.6))
    monkeypatch.setattr(module, "RETRY_FROM_S", 0.2)
    monkeypatch.setattr(module, "RETRY_TO_S", 0.8)
    monkeypatch.setattr(module, "FAREWELL_S", 0.5)


class Office:
    """A ledger with terminals, and publishers for it."""

    def __init__(self, folder: Path, name: str = "data") -> None:
        self.folder = folder
        self.ledger = Ledger(folder / name, SOURCE)
        self._read: Counter[str] = Counter()
        self._publishers: list[Publisher] = []
        for terminal, serial in SERIALS.items():
            self.ledger.pin_serial(terminal, serial)

    def settings(self, url: str, *, delivery: dict[str, Any] | None = None, **options: Any) -> Settings:
        """Return the settings for a broker: single messages, unless ``delivery`` says otherwise."""
        data = {
            "site": "3602-bkpsdm",
            "gateway": "gw-01",
            "timezone": "Asia/Jakarta",
            "mqtt": {"url": url, **options},
            "delivery": {"batch_from": 0, **(delivery or {})},
            "terminals": [{"name": name, "driver": "zkteco", "address": "127.0.0.1"} for name in SERIALS],
        }
        return Settings.model_validate(data, context={"folder": self.folder})

    def publisher(self, url: str, *, greeting: Greeting = tuple, **options: Any) -> Publisher:
        """Start a publisher; it is stopped with the test."""
        publisher = Publisher(self.settings(url, **options), self.ledger, greeting=greeting)
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
        self.ledger.record_reading(witness(terminal), reading)
        self._read[terminal] += len(records)

    @property
    def waiting(self) -> int:
        """How many events the broker does not have, as the ledger says."""
        self.ledger.flush_marks()
        return self.ledger.counts().waiting

    def all_sent(self) -> None:
        """Wait until nothing waits."""
        eventually(lambda: self.waiting == 0, what="the end of the drain")

    def close(self) -> None:
        """Stop everything; a publisher that has failed fails its test."""
        stopped = [publisher.stop(10) for publisher in self._publishers]
        self.ledger.close()
        assert all(stopped)
        for publisher in self._publishers:
            assert publisher.failure is None, publisher.failure


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


def witness(terminal: str = "lobby", **changes: Any) -> Witness:
    """Return who reads."""
    usual = Witness(
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


def numbers(messages: Iterable[Message]) -> list[int]:
    """Return the sequences of the events among some messages, as they came."""
    return [int(message.payload["sequence"]) for message in messages if "sequence" in message.payload]


def heard(count: int) -> Callable[[list[Message]], bool]:
    """Tell whether events 1 to ``count`` have all been heard."""
    return lambda messages: set(numbers(messages)) == set(range(1, count + 1))


def named(logs: list[Log], *events: str) -> list[Log]:
    """Return the log lines of some names, or all that say the broker was lost or found."""
    return [entry for entry in logs if entry["event"] in (events or ("broker_lost", "broker_found"))]


def alarms(subscriber: Subscriber) -> list[str]:
    """Return the alarms that were heard."""
    return [message.payload["alarm"] for message in subscriber.on("/alarm")]


def obliging(packet: Packet) -> bytes | None:
    """Answer as a broker does."""
    return {CONNECT: connack(), PUBLISH: puback(packet.mid), PINGREQ: b"\xd0\x00"}.get(packet.kind)


def everything(office: Office) -> int:
    """Record one event of every type; return how many there are."""
    ledger = office.ledger
    ledger.record_note(
        punch.GATEWAY_RESUMED, None, NOW, {"last_alive": None, "resumed": "2026-09-07T01:00:00.000Z", "clean": True}
    )
    about = {"terminal": "lobby", "serial": SERIALS["lobby"]}
    moment = "2026-09-07T01:00:00.000Z"
    lost = {"from": moment, "cause": "unavailable", "reason": "no answer"}
    ledger.record_note(punch.TERMINAL_LOST, "lobby", NOW, about | lost)
    ledger.record_note(
        punch.TERMINAL_FOUND, "lobby", NOW, about | {"from": moment, "to": moment, "cause": "unavailable"}
    )
    ledger.record_note(punch.TERMINAL_CHANGED, "lobby", NOW, about | {"what": "capacity", "percent": 90})
    clock = {"offset_ms": 0, "bound_ms": 20, "measured": moment}
    ledger.record_note(punch.CLOCK_STEPPED, "lobby", NOW, about | {"before": clock, "after": clock})
    ledger.record_note(punch.HISTORY_WITHHELD, "lobby", NOW, about | {"records": 3, "start": "now"})
    ledger.record_live(witness(via="live", now=datetime.now(UTC) - timedelta(hours=1)), made(0, verify=15))
    ledger.record_live(witness(via="live"), made(500))
    bad = BadRecord(b"\x01junk", b"junk", "impossible date")
    ledger.record_reading(witness(now=datetime.now(UTC) + timedelta(hours=1)), Reading(0, 2, [made(0), bad], "40"))
    return ledger.last_sequence()


# ---------------------------------------------------------------- the greeting and the farewell


def test_a_connection_begins_with_birth_then_greeting_then_evidence(office: Office, broker: Broker) -> None:
    """First `state` with the session, then what the greeting says, all retained; then the events by sequence."""
    office.punches(50)
    health = next(payload for channel, _, payload in contract.examples() if channel == "health")
    info = next(payload for channel, _, payload in contract.examples() if channel == "info")
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url, greeting=lambda: [("info", info), ("health", health)])
        messages = subscriber.wait_for(heard(50))
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
        messages = subscriber.wait_for(lambda messages: heard(count)(messages) and subscriber.on("/alarm"))
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
    assert types == {value for name, value in vars(punch).items() if name.isupper() and str(value).endswith(".v1")}
    ends = {message.topic.removeprefix(PREFIX) for message in messages}
    assert ends == {"state", "alarm", "note", "note/lobby", "punch/lobby", "quarantine/lobby"}


def test_a_strangers_subscriber_sees_the_events(office: Office, broker: Broker) -> None:
    """`mosquitto_sub -V 5`, which nobody here wrote, prints each event."""
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
        out, _ = stranger.communicate(timeout=20)
    lines = [line.split(" ", 1) for line in out.splitlines()]
    assert {kind for kind, _ in lines} == {"application/cloudevents+json"}
    assert [int(json.loads(text)["sequence"]) for _, text in lines] == list(range(1, 21))


def test_a_live_punch_is_published_at_once(office: Office, broker: Broker) -> None:
    """What is recorded while nothing waits does not wait either."""
    with Subscriber(broker.port) as subscriber:
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: messages)
        office.all_sent()
        begun = time.monotonic()
        office.ledger.record_live(witness(via="live"), made(0))
        subscriber.wait_for(heard(1))
        assert time.monotonic() - begun < 1


def test_announcements_are_retained_and_alarms_are_not(office: Office, broker: Broker) -> None:
    """What is announced while connected goes out at once, below the prefix."""
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url)
        eventually(lambda: publisher.connected)
        publisher.announce("terminal/lobby/state", {"state": "online"})
        publisher.alarm("terminal_lost", "gone", "lobby")
        subscriber.wait_for(lambda messages: len(messages) == 3)
        (announced,) = subscriber.on("/terminal/lobby/state")
        (alarm,) = subscriber.on("/alarm")
    assert (announced.retain, alarm.retain) == (True, False)
    assert alarm.payload["terminal"] == "lobby"


def test_alarms_raised_without_a_broker_are_kept_the_newest_hundred(office: Office) -> None:
    """They follow the next greeting, in their order; announcements are left to the greeting."""
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
        told = [packet.event for packet in fake.heard if packet.kind == PUBLISH]
    assert told[0]["state"] == "online"
    assert [event["message"] for event in told if "alarm" in event] == [str(number) for number in range(50, 150)]
    assert not fake.published("terminal/lobby/state")


def test_alarms_that_were_on_their_way_are_kept(office: Office) -> None:
    """An alarm that the broker did not acknowledge before it went is said again."""
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
    """Retained `offline` with the session of the birth, and no will after it."""
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url)
        subscriber.wait_for(lambda messages: messages)
        begun = time.monotonic()
        assert publisher.stop(5)
        assert time.monotonic() - begun < 2
        subscriber.wait_for(lambda messages: len(messages) == 2)
        time.sleep(0.2)
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
        time.sleep(0.5)
        begun = time.monotonic()
        assert publisher.stop(5)
        assert time.monotonic() - begun < 2.5


@pytest.mark.parametrize("mute", [True, False], ids=["connecting", "pausing"])
def test_a_stop_while_connecting_is_quick_and_silent(office: Office, logs: list[Log], mute: bool) -> None:
    """A stop during an attempt or a pause ends at once, without a line about a lost broker."""
    with FakeBroker(lambda _: None) as fake:
        publisher = office.publisher(fake.url if mute else "mqtt://127.0.0.1:9")
        time.sleep(0.3)
        assert publisher.stop(1)
    assert len(named(logs)) == (0 if mute else 1)


def test_stopping_what_was_never_started_does_nothing(office: Office) -> None:
    """A daemon whose start failed half-way may still stop everything."""
    assert Publisher(office.settings("mqtt://127.0.0.1:9"), office.ledger).stop(1)


LONE = """
import sys, time
from pathlib import Path
from gateway.ledger import Ledger
from gateway.publisher import Publisher
from gateway.settings import load
settings = load(Path(sys.argv[1]))
Publisher(settings, Ledger(settings.data_dir, "/hadir/3602-bkpsdm/gw-01")).start()
time.sleep(60)
"""


def test_a_killed_process_is_told_of_by_its_will(tmp_path: Path, broker: Broker) -> None:
    """The broker says `offline`, retained, with the session of the birth; the next connection has a higher one."""
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
        mids = [packet.mid for packet in fake.heard if packet.kind == PUBLISH and "/punch/" in packet.topic]
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
        publisher = office.publisher(proxy.url, window=window, greeting=lambda: [("info", info)] * 3)
        for _ in range(3):
            publisher.alarm("terminal_lost", "gone", "lobby")
        subscriber.wait_for(heard(120))
        office.all_sent()
    slack = 6 if limit == 0 else 0  # messages that are no events count against the broker's limit only
    assert most - 1 <= proxy.most_in_flight <= most + slack
    assert proxy.published == 120 + 1 + 3 + 3


def test_a_probe_of_a_silent_topic_stays_within_the_receive_maximum(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying a refused topic again is not worth a protocol error."""
    monkeypatch.setattr(module, "RETRY_FROM_S", 0.02)
    monkeypatch.setattr(module, "RETRY_TO_S", 0.02)
    office.punches(3)
    office.punches(200, "gate")
    in_flight = []
    publish = Publisher._publish

    def watched(publisher: Publisher, conversation: Any, *args: Any, **options: Any) -> Any:
        result = publish(publisher, conversation, *args, **options)
        in_flight.append(len(conversation.in_flight))
        return result

    monkeypatch.setattr(Publisher, "_publish", watched)
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
        subscriber.wait_for(heard(400))


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
        subscriber.wait_for(heard(40))
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
    fetch = Publisher._fetch

    def watched(publisher: Publisher, conversation: Any) -> None:
        fetch(publisher, conversation)
        held.append(len(conversation.buffer) + len(conversation.in_flight))

    with pytest.MonkeyPatch.context() as patch, Subscriber(broker.port) as subscriber:
        patch.setattr(Publisher, "_fetch", watched)
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: len(messages) > 5000, 20)
        office.all_sent()
        assert numbers(subscriber.messages) == list(range(1, 5001))
    assert max(held) <= module.FETCH + 100


def test_old_connections_leave_nothing_behind(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client object, socket or thread survives its connection, even without the garbage collector."""
    monkeypatch.setattr(module, "SHORT_LIVES", 10_000)
    clients: list[weakref.ref[mqtt.Client]] = []
    make = Publisher._client

    def watched(publisher: Publisher, session: int) -> mqtt.Client:
        client = make(publisher, session)
        clients.append(weakref.ref(client))
        return client

    monkeypatch.setattr(Publisher, "_client", watched)
    monkeypatch.setattr(module, "UNREACHABLE", Pause(0.01, 0.02))

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


def test_an_idle_publisher_rests(office: Office, broker: Broker) -> None:
    """Nothing to do costs no processor time, also with a topic that nobody hears."""
    office.punches(5)
    publisher = office.publisher(broker.url)
    eventually(lambda: publisher._silences)
    turns = []
    patience = publisher._patience

    def counted(conversation: Any) -> float:
        turns.append(1)
        return patience(conversation)

    publisher._patience = counted  # type: ignore[method-assign]
    time.sleep(1)
    assert len(turns) < 20


# ---------------------------------------------------------------- refusals


def test_a_refused_password_is_explained_and_retried(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """One line that names mqtt.username; when the file is corrected it connects by itself and tells the alarm."""
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
        assert "refuses the login" in publisher.standing
        (line,) = named(logs)
        assert "mqtt.username" in line["reason"]
        assert "wrong" not in str(logs)
        assert broker.log.count("hadir-3602-bkpsdm-gw-01") <= 6
        assert office.waiting == 3
        secret.write_text("right\n")
        subscriber.wait_for(heard(3))
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
    publisher = Publisher(settings, office.ledger)
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
        office.ledger.record_note(punch.TERMINAL_CHANGED, "lobby", NOW, {"terminal": "lobby"})
        office.publisher(broker.url, window=10)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {151, 152} and alarms(subscriber))
        time.sleep(1)
        assert office.waiting == 150
        broker.set_acl(allowed + OTHERS_WRITE.format("punch/#"))
        broker.reload()
        messages = subscriber.wait_for(heard(152))
        office.all_sent()
    assert sorted(numbers(messages)) == list(range(1, 153)), "none came twice"
    assert numbers(subscriber.on("/punch/lobby")) == list(range(1, 151))
    assert alarms(subscriber) == ["delivery_refused"]
    assert [entry["event"] for entry in named(logs, "topic_refused", "topic_heard")] == ["topic_refused", "topic_heard"]


def test_a_broker_that_hangs_up_after_each_refusal_gets_the_rest(
    tmp_path: Path, office: Office, logs: list[Log]
) -> None:
    """As mosquitto 2.0.11 does with `max_queued_messages 0`: told as what it is, and the other topics flow."""
    allowed = "topic read #\n" + "".join(OTHERS_WRITE.format(end) for end in ("state", "alarm", "note/#"))
    lines = ("max_queued_messages 0",)
    with Broker(tmp_path, *lines, acl=allowed) as broker, Subscriber(broker.port) as subscriber:
        office.punches(100)
        office.ledger.record_note(punch.TERMINAL_CHANGED, "lobby", NOW, {"terminal": "lobby"})
        office.publisher(broker.url)
        subscriber.wait_for(lambda messages: set(numbers(messages)) == {101} and alarms(subscriber))
        time.sleep(1)
        broker.set_acl(allowed + OTHERS_WRITE.format("punch/#"))
        broker.reload()
        subscriber.wait_for(heard(101))
        office.all_sent()
        assert set(alarms(subscriber)) == {"delivery_refused"}
        reasons = [entry["reason"] for entry in named(logs, "broker_lost")]
    assert any("refused messages on punch/lobby" in reason for reason in reasons)
    assert not any("`site` and `gateway`" in reason for reason in reasons)


def test_what_ends_connections_without_a_word_is_found_by_sending_one_by_one(office: Office) -> None:
    """A broker that closes on one topic, and whose answers are lost with it, is asked event by event."""
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


def test_a_denied_state_is_told_once(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """A refusal of what is no evidence is one line for each topic, and no reason to keep anything back."""
    acl = "topic read #\n" + OTHERS_WRITE.format("punch/#")
    with Broker(tmp_path, acl=acl) as broker, Subscriber(broker.port) as subscriber:
        office.punches(2)
        publisher = office.publisher(broker.url)
        eventually(lambda: publisher.connected)
        for _ in range(5):
            publisher.announce("health", {})
        subscriber.wait_for(heard(2))
        office.all_sent()
        eventually(lambda: len(named(logs, "message_refused")) == 2)
        time.sleep(0.1)
    assert {entry["topic"] for entry in named(logs, "message_refused")} == {"state", "health"}
    assert len(named(logs, "message_refused")) == 2


def test_what_nobody_hears_is_not_sent(office: Office, broker: Broker, logs: list[Log]) -> None:
    """Without a subscriber all wait and one alarm is raised; who comes later gets all of it, in order, once."""
    with Subscriber(broker.port, "+/+/+/+/alarm") as listener:
        office.punches(250)
        publisher = office.publisher(broker.url)
        listener.wait_for(lambda messages: messages)
        time.sleep(0.5)
        assert office.waiting == 250
        assert publisher.standing == "connected; nobody subscribes to punch/lobby"
        with Subscriber(broker.port) as subscriber:
            messages = subscriber.wait_for(heard(250))
            office.all_sent()
        assert alarms(listener) == ["no_subscriber"]
    assert numbers(messages) == list(range(1, 251))
    assert len(named(logs, "topic_unheard")) == 1
    assert len(named(logs, "topic_heard")) == 1


def test_nobody_listening_to_state_is_no_alarm(office: Office, broker: Broker) -> None:
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


def test_a_silent_topic_stays_told_over_reconnects(office: Office, broker: Broker, logs: list[Log]) -> None:
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
            subscriber.wait_for(heard(300))
            office.all_sent()


def test_a_new_event_is_a_reason_to_try_a_silent_topic(
    office: Office, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A centre that is back gets everything with the next punch, not only when the back-off has run out."""
    monkeypatch.setattr(module, "RETRY_FROM_S", 300.0)
    office.punches(30)
    publisher = office.publisher(broker.url)
    eventually(lambda: publisher._silences)
    with Subscriber(broker.port) as subscriber:
        office.punches(1)
        messages = subscriber.wait_for(heard(31))
    assert numbers(messages) == list(range(1, 32))


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
    begun = time.monotonic()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and "/punch/" in packet.topic and time.monotonic() - begun < 0.5:
            return puback(packet.mid, code)
        return obliging(packet)

    with FakeBroker(answer) as fake:
        office.publisher(fake.url)
        office.all_sent()
    assert office.ledger.counts().parked == 0


# ---------------------------------------------------------------- brokers that misbehave


def test_a_broker_that_says_nothing_is_given_up_and_tried_again(
    office: Office, logs: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection without a CONNACK is no connection."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)
    with FakeBroker(lambda _: None) as fake:
        office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3)
    (line,) = named(logs)
    assert "says nothing" in line["reason"]


def test_a_broker_that_acknowledges_nothing_is_left(
    office: Office, logs: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time-out the connection is given up without DISCONNECT, so that the will speaks, and made anew."""
    monkeypatch.setattr(module, "ACK_TIMEOUT_S", 0.3)
    office.punches(5)
    with FakeBroker(lambda packet: connack() if packet.kind == CONNECT else None) as fake:
        office.publisher(fake.url)
        eventually(lambda: fake.connections >= 3)
        assert office.waiting == 5
        assert not [packet for packet in fake.heard if packet.kind == DISCONNECT]
    assert "unacknowledged" in named(logs, "broker_lost")[0]["reason"]


def test_one_message_left_out_is_sent_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that forgets one PUBACK while it gives others gets that event again on a new connection."""
    monkeypatch.setattr(module, "ACK_TIMEOUT_S", 0.5)
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
def test_a_broker_that_answers_rubbish_is_left(
    office: Office, logs: list[Log], monkeypatch: pytest.MonkeyPatch, rubbish: bytes
) -> None:
    """Bytes that are no MQTT end the attempt, not the publisher."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "ACK_TIMEOUT_S", 0.3)
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
        assert fake.connections == module.SHORT_LIVES
        publisher.stop(5)


def test_an_end_that_the_broker_explains_is_told_as_it_is(office: Office, logs: list[Log]) -> None:
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
    """On a real broker, which does not tell them why it ends their connections, both find out."""
    twin = Office(tmp_path, "twin")
    told: dict[str, set[str]] = {}
    warn = Publisher.alarm

    def noted(publisher: Publisher, code: str, message: str, terminal: str | None = None) -> None:
        told.setdefault(code, set()).add(str(publisher._ledger.path))
        warn(publisher, code, message, terminal)

    monkeypatch.setattr(Publisher, "alarm", noted)
    with ExitStack() as stack:
        stack.callback(twin.close)
        office.publisher(broker.url)
        twin.publisher(broker.url)
        eventually(lambda: len(told.get("client_id_taken", ())) == 2, 20, "that both complain")
    assert all(
        "`site` and `gateway`" in e["reason"] for e in named(logs, "broker_lost") if "again and again" in e["reason"]
    )


# ---------------------------------------------------------------- ways to connect


def test_mqtt_3_1_1_delivers(office: Office, broker: Broker, logs: list[Log]) -> None:
    """The fallback works, and says what it cannot know."""
    office.punches(40)
    with Subscriber(broker.port) as subscriber:
        publisher = office.publisher(broker.url, protocol="3.1.1")
        assert numbers(subscriber.wait_for(heard(40))) == list(range(1, 41))
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


def test_a_refusal_that_passes_is_no_reason_to_stay_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server busy: come back as to a broker that is down, not as to one that refuses us."""
    monkeypatch.setattr(module, "REFUSED", Pause(100, 100))
    answers = iter([0x89, 0x88])

    def answer(packet: Packet) -> bytes | None:
        return connack(next(answers, 0)) if packet.kind == CONNECT else obliging(packet)

    with FakeBroker(answer) as fake:
        publisher = office.publisher(fake.url)
        eventually(lambda: publisher.connected)
        publisher.stop(5)


def certificates(folder: Path, name: str) -> Path:
    """Make an authority and a certificate for 127.0.0.1; return the folder that holds them."""
    there = folder / name
    there.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=there, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", f"/CN=test {name}")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (there / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return there


def test_tls_with_the_offices_own_authority(tmp_path: Path, office: Office, logs: list[Log]) -> None:
    """Only the right authority is trusted; the wrong one is explained, and nothing is sent."""
    ours, theirs = certificates(tmp_path, "ours"), certificates(tmp_path, "theirs")
    office.punches(30)
    lines = [f"certfile {ours / 'server.pem'}", f"keyfile {ours / 'server.key'}"]
    with Broker(tmp_path, *lines) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        wrong = office.publisher(url, ca_file=str(theirs / "ca.pem"))
        eventually(lambda: named(logs))
        wrong.stop(5)
        assert "certificate is not trusted" in named(logs)[0]["reason"]
        assert office.waiting == 30
        right = office.publisher(url, ca_file=str(ours / "ca.pem"))
        # Nobody subscribes without TLS here; the refusal for want of a subscriber proves the way to the broker.
        eventually(lambda: named(logs, "topic_unheard"))
        there = ("-h", "127.0.0.1", "-p", str(broker.port), "--cafile", str(ours / "ca.pem"))
        what = ("-V", "5", "-q", "1", "-C", "30", "-W", "15", "-t", PREFIX + "punch/#")
        command = [program("mosquitto_sub"), *there, *what]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [int(json.loads(line)["sequence"]) for line in out.splitlines()] == list(range(1, 31))
        office.all_sent()
        right.stop(5)


def test_tls_with_a_broker_that_speaks_none_is_explained(office: Office, broker: Broker, logs: list[Log]) -> None:
    """The line names TLS, not a number in somebody's source."""
    publisher = office.publisher(broker.url.replace("mqtt:", "mqtts:"))
    eventually(lambda: named(logs))
    publisher.stop(5)
    assert "TLS" in named(logs)[0]["reason"] or "cannot be reached" in named(logs)[0]["reason"]


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
    """A broker that was down for long and then refuses the login is asked again soon."""
    drawn: list[tuple[str, int]] = []

    def after(pause: Pause, failures: int) -> float:
        drawn.append(("refused" if pause is module.REFUSED else "unreachable", failures))
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

    def greeting() -> list[tuple[str, dict[str, Any]]]:
        raise ZeroDivisionError

    publisher = Publisher(office.settings(broker.url), office.ledger, greeting=greeting)
    publisher.start()
    eventually(lambda: not publisher.is_alive)
    assert isinstance(publisher.failure, ZeroDivisionError)
    assert len(named(logs, "publisher_failed")) == 1
    assert not any(thread.name.startswith("paho") for thread in threading.enumerate())
    office.ledger.close()


def test_without_mosquitto_the_tests_fail_with_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is not installed is never a reason to skip."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(AssertionError) as caught:
        program("mosquitto")
    assert str(caught.value).splitlines()[0] == MISSING
