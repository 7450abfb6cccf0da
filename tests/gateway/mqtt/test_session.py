"""One connection with a broker: its answers, its mailbox, and its end."""

import time
from pathlib import Path

import pytest

from gateway.mqtt.failure import BrokerUnavailable
from gateway.mqtt.session import (
    EVENT,
    NO_MATCHING_SUBSCRIBERS,
    NO_RETAINED,
    RETAINED,
    Acknowledged,
    Connected,
    Disconnected,
    MessageArrived,
    Session,
    Subscribed,
)
from gateway.mqtt.timing import Timing
from gateway.settings import Mqtt
from tests.broker import CONNECT, DISCONNECT, WAIT_S, Broker, Closing, FakeBroker, Packet, Subscriber, connack

PREFIX = "hadir/v1/a/gw"


def opened(url: str, *, protocol: int | str = 5, timing: Timing | None = None) -> Session:
    """Return a session that is not connected yet."""
    return Session(Mqtt.model_validate({"url": url, "protocol": protocol}), "me", PREFIX, timing=timing or Timing())


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_a_session_subscribes_receives_and_publishes(tmp_path: Path, protocol: int | str) -> None:
    """Each answer of the broker is an item; a message waits in the mailbox."""
    with Broker(tmp_path) as broker, Subscriber(broker.port, f"{PREFIX}/#") as centre:
        centre.publish(f"{PREFIX}/receipt", {"upto": 3}, retain=True)
        session = opened(broker.url, protocol=protocol)
        try:
            answer = session.connect()
            assert isinstance(answer, Connected)
            assert answer.code == 0
            session.subscribe({"receipt": RETAINED, "cmd/+": NO_RETAINED})
            granted = session.wait_for(Subscribed, timeout_s=WAIT_S)
            assert granted is not None
            assert [reason.value for reason in granted.reasons] == [1, 1]
            statements = session.mailbox.take()[0]
            if not statements:
                assert session.wait_for(MessageArrived, timeout_s=WAIT_S)
                statements = session.mailbox.take()[0]
            assert statements["receipt"].payload == b'{"upto": 3}'
            mid, broken = session.publish("punch/lobby", b"{}", EVENT)
            assert broken is None
            sent = session.wait_for(Acknowledged, timeout_s=WAIT_S)
            assert sent is not None
            assert (sent.mid, sent.code) == (mid, 0)
            centre.wait_for(lambda _: centre.on("/punch/lobby"))
        finally:
            session.close(gracefully=True)
        assert session.client.socket() is None


def test_a_topic_without_a_subscriber_is_an_acknowledgement_with_a_code(tmp_path: Path) -> None:
    """It is for the caller to judge."""
    with Broker(tmp_path) as broker:
        session = opened(broker.url)
        try:
            session.connect()
            session.publish("punch/lobby", b"{}", EVENT)
            sent = session.wait_for(Acknowledged, timeout_s=WAIT_S)
        finally:
            session.close(gracefully=True)
    assert sent is not None
    assert sent.code == NO_MATCHING_SUBSCRIBERS


def test_a_broker_that_says_nothing_has_no_answer() -> None:
    """After the time for it; what else is in the inbox goes to the caller meanwhile."""
    others: list[object] = []
    with FakeBroker(lambda _: None) as fake:
        session = opened(fake.url, timing=Timing(connect_s=0.3))
        session.inbox.put("alarm")
        try:
            assert session.connect(other=others.append) is None
        finally:
            session.close(gracefully=False)
    assert others == ["alarm"]


def test_the_caller_ends_the_waiting_by_an_exception() -> None:
    """So that a stop is not kept waiting."""

    def stop(_item: object) -> None:
        raise KeyboardInterrupt

    with FakeBroker(lambda _: None) as fake:
        session = opened(fake.url, timing=Timing(connect_s=600.0))
        session.inbox.put("stop")
        try:
            with pytest.raises(KeyboardInterrupt):
                session.connect(other=stop)
        finally:
            session.close(gracefully=False)


def test_an_end_says_whether_the_broker_gave_the_reason() -> None:
    """A DISCONNECT, or a connection that breaks."""
    ends = []
    for last in (bytes([DISCONNECT, 1, 0x8B]), b""):

        def answer(packet: Packet, last: bytes = last) -> bytes | None:
            if packet.kind == CONNECT:
                raise Closing(connack() + last)
            return None

        with FakeBroker(answer) as fake:
            session = opened(fake.url)
            try:
                assert isinstance(session.connect(), Connected)
                end = session.wait_for(Disconnected, timeout_s=WAIT_S)
            finally:
                session.close(gracefully=False)
        assert end is not None
        ends.append(end.by_broker)
    assert ends == [True, False]


def test_items_of_an_earlier_session_are_not_its_answers() -> None:
    """Sessions may share one inbox."""
    with FakeBroker(lambda packet: connack() if packet.kind == CONNECT else None) as fake:
        session = opened(fake.url)
        session.inbox.put((object(), Connected(0x87, "another", 1, 1)))
        try:
            answer = session.connect()
        finally:
            session.close(gracefully=False)
    assert isinstance(answer, Connected)
    assert answer.code == 0


def test_no_connection_is_an_error_of_the_system() -> None:
    """Which the caller puts into words."""
    session = opened("mqtt://127.0.0.1:9")
    with pytest.raises(ConnectionRefusedError):
        session.connect()
    session.close(gracefully=False)


def test_a_file_that_cannot_be_used_is_named_before_connecting(tmp_path: Path) -> None:
    """With the cause."""
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = Mqtt.model_validate({"url": "mqtts://127.0.0.1:9", "ca_file": "ca.pem"}, context={"folder": tmp_path})
    with pytest.raises(BrokerUnavailable, match="TLS files cannot be used") as caught:
        Session(settings, "me", PREFIX, timing=Timing())
    assert (caught.value.cause, caught.value.pause) == ("files", "refused")


def test_closing_does_not_wait_for_a_broker_that_has_stopped_reading(tmp_path: Path) -> None:
    """A moment for the DISCONNECT, not the keep-alive."""
    with Broker(tmp_path) as broker:
        session = opened(broker.url)
        assert isinstance(session.connect(), Connected)
        broker.freeze()
        begun = time.monotonic()
        session.close(gracefully=True)
        assert time.monotonic() - begun < 25, "it waited for the keep-alive"
