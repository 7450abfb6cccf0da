"""From a flash disk to the real inbox: everything once, in order, whatever the broker does and whatever came before."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.report import open_readonly, report, verify
from gateway import bundle as bundles
from gateway.bundle import Bundle, Header, Writer, public_text, signing_key
from gateway.commands import take_receipt
from gateway.courier import Courier, CourierDisconnected, CourierRefused
from gateway.ledger import delivery as ledger_delivery
from gateway.mqtt.timing import Timing
from gateway.settings import Mqtt
from tests.broker import (
    CONNECT,
    PUBLISH,
    SUBSCRIBE,
    Broker,
    FakeBroker,
    Packet,
    Subscriber,
    connack,
    eventually,
    puback,
    suback,
)
from tests.central.receiving import Sender
from tests.central.sealing import STREAM
from tests.gateway.mqtt.test_broker_faults import check_whole, inbox, info
from tests.gateway.mqtt.test_publisher import OTHERS_WRITE, SOURCE, Office

PREFIX = "hadir/v1/3602-bkpsdm/gw-01"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resend after an interval that a test can wait for; parts of a few events."""
    monkeypatch.setattr(bundles, "PART_BYTES", 100_000)
    monkeypatch.setattr(ledger_delivery, "RESEND_INTERVAL_MS", 300)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open one office, which no network reaches."""
    office = Office(tmp_path)
    yield office
    office.close()


def export(office: Office, name: str = "bundle") -> Bundle:
    """Write what the centre may lack onto a disk."""
    key = signing_key(office.folder)
    header = Header(SOURCE, PREFIX, public_text(key), "2026-09-07T01:00:00.000Z")
    writer = Writer(office.folder / name, header, key)
    for event in office.ledger.unsettled(0, 100_000):
        assert writer.add(event.body)
    writer.flush()
    writer.finish(0)
    bundle = Bundle(office.folder / name)
    bundle.verify()
    return bundle


def courier(url: str) -> Courier:
    """Return the courier at a connected machine."""
    return Courier(Mqtt(url=url), PREFIX, timing=Timing(ack_s=5.0), pause_s=0.05)


class Bar:
    """Counts how far a progress bar would be."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, events: int) -> None:
        """Go on."""
        self.done += events


def brought_back(office: Office, carrier: Courier) -> None:
    """Import the receipt at the gateway."""
    take_receipt(office.ledger, carrier.receipt.decode())


def test_there_and_back(office: Office, tmp_path: Path) -> None:
    """Sent, confirmed, brought back; then the network comes, and everything is at the centre once."""
    db = tmp_path / "centre.db"
    office.punches(700)
    bundle = export(office)
    assert len(bundle.parts) > 2
    with Broker(tmp_path) as broker, inbox(broker.port, db):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        carrier, bar = courier(broker.url), Bar()
        outcome = carrier.deliver(bundle, bar)
        assert (outcome.sent, outcome.held, outcome.refused, bar.done) == (700, 0, [], 700)
        assert carrier.wait_for_receipt(bundle, 20)
        assert office.waiting == 700
        brought_back(office, carrier)
        assert (office.waiting, office.ledger.counts().confirmed) == (0, 700)
        assert office.ledger.unsettled(0, 10) == []
        office.punches(50)
        office.publisher(broker.url, introduction=lambda: info(office))
        eventually(lambda: office.ledger.counts().confirmed == 750, what="the centre's confirmation")
    check_whole(db, 750)


def test_the_network_brings_the_same_later(office: Office, tmp_path: Path) -> None:
    """Without a receipt brought back nothing counts as delivered, and all comes again: still once."""
    db = tmp_path / "centre.db"
    office.punches(300)
    bundle = export(office)
    with Broker(tmp_path) as broker, inbox(broker.port, db):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        carrier = courier(broker.url)
        carrier.deliver(bundle, Bar())
        assert carrier.wait_for_receipt(bundle, 20)
        office.publisher(broker.url, introduction=lambda: info(office), delivery={"batch_from": 200})
        eventually(lambda: office.ledger.counts().confirmed == 300, what="the centre's confirmation")
    check_whole(db, 300)


def test_several_streams(office: Office, tmp_path: Path) -> None:
    """Each has parts of its own; the receipt speaks of the newest, and for the others the broker's word has to do."""
    db = tmp_path / "centre.db"
    office.punches(5)
    earlier = office.ledger.stream
    office.ledger.open_stream("restored")
    office.punches(7)
    bundle = export(office)
    assert [(part.stream, part.first, part.last) for part in bundle.parts] == [
        (earlier, 1, 5),
        (office.ledger.stream, 1, 8),
    ]
    with Broker(tmp_path) as broker, inbox(broker.port, db):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        carrier = courier(broker.url)
        assert carrier.deliver(bundle, Bar()).sent == 13
        assert carrier.wait_for_receipt(bundle, 20)
    brought_back(office, carrier)
    assert [event.sequence for event in office.ledger.unsettled(0, 100)] == [1, 2, 3, 4, 5]
    with open_readonly(db) as connection:
        assert list(verify(connection)) == []
        assert [stream.punches for stream in report(connection).streams] == [5, 7]


def test_twice_is_harmless_and_the_second_sends_what_is_lacking(office: Office, tmp_path: Path) -> None:
    """What the centre's receipt covers stays on the disk: also part of a later, larger bundle."""
    db = tmp_path / "centre.db"
    office.punches(200)
    first = export(office)
    office.punches(40)
    second = export(office, "second")
    with Broker(tmp_path) as broker, inbox(broker.port, db):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        carrier = courier(broker.url)
        assert carrier.deliver(first, Bar()).sent == 200
        assert carrier.wait_for_receipt(first, 20)
        bar = Bar()
        again = courier(broker.url).deliver(first, bar)
        assert (again.sent, again.held, bar.done) == (0, 200, 200)
        more = courier(broker.url).deliver(second, Bar())
        assert (more.sent, more.held) == (40, 200)
        assert carrier.wait_for_receipt(second, 20)
    check_whole(db, 240)


def test_a_broker_that_dies_in_the_middle(office: Office, tmp_path: Path) -> None:
    """Sending goes on by itself where it was; what was on its way may come twice."""
    db = tmp_path / "centre.db"
    office.punches(700)
    bundle = export(office)
    with Broker(tmp_path, persistent=True) as broker, inbox(broker.port, db):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        killed: list[int] = []

        def kill_once(events: int) -> None:
            if not killed:
                killed.append(events)
                broker.stop()
                broker.start()

        carrier = courier(broker.url)
        outcome = carrier.deliver(bundle, kill_once)
        assert carrier.wait_for_receipt(bundle, 30)
    assert killed
    assert outcome.sent + outcome.held == 700
    check_whole(db, 700)


def test_messages_are_those_of_the_gateway(office: Office, tmp_path: Path) -> None:
    """Arrays of the stored bytes on `batch`, in order, not retained; topics, content type and nothing else."""
    office.punches(250)
    bundle = export(office)
    with Broker(tmp_path) as broker, Subscriber(broker.port, f"{PREFIX}/#") as subscriber:
        courier(broker.url).deliver(bundle, Bar())
        eventually(lambda: sum(len(message.payload) for message in subscriber.messages) == 250)
        messages = list(subscriber.messages)
    assert {message.topic for message in messages} == {f"{PREFIX}/batch"}
    assert not any(message.retain for message in messages)
    sequences = [int(event["sequence"]) for message in messages for event in message.payload]
    assert sequences == list(range(1, 251))


def test_arrays_that_may_not_be_published(office: Office, tmp_path: Path) -> None:
    """Then every event goes on its own topic, in order."""
    office.punches(30)
    bundle = export(office)
    acl = "".join(OTHERS_WRITE.format(topic) for topic in ("punch/+", "note", "note/+", "receipt"))
    with Broker(tmp_path, acl=acl) as broker, Subscriber(broker.port, f"{PREFIX}/punch/+") as subscriber:
        outcome = courier(broker.url).deliver(bundle, Bar())
        eventually(lambda: len(subscriber.messages) == 30)
        messages = list(subscriber.messages)
    assert (outcome.sent, outcome.refused) == (30, [])
    assert [int(message.payload["sequence"]) for message in messages] == list(range(1, 31))


def test_refusals_end_it_with_the_reason(office: Office, tmp_path: Path) -> None:
    """Without a subscriber, or where the broker's list forbids it, nothing counts as sent."""
    office.punches(3)
    bundle = export(office)
    bar = Bar()
    with Broker(tmp_path) as broker, pytest.raises(CourierRefused, match="no client subscribes"):
        courier(broker.url).deliver(bundle, bar)
    (tmp_path / "other").mkdir()
    with (
        Broker(tmp_path / "other", acl="topic read #\n") as broker,
        Subscriber(broker.port, "hadir/#"),
        pytest.raises(CourierRefused, match="does not let this user publish"),
    ):
        courier(broker.url).deliver(bundle, bar)
    assert bar.done == 0


def test_a_broker_that_is_not_there_or_wants_a_login(office: Office, tmp_path: Path) -> None:
    """Each is described in plain words, after a few attempts where an attempt may help."""
    office.punches(1)
    bundle = export(office)
    with pytest.raises(CourierDisconnected, match="cannot be reached: Connection refused, 8 times in a row"):
        courier("mqtt://127.0.0.1:9").deliver(bundle, Bar())
    with Broker(tmp_path, users={"courier": "rahasia"}) as broker:
        with pytest.raises(CourierRefused, match="check --username"):
            courier(broker.url).deliver(bundle, Bar())
        secret = tmp_path / "password"
        secret.write_text("rahasia\n")
        secret.chmod(0o600)
        address = Mqtt(url=broker.url, username="courier", password_file=secret)
        with pytest.raises(CourierRefused, match="no client subscribes"):
            Courier(address, PREFIX).deliver(bundle, Bar())


def test_no_receipt_within_the_time(office: Office, tmp_path: Path) -> None:
    """A centre that keeps silent, and one that speaks of another stream, confirm nothing."""
    office.punches(2)
    bundle = export(office)
    output = {"stream": STREAM, "upto": 9, "missing": [], "at": "2026-09-04T00:31:00Z"}
    foreign = json.dumps(output)
    lacking = json.dumps({**output, "stream": office.ledger.stream, "upto": 2, "missing": [[2, 2]]})
    with Broker(tmp_path) as broker, Subscriber(broker.port, f"{PREFIX}/batch"), Sender(broker.port) as centre:
        carrier = courier(broker.url)
        carrier.deliver(bundle, Bar())
        assert not carrier.wait_for_receipt(bundle, 0.2)
        assert carrier.receipt == b""
        for receipt in (foreign, lacking):
            centre.publish(("receipt", receipt.encode()), retain=True)
            assert not carrier.wait_for_receipt(bundle, 0.2)
            assert carrier.receipt.decode() == receipt
        again = courier(broker.url).deliver(bundle, Bar())
        assert (again.sent, again.held) == (1, 1)


def test_a_broker_that_takes_no_large_messages(office: Office, tmp_path: Path) -> None:
    """It disconnects without a reason: arrays become smaller until they are accepted."""
    office.punches(200)
    bundle = export(office)
    with (
        Broker(tmp_path, "message_size_limit 5000") as broker,
        Subscriber(broker.port, f"{PREFIX}/batch") as subscriber,
    ):
        outcome = courier(broker.url).deliver(bundle, Bar())
        eventually(lambda: sum(len(message.payload) for message in subscriber.messages) == 200)
    assert (outcome.sent, outcome.refused) == (200, [])


def answering(packet: Packet) -> bytes | None:
    """Answer as a broker that refuses all arrays, and one event for good."""
    if packet.kind == CONNECT:
        return connack(receive_maximum=3)
    if packet.kind == SUBSCRIBE:
        return suback(int.from_bytes(packet.body[:2]), 1)
    if packet.kind == PUBLISH:
        refused = packet.topic.endswith("batch") or b'"sequence":"00000000000000000007"' in packet.whole
        return puback(packet.mid, 0x99 if refused else 0)
    return None


def test_an_event_that_the_broker_will_never_take(office: Office) -> None:
    """It is named, and the others go."""
    office.punches(10)
    bundle, bar = export(office), Bar()
    with FakeBroker(answering) as broker:
        outcome = courier(f"mqtt://127.0.0.1:{broker.port}").deliver(bundle, bar)
    assert (outcome.sent, outcome.refused, bar.done) == (9, [7], 10)
    assert broker.published("batch") == [f"{PREFIX}/batch"]


def test_the_rights_that_the_page_names(office: Office, tmp_path: Path) -> None:
    """The courier's user at the broker, as docs/courier.md has it: enough, and not for other topics."""
    page = (Path(__file__).parents[2] / "docs" / "courier.md").read_text("utf-8")
    block = re.search(r"```\n(user courier\n.*?)```", page, re.DOTALL)
    assert block
    office.punches(20)
    bundle = export(office)
    secret = tmp_path / "password"
    secret.write_text("rahasia")
    secret.chmod(0o600)
    acl = f"{block[1]}\nuser centre\ntopic readwrite hadir/#\n"
    users = {"courier": "rahasia", "centre": "rahasia"}
    with (
        Broker(tmp_path, users=users, acl=acl) as broker,
        Subscriber(broker.port, "hadir/v1/#", username="centre", password="rahasia") as centre,
    ):
        address = Mqtt(url=broker.url, username="courier", password_file=secret)
        assert Courier(address, PREFIX).deliver(bundle, Bar()).sent == 20
        with pytest.raises(CourierRefused, match="does not let this user publish"):
            Courier(address, "hadir/v1/3602-bkpsdm/gw-01/more").deliver(bundle, Bar())
        eventually(lambda: sum(len(message.payload) for message in centre.messages) == 20)
        assert {message.topic for message in centre.messages} == {f"{PREFIX}/batch"}
