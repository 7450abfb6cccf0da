import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from central.coverage import GAP_GRACE_S, HeldRange
from central.inbox import TOPICS, Broker, Inbox
from central.inbox import broker as inbox_broker
from central.inbox import receipts as inbox_receipts
from central.report import open_readonly
from central.store import Receipt, Store
from central.store.batch import Outcome
from central.store.engine import utc
from tests import contract
from tests.broker import (
    CONNECT,
    PUBLISH,
    WAIT_S,
    Closing,
    FakeBroker,
    Packet,
    Subscriber,
    connack,
    eventually,
    puback,
    suback,
)
from tests.broker import Broker as Mosquitto
from tests.central.fresh import fresh_database
from tests.central.receiving import BASE, Sender, check_whole, held, wait_for
from tests.central.sealing import STREAM, Event, Source, batch, payload
from tests.command import drained

SUBSCRIBE, SUBACK = 0x80, 0x90
TAKEN_OVER = b"\xe0\x02\x8e\x00"
"""DISCONNECT with that reason."""
CRASH = [sys.executable, str(Path(__file__).parent / "crash_inbox.py")]
CLI = [sys.executable, "-m", "central.cli", "inbox"]


class Clock:
    """The monotonic clock, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return time.monotonic() + self.ahead_s


class Running:
    """An inbox in a thread of this process; ``admitted``: wait until the broker has taken its subscriptions."""

    def __init__(self, port: int, db: Path, *, admitted: bool = True) -> None:
        self.clock = Clock()
        if not db.exists():
            fresh_database(db)
        self.store = Store(db, monotonic_s=self.clock)
        self.inbox = Inbox(Broker("127.0.0.1", port, tls=False), self.store)
        self._admitted = threading.Event()
        connect = self.inbox._connect

        def note() -> None:
            connect()
            self._admitted.set()

        self.inbox._connect = note  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self.inbox.run, daemon=True)
        self._wait = admitted

    def __enter__(self) -> Self:
        self._thread.start()
        assert not self._wait or self._admitted.wait(WAIT_S), "the inbox was not admitted"
        return self

    def __exit__(self, *_: object) -> None:
        self.inbox.stop()
        self._thread.join(WAIT_S)
        ended = not self._thread.is_alive()
        self.store.close()
        assert ended, "the inbox did not stop"


@contextmanager
def process(*command: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program for the length of a block."""
    pipe = subprocess.PIPE
    started = drained(subprocess.Popen(list(map(str, command)), stdout=pipe, stderr=pipe, text=True))
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Return where the database will be."""
    return tmp_path / "centre.db"


def subscribe(port: int, db: Path) -> None:
    """Let the broker know an inbox that then goes away."""
    with Running(port, db):
        pass


def receipts(subscriber: Subscriber) -> list[Any]:
    """Return the receipts so far."""
    return [message.payload for message in subscriber.on("/receipt")]


def watermarks(db: Path) -> list[tuple[str, int, bool]]:
    """Return serial number, sequence, and whether it counts, of the watermarks that are stored."""
    with open_readonly(db) as connection:
        query = (
            "SELECT serial, sequence, counted IS NOT NULL FROM watermark "
            "JOIN terminal ON terminal.id = watermark.terminal ORDER BY watermark.id"
        )
        return [(serial, sequence, bool(counted)) for serial, sequence, counted in connection.exec_driver_sql(query)]


def test_a_retained_watermark_counts_once_its_stream_is_held(tmp_path: Path, db: Path) -> None:
    """The broker delivers it at the first subscription and again at the next; the second time it is nothing new."""
    source = Source()
    source.punches(2)
    until = (datetime.now(UTC) - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    complete = {"until": until, "stream": STREAM, "sequence": f"{2:020d}"}
    state = json.dumps({"serial": "CEXA193960001", "records": 2, "complete": complete}).encode()
    with Mosquitto(tmp_path) as broker, Sender(broker.port) as sender:
        subscribe(broker.port, db)
        sender.publish(("info", source.info()), ("terminal/lobby/state", state), retain=True)
        sender.send(source.events[0])
        with Running(broker.port, db):
            eventually(lambda: watermarks(db) == [("CEXA193960001", 2, False)])
            sender.send(source.events[1])
            eventually(lambda: watermarks(db) == [("CEXA193960001", 2, True)])
        with Running(broker.port, db):
            sender.send(source.punch(3))
            eventually(lambda: held(db) == [1, 2, 3])
    assert watermarks(db) == [("CEXA193960001", 2, True)]
    with open_readonly(db) as connection:
        assert connection.exec_driver_sql("SELECT kind FROM finding").fetchall() == []


def offline(db: Path) -> list[tuple[int, bool]]:
    """Return the connections that ended, and whether the gateway is online again."""
    with open_readonly(db) as connection:
        found = connection.exec_driver_sql("SELECT session, online IS NOT NULL FROM offline ORDER BY id")
        return [(session, bool(online)) for session, online in found]


def test_the_will_of_a_gateway_is_a_fact(tmp_path: Path, db: Path) -> None:
    """The broker publishes it when the gateway vanishes, retains it, and delivers it again at each subscription."""
    with Mosquitto(tmp_path) as broker:
        subscribe(broker.port, db)
        with Sender(broker.port, will=("state", b'{"session":7,"state":"offline"}')) as sender:
            sender.publish(("state", b'{"at":"2026-09-04T00:30:00.000Z","session":7,"state":"online"}'), retain=True)
            sender.vanish()
        for _ in range(2):
            with Running(broker.port, db):
                eventually(lambda: offline(db) == [(7, False)])
        with Running(broker.port, db), Sender(broker.port) as sender:
            sender.publish(("state", b'{"at":"2026-09-04T00:32:00.000Z","session":8,"state":"online"}'), retain=True)
            eventually(lambda: offline(db) == [(7, True)])


def test_the_inbox_notes_when_it_has_a_connection(tmp_path: Path, db: Path) -> None:
    """Each loss makes gateways away, whether the broker or the inbox ended; a birth since then shows that one runs."""

    def noted() -> tuple[list[bool], list[bool]]:
        with open_readonly(db) as connection:
            contact = connection.exec_driver_sql("SELECT lost IS NOT NULL FROM contact ORDER BY id")
            away = connection.exec_driver_sql("SELECT seen IS NOT NULL FROM away ORDER BY id")
            return [bool(one) for (one,) in contact.all()], [bool(one) for (one,) in away.all()]

    def birth(session: int) -> tuple[str, bytes]:
        return "state", json.dumps({"state": "online", "session": session, "at": utc(datetime.now(UTC))}).encode()

    with Mosquitto(tmp_path) as broker:
        with Running(broker.port, db), Sender(broker.port) as sender:
            sender.publish(birth(7))
            eventually(lambda: gateway_session(db) == 7)
            assert noted() == ([False], [])
        assert noted() == ([True], [False])
        with Running(broker.port, db) as running:
            assert noted() == ([True, False], [False])
            with Sender(broker.port) as sender:
                sender.publish(birth(8))
                eventually(lambda: noted() == ([True, False], [True]))
            running.inbox._kept_contact -= timedelta(hours=1)  # so that it is prolonged, whose row then stays
            eventually(lambda: contact_was_prolonged(db))
            broker.stop()
            eventually(lambda: noted()[1] == [False])


def gateway_session(db: Path) -> int | None:
    """Return the last session of the one gateway."""
    with open_readonly(db) as connection:
        return connection.exec_driver_sql("SELECT session FROM gateway").scalar()


def contact_was_prolonged(db: Path) -> bool:
    """Return whether the present connection lasted longer than its begin."""
    with open_readonly(db) as connection:
        return bool(connection.exec_driver_sql("SELECT until > since FROM contact ORDER BY id DESC").scalar())


def test_single_events_batches_and_info_are_stored_and_receipted(tmp_path: Path, db: Path) -> None:
    """What the contract lists for evidence arrives; the receipt is retained and of the contract's form."""
    source = Source()
    source.punches(20)
    with Mosquitto(tmp_path) as broker, Running(broker.port, db), Sender(broker.port) as sender:
        with Subscriber(broker.port, "hadir/v1/+/+/receipt") as subscriber:
            sender.publish(("info", source.info()), retain=True)
            sender.send(*source.events[:5])
            sender.publish(
                ("batch", batch(*source.events[5:18])),
                ("note", payload(source.events[18])),
                ("quarantine/lobby", payload(source.events[19])),
            )
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 20)
            received = subscriber.on("/receipt")
        with Subscriber(broker.port, f"{BASE}/receipt") as late:
            (last,) = late.wait_for(lambda messages: messages)

    check_whole(db, source)
    assert (last.payload["stream"], last.payload["upto"], last.payload["missing"]) == (STREAM, 20, [])
    assert last.qos == 1
    assert last.topic == f"{BASE}/receipt"
    assert [message.payload["upto"] for message in received] == sorted(
        {message.payload["upto"] for message in received}
    )
    for message in (*received, last):
        assert message.retain
        contract.check("receipt", message.text, strict=False)


def test_messages_published_while_the_inbox_is_away_are_kept_by_the_session(tmp_path: Path, db: Path) -> None:
    """The client id is fixed, the session is not cleaned."""
    source = Source()
    source.punches(3000)
    with Mosquitto(tmp_path) as broker:
        subscribe(broker.port, db)
        with Sender(broker.port) as sender:
            sender.send(*source.events)
        assert held(db) == []
        with Running(broker.port, db):
            wait_for(db, 3000)

    check_whole(db, source)


def test_nothing_is_acknowledged_before_it_is_stored(tmp_path: Path, db: Path) -> None:
    """While the store is busy the broker gets no acknowledgement at all."""
    source = Source()
    events = iter(source.punches(3))
    acknowledged: list[int] = []
    release, busy = threading.Event(), threading.Event()

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            return connack()
        if packet.kind == SUBSCRIBE:
            granted = bytes([SUBACK, 3 + len(TOPICS)]) + packet.body[:2] + b"\0" + b"\1" * len(TOPICS)
            return granted + b"".join(delivery(mid, next(events)) for mid in (1, 2, 3))
        if packet.kind == 0x40:
            acknowledged.append(packet.mid)
        return None

    with FakeBroker(answer) as broker, capture_logs() as log:
        running = Running(broker.port, db, admitted=False)
        write = running.store._store

        def slow(*batch: Any) -> Outcome:
            outcome = write(*batch)  # written, and not committed yet
            busy.set()
            assert release.wait(WAIT_S)
            return outcome

        running.store._store = slow  # type: ignore[method-assign, assignment]
        with running:
            assert busy.wait(WAIT_S)
            assert held(db) == []
            assert acknowledged == []
            release.set()
            eventually(lambda: acknowledged == [1, 2, 3], what="the acknowledgement")
            assert held(db) == [1, 2, 3]

    assert "session_lost" not in [line["event"] for line in log]  # it is the first


def delivery(mid: int, event: Event) -> bytes:
    """Return the packet with which a broker hands over an event."""
    topic = f"{BASE}/punch/lobby".encode()
    body = len(topic).to_bytes(2) + topic + mid.to_bytes(2) + b"\0" + payload(event)
    length, size = b"", len(body)
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([PUBLISH | 2]) + length + body


@pytest.mark.parametrize("place", ["received", "committed"])
def test_killed_around_the_commit(tmp_path: Path, db: Path, place: str) -> None:
    """Between receipt and commit, and between commit and acknowledgement: nothing lost, nothing doubled."""
    source = Source()
    source.punches(50)
    with Mosquitto(tmp_path) as broker:
        subscribe(broker.port, db)
        with Sender(broker.port) as sender:
            sender.send(*source.events)
        with process(*CRASH, broker.port, db, place) as victim:
            assert victim.stdout is not None
            assert any(line.strip() == place for line in victim.stdout)
            victim.kill()
            victim.wait()
        assert (held(db) == []) == (place == "received")

        with Running(broker.port, db), Subscriber(broker.port, "hadir/v1/+/+/receipt") as subscriber:
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 50)

    check_whole(db, source)


def test_killed_at_random_while_events_stream_in(tmp_path: Path, db: Path) -> None:
    """The real process, again and again; the sender never sends anything twice."""
    source = Source()
    source.punches(4000)
    dice = random.Random(4)
    with Mosquitto(tmp_path) as broker:
        subscribe(broker.port, db)
        with Sender(broker.port) as sender:
            sending = threading.Thread(target=sender.send, args=source.events)
            sending.start()
            for _ in range(4):
                before = len(held(db))
                with process(*CLI, "--broker", broker.url, "--db", db) as victim:
                    wait_for(db, min(4000, before + dice.randrange(1, 600)))
                    victim.send_signal(signal.SIGKILL)
                    victim.wait()
            with process(*CLI, "--broker", broker.url, "--db", db):
                wait_for(db, 4000)
            sending.join()

    check_whole(db, source)


def test_a_broker_that_restarts_with_its_memory_loses_nothing(tmp_path: Path, db: Path) -> None:
    """The session and what waits in it come back with the broker, and so does the inbox."""
    source = Source()
    source.punches(200)
    with Mosquitto(tmp_path, persistent=True) as broker:
        subscribe(broker.port, db)
        with Sender(broker.port) as sender:
            sender.send(*source.events[:100])
        broker.stop()
        broker.start()
        with capture_logs() as log, Running(broker.port, db):
            wait_for(db, 100)
            broker.stop()
            broker.start()
            with Sender(broker.port) as sender:
                eventually(lambda: [line["event"] for line in log].count("broker_found") == 2, what="the return")
                sender.send(*source.events[100:])
            wait_for(db, 200)

    assert [line["session_present"] for line in log if line["event"] == "broker_found"] == [True, True]
    assert [line["event"] for line in log].count("broker_lost") == 1
    check_whole(db, source)


def test_messages_lost_by_a_broker_without_persistence_are_requested_again(tmp_path: Path, db: Path) -> None:
    """The queue is gone with the broker; the receipt names the range, a replay as batch closes it."""
    source = Source()
    source.punches(120)
    with Mosquitto(tmp_path) as broker:
        with Running(broker.port, db), Sender(broker.port) as sender:
            sender.send(*source.events[:50])
            wait_for(db, 50)
        with Sender(broker.port) as sender:
            sender.send(*source.events[50:70])
        broker.kill()
        broker.start()
        with capture_logs() as log, Running(broker.port, db) as running, Sender(broker.port) as sender:
            eventually(lambda: "session_lost" in [line["event"] for line in log], what="the warning")
            with Subscriber(broker.port, "hadir/v1/+/+/receipt") as subscriber:
                subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 50)
                sender.send(*source.events[70:])
                wait_for(db, 100)
                assert all(receipt["missing"] == [] for receipt in receipts(subscriber))
                running.clock.ahead_s += GAP_GRACE_S
                subscriber.wait_for(lambda messages: messages[-1].payload["missing"] == [[51, 70]])
                assert receipts(subscriber)[-1]["upto"] == 120
                sender.publish(("batch", batch(*source.events[50:60])), ("batch", batch(*source.events[60:70])))
                subscriber.wait_for(lambda messages: messages[-1].payload["missing"] == [])
                assert receipts(subscriber)[-1]["upto"] == 120

    names = [line["event"] for line in log]
    assert (names.count("events_missing"), names.count("events_complete")) == (1, 1)
    check_whole(db, source)


def test_a_broker_without_the_receipts_gets_them_again(tmp_path: Path, db: Path) -> None:
    """They are retained, so a broker without persistence has lost them too; nothing else need happen."""
    with Mosquitto(tmp_path) as broker, Running(broker.port, db):
        with Sender(broker.port) as sender, Subscriber(broker.port, f"{BASE}/receipt") as subscriber:
            sender.send(*Source().punches(3))
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 3)
        broker.kill()
        broker.start()
        with Subscriber(broker.port, f"{BASE}/receipt") as subscriber:
            (receipt,) = subscriber.wait_for(lambda messages: messages)

    assert (receipt.payload["upto"], receipt.payload["missing"]) == (3, [])


def test_invalid_messages_are_acknowledged_and_block_nothing(tmp_path: Path, db: Path) -> None:
    """It is kept aside; the session is empty afterwards."""
    source = Source()
    with Mosquitto(tmp_path) as broker, Sender(broker.port) as sender:
        with Running(broker.port, db):
            sender.publish(("punch/lobby", b"{"), ("info", b"[]"), ("batch", b""), ("punch/lobby", b"\xff"))
            sender.send(*source.punches(1))
            wait_for(db, 1)
        with open_readonly(db) as connection:
            assert connection.exec_driver_sql(
                "SELECT reason, times FROM rejected ORDER BY topic, reason"
            ).fetchall() == [
                ("not_json", 1),
                ("not_info", 1),
                ("not_json", 1),
                ("not_json", 1),
            ]
        with Running(broker.port, db):
            sender.send(*source.punches(1))
            wait_for(db, 2)
        with open_readonly(db) as connection:
            assert connection.exec_driver_sql("SELECT sum(times) FROM rejected").fetchone() == (4,)


def test_qos_0_messages_are_not_acknowledged(tmp_path: Path, db: Path) -> None:
    """It is stored, and an acknowledgement of nothing does not end the connection."""
    source = Source()
    with (
        Mosquitto(tmp_path) as broker,
        capture_logs() as log,
        Running(broker.port, db),
        Sender(broker.port) as sender,
    ):
        sender.publish(("punch/lobby", payload(source.punch(1))), qos=0)
        wait_for(db, 1)
        sender.send(source.punch(2))
        wait_for(db, 2)

    assert "broker_lost" not in [line["event"] for line in log]
    check_whole(db, source)


def test_receipts_are_written_only_when_something_changed(tmp_path: Path, db: Path, monkeypatch: Any) -> None:
    """However often it is looked, a receipt states something else than the one before."""
    monkeypatch.setattr(inbox_receipts, "RECEIPT_INTERVAL_S", 0.02)
    source = Source()
    looks: list[int] = []
    with (
        Mosquitto(tmp_path) as broker,
        Running(broker.port, db) as running,
        Sender(broker.port) as sender,
        Subscriber(broker.port, f"{BASE}/receipt") as subscriber,
    ):
        look = running.store.receipts

        def counted() -> Iterator[Receipt]:
            looks.append(1)
            return look()

        running.store.receipts = counted  # type: ignore[method-assign]
        for upto in (1, 2, 3):
            sender.send(*source.punches(1))
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == len(source.events))
            sender.send(*source.events)  # again
            sender.publish(("info", source.info()))
            before = len(looks)
            eventually(lambda before=before: len(looks) > before + 5)  # type: ignore[misc]
            assert [receipt["upto"] for receipt in receipts(subscriber)] == list(range(1, upto + 1))


def test_a_receipt_that_is_refused_is_logged_once(tmp_path: Path, db: Path, monkeypatch: Any) -> None:
    """The broker's access list forgot the centre; what is received is stored all the same."""
    monkeypatch.setattr(inbox_receipts, "RECEIPT_INTERVAL_S", 0.02)
    source = Source()
    acl = "topic read #\ntopic write hadir/v1/+/+/punch/+\n"
    with (
        Mosquitto(tmp_path, acl=acl) as broker,
        capture_logs() as log,
        Running(broker.port, db),
        Sender(broker.port) as sender,
    ):
        for count in (1, 2, 3):
            sender.send(*source.punches(1))
            wait_for(db, count)
            eventually(lambda: "receipt_refused" in [line["event"] for line in log], what="the refusal")

    assert [line["event"] for line in log].count("receipt_refused") == 1
    check_whole(db, source)


def test_a_refused_receipt_is_written_again(db: Path, monkeypatch: Any) -> None:
    """A broker may refuse for the moment (quota exceeded): the receipt must not wait for the next event."""
    monkeypatch.setattr(inbox_receipts, "RECEIPT_INTERVAL_S", 0.02)
    monkeypatch.setattr(inbox_receipts, "RECEIPT_RETRY_S", 0.05)
    codes = iter([0x97, 0x97, 0])

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            return connack()
        if packet.kind == SUBSCRIBE:
            return suback(packet.mid, *[1] * len(TOPICS)) + delivery(1, Source().punch(1))
        return puback(packet.mid, next(codes)) if packet.kind == PUBLISH else None

    with FakeBroker(answer) as broker, capture_logs() as log, Running(broker.port, db, admitted=False):
        eventually(lambda: len(broker.published("/receipt")) == 3, what="the third receipt")

    assert [line["event"] for line in log].count("receipt_refused") == 1


def test_the_cost_of_receipts_is_linear_in_the_number_of_gateways(db: Path) -> None:
    """Receipts in flight are looked up by gateway, not searched."""
    compared: list[str] = []

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(self)
            return str.__eq__(self, other)

    gateways = 2000
    store = Store(db)
    inbox = Inbox(Broker("127.0.0.1", 1, tls=False), store)
    inbox._client = inbox_broker.new_client(Broker("127.0.0.1", 1, tls=False), "hadir-central", inbox._mailbox)
    names = [Name(f"site/gw-{number}") for number in range(gateways)]
    store.receipts = lambda: iter([Receipt(name, "s", HeldRange(1, ())) for name in names])  # type: ignore[method-assign]

    inbox._write_receipts(at_once=True)

    assert len(inbox._receipts.in_flight) == gateways
    assert len(compared) < 10 * gateways
    store.close()


def test_a_refused_subscription_is_logged_and_tried_later(db: Path) -> None:
    """Without it nothing would ever come; the reason names the topics."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            return connack()
        if packet.kind == SUBSCRIBE:
            return bytes([SUBACK, 3 + len(TOPICS)]) + packet.body[:2] + b"\0" + b"\x87" + b"\1" * (len(TOPICS) - 1)
        return None

    with FakeBroker(answer) as broker, capture_logs() as log, Running(broker.port, db, admitted=False):
        eventually(lambda: log, what="the complaint")

    assert log[0]["event"] == "broker_lost"
    assert TOPICS[0] in log[0]["reason"]
    assert TOPICS[1] not in log[0]["reason"]
    assert "access list" in log[0]["reason"]


def test_a_refused_login_is_reported_as_text(tmp_path: Path, db: Path) -> None:
    """Once, with what to check."""
    with (
        Mosquitto(tmp_path, users={"centre": "secret"}) as broker,
        capture_logs() as log,
        Running(broker.port, db, admitted=False),
    ):
        eventually(lambda: log, what="the complaint")

    assert [line["event"] for line in log] == ["broker_lost"]
    assert "refuses the connection" in log[0]["reason"]
    assert "password" in log[0]["reason"]


def admitting(last: bytes) -> Callable[[Packet], bytes | None]:
    """Return a broker that ends each connection as soon as it works, with ``last`` as its last words."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == SUBSCRIBE:
            granted = bytes([SUBACK, 3 + len(TOPICS)]) + packet.body[:2] + b"\0" + b"\1" * len(TOPICS)
            raise Closing(granted + last)
        return connack() if packet.kind == CONNECT else None

    return answer


def test_a_second_inbox_with_the_same_client_id_is_reported(db: Path, monkeypatch: Any) -> None:
    """A broker that gives this reason is left alone for long; each of the two would throw the other out for ever."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.01)
    monkeypatch.setattr(inbox_broker, "TAKEN_OVER_PAUSE_S", (100_000.0, 100_000.0))

    with FakeBroker(admitting(TAKEN_OVER)) as broker, capture_logs() as log, Running(broker.port, db, admitted=False):
        eventually(lambda: any("--client-id" in line.get("reason", "") for line in log), what="the explanation")
        assert broker.connections == 1

    (lost,) = (line for line in log if line["event"] == "broker_lost")
    assert lost["retry_s"] == 1000


def test_connections_that_end_without_a_reason_are_explained_and_slow_down(db: Path, monkeypatch: Any) -> None:
    """Some brokers do not say that another client has come; nor does one that crashes: the pauses grow to a minute."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.001)

    with FakeBroker(admitting(b"")) as broker, capture_logs() as log, Running(broker.port, db, admitted=False):
        eventually(lambda: broker.connections >= 12)

    lost = [line for line in log if line["event"] == "broker_lost"]
    assert ["--client-id" in line["reason"] for line in lost[:4]] == [False, False, True, True]
    assert max(line["retry_s"] for line in lost) <= 0.1  # a thousandth of a minute, rounded


def test_a_repeatedly_crashing_broker_is_reconnected_soon(tmp_path: Path, db: Path, monkeypatch: Any) -> None:
    """It keeps what it knows, and begins anew while the inbox has not even tried: no second client is suspected."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.1)
    monkeypatch.setattr(inbox_broker, "TAKEN_OVER_PAUSE_S", (1000.0, 1000.0))
    source = Source()
    source.punches(5)
    with Mosquitto(tmp_path, persistent=True) as broker, capture_logs() as log, Running(broker.port, db):
        for crash, event in enumerate(source.events, 1):
            with Sender(broker.port) as sender:
                sender.send(event)
            wait_for(db, crash)
            broker.kill()
            broker.start()
            eventually(lambda: [line["event"] for line in log].count("broker_found") == crash + 1)  # noqa: B023 - waited for here

    lost = [line["retry_s"] for line in log if line["event"] == "broker_lost"]
    assert len(lost) >= 5
    assert max(lost) <= 60
    check_whole(db, source)


def test_numbers_and_times_of_a_receipt_follow_the_contract(tmp_path: Path, db: Path) -> None:
    """Integers, UTC; ranges as pairs."""
    source = Source()
    source.punches(9)
    with (
        Mosquitto(tmp_path) as broker,
        Running(broker.port, db) as running,
        Sender(broker.port) as sender,
        Subscriber(broker.port, f"{BASE}/receipt") as subscriber,
    ):
        sender.send(*source.events[:2], source.events[4], *source.events[7:])
        wait_for(db, 5)
        running.clock.ahead_s += GAP_GRACE_S
        subscriber.wait_for(lambda messages: messages and messages[-1].payload["missing"])
        text = subscriber.on("/receipt")[-1].text

    contract.check("receipt", text, strict=False)
    assert json.loads(text)["missing"] == [[3, 4], [6, 7]]
