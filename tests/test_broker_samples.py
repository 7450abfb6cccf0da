"""The settings for the centre's broker that docs/broker/ shows, on a real mosquitto, just as they are there."""

import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from central import inbox as centre
from central.store import Store
from gateway.mqtt.publisher import Publisher
from tests.authority import Authority
from tests.broker import WAIT_S, Broker, eventually, program
from tests.gateway.mqtt.test_publisher import Office

SAMPLES = Path(__file__).parent.parent / "docs" / "broker"
OURS, THEIRS = "3602-bkpsdm/gw-01", "3602-bkpsdm/gw-02"
OTHER_OFFICE = "3604-dinkes/gw-01"
PASSWORD = "rahasia"
WRITTEN = (
    *("punch/lobby", "quarantine/lobby", "note", "note/lobby", "batch", "tally/lobby", "state", "info", "health"),
    *("terminal/lobby/state", "alarm", "reply/poll", "reply/me/1"),
)
"""Below its prefix, what a gateway publishes."""
READ = ("receipt", "cmd/poll")


class Sample(NamedTuple):
    """A broker as the samples make it."""

    port: int
    authority: Authority


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    """Run mosquitto with the sample files; only where they lie and the port are a test's own."""
    authority = Authority(tmp_path, "centre")
    server = authority.issue("server")
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text((SAMPLES / "acl").read_text("utf-8"))
    acl.chmod(0o600)
    passwords.touch(0o600)
    for name in (OURS, THEIRS, OTHER_OFFICE, "centre"):
        subprocess.run([program("mosquitto_passwd"), "-b", str(passwords), name, PASSWORD], check=True)
    broker = Broker(tmp_path)
    text = (SAMPLES / "mosquitto.conf").read_text("utf-8")
    for written, here in {
        "listener 8883": f"listener {broker.port} 127.0.0.1",
        "/etc/mosquitto/certs/server.pem": str(server.certificate),
        "/etc/mosquitto/certs/server.key": str(server.key),
        "/etc/mosquitto/passwords": str(passwords),
        "/etc/mosquitto/acl": str(acl),
        "/var/lib/mosquitto/": f"{tmp_path}/",
    }.items():
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    broker.configure(text + "user root\n")  # it counts only where root starts it: the files here are root's
    with broker:
        yield Sample(broker.port, authority)


class Client:
    """A user of the broker: which topics it may publish to, and which of others it receives."""

    def __init__(self, sample: Sample, name: str, password: str = PASSWORD, hears: str | None = None) -> None:
        self.received: list[str] = []
        self._answers: dict[int, ReasonCode] = {}
        self._ready = threading.Event()
        self.refused: str | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        self._client.username_pw_set(name, password)
        self._client.tls_set(ca_certs=str(sample.authority.ca), tls_version=ssl.PROTOCOL_TLS_CLIENT)

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
            if reason.is_failure:
                self.refused = str(reason)
            elif hears is not None:
                client.subscribe(hears, 1)
                return
            self._ready.set()

        self._client.on_connect = on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _u, message: self.received.append(message.topic)
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._answers.update({mid: reason})
        self._client.connect("127.0.0.1", sample.port)
        self._client.loop_start()
        assert self._ready.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def may_write(self, topic: str, *, retain: bool = False, payload: str = "{}") -> bool:
        """Publish, and return whether the broker took it."""
        mid = self._client.publish(topic, payload, 1, retain).mid
        eventually(lambda: mid in self._answers, what="the broker's answer")
        return self._answers[mid].value != 0x87


def below(gateway: str, *topics: str) -> list[str]:
    """Return whole topics of a gateway."""
    return [f"hadir/v1/{gateway}/{topic}" for topic in topics]


@pytest.mark.parametrize("gateway", [OURS, OTHER_OFFICE])
def test_a_gateway_writes_all_that_is_its_own_and_the_centre_reads_it(sample: Sample, gateway: str) -> None:
    """With a name and a password for each office, and no rule of its own."""
    with Client(sample, "centre", hears="hadir/v1/#") as reader, Client(sample, gateway) as client:
        assert [topic for topic in below(gateway, *WRITTEN) if not client.may_write(topic)] == []
        eventually(lambda: len(reader.received) == len(WRITTEN))
        assert sorted(reader.received) == sorted(below(gateway, *WRITTEN))


@pytest.mark.parametrize("gateway", [THEIRS, OTHER_OFFICE])
def test_a_gateway_writes_nothing_else(sample: Sample, gateway: str) -> None:
    """No receipt or command for itself, and nothing at all in the place of another."""
    elsewhere = [
        *below(OURS, *READ, "punch", "punch/lobby/deeper", "anything"),
        *below(gateway, *WRITTEN, *READ),
        *("hadir/v1/receipt", "hadir/v2/3602-bkpsdm/gw-01/punch/lobby", "other"),
        "hadir/result/v1/dinas/day",
    ]
    with Client(sample, "centre", hears="#") as reader, Client(sample, OURS) as client:
        assert [topic for topic in elsewhere if client.may_write(topic)] == []
        (allowed,) = below(OURS, "alarm")
        assert client.may_write(allowed)
        eventually(lambda: allowed in reader.received)
        assert reader.received == [allowed]


def test_a_gateway_reads_receipts_and_commands_and_nothing_of_others(sample: Sample) -> None:
    """Whatever it subscribes to: also what is retained, and what the centre sends to others, does not reach it."""
    with Client(sample, "centre") as writer, Client(sample, OTHER_OFFICE) as stranger, Client(sample, THEIRS) as theirs:
        for topic in below(THEIRS, "state", "info", "health"):
            assert theirs.may_write(topic, retain=True)
        assert writer.may_write(*below(THEIRS, "receipt"), retain=True)
        with Client(sample, OURS, hears="#") as ours:
            assert all(theirs.may_write(topic) for topic in below(THEIRS, *WRITTEN))
            assert all(stranger.may_write(topic) for topic in below(OTHER_OFFICE, *WRITTEN))
            assert all(writer.may_write(topic) for topic in below(THEIRS, *READ) + below(OTHER_OFFICE, *READ))
            assert all(ours.may_write(topic) for topic in below(OURS, *WRITTEN))
            assert all(writer.may_write(topic) for topic in below(OURS, *READ))
            eventually(lambda: below(OURS, "cmd/poll")[0] in ours.received)
            assert ours.received == below(OURS, "info", *READ)


def test_the_centre_writes_receipts_commands_and_results_only(sample: Sample) -> None:
    """It cannot make evidence, not even by mistake; and no gateway reads results."""
    with Client(sample, "centre") as writer, Client(sample, OURS, hears="#") as ours:
        assert writer.may_write("hadir/result/v1/dinas/day")
        assert writer.may_write("hadir/result/v1/dinas/summary", retain=True)
        assert [topic for topic in below(OURS, *READ) if not writer.may_write(topic)] == []
        assert [topic for topic in below(OURS, *WRITTEN) if writer.may_write(topic)] == []
        eventually(lambda: len(ours.received) == len(READ))
        assert ours.received == below(OURS, *READ)


@pytest.mark.parametrize(("name", "password"), [(OURS, "falsch"), ("3602-bkpsdm/+", PASSWORD), ("", "")])
def test_other_clients_are_refused(sample: Sample, name: str, password: str) -> None:
    """A wrong password, an unknown name, no name."""
    with Client(sample, name, password) as client:
        assert client.refused is not None


def test_end_to_end_with_the_samples(sample: Sample, tmp_path: Path) -> None:
    """The real publisher, over TLS and with these rights, gets its events confirmed by the real inbox."""
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    store = Store(tmp_path / "centre.db")
    where = centre.Broker("127.0.0.1", sample.port, True, "centre", secret, sample.authority.ca)
    inbox = centre.Inbox(where, store)
    thread = threading.Thread(target=inbox.run)
    thread.start()
    office = Office(tmp_path)
    try:
        office.punches(300)
        publisher: Publisher = office.publisher(
            f"mqtts://127.0.0.1:{sample.port}",
            username=OURS,
            password_file=str(secret),
            ca_file=str(sample.authority.ca),
            delivery={"batch_from": 20},
        )
        eventually(lambda: office.ledger.counts().confirmed == 300, what="the centre's receipt")
        assert publisher.status_text == "connected"
    finally:
        office.close()
        inbox.stop()
        thread.join(WAIT_S)
        store.close()


def test_the_list_for_emqx_is_equivalent() -> None:
    """The same topics, for the same people, written and read."""
    rules = re.findall(
        r'\{allow, \{username, "([^"]+)"\}, (\w+), \[([^\]]+)\]\}\.', (SAMPLES / "emqx-acl.conf").read_text("utf-8")
    )
    theirs = {(name, verb, topic) for name, verb, topics in rules for topic in re.findall(r'"([^"]+)"', topics)}
    ours: set[tuple[str, str, str]] = set()
    for line in (SAMPLES / "acl").read_text("utf-8").splitlines():
        if line.startswith(("pattern ", "topic ")):
            kind, right, topic = line.split()
            name = OURS if kind == "pattern" else "centre"
            verbs = {"write": ("publish",), "read": ("subscribe",), "readwrite": ("publish", "subscribe")}[right]
            ours |= {(name, verb, topic.replace("%u", OURS)) for verb in verbs}
    assert ours
    assert theirs == ours
