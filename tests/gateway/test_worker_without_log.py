"""Workers of terminals without a log: a folder where flash disks appear, and a line of text."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.line.simulator import NOISE, PATTERN, Simulator
from tests import contract
from tests.broker import eventually
from tests.gateway.office import ZONE, Office

SERIAL = "GATE00001"
LINE = b"     %d\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n"


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office whose workers do not wait long after a failure."""
    entry: dict[str, object] = {"name": "gate", "serial": SERIAL, "poll": "100ms"}
    with Office.opened(tmp_path, monkeypatch, entry=entry) as office:
        yield office


# --- a folder -----------------------------------------------------------------------------------------------------


def test_a_flash_disk_comes_and_goes(office: Office) -> None:
    """No stick, reading, safe to remove; each file once, with a receipt; another stick is looked at anew."""
    stick = office.folder / "usb"
    worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
    eventually(lambda: worker.state.medium == "none" and worker.state.online)
    draft = office.folder / "draft"
    draft.mkdir()
    (draft / f"{SERIAL}_attlog.dat").write_bytes(b"".join(LINE % pin for pin in range(1000, 1600)) + b"cut")
    (draft / "user.dat").write_bytes(b"names")
    draft.rename(stick)
    eventually(lambda: worker.state.medium == "safe" and len(office.pins()) == 600)
    receipt = stick / f"{SERIAL}_attlog.dat.hadir.txt"
    assert "AMAN DICABUT" in receipt.read_text()
    assert "Baru / new:           600" in receipt.read_text()
    (imported,) = office.events("file.imported")
    assert imported["data"]["sha256"] in receipt.read_text()
    stick.rename(office.folder / "gone")
    eventually(lambda: worker.state.medium == "none")
    (office.folder / "gone").rename(stick)
    eventually(lambda: worker.state.medium == "safe")
    with (stick / f"{SERIAL}_attlog.dat").open("ab") as file:
        file.write(b"\n" + LINE % 2000)
    eventually(lambda: len(office.events("file.imported")) == 2)
    assert len(office.pins()) == 601
    eventually(lambda: office.reports[-1][1]["medium"] == "safe")
    shown = [state for state, _ in groupby(payload["medium"] for _, payload in office.reports)]
    assert shown == ["none", "reading", "safe", "none", "reading", "safe", "reading", "safe"]
    assert office.events("terminal.lost") == []
    for _, payload in office.reports:
        contract.check("terminal/gate/state", json.dumps(payload))


def test_a_flash_disk_that_takes_no_receipt(office: Office) -> None:
    """Write-protected: its file is stored and it may be removed; that no receipt is beside it is said once."""
    stick = office.folder / "usb"
    stick.mkdir()
    (stick / f"{SERIAL}_attlog.dat").write_bytes(LINE % 1000)
    # What stands in the way of a file refuses root as well, as a disk that is mounted to be read only does.
    (stick / f"{SERIAL}_attlog.dat.hadir.txt").mkdir()
    with capture_logs() as logged:
        worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
        eventually(lambda: worker.state.medium == "safe")
        first = worker.state.last_visit
        eventually(lambda: worker.state.last_visit != first)
    assert office.pins() == ["1000"]
    (refused,) = [entry for entry in logged if entry["event"] == "receipt_refused"]
    assert (refused["file"], refused["terminal"]) == (f"{SERIAL}_attlog.dat", "gate")
    assert [path.name for path in stick.iterdir() if path.is_file()] == [f"{SERIAL}_attlog.dat"]


def test_a_file_that_is_refused_is_spoken_of_once(office: Office) -> None:
    """It bears the right name and holds something else: a person should look."""
    stick = office.folder / "usb"
    stick.mkdir()
    (stick / f"{SERIAL}_attlog.dat").write_bytes(b"garbage\n" * 100)
    worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
    eventually(lambda: worker.state.medium == "safe")
    first = worker.state.last_visit
    eventually(lambda: worker.state.last_visit != first)
    assert office.alarms == ["file_refused"]
    assert office.events() == []


# --- a line -------------------------------------------------------------------------------------------------------


def test_what_a_line_says_is_final(office: Office) -> None:
    """Stored as it comes, a repeated second is another punch, nothing is ever called unconfirmed."""
    moment = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock has no zone
    with Simulator(now=lambda: moment) as line:
        worker = office.visit(driver="line", port=line.port, pattern=PATTERN)
        eventually(lambda: worker.state.online)
        for pin in ("1001", "1001", "1002"):
            line.punch(pin)
        eventually(lambda: len(office.pins()) == 3)
        line.say(NOISE)
        line.say(NOISE)
        eventually(lambda: len(office.events("quarantined")) == 2)
        line.unplug()
        eventually(lambda: not worker.state.online)
        line.punch("1003")
        line.plug()
        eventually(lambda: worker.state.online)
        line.punch("1004")
        eventually(lambda: len(office.pins()) == 4)
    data = [event["data"] for event in office.events("punch.recorded")]
    assert [(one["pin"], one["occurrence"]) for one in data] == [("1001", 1), ("1001", 2), ("1002", 1), ("1004", 1)]
    assert {(one["via"], one["position"]) for one in data} == {("serial", None)}
    assert office.ledger.counts().unconfirmed == 0
    assert office.events("unconfirmed") == []
    assert office.alarms.count("line_unreadable") == 1


def test_a_line_without_a_time_gets_ours(office: Office) -> None:
    """The gateway's second stands in, and the punch says so; codes that are not said are null."""
    with Simulator(tcp=0, wording="{pin}") as line:
        begun = datetime.now(ZONE).replace(tzinfo=None, microsecond=0)
        office.visit(driver="line", port=line.port, pattern=r"(?P<card>\d+)")
        assert line.wait_for_listener()
        line.punch("778899")
        eventually(lambda: office.pins() == ["778899"])
    (data,) = (event["data"] for event in office.events("punch.recorded"))
    assert begun <= datetime.fromisoformat(data["local_time"]) <= datetime.now(ZONE).replace(tzinfo=None)
    assert (data["suspect"], data["state"], data["verify"]) == (["host_time"], None, None)
