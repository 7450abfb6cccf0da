"""Files in the ledger: the same punches by every road, however often and in whatever order they come."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from drivers.attlog.terminal import survey_export
from drivers.base import RawPunch, Reading, Record
from gateway import file_import
from gateway.control_server import Control
from gateway.event import ReadingContext
from gateway.file_import import (
    DaemonSink,
    DaemonUnreachable,
    ImportReport,
    ImportSink,
    LedgerSink,
    WrongTerminal,
    import_file,
)
from gateway.ledger import ImportCounts, Ledger
from gateway.settings import Settings, TerminalSettings
from tests import contract

ZONE = ZoneInfo("Asia/Jakarta")
SERIAL = "CEXA193960001"
DAY = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
RESET = datetime(2000, 1, 1)  # noqa: DTZ001


class TrueClock:
    """A clock that can be trusted."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)

    def synchronised(self) -> bool:
        """Return that it can be trusted."""
        return True


def settings(**changes: object) -> Settings:
    """Return an office with two terminals."""
    lobby = {"name": "lobby", "driver": "zkteco", "address": "127.0.0.1"} | changes
    other = {"name": "gate", "driver": "attlog", "path": "/media/absen", "serial": "GATE00001"}
    return Settings.model_validate(
        {
            "site": "office",
            "gateway": "gw",
            "timezone": ZONE.key,
            "mqtt": {"url": "mqtt://127.0.0.1"},
            "terminals": [lobby, other],
        }
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open an empty ledger."""
    with closing(Ledger(tmp_path / "data", "/hadir/office/gw")) as opened:
        yield opened


class Owner(NamedTuple):
    """A terminal of the daemon."""

    settings: TerminalSettings
    zone: ZoneInfo


def sink(ledger: Ledger, **changes: object) -> LedgerSink:
    """Return who takes files of the lobby."""
    return LedgerSink(ledger, settings(**changes).terminals[0], ZONE, TrueClock())


def line(second: float, pin: str = "1001", state: int = 0, base: datetime = DAY) -> bytes:
    """Return a line of an export."""
    return b"%9s\t%s\t1\t%d\t1\t0\r\n" % (pin.encode(), str(base + timedelta(seconds=second)).encode(), state)


def put(ledger: ImportSink, folder: Path, *lines: bytes, name: str = "") -> ImportReport:
    """Import a file of these lines."""
    path = folder / (name or f"{SERIAL}_attlog.dat")
    path.write_bytes(b"".join(lines))
    export = survey_export(path)
    return import_file(ledger, export, export.serial or export.name_serial, export.records())


def events(ledger: Ledger, kind: str = "") -> list[dict[str, Any]]:
    """Return the events of a kind, each checked against the contract."""
    found = []
    for waiting in ledger.events(0, 1_000_000):
        contract.check(waiting.topic, waiting.body)
        event = json.loads(waiting.body)
        if kind in event["type"]:
            found.append(event)
    return found


def punches(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Return PIN, time of day and occurrence of all punches."""
    data = [event["data"] for event in events(ledger, "punch.recorded")]
    return [(one["pin"], one["local_time"][11:], one["occurrence"]) for one in data]


def log_read(ledger: Ledger, records: Sequence[Record], *, start: int = 0, begin: str = "all") -> Any:
    """Read a terminal's log over the network."""
    context = ReadingContext("lobby", SERIAL, ZONE, "log", datetime.now(UTC), True, None, False, timedelta(minutes=1))
    ledger.pin_serial("lobby", SERIAL)
    reading = Reading(start, start + len(records), records, "40")
    return ledger.record_reading(context, reading, start="now" if begin == "now" else "all")


def logged(*seconds: float, pin: str = "1001", state: int = 0, base: datetime = DAY) -> list[Record]:
    """Return records of a terminal's log."""
    return [RawPunch(pin, None, base + timedelta(seconds=at), state, 1, "0", b"log") for at in seconds]


def test_a_file_is_stored_once(ledger: Ledger, tmp_path: Path) -> None:
    """Again it brings nothing; a longer one brings what is more; its evidence is written once."""
    lines = [line(at) for at in range(1200)]
    first = put(sink(ledger), tmp_path, *lines[:1000], line(3), b"x\ty\n")
    assert first.counts == ImportCounts(new=1000, quarantined=1, repeated=1)
    again = put(sink(ledger), tmp_path, *lines[:1000], line(3), b"x\ty\n")
    assert again.counts == ImportCounts(known=1002)
    assert (first.noted, again.noted) == (True, False)
    assert put(sink(ledger), tmp_path, *reversed(lines)).counts == ImportCounts(new=200, known=1000)
    assert len(punches(ledger)) == len({event["id"] for event in events(ledger, "punch")}) == 1200
    noted = [event["data"] for event in events(ledger, "file.imported")]
    assert [(one["new"], one["known"], one["repeated"], one["unreadable"]) for one in noted] == [
        (1000, 0, 1, 1),
        (200, 1000, 0, 0),
    ]
    assert ledger.files("lobby") == {one["sha256"] for one in noted}
    (data,) = {(one["data"]["via"], one["data"]["position"]) for one in events(ledger, "punch.recorded")}
    assert data == ("file", None)


def test_killed_in_the_middle(ledger: Ledger, tmp_path: Path) -> None:
    """What was stored is stored, the file is not done, and the next time completes it."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(b"".join(line(at) for at in range(1300)))
    export = survey_export(path)

    def dying(records: Any) -> Iterator[Record]:
        for number, record in enumerate(records):
            if number == 900:
                raise KeyboardInterrupt
            yield record

    with pytest.raises(KeyboardInterrupt):
        import_file(sink(ledger), export, SERIAL, dying(export.records()))
    assert len(punches(ledger)) == 500
    assert ledger.files("lobby") == set()
    again = import_file(sink(ledger), export, SERIAL, export.records())
    assert again.counts == ImportCounts(new=800, known=500)
    assert len(punches(ledger)) == 1300


def test_network_first(ledger: Ledger, tmp_path: Path) -> None:
    """A file of what the network brought adds nothing, and neither do withheld records."""
    log_read(ledger, logged(*range(20)))
    assert put(sink(ledger), tmp_path, *(line(at) for at in range(25))).counts == ImportCounts(new=5, known=20)
    assert len(punches(ledger)) == 25


def test_file_first(ledger: Ledger, tmp_path: Path) -> None:
    """The terminal's log finds its punches known, wherever its reading begins, and goes on from there."""
    put(sink(ledger), tmp_path, *(line(at) for at in range(20)))
    stored = log_read(ledger, logged(*range(20)))
    assert (stored.new, stored.confirmed) == (0, 20)
    put(sink(ledger), tmp_path, *(line(at) for at in range(30)))
    stored = log_read(ledger, logged(*range(12, 33)), start=12)
    assert (stored.new, stored.confirmed) == (3, 10)
    assert (log_read(ledger, logged(*range(33))).new, len(punches(ledger))) == (0, 33)
    assert [one[2] for one in punches(ledger)] == [1] * 33
    assert events(ledger, "unconfirmed") == []
    assert events(ledger, "punch.confirmed") == []


def test_file_before_a_first_contact_that_withholds(ledger: Ledger, tmp_path: Path) -> None:
    """What a file published is not withheld, and not published again."""
    put(sink(ledger), tmp_path, *(line(at) for at in range(5)))
    stored = log_read(ledger, logged(*range(10)), begin="now")
    assert (stored.new, stored.confirmed, stored.withheld) == (0, 5, 5)
    assert put(sink(ledger), tmp_path, *(line(at) for at in range(10))).counts == ImportCounts(known=10)
    assert len(punches(ledger)) == 5


def test_two_punches_in_one_second_are_distinguished_by_the_log_alone(ledger: Ledger, tmp_path: Path) -> None:
    """A file's repeated lines are one punch; a place in the log of its own makes it two."""
    assert put(sink(ledger), tmp_path, line(0), line(0)).counts == ImportCounts(new=1, repeated=1)
    assert log_read(ledger, logged(0, 0)).new == 1
    assert [one[2] for one in punches(ledger)] == [1, 2]
    assert put(sink(ledger), tmp_path, line(0), line(0), line(0)).counts == ImportCounts(known=3)


def test_log_that_differs_from_a_file_says_so(ledger: Ledger, tmp_path: Path) -> None:
    """Other codes for the same punch are put on record; what one of the two had no place for is no difference."""
    put(sink(ledger), tmp_path, line(0), line(1))
    log_read(ledger, [*logged(0, state=4), RawPunch("1001", None, DAY + timedelta(seconds=1), 0, 1, None, b"")])
    (differing,) = events(ledger, "punch.confirmed")
    assert differing["data"]["state"] == 4


def test_live_punch_then_file_then_log(ledger: Ledger, tmp_path: Path) -> None:
    """The file knows the live punch, and the log still confirms it."""
    ledger.pin_serial("lobby", SERIAL)
    context = ReadingContext("lobby", SERIAL, ZONE, "live", datetime.now(UTC), True, None, False, timedelta(minutes=1))
    (record,) = logged(0)
    assert isinstance(record, RawPunch)
    ledger.record_live(context, record)
    assert put(sink(ledger), tmp_path, line(0)).counts == ImportCounts(known=1)
    assert log_read(ledger, [record]).confirmed == 1
    assert ledger.counts().unconfirmed == 0


# --- a clock that was reset ---------------------------------------------------------------------------------------

RUN = [line(at) for at in range(10)]


def reset(second: float = 14) -> bytes:
    """Return the line of a punch after the clock lost its power."""
    return line(second, base=RESET)


def test_a_reset_clock_may_repeat_itself(ledger: Ledger, tmp_path: Path) -> None:
    """The same second behind other records is another punch; behind the same ones it is the same one."""
    later = [line(100 + at) for at in range(10)]
    once = [*RUN, reset(), *later]
    assert put(sink(ledger), tmp_path, *once).counts.new == 21
    assert put(sink(ledger), tmp_path, *once, *once).counts == ImportCounts(known=42)
    assert put(sink(ledger), tmp_path, *once, reset()).counts == ImportCounts(new=1, known=21)
    assert put(sink(ledger), tmp_path, *once, reset()).counts == ImportCounts(known=22)
    assert put(sink(ledger), tmp_path, reset()).counts == ImportCounts(known=1)
    records = [*logged(*range(10)), *logged(14, base=RESET), *logged(*range(100, 110)), *logged(14, base=RESET)]
    assert log_read(ledger, records).new == 0
    assert [one[2] for one in punches(ledger) if one[1] == "00:00:14"] == [1, 2]


def test_a_reset_clock_that_the_network_saw(ledger: Ledger, tmp_path: Path) -> None:
    """What stands in the known order of the log is the same punch."""
    records = [*logged(*range(10)), *logged(14, base=RESET), *logged(*range(100, 110)), *logged(14, base=RESET)]
    log_read(ledger, records)
    lines = [*RUN, reset(), *(line(100 + at) for at in range(10)), reset()]
    assert put(sink(ledger), tmp_path, *lines).counts == ImportCounts(known=22)


# --- whose it is, and who has the ledger --------------------------------------------------------------------------


def test_whose(ledger: Ledger, tmp_path: Path) -> None:
    """A serial is learned from the file, and never contradicted."""
    with pytest.raises(WrongTerminal, match="not known yet"):
        put(sink(ledger), tmp_path, line(0), name="1_attlog.dat")
    put(sink(ledger), tmp_path, line(0))
    known = ledger.terminal("lobby")
    assert known is not None
    assert known.serial == SERIAL
    put(sink(ledger), tmp_path, line(1), name="1_attlog.dat")
    with pytest.raises(WrongTerminal, match="OTHER0001"):
        put(sink(ledger), tmp_path, line(0), name="OTHER0001_attlog.dat")
    gate = LedgerSink(ledger, settings().terminals[0].model_copy(update={"name": "gate"}), ZONE, TrueClock())
    with pytest.raises(WrongTerminal, match="known as lobby"):
        put(gate, tmp_path, line(0))


def test_the_case_of_letters_in_a_serial_number_does_not_matter(ledger: Ledger, tmp_path: Path) -> None:
    """As for the driver and the command that find the terminal of a file; the ledger keeps the number that it has."""
    put(sink(ledger), tmp_path, line(0))
    put(sink(ledger), tmp_path, line(1), name=f"{SERIAL.lower()}_attlog.dat")
    known = ledger.terminal("lobby")
    assert known is not None
    assert known.serial == SERIAL
    assert len(events(ledger, "punch.recorded")) == 2


def test_through_the_daemon(ledger: Ledger, tmp_path: Path) -> None:
    """The records go over the control socket, with all of their bytes, and become the same events."""
    data_dir = ledger.path.parent
    control = Control(
        data_dir,
        file_import.control_commands(ledger, [Owner(entry, ZONE) for entry in settings().terminals], TrueClock()),
    )
    torn = b"  10" + bytes(5000) + b"3\n"
    try:
        report = put(DaemonSink(data_dir, "lobby"), tmp_path, *(line(at) for at in range(700)), torn)
        assert report.counts == ImportCounts(new=700, quarantined=1)
        assert report.noted
        with pytest.raises(WrongTerminal, match="OTHER0001"):
            put(DaemonSink(data_dir, "lobby"), tmp_path, line(0), name="OTHER0001_attlog.dat")
        with pytest.raises(WrongTerminal, match="does not know attic yet; run `hadir reload`"):
            put(DaemonSink(data_dir, "attic"), tmp_path, line(0))
    finally:
        control.close()
    (bad,) = events(ledger, "quarantined")
    assert (bad["data"]["size"], bad["data"]["raw"]) == (len(torn) - 1, b"  10\x003".hex())
    with pytest.raises(DaemonUnreachable):
        put(DaemonSink(data_dir, "lobby"), tmp_path, line(0))
