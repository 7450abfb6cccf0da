"""Rows of registers, as the store gives them, made without a store."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from central.registers.kinds import (
    Assignment,
    CalendarEntry,
    Correction,
    Decision,
    Enrolment,
    Leave,
    OvertimeOrder,
    Person,
    Presence,
    RosterDay,
    ScheduleDay,
    TimetableSlot,
    Unit,
)
from central.timesheet.assemble import PersonRows, Stated

JANUARY = date(2026, 1, 1)


@dataclass(frozen=True)
class Row:
    """A row that counts."""

    records: tuple[Any, ...]
    since: date
    until: date | None = None
    paper: str = "Contoh 1/2026"
    by: str = "Kepala Contoh"

    @property
    def record(self) -> Any:
        """Return the first record."""
        return self.records[0]


def hhmm(text: str) -> int:
    """Return the seconds of HH:MM."""
    return int(text[:2]) * 3600 + int(text[3:5]) * 60


@dataclass
class Rows:
    """Rows of an office by kind; methods add to them."""

    kinds: dict[str, list[Stated]] = field(default_factory=dict)

    def add(
        self, kind: str, *records: Any, since: date, until: date | None = None, paper: str = "Contoh 1/2026"
    ) -> None:
        """Add a row of a kind."""
        self.kinds.setdefault(kind, []).append(Row(records, since, until, paper))

    def person(self, key: str, unit: str | None, since: date = JANUARY, until: date | None = None) -> None:
        """Employ a person."""
        self.add("people", Person(key, key.title(), "pns", unit, None, since, until), since=since, until=until)

    def unit(self, key: str, parent: str | None = None, zone: str | None = None) -> None:
        """Add a unit."""
        self.add("units", Unit(key, key.title(), parent, zone, JANUARY, None), since=JANUARY)

    def enrolment(
        self, pin: str, person: str, terminal: str | None, site: str | None, since: date, until: date | None = None
    ) -> None:
        """Enrol a person."""
        self.add("enrolments", Enrolment(pin, terminal, site, person, since, until), since=since, until=until)

    def timetable(
        self,
        name: str,
        *slots: tuple[str, str, str, str],
        since: date = JANUARY,
        until: date | None = None,
        paper: str = "Contoh 1/2026",
    ) -> None:
        """Add a version of a timetable: slots of name (their kind, too), due time and window."""
        records = [
            TimetableSlot(name, since, slot, slot.rstrip("0123456789"), hhmm(due), hhmm(first), hhmm(last), 0, 1)
            for slot, due, first, last in slots
        ]
        self.add("timetables", *records, since=since, until=until, paper=paper)

    def week(self, name: str, timetable: str, *, calendar: bool = True) -> None:
        """Add a schedule with one timetable from Monday to Friday."""
        days = [
            ScheduleDay(name, JANUARY, ("week", day), timetable if day < 5 else "off", calendar) for day in range(7)
        ]
        self.add("schedules", *days, since=JANUARY)

    def assign(
        self,
        *,
        person: str | None = None,
        unit: str | None = None,
        schedule: str | None = None,
        policy: str | None = None,
        since: date = JANUARY,
        until: date | None = None,
    ) -> None:
        """Assign a schedule or a policy."""
        one = Assignment(person, unit, schedule, policy, since, until)
        self.add("assignments", one, since=since, until=until)

    def roster(self, person: str, on: date, timetable: str) -> None:
        """Plan one date of a person."""
        self.add("rosters", RosterDay(person, on, timetable), since=on, until=on)

    def holiday(self, on: date, kind: str, scope: str = "all", name: str = "Hari Contoh") -> None:
        """Add an entry of the calendar."""
        self.add("calendar", CalendarEntry(on, None, kind, scope, name, False), since=on, until=on)

    def leave(
        self,
        person: str,
        kind: str,
        since: date,
        until: date | None = None,
        hours: tuple[str, str] | None = None,
        slot: str | None = None,
    ) -> None:
        """Grant leave."""
        begin, end = (None, None) if hours is None else map(hhmm, hours)
        self.add("leave", Leave(person, kind, since, until, begin, end, slot, None), since=since, until=until or since)

    def order(self, person: str, on: date, begin: str, end: str) -> None:
        """Order overtime."""
        self.add("orders", OvertimeOrder(person, on, hhmm(begin), hhmm(end), None), since=on, until=on)

    def correction(self, person: str, on: date, time: str) -> None:
        """Approve a punch that is missing."""
        one = Correction(person, on, hhmm(time), "Kepala Contoh", "Contoh 6/2026", None, "terminal rusak")
        self.add("corrections", one, since=on, until=on)

    def presence(self, person: str, on: date, time: str, source: str) -> None:
        """Add evidence of another system."""
        self.add("presence", Presence(person, on, hhmm(time), source, None, None), since=on, until=on)

    def decide(
        self,
        decision: str,
        person: str | None,
        on: date,
        *,
        suspect: tuple[str, ...] | None = None,
        terminal: str | None = None,
        pin: str | None = None,
    ) -> None:
        """Settle a doubt."""
        one = Decision(decision, person, terminal, pin, suspect, on, on, "Kepala Contoh", "Contoh 7/2026")
        self.add("decisions", one, since=on, until=on)


def office_hours() -> Rows:
    """Return an office in Jakarta with one unit, 07:30 to 16:00, under one policy."""
    rows = Rows()
    rows.unit("dinas", zone="Asia/Jakarta")
    rows.timetable("office", ("in", "07:30", "05:45", "11:30"), ("out", "16:00", "11:31", "19:46"))
    rows.week("week", "office")
    rows.assign(unit="dinas", schedule="week")
    rows.assign(unit="dinas", policy="four-bands")
    rows.person("a", "dinas")
    return rows


def empty() -> PersonRows:
    """Return the rows of a person about whom nothing is stated."""
    return PersonRows()
