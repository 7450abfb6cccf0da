"""A regency's broker that is bridged to the centre's, both as docs/broker/ shows them, both dying."""

import json
import subprocess
import threading
import time
from calendar import SATURDAY
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from central import inbox as centre
from central.coverage import GAP_GRACE_S
from central.policy.office import OfficePolicies
from central.registers.importing import Paper, enter_file
from central.registers.read import scan_register
from central.store import Store, results
from central.store.engine import utc
from central.timesheet.recompute import Recompute
from gateway.ledger import delivery as ledger_delivery
from tests.authority import Authority
from tests.broker import WAIT_S, Broker, eventually, program
from tests.central.receiving import held
from tests.central.store.office import OFFICE, POLICIES
from tests.gateway.mqtt.test_publisher import Office
from tests.test_broker_samples import OURS, PASSWORD, SAMPLES, Client, Sample
from tests.torture.link import Link

BRIDGE = "bridge-3602"
COUNT = 20


class Bridged:
    """A gateway, the regency's broker, a line to the centre's broker, and an inbox there that a test may stop."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.authority = Authority(folder, "authority")
        self._ahead_s = 0.0
        self.centre = self._broker("centre", "centre", BRIDGE)
        self.link = stack.enter_context(Link(self.centre.port))
        self.regency = self._broker("regency", OURS)
        self.store = Store(folder / "centre.db", monotonic_s=lambda: time.monotonic() + self._ahead_s)
        stack.callback(self.store.close)
        self._inbox: tuple[centre.Inbox, threading.Thread] | None = None
        self.receive()
        stack.callback(self.stop_receiving)
        self.office = Office(folder)
        stack.callback(self.office.close)
        self.recorded = 0
        self.office.publisher(
            f"mqtts://127.0.0.1:{self.regency.port}",
            username=OURS,
            password_file=str(self._secret()),
            ca_file=str(self.authority.ca),
        )

    def _secret(self) -> Path:
        secret = self._folder / "secret"
        secret.write_text(f"{PASSWORD}\n")
        secret.chmod(0o600)
        return secret

    def _broker(self, name: str, *users: str) -> Broker:
        """Start a broker with the samples; only where files lie, ports and short intervals are the test's own."""
        folder = self._folder / name
        folder.mkdir()
        broker = Broker(folder)
        certificate = self.authority.issue(name)
        text = (SAMPLES / "mosquitto.conf").read_text("utf-8")
        acl = (SAMPLES / "acl").read_text("utf-8")
        passwords = folder / "passwords"
        passwords.touch(0o600)
        for user in users:
            subprocess.run([program("mosquitto_passwd"), "-b", str(passwords), user, PASSWORD], check=True)
        here = {
            "listener 8883": f"listener {broker.port} 127.0.0.1",
            "/etc/mosquitto/certs/server.pem": str(certificate.certificate),
            "/etc/mosquitto/certs/server.key": str(certificate.key),
            "/etc/mosquitto/passwords": str(passwords),
            "/etc/mosquitto/acl": str(folder / "acl"),
            "/var/lib/mosquitto/": f"{folder}/",
            "autosave_interval 60": "autosave_interval 1",
        }
        if BRIDGE in users:
            of_bridge = acl.partition(f"# user {BRIDGE}\n")
            acl = of_bridge[0] + (of_bridge[1] + of_bridge[2]).replace("# ", "")
        else:
            text += (SAMPLES / "mosquitto-bridge.conf").read_text("utf-8")
            here |= {
                "address broker.example.go.id:8883": f"address 127.0.0.1:{self.link.port}",
                "/etc/mosquitto/certs/ca.pem": str(self.authority.ca),
                "restart_timeout 5 60": "restart_timeout 1",
            }
        for written, ours in here.items():
            assert text.count(written) == 1, written
            text = text.replace(written, ours)
        (folder / "acl").write_text(acl)
        (folder / "acl").chmod(0o600)
        broker.configure(
            f"user root\nlog_type all\n{text}"
        )  # the user counts only where root starts it: the files are root's
        self._stack.enter_context(broker)
        return broker

    def receive(self) -> None:
        """Start an inbox."""
        where = centre.Broker("127.0.0.1", self.centre.port, True, "centre", self._secret(), self.authority.ca)
        inbox = centre.Inbox(where, self.store)
        thread = threading.Thread(target=inbox.run)
        thread.start()
        self._inbox = inbox, thread

    def stop_receiving(self) -> None:
        """Stop the inbox; its session stays at the broker."""
        if self._inbox is not None:
            inbox, thread = self._inbox
            self._inbox = None
            inbox.stop()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def punch(self) -> None:
        """Let people punch, and read the terminal."""
        self.office.punches(COUNT)
        self.recorded += COUNT

    @property
    def passed_on(self) -> int:
        """How many messages of the gateway the bridge has brought to the centre's broker, as its log states."""
        return self.centre.log.count(f"Received PUBLISH from {BRIDGE}")

    def saved(self, name: str) -> Path:
        """Return the file in which a broker keeps its sessions and messages."""
        return self._folder / name / "mosquitto.db"

    def all_confirmed(self) -> None:
        """Wait until the centre has confirmed everything; gaps are requested without their half minute of grace."""

        def confirmed() -> bool:
            self._ahead_s += GAP_GRACE_S / 10
            time.sleep(0.05)
            return self.office.ledger.counts().confirmed == self.recorded

        eventually(confirmed, what=f"the receipt for {self.recorded} events")


@pytest.fixture
def bridged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridged]:
    """Let everything run, with one bridge."""
    monkeypatch.setattr(ledger_delivery, "RESEND_INTERVAL_MS", 300)
    with ExitStack() as stack:
        yield Bridged(tmp_path, stack)


def test_both_brokers_die_and_nothing_is_lost(bridged: Bridged, tmp_path: Path) -> None:
    """One comes back with what it had saved, the other with nothing: what they acknowledged comes again by receipts."""
    bridged.punch()
    bridged.all_confirmed()
    with Client(Sample(bridged.centre.port, bridged.authority), "centre", hears="hadir/v1/#") as reader:
        retained = {f"hadir/v1/{OURS}/{topic}" for topic in ("state", "receipt")}
        eventually(lambda: set(reader.received) == retained, what=f"the retained messages, not {reader.received}")

    for broker_with_memory in (bridged.regency, bridged.centre):
        # The centre's broker has acknowledged, to the bridge, what no inbox has taken.
        bridged.stop_receiving()
        passed_on = bridged.passed_on
        bridged.punch()
        eventually(lambda: bridged.passed_on >= passed_on + COUNT, what="passing on")  # noqa: B023 - used at once
        # The regency's broker has acknowledged, to the gateway, what it could not pass on.
        bridged.link.cut()
        bridged.punch()
        bridged.office.all_sent()
        bridged.punch()  # on its way
        for name, broker in (("regency", bridged.regency), ("centre", bridged.centre)):
            broker.kill()
            if broker is not broker_with_memory:
                bridged.saved(name).unlink(missing_ok=True)
        bridged.punch()
        bridged.centre.start()
        bridged.regency.start()
        bridged.link.mend()
        bridged.receive()
        bridged.punch()
        bridged.all_confirmed()

    assert held(tmp_path / "centre.db") == list(range(1, bridged.recorded + 1))


def test_an_outage_of_the_bridge_lets_no_day_be_final_that_a_log_may_better(bridged: Bridged, tmp_path: Path) -> None:
    """No will crosses it, so that the gateway stays online here; but the watermark stays behind what follows."""
    today = datetime.now(UTC).date()
    workdays = [day for day in (today + timedelta(days) for days in range(-7, 8)) if day.weekday() < SATURDAY]
    before, after = workdays[0], workdays[-1]
    for kind, text in OFFICE.items():
        file = tmp_path / f"{kind}.csv"
        file.write_text(text.replace("2026-08-24", str(before)), "utf-8")
        paper = Paper("Kepala Contoh", "Contoh 1/2026")
        enter_file(
            bridged.store.database, scan_register(file, kind), OfficePolicies(POLICIES), paper, datetime.now(UTC)
        )
    bridged.punch()
    bridged.all_confirmed()
    complete = {
        "until": utc(datetime.now(UTC)),
        "stream": bridged.office.ledger.stream,
        "sequence": f"{bridged.recorded:020d}",
    }
    state = {"state": "online", "serial": "CEXA193960001", "records": COUNT, "complete": complete}
    topic = f"hadir/v1/{OURS}/terminal/lobby/state"
    with Client(Sample(bridged.regency.port, bridged.authority), OURS) as gateway:
        assert gateway.may_write(topic, retain=True, payload=json.dumps(state))

    def rows(query: str) -> list[Any]:
        with bridged.store.database.reading() as connection:
            return list(connection.exec_driver_sql(query))

    eventually(lambda: rows("SELECT * FROM watermark WHERE counted IS NOT NULL"), what="the watermark")
    bridged.link.cut()

    later = datetime.now(UTC) + timedelta(days=9)
    Recompute(bridged.store.database, OfficePolicies(POLICIES), now=lambda: later).run()

    with bridged.store.database.reading() as connection:
        days = {one.date: one for one in results.current(connection, ["a"], before, after)}
    assert rows("SELECT * FROM offline") == []
    assert (days[after].status, "unread" in days[after].content) == ("provisional", True)
    assert "unread" not in days[before].content
