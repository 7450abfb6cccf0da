"""Faults of brokers and lines, from the ledger to the real inbox: reported once, no loop, mended when they are over."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from central import inbox as centre
from central.report import open_readonly, report, verify
from central.store import Store
from gateway.ledger import delivery as ledger_delivery
from gateway.mqtt.timing import PAUSES, Timing
from gateway.pause import Pause
from tests.authority import Authority
from tests.broker import CONNACK, WAIT_S, Broker, Packet, Proxy, Subscriber, eventually
from tests.gateway.mqtt.test_publisher import Log, Office, named

COUNTED = Timing(
    pauses={**PAUSES, "unreachable": Pause(0.3, 0.6), "refused": Pause(0.3, 0.6)},
    missing_check_s=0.1,
)
"""Pauses that a test can wait for, and can count attempts in."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resend after an interval that a test can wait for."""
    monkeypatch.setattr(ledger_delivery, "RESEND_INTERVAL_MS", 300)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open one office."""
    office = Office(tmp_path, timing=COUNTED)
    yield office
    office.close()


@pytest.fixture
def logs() -> Iterator[list[Log]]:
    """Collect what is logged."""
    with capture_logs() as entries:
        yield entries


@contextmanager
def inbox(port: int, db: Path) -> Iterator[None]:
    """Run a centre; its gaps count as such at once."""
    store = Store(db, monotonic_s=Ahead())
    running = centre.Inbox(centre.Broker("127.0.0.1", port, tls=False), store)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield
    finally:
        running.stop()
        thread.join(WAIT_S)
        store.close()


class Ahead:
    """A monotonic clock on which a minute passes each time it is looked at."""

    def __init__(self) -> None:
        self._s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        self._s += 60.0
        return self._s


def check_whole(db: Path, count: int) -> None:
    """Assert that the centre holds everything once, in an unbroken chain."""
    with open_readonly(db) as connection:
        assert list(verify(connection)) == []
        (stream,) = report(connection).streams
    assert (stream.punches, stream.missing, stream.chain.state) == (count, [], "unbroken")


def confirmed(office: Office, count: int) -> None:
    """Wait until the centre has confirmed so many events."""
    eventually(lambda: office.ledger.counts().confirmed == count, what="the centre's confirmation")


def info(office: Office) -> list[tuple[str, dict[str, Any]]]:
    """Return what a gateway states of its numbering when it connects."""
    ledger = office.ledger
    return [("info", {"stream": ledger.stream, "sequence": ledger.assigned(), "predecessor": None})]


@pytest.mark.parametrize("options", [{}, {"protocol": "3.1.1"}], ids=["5", "3.1.1"])
def test_the_real_inbox_finds_what_a_full_queue_dropped_and_gets_it(
    office: Office, tmp_path: Path, options: dict[str, Any]
) -> None:
    """A consumer that was away longer than its queue: the broker acknowledged, dropped, and reported nothing."""
    db = tmp_path / "centre.db"
    with Broker(tmp_path, "max_queued_messages 10") as broker:
        with inbox(broker.port, db):
            eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        office.punches(300)
        office.publisher(broker.url, introduction=lambda: info(office), **options)
        office.all_sent()
        with inbox(broker.port, db):
            confirmed(office, 300)
    check_whole(db, 300)


def test_a_broker_that_forgets_everything_at_a_restart(office: Office, tmp_path: Path) -> None:
    """Without persistence, killed with acknowledged messages that no subscriber had received."""
    db = tmp_path / "centre.db"
    with Broker(tmp_path) as broker:
        with inbox(broker.port, db):
            eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        office.punches(200)
        office.publisher(broker.url, introduction=lambda: info(office))
        office.all_sent()
        broker.kill()
        broker.start()
        with inbox(broker.port, db):
            confirmed(office, 200)
    check_whole(db, 200)


@pytest.mark.parametrize("fault", ["expired", "revoked"])
def test_a_client_certificate_that_is_no_longer_good(
    office: Office, tmp_path: Path, logs: list[Log], fault: str
) -> None:
    """One line that reports it, and pauses; a good certificate in its place is taken without a restart."""
    authority = Authority(tmp_path, "centre")
    server, good = authority.issue("server"), authority.issue("good", "3602-bkpsdm/gw-01")
    bad = authority.issue("bad", "3602-bkpsdm/gw-01", expired=fault == "expired")
    if fault == "revoked":
        authority.revoke(bad)
    lines = (
        *(f"certfile {server.certificate}", f"keyfile {server.key}", f"cafile {authority.ca}"),
        *("require_certificate true", "use_identity_as_username true", f"crlfile {authority.revoked}"),
    )
    certificate, key = tmp_path / "gateway.pem", tmp_path / "gateway.key"
    certificate.write_bytes(bad.certificate.read_bytes())
    key.write_bytes(bad.key.read_bytes())
    key.chmod(0o600)
    with Broker(tmp_path, *lines) as broker:
        office.punches(3)
        publisher = office.publisher(
            broker.url.replace("mqtt:", "mqtts:"),
            ca_file=str(authority.ca),
            cert_file=str(certificate),
            key_file=str(key),
        )
        eventually(lambda: broker.log.count("OpenSSL Error") >= 2, what="the second attempt")
        assert not publisher.connected
        (line,) = named(logs, "broker_lost")
        assert "certificate (expired, revoked" in line["reason"]
        key.write_bytes(good.key.read_bytes())
        certificate.write_bytes(good.certificate.read_bytes())
        eventually(lambda: publisher.connected)
        eventually(lambda: named(logs, "topic_unheard"))  # there is no subscriber: it was admitted, and published


def test_a_name_that_does_not_resolve(
    office: Office, tmp_path: Path, logs: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that reports it, attempts with pauses between them, and all is well when the name is there."""
    resolve, requested, broken = socket.getaddrinfo, [], threading.Event()
    broken.set()

    def lookup(host: str, *arguments: object, **options: object) -> object:
        if host != "broker.example.go.id":
            return resolve(host, *arguments, **options)  # type: ignore[arg-type]
        requested.append(host)
        if broken.is_set():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve("127.0.0.1", *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        office.punches(3)
        office.publisher(f"mqtt://broker.example.go.id:{broker.port}")
        eventually(lambda: len(requested) >= 3)
        (line,) = named(logs)
        assert "Name or service not known" in line["reason"]
        broken.clear()
        subscriber.wait_for(lambda _: len(subscriber.on("/punch/lobby")) == 3)
    assert [entry["event"] for entry in named(logs)][:2] == ["broker_lost", "broker_found"]


class Swallowing(Proxy):
    """A line that dies in silence: from some moment on, nothing comes back, and nothing reports it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.dead = threading.Event()

    def passed_on(self, packet: Packet) -> bytes:
        """Pass nothing on once dead; a new connection lives."""
        if packet.kind == CONNACK:
            self.dead.clear()
        return b"" if self.dead.is_set() else packet.whole


def test_a_line_that_dies_in_silence_is_left_at_the_keep_alive(office: Office, tmp_path: Path, logs: list[Log]) -> None:
    """What was on its way goes again over another connection."""
    with Broker(tmp_path) as broker, Swallowing(broker.port) as line, Subscriber(broker.port) as subscriber:
        publisher = office.publisher(line.url, keepalive_s=2)
        eventually(lambda: publisher.connected)
        line.dead.set()
        office.punches(3)
        eventually(lambda: named(logs, "broker_lost"))
        office.all_sent()
        subscriber.wait_for(lambda _: len(subscriber.on("/punch/lobby")) >= 3)
    assert "keep alive" in named(logs, "broker_lost")[0]["reason"].lower()
