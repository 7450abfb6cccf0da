"""An invented office in a real database: files of registers, punches of terminals, a clock that the test sets."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from central.policy.office import OfficePolicies
from central.registers.importing import Paper, enter_file
from central.registers.read import scan_register
from central.store import Message, Store, results
from central.store.engine import Database, utc
from central.store.results import Revision
from central.timesheet.recompute import Recompute
from tests.central.fresh import content_of, fresh_database, put
from tests.central.sealing import Source, batch, punch_id, sealed
from tests.central.stores import STORES
from tests.postgres import Server

POLICIES = Path(__file__).parent.parent / "timesheet" / "policies"
"""The folder of the office's own policies."""
OFFICE = {
    "units": "key,name,parent,zone,from,until\ndinas,Dinas,,Asia/Jakarta,2026-01-01,\n",
    "timetables": "timetable,from,slot,kind,due,window from,window until\n"
    "office,2026-01-01,in,in,07:30,05:45,11:30\noffice,2026-01-01,out,out,16:00,11:31,19:46\n",
    "schedules": "schedule,from,day,timetable\n"
    + "".join(f"week,2026-01-01,{day},office\n" for day in ("monday", "tuesday", "wednesday", "thursday", "friday"))
    + "week,2026-01-01,saturday,off\nweek,2026-01-01,sunday,off\n",
    "people": "key,name,employment,unit,from,until\n"
    "a,Contoh Satu,pns,dinas,2026-08-24,\nb,Contoh Dua,pppk,dinas,2026-08-24,\n",
    "enrolments": "pin,site,person,from,until\n1001,3602-bkpsdm,a,2026-01-01,\n1002,3602-bkpsdm,b,2026-01-01,\n",
    "assignments": "unit,schedule,policy,from\ndinas,week,graded,2026-01-01\n",
}
"""Two people in one unit in Jakarta, 07:30 to 16:00 under four bands."""


@dataclass
class Centre:
    """A centre with a database and a clock."""

    folder: Path
    now: datetime
    store: Store = field(init=False)
    database: Database = field(init=False)
    recompute: Recompute = field(init=False)
    source: Source = field(default_factory=Source)
    _files: int = 0

    def __post_init__(self) -> None:
        """Open the database, which is new unless there is one."""
        if not (self.folder / "centre.db").exists():
            fresh_database(self.folder / "centre.db")
        self._open()

    def _open(self) -> None:
        self.store = Store(self.folder / "centre.db", now=lambda: self.now)
        self.database = self.store.database
        self.recompute = self.worker()

    def worker(self, **more: Any) -> Recompute:
        """Return another process's view of what is to do."""
        return Recompute(self.database, OfficePolicies(POLICIES), now=lambda: self.now, **more)

    def enter(self, kind: str, text: str, paper: str = "Contoh 1/2026", *, withdraw: bool = False) -> None:
        """Import a CSV file."""
        self._files += 1
        file = self.folder / f"{self._files}-{kind}.csv"
        file.write_text(text, "utf-8")
        enter_file(
            self.database,
            scan_register(file, kind),
            OfficePolicies(POLICIES),
            Paper("Kepala Contoh", paper),
            self.now,
            withdraw=withdraw,
        )

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def enter_office(self) -> None:
        """Import :data:`OFFICE`, where a terminal without a log is known; the first thing that happens to a centre."""
        assert not self._files
        assert not self.source.events
        self._files = len(OFFICE)
        self.close()
        path = self.folder / "centre.db"
        path.unlink()
        put(path, _entered(self.now, STORES.server))
        self._open()

    def enter_clerk_of_jayapura(self) -> None:
        """Enter `t`, PIN 7, two hours before Jakarta, who is due at 01:00 on 2 September 2026."""
        self.enter("units", "key,name,zone,from\ntimur,Timur,WIT,2026-01-01\n")
        self.enter(
            "timetables",
            "timetable,from,slot,kind,due,window from,window until\nearly,2026-01-01,in,in,01:00,00:00,04:00\n",
        )
        self.enter("people", "key,name,employment,unit,from\nt,Contoh Timur,pns,timur,2026-08-24\n")
        self.enter("assignments", "unit,policy,from\ntimur,graded,2026-01-01\n")
        self.enter("rosters", "person,2026-09-02\nt,early\n")
        self.enter("enrolments", "pin,site,person,from\n7,3602-bkpsdm,t,2026-01-01\n")

    def _enter_files(self) -> None:
        for kind, text in OFFICE.items():
            self.enter(kind, text)
        self.state("lobby", "S1", records=None)

    def state(
        self, terminal: str, serial: str | None, until: str | None = None, sequence: int = 0, **state: Any
    ) -> None:
        """Store a state of a terminal; ``until``: its log is complete until YYYY-MM-DD HH:MM[:SS] in Jakarta."""
        complete = None
        if until is not None:
            moment = datetime.fromisoformat(until).replace(tzinfo=ZoneInfo("Asia/Jakarta"))
            complete = {"until": utc(moment), "sequence": f"{sequence:020d}", "stream": self.source.stream}
        state = {"state": "online", "serial": serial, "records": 1, "complete": complete, **state}
        topic = f"{self.source.gateway}/terminal/{terminal}/state"
        assert self.store.ingest([Message(topic, json.dumps(state).encode())]).rejected == 0

    def note(self, kind: str, terminal: str | None, **data: Any) -> dict[str, Any]:
        """Record a note at its present moment, and return its event; the store lacks it still."""
        given = {**({} if terminal is None else {"terminal": terminal}), **data}
        subject = terminal or self.source.gateway
        self.source.record(kind, f"note-{self.source.stream}-{len(self.source.events) + 1}", given, subject)
        local = self.now.astimezone(ZoneInfo("Asia/Jakarta")).isoformat()
        event = self.source.events.pop() | {"time": local, "recordedtime": utc(self.now)}
        self.source.events.append(sealed(event, self.source.end))
        return self.source.events[-1]

    def punches(self, pin: str, /, *times: str, zone: str = "Asia/Jakarta", **data: Any) -> list[dict[str, Any]]:
        """Record punches at YYYY-MM-DD HH:MM:SS at a terminal, and return their events; the store lacks them still."""
        return [self._event(pin, time.replace(" ", "T"), zone, data) for time in times]

    def _event(self, pin: str, local_time: str, zone: str, data: dict[str, Any]) -> dict[str, Any]:
        data = {
            "terminal": "lobby",
            "serial": "S1",
            "pin": pin,
            "local_time": local_time,
            "timezone": zone,
            "occurrence": 1,
            "state": None,
            "verify": 1,
            "suspect": [],
            **data,
        }
        moment = datetime.fromisoformat(local_time).replace(tzinfo=ZoneInfo(zone))
        identity = punch_id(data["serial"], pin, local_time)
        self.source.record("hadir.punch.recorded.v1", identity, data, data["terminal"])
        event = self.source.events.pop() | {
            "time": moment.isoformat(),
            "recordedtime": utc(moment + timedelta(seconds=1)),
        }
        self.source.events.append(sealed(event, self.source.end))
        return self.source.events[-1]

    def receive(self, *events: dict[str, Any]) -> None:
        """Store events as the inbox does."""
        result = self.store.ingest([Message(f"{self.source.gateway}/batch", batch(*events))])
        assert result.rejected == 0

    def punched(self, pin: str, /, *times: str, **data: Any) -> None:
        """Record punches and store them."""
        self.receive(*self.punches(pin, *times, **data))

    def at(self, text: str) -> "Centre":
        """Set the clock to YYYY-MM-DD HH:MM in Jakarta, and bring the verdicts up to date."""
        self.now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Jakarta")).astimezone(UTC)
        self.recompute.run()
        return self

    def history(self, person: str, on: str) -> list[Revision]:
        """Return the revisions of a day."""
        with self.database.reading() as connection:
            return results.history(connection, person, date.fromisoformat(on))

    def day(self, person: str, on: str) -> dict[str, Any]:
        """Return the last verdict on a day, as JSON."""
        found: dict[str, Any] = json.loads(self.history(person, on)[-1].content)
        return found

    def digests(self) -> dict[tuple[str, str], str]:
        """Return the digest of each day's last revision."""
        with self.database.reading() as connection:
            rows = connection.execute(
                select(results.RESULT.c.person, results.RESULT.c.date, results.RESULT.c.inputs).order_by(
                    results.RESULT.c.revision
                )
            )
            return {(person, on): inputs for person, on, inputs in rows}


def slots(day: dict[str, Any], part: str = "minutes") -> list[Any]:
    """Return one value of each slot of a verdict."""
    return [slot[part] for slot in day["slots"]]


@cache
def _entered(now: datetime, _server: Server | None) -> bytes:
    """Return the database of a centre in which :data:`OFFICE` was entered, file by file as by the command."""

    def fill(path: Path) -> None:
        centre = Centre(path.parent, now)
        centre._enter_files()
        centre.close()

    return content_of(fill)
