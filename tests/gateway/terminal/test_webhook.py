"""Apps that post, from the simulated app through receiver, driver and worker to the ledger and back."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import RawPunch
from drivers.receiver.registry import UrlPath
from drivers.webhook.simulator import BAD_RECORDS, NIP, PRIVATE, App, Simulator
from drivers.zkteco import simulator as zkteco
from gateway.ledger import Ledger, LedgerFull
from tests.broker import WAIT_S, eventually, free_port
from tests.drivers.webhook.office import PATH, SECRET, SERIAL, answer, body_of, exchange, request
from tests.drivers.webhook.office import entry as entry_of
from tests.gateway.calling_office import CallingOffice
from tests.gateway.office import ZONE
from tests.gateway.test_cli import hadir

PACE = 0.01
ROOT = Path(__file__).parent.parent.parent.parent


class Office(CallingOffice):
    """An office with an app."""

    def post(self, *records: Any) -> tuple[int, Any]:
        """Post records; return the status of the reply and its JSON."""
        return answer(exchange(self.url, request(body_of(*records))))

    def data(self) -> list[dict[str, Any]]:
        """Return the data of all punches."""
        return [event["data"] for event in self.events("punch.recorded")]

    def caller(self) -> dict[str, Any]:
        """Return what the status shows of the app."""
        status = self.callers.status()
        assert status is not None
        found: dict[str, Any] = status["callers"]["aplikasi"]
        return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office with a receiver."""
    secrets, folder = tmp_path / "secrets", tmp_path / "data"
    secrets.mkdir()
    folder.mkdir()
    entry = {"name": "aplikasi", "driver": "webhook", "poll": "1s", **entry_of(secrets)}
    with Office.receiving(folder, entry, UrlPath(f"/hook/{PATH}")) as opened:
        yield opened


def stored(new: int, known: int = 0, quarantined: int = 0) -> tuple[int, dict[str, int]]:
    """Return the answer after a commit."""
    return 200, {"stored": new, "known": known, "quarantined": quarantined}


def record(identifier: str, **changes: Any) -> dict[str, Any]:
    """Return a record of one second."""
    return {"id": identifier, "pin": "0042", "at": "2026-11-30T07:01:02+07:00", "kind": "masuk", **changes}


def test_answers_count_what_was_stored(office: Office) -> None:
    """Nothing without the worker; then new, known and unreadable records, in any order and how ever often."""
    assert office.post(record("a"))[0] == 503
    office.visit()
    eventually(lambda: office.post() == stored(0))
    both = (record("a"), record("b"))
    assert office.post(*both, record("c", pin=None)) == stored(2, 0, 1)
    assert office.post(record("c", pin=None), *reversed(both)) == stored(0, 3)
    assert office.post(record("a", at="2026-11-30T00:01:02.999Z")) == stored(0, 1)  # the same second
    assert office.post(record("d", kind="pulang")) == stored(1)
    data = office.data()
    assert [(punch["occurrence"], punch["state"]) for punch in data] == [(1, 0), (2, 0), (3, 1)]
    assert {(punch["via"], punch["position"], punch["serial"]) for punch in data} == {("app", None, SERIAL)}
    assert bytes.fromhex(data[0]["raw"]) == (
        b'{"id":"a","pin":"0042","state":"masuk","time":"2026-11-30T07:01:02+07:00"}'
    )


def test_times_are_in_the_zone_of_the_entry(office: Office) -> None:
    """A phone may be set to another one; years of broken clocks are marked, not refused."""
    office.visit(timezone="Asia/Makassar")
    eventually(lambda: office.post() == stored(0))
    at = ("2026-11-30T00:01:02Z", "2026-11-30T08:01:02", "2000-01-02T00:00:00+08:00", "2103-01-02T00:00:00+08:00")
    assert office.post(*(record(str(index), pin=str(index), at=text) for index, text in enumerate(at))) == stored(4)
    times = [(punch["local_time"], punch["timezone"]) for punch in office.data()]
    assert times == [
        ("2026-11-30T08:01:02", "Asia/Makassar"),
        ("2026-11-30T08:01:02", "Asia/Makassar"),
        ("2000-01-02T00:00:00", "Asia/Makassar"),
        ("2103-01-02T00:00:00", "Asia/Makassar"),
    ]
    suspect = [punch["suspect"] for punch in office.data()]
    assert "reset" in suspect[2]
    assert "future" in suspect[3]
    assert office.caller()["ahead_s"] > 70 * 365 * 86_400


FAULTS = (
    *("lost-reply=2", "cut-upload=2", "repeat=2", "wrong-signature", "no-signature", "no-json", "deep", "nan"),
    *("latin1", "other-form", "too-long", "bad-record", "nip", "unknown-state", "far-future", "reset"),
)


def test_faults(office: Office) -> None:
    """Every record arrives once; of what is private, and of what was refused, nothing is anywhere."""
    app = App(zone=ZONE, now=office.clock.now)
    for index in range(130):
        app.punch(f"P-{1001 + index % 50}", index % 2, moment=app.clock() - timedelta(minutes=index))
    for fault in FAULTS:
        app.faults.switch(fault)
    office.visit()
    eventually(lambda: office.post() == stored(0))
    with capture_logs() as logs, Simulator(app, office.url, PATH, SECRET, pace=PACE) as simulator:
        for _ in range(2):
            simulator.punch("7")
        eventually(lambda: app.delivered == len(app.records))
        eventually(lambda: vars(app.faults) == vars(type(app.faults)()))
    data = office.data()
    assert Counter(map(_key, data)) == Counter(_posted(made) for made in app.records)
    assert len(office.events("quarantined")) == len(BAD_RECORDS) + 2
    assert simulator.counted.total() >= len(app.records) + len(BAD_RECORDS) + 2
    eventually(lambda: {"signature_refused", "post_unreadable"} <= set(office.alarms))
    refused = office.caller()["refused"]
    assert {name for name, count in refused.items() if count} >= {
        *("wrong_signature", "no_signature", "no_json", "other_form", "too_long")
    }
    kept = b"".join(path.read_bytes() for path in office.folder.rglob("*") if path.is_file())
    reported = json.dumps([office.events(), office.callers.status(), office.reports, office.published])
    logged = repr(logs)
    for secret in (NIP, SECRET, *map(str, PRIVATE.values())):
        assert secret.encode() not in kept
        assert secret.encode().hex() not in reported
        assert secret not in reported + logged
    assert "P-10" not in logged


def _key(data: dict[str, Any]) -> tuple[str, str]:
    return data["pin"], data["local_time"]


def _posted(made: Any) -> tuple[str, str]:
    return made.pin, made.local_time.isoformat()


def test_a_full_disk_refuses_and_recovers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app keeps its records, and nothing restarts."""
    office.visit()
    eventually(lambda: office.post() == stored(0))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record_delivery", _full)
        assert office.post(record("a"))[0] == 503
    eventually(lambda: office.post(record("a")) in (stored(1), stored(0, 1)))
    assert len(office.data()) == 1


def _full(*_: object, **__: object) -> None:
    raise LedgerFull("no room")


def test_a_hub_and_port_4370_of_one_terminal(office: Office) -> None:
    """With the terminal's serial number, and codes that are the terminal's or none, a punch is one by either way."""
    now = office.clock.now().astimezone(ZONE).replace(tzinfo=None, microsecond=0)
    terminal = zkteco.build(records=20, serial="SIM0000000001", now=lambda: now)
    known = [(made.pin, made.local_time.isoformat()) for made in terminal.records() if isinstance(made, RawPunch)]
    office.visit(serial="SIM0000000001", fields={"state": None, "id": "/id"})
    eventually(lambda: office.post() == stored(0))
    posts = [{"id": str(index), "pin": pin, "at": at} for index, (pin, at) in enumerate(known[:12])]
    assert office.post(*posts) == stored(12)
    with zkteco.Simulator(terminal) as simulator:
        entry = {"name": "lobby", "driver": "zkteco", "address": simulator.address, "serial": "SIM0000000001"}
        office.entry = {"poll": "1s"}
        office.visit(**entry)
        eventually(lambda: len(office.data()) == 20)
        rest = [{"id": str(index), "pin": pin, "at": at} for index, (pin, at) in enumerate(known)]
        assert office.post(*rest) == stored(0, 20)
    assert Counter(map(_key, office.data())) == Counter(known)
    assert Counter(punch["via"] for punch in office.data()) == {"app": 12, "log": 8}


# --- killed between the commit and the reply ----------------------------------------------------------------------


def _run(folder: Path, port: int, kill_at: int) -> subprocess.Popen[bytes]:
    config = folder / "gateway.yaml"
    config.write_text(
        f"""site: office
gateway: gw
timezone: Asia/Jakarta
data_dir: {folder / "data"}
mqtt: {{url: "mqtt://127.0.0.1:9"}}
web: null
receiver: {{listen: "127.0.0.1:{port}"}}
terminals:
  - {{name: aplikasi, driver: webhook, serial: {SERIAL}, path: {PATH}, secret_file: secret}}
"""
    )
    program = Path(__file__).parent / "killed_push.py"
    return subprocess.Popen(
        [sys.executable, str(program), str(config), str(kill_at)], cwd=ROOT, stderr=subprocess.DEVNULL
    )


def test_killed_between_the_commit_and_the_reply(tmp_path: Path) -> None:
    """What was committed and not answered is posted again, and is one punch each."""
    port = free_port()
    entry_of(tmp_path)
    app = App(zone=ZONE)
    for index in range(260):
        app.punch(str(1001 + index % 50), moment=datetime.now(ZONE) - timedelta(seconds=7 * index))
    with Simulator(app, f"http://127.0.0.1:{port}", PATH, SECRET, pace=PACE):
        for kill_at in (1, 2):
            assert _run(tmp_path, port, kill_at).wait(WAIT_S) == -signal.SIGKILL
        process = _run(tmp_path, port, 0)
        try:
            eventually(lambda: not app.pending())
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
    ledger = Ledger(tmp_path / "data", "/hadir/office/gw")
    try:
        bodies = [json.loads(waiting.body) for waiting in ledger.events(0, 100_000)]
    finally:
        ledger.close()
    punches = Counter(_key(body["data"]) for body in bodies if "punch.recorded" in body["type"])
    assert punches == Counter(map(_posted, app.records))
    shown = hadir("tail", "-c", tmp_path / "gateway.yaml", "-n", 3)  # of records without a code for verification
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 3
