"""No PIN, name or body is shown by the commands that publish: `hadir courier send` and the doctor's trial publish."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import RawPunch
from gateway.bundle import RECEIPT, Header, Writer, public_text, signing_key
from gateway.cli import main
from gateway.ledger import Ledger
from gateway.mqtt.bounded_client import BoundedClient
from tests.broker import CONNECT, SUBSCRIBE, Broker, FakeBroker, Packet, connack, eventually, suback
from tests.gateway.mqtt.test_bounded_client import PREFIX
from tests.gateway.mqtt.test_broker_faults import inbox
from tests.gateway.mqtt.test_privacy import WAYS, Failing, fill
from tests.gateway.mutated_messages import SOURCE
from tests.gateway.test_privacy import CANARIES, MORNING, PIN, RAW, context, shown
from tests.gateway.test_privacy_of_files import WRITES, WritePlan, full

__all__ = ["shown"]


def answering(failing: Failing, packet: Packet) -> bytes | None:
    """Answer as a broker does that grants every subscription and fails one message."""
    usual = {CONNECT: connack(), SUBSCRIBE: suback(packet.mid, 0)}.get(packet.kind)
    return usual or failing.answer(packet)


def hadir(patch: pytest.MonkeyPatch, stream: io.StringIO, *arguments: object) -> int:
    """Run a command in this process, with its output in the stream; return its exit code."""
    patch.setattr(sys, "argv", ["hadir", *map(str, arguments)])
    patch.setattr(sys, "stdout", stream)
    patch.setattr(sys, "stderr", stream)
    patch.setenv("HADIR_DEBUG", "1")
    try:
        main()
    except SystemExit as exc:
        return int(exc.code or 0)
    return 0


def check(failing: Failing, stream: io.StringIO) -> None:
    """Assert that a message with canaries failed, and that nothing of it is shown."""
    assert failing.payloads
    assert CANARIES.search(failing.payloads[0].decode()), "there was something to show"
    text = stream.getvalue()
    assert text.strip(), "the command reports something"
    found = CANARIES.search(text)
    assert found is None, text[max(0, found.start() - 500) : found.end() + 100]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Return how the publish fails, once."""
    return str(request.param)


def installed(failing: Failing, patch: pytest.MonkeyPatch) -> None:
    """Put the failure in front of the library's method."""

    def publish(client: BoundedClient, *args: Any, **kwargs: Any) -> Any:
        return failing.publish(client, *args, **kwargs)

    patch.setattr(BoundedClient, "publish", publish, raising=False)


def bundled(folder: Path) -> str:
    """Write a ledger of punches with canaries and a bundle of it; return its key, as the command takes it."""
    with closing(Ledger(folder / "data", SOURCE)) as ledger:
        ledger.pin_serial("lobby", "S")
        for second in range(8):
            at = MORNING + timedelta(seconds=second)
            ledger.record_live(context("live"), RawPunch(PIN, None, at, 0, 1, "CANARYWC", RAW))
        key = signing_key(folder / "data")
        header = Header(SOURCE, PREFIX.removesuffix("/"), public_text(key), "2026-09-07T01:00:00.000Z")
        writer = Writer(folder / "bundle", header, key)
        for event in ledger.events(0, 100):
            writer.add(event.body)
        writer.flush()
        writer.finish(0)
        writer.close()
    return f"{SOURCE.removeprefix('/hadir/')}={public_text(key)}"


def attempt(
    stream: io.StringIO, command: Sequence[object], target: int | None, failure: Callable[[str], Exception]
) -> WritePlan:
    """Run a command in which one write fails; return which writes there were."""
    plan = WritePlan(target, failure)
    with pytest.MonkeyPatch.context() as patch:
        plan.install(patch)
        assert (hadir(patch, stream, *command) == 0) == (target is None)
    return plan


def test_courier_send_shows_nothing_of_a_message_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: io.StringIO, way: str
) -> None:
    """Whether the library raises, does not take it, or the broker refuses it or ends the connection."""
    failing = Failing("batch", way)
    installed(failing, monkeypatch)
    key = bundled(tmp_path)
    with FakeBroker(lambda packet: answering(failing, packet)) as broker:
        arguments = (tmp_path / "bundle", "--broker", broker.url, "--key", key)
        hadir(monkeypatch, shown, "courier", "send", *arguments, "--wait", "1s")
    check(failing, shown)


@pytest.mark.parametrize("failure", [full, ValueError], ids=["full", "unforeseen"])
def test_courier_send_shows_nothing_where_the_receipt_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: io.StringIO, failure: Callable[[str], Exception]
) -> None:
    """Every write of it fails once, with canaries in the error; the next attempt writes the receipt."""
    key = bundled(tmp_path)
    receipt = tmp_path / "bundle" / RECEIPT
    with Broker(tmp_path) as broker, inbox(broker.port, tmp_path / "centre.db"):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        command = ("courier", "send", tmp_path / "bundle", "--broker", broker.url, "--key", key)
        assert hadir(monkeypatch, shown, *command) == 0
        writes = attempt(shown, command, None, failure).writes
        assert set(writes) == set(WRITES)
        for number in range(1, len(writes) + 1):
            receipt.unlink()
            before = shown.tell()
            attempt(shown, command, number, failure)
            text = shown.getvalue()[before:]
            assert text.strip(), "the command reports something"
            found = CANARIES.search(text)
            assert found is None, text[max(0, found.start() - 500) : found.end() + 100]
            assert hadir(monkeypatch, shown, *command) == 0
            assert receipt.exists()


def test_the_doctors_trial_shows_nothing_of_a_message_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: io.StringIO, way: str
) -> None:
    """It publishes the newest punch again."""
    failing = Failing("punch", way)
    installed(failing, monkeypatch)
    with closing(Ledger(tmp_path / "data", SOURCE)) as ledger:
        fill(ledger, "punch")
        ledger.mark_sent([event.sequence for event in ledger.pending(0, 10)])
        ledger.flush_marks()
    site, gateway = SOURCE.removeprefix("/hadir/").split("/")
    with FakeBroker(lambda packet: answering(failing, packet)) as broker:
        config = tmp_path / "gateway.yaml"
        config.write_text(
            f"site: {site}\ngateway: {gateway}\ntimezone: Asia/Jakarta\ndata_dir: data\nweb: null\n"
            f"mqtt: {{url: '{broker.url}'}}\n"
            "terminals:\n  - {name: lobby, driver: zkteco, address: '127.0.0.1:9', timeout: 200ms}\n"
        )
        with suppress(OSError):
            hadir(monkeypatch, shown, "doctor", "-c", config, "--report", tmp_path / "report.txt")
    shown.writelines(report.read_text() for report in tmp_path.glob("report*"))
    check(failing, shown)
