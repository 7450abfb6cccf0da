"""Workers of terminals without a log: a folder where flash disks appear, and a line of text."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.attlog.terminal import ExportFile
from drivers.base import Record, TerminalUnavailable
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
    with Office.opened(tmp_path, entry=entry) as office:
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
    """Write-protected: its file is stored and it may be removed; that no receipt is beside it is reported once."""
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


def test_one_bad_file_costs_itself(office: Office) -> None:
    """Links, pipes, names that are no text, garbage, short rows: the next file is read, and all are named."""
    stick = office.folder / "usb"
    stick.mkdir()
    (stick / f"0{SERIAL}_attlog.dat").symlink_to("/dev/zero")
    os.mkfifo(stick / "1_attlog.dat")
    Path(os.fsdecode(os.fsencode(stick) + b"/caf\xe9_attlog.dat")).write_bytes(b"garbage\n" * 9)
    (stick / "GLG_001.TXT").write_bytes(b"No\tEnNo\tName\tDateTime\tMode\tIOMd\n1\t7\tA\t2026/09/04 07:30:00\n")
    (stick / "september_attlog.dat").write_bytes(LINE % 1)
    (stick / "OTHER99999_attlog.dat").write_bytes(LINE % 2)
    (stick / f"{SERIAL}_attlog.dat").write_bytes(LINE % 1000)
    with capture_logs() as logs:
        worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
        eventually(lambda: worker.state.medium == "safe")
    assert office.pins() == ["1000"]
    assert worker.is_alive
    unread = worker.state.payload()["unread"]
    assert unread["files"] == 6
    assert "caf\\xe9_attlog.dat" in unread["names"]
    output = {line["file"] for line in logs if line["event"] in ("file_refused", "file_left")}
    assert output == set(unread["names"])
    # No terminal is known by that serial number, so a person should look.
    assert {line["file"] for line in logs if line["event"] == "file_left"} == set()
    (receipt,) = [path for path in stick.iterdir() if os.fsencode(path.name) == b"caf\xe9_attlog.dat.hadir.txt"]
    assert "TIDAK DIBACA" in receipt.read_text()
    for _, payload in office.reports:
        contract.check("terminal/gate/state", json.dumps(payload))


def test_a_file_that_fails_while_it_is_stored(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised: it is refused by name, and the next file is read."""
    stick = office.folder / "usb"
    stick.mkdir()
    for name in (f"{SERIAL}_attlog.dat", "1_attlog.dat"):
        (stick / name).write_bytes(LINE % len(name))
    records = ExportFile.records

    def failing(export: ExportFile) -> Iterator[Record]:
        if export.name == "1_attlog.dat":
            raise IndexError
        return records(export)

    monkeypatch.setattr(ExportFile, "records", failing)
    worker = office.visit(driver="attlog", path=str(stick), settle="20ms", number=1)
    eventually(lambda: worker.state.medium == "safe")
    assert (len(office.pins()), worker.is_alive) == (1, True)
    assert worker.state.payload()["unread"] == {"files": 1, "names": ["1_attlog.dat"]}
    assert office.alarms == ["file_refused"]


def test_a_file_that_cannot_be_read_a_second_time_is_tried_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is pulled out, or fails once, while records are read: it is not safe to remove before they are."""
    stick = office.folder / "usb"
    stick.mkdir()
    (stick / f"{SERIAL}_attlog.dat").write_bytes(LINE % 1000)
    records, failures = ExportFile.records, iter(range(2))

    def failing(export: ExportFile) -> Iterator[Record]:
        for _ in failures:
            raise TerminalUnavailable("the disk fails")
        yield from records(export)

    monkeypatch.setattr(ExportFile, "records", failing)
    worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
    eventually(lambda: worker.state.medium == "safe")
    assert office.pins() == ["1000"]
    assert worker.state.payload()["unread"] == {"files": 0, "names": []}
    assert office.alarms == []


def test_very_many_bad_files_are_not_logged_one_by_one(office: Office) -> None:
    """Some are, and that there are more; the state counts all."""
    stick = office.folder / "usb"
    stick.mkdir()
    for number in range(60):
        (stick / f"{number}_attlog.dat").write_bytes(b"garbage\n")
    worker = office.visit(driver="attlog", path=str(stick), settle="20ms")
    eventually(lambda: worker.state.medium == "safe")
    unread = worker.state.payload()["unread"]
    assert (unread["files"], len(unread["names"]), len(office.alarms)) == (60, 20, 21)


def test_a_worker_that_waits_for_a_file_to_settle_can_be_stopped(office: Office) -> None:
    """At once, however long that takes."""
    stick = office.folder / "usb"
    stick.mkdir()
    (stick / f"{SERIAL}_attlog.dat").write_bytes(LINE % 1000)
    worker = office.visit(driver="attlog", path=str(stick), settle="10m")
    eventually(lambda: worker.state.medium == "reading")
    worker.stop()
    assert worker.join(30)


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
        line.send(NOISE)
        line.send(NOISE)
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
    """The gateway's second stands in, and the punch reports it; codes that are not sent are null."""
    with Simulator(tcp=0, template="{pin}") as line:
        begun = datetime.now(ZONE).replace(tzinfo=None, microsecond=0)
        office.visit(driver="line", port=line.port, pattern=r"(?P<card>\d+)")
        assert line.wait_for_client()
        line.punch("778899")
        eventually(lambda: office.pins() == ["778899"])
    (data,) = (event["data"] for event in office.events("punch.recorded"))
    assert begun <= datetime.fromisoformat(data["local_time"]) <= datetime.now(ZONE).replace(tzinfo=None)
    assert (data["suspect"], data["state"], data["verify"]) == (["host_time"], None, None)
