"""The kinds of registers: what a row holds, by which heads its columns are known, what one row alone must fulfil. Pure.

Validity is from the first to the last date, both included; without a last date it does not end. Times of day are
seconds from midnight, from 24:00 on of the following dates.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date as calendar_date
from datetime import timedelta
from typing import Any, NamedTuple

from central.registers import cells
from central.registers.cells import Parse, plain
from central.timesheet.model import Kind as DayKind
from central.words import COLUMNS, VALUES, word_of

DAY_KINDS: Mapping[str, DayKind | None] = {
    "national_holiday": "holiday",
    "local_holiday": "holiday",
    "cuti_bersama": "off",
    "ramadan": None,
}
"""What a calendar entry makes of a day for its scope; None: the day stays as planned, other plans or times apply."""

ALL = "all"
"""The scope of a calendar entry that concerns every unit."""

EMPLOYMENT = {
    "pns": "pns",
    "cpns": "cpns",
    "pppk": "pppk",
    "pppk-part-time": "pppk-part-time",
    "pppk paruh waktu": "pppk-part-time",
    "other": "other",
    "lainnya": "other",
}
CALENDAR = {
    "national_holiday": "national_holiday",
    "libur nasional": "national_holiday",
    "local_holiday": "local_holiday",
    "libur daerah": "local_holiday",
    "cuti_bersama": "cuti_bersama",
    "ramadan": "ramadan",
}
YES = {"yes": True, "ya": True, "true": True, "no": False, "tidak": False, "false": False}
DECISIONS: Mapping[str, tuple[str, ...]] = {
    "accept": ("person", "suspect"),
    "not_concerned": (),
    "out_of_use": ("terminal",),
    "visitor": ("terminal", "pin"),
}
"""What a decision settles, with the columns it needs: a person's suspect punches stand; what is not known did not
concern the person, at a terminal or anywhere, or at a terminal concerned no person; a terminal is not used; an unknown
PIN is a visitor's or a test's."""
_DECISIONS = {
    "diterima": "accept",
    "tidak terkait": "not_concerned",
    "tidak dipakai": "out_of_use",
    "tamu": "visitor",
}
SUSPECTS = ("step", "drift", "unverified", "unmeasured", "host_time")
"""Suspects that a decision can accept; a punch marked ``reset`` or ``future`` is never claimed."""

HEADS: Mapping[str, tuple[str, ...]] = {
    "key": ("kunci", "kode"),
    "person": ("pegawai", "kunci pegawai", "kode pegawai"),
    "name": ("nama", "nama pegawai", "nama unit", "nama hari libur", "uraian"),
    "employment": ("status pegawai", "jenis pegawai", "status kepegawaian"),
    "unit": ("unit kerja", "opd", "kode unit"),
    "nip": ("ni pppk", "nip baru"),
    "parent": ("induk", "unit induk"),
    "zone": ("time zone", "zona", "zona waktu"),
    "from": ("valid from", "berlaku mulai", "mulai", "dari", "sejak", "tmt", "mulai tanggal"),
    "until": ("to", "valid until", "berlaku sampai", "sampai", "hingga", "sampai tanggal", "s d"),
    "pin": ("id finger", "pin absen"),
    "terminal": ("serial", "nomor seri", "mesin", "sn"),
    "site": ("lokasi", "kantor"),
    "timetable": ("jam kerja", "kode jam kerja"),
    "slot": ("sesi",),
    "kind": ("jenis",),
    "due": ("batas waktu", "jam"),
    "window from": ("rentang mulai", "window start", "absen mulai"),
    "window until": ("rentang sampai", "window end", "absen sampai"),
    "break min": ("break", "istirahat", "menit istirahat"),
    "shifts": ("jumlah sif", "jumlah shift"),
    "schedule": ("jadwal", "kode jadwal"),
    "day": ("hari",),
    "calendar": ("follows calendar", "ikut kalender"),
    "month": ("bulan",),
    "policy": ("aturan",),
    "date": ("tanggal", "tgl"),
    "scope": ("cakupan", "berlaku untuk"),
    "estimated": ("estimate", "perkiraan"),
    "begin": ("start time", "jam mulai", "pukul mulai"),
    "end": ("end time", "jam selesai", "pukul selesai"),
    "time": ("pukul", "waktu"),
    "paper": ("surat", "nomor surat", "dasar", "dasar surat"),
    "by": ("oleh", "disetujui oleh", "approved by", "pejabat"),
    "reason": ("alasan", "sebab"),
    "decision": ("keputusan",),
    "suspect": ("tanda ragu",),
    "source": ("sumber",),
    "state": ("tombol", "status tombol"),
}
"""Columns, and what else may stand at their head; each column's own name is accepted everywhere."""
IGNORED = (
    "no",
    "nomor",
    "nomor urut",
    "note",
    "notes",
    "remark",
    "keterangan",
    "catatan",
    "name",
    "nama",
    "nama pegawai",
)
"""Heads of columns that serve people who read the file; not read where a kind has no such column."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person as employed from one date to another; moving to another unit is another row."""

    key: str
    name: str
    employment: str
    unit: str | None
    nip: str | None
    since: calendar_date
    until: calendar_date | None


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the office's tree."""

    key: str
    name: str
    parent: str | None
    zone: str | None
    since: calendar_date
    until: calendar_date | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Whose a PIN is, at one terminal (its serial number) or at all terminals of a site."""

    pin: str
    terminal: str | None
    site: str | None
    person: str
    since: calendar_date
    until: calendar_date | None


@dataclass(frozen=True, slots=True)
class TimetableSlot:
    """One due time of a timetable, from a date on; all slots of a timetable and date make a version."""

    timetable: str
    since: calendar_date
    slot: str
    kind: str
    due: int | None
    window_from: int
    window_until: int
    break_min: int
    shifts: int


@dataclass(frozen=True, slots=True)
class ScheduleDay:
    """What a schedule plans for a day of the week, or of a cycle whose day 1 is the date it is valid from."""

    schedule: str
    since: calendar_date
    day: tuple[str, int]
    timetable: str
    calendar: bool
    """Whether holidays count for those who follow it."""


@dataclass(frozen=True, slots=True)
class RosterDay:
    """What is planned for one person and date: a timetable, or ``off``."""

    person: str
    date: calendar_date
    timetable: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which schedule, which policy, or both, a person or a unit follows."""

    person: str | None
    unit: str | None
    schedule: str | None
    policy: str | None
    since: calendar_date
    until: calendar_date | None


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """A holiday, a cuti bersama or Ramadan, for a unit and those below it, or for all."""

    date: calendar_date
    until: calendar_date | None
    kind: str
    scope: str
    name: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """An excused interval: whole dates, hours of one date, or one slot; without ``until`` the first date only."""

    person: str
    kind: str
    since: calendar_date
    until: calendar_date | None
    begin: int | None
    end: int | None
    slot: str | None
    paper: str | None


@dataclass(frozen=True, slots=True)
class OvertimeOrder:
    """An order of overtime."""

    person: str
    date: calendar_date
    begin: int
    end: int
    paper: str | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A punch that is missing, as approved by a person on paper."""

    person: str
    date: calendar_date
    time: int
    by: str
    paper: str
    slot: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What settles a doubt; see :data:`DECISIONS`."""

    decision: str
    person: str | None
    terminal: str | None
    pin: str | None
    suspect: tuple[str, ...] | None
    since: calendar_date
    until: calendar_date | None
    by: str
    paper: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Evidence of presence from another system, such as an app or a daily report."""

    person: str
    date: calendar_date
    time: int
    source: str
    state: int | None
    paper: str | None


class Column(NamedTuple):
    """A column: its name in the file, how its cells are read, and the field of the record."""

    name: str
    parse: Parse
    required: bool = True
    field: str = ""
    default: Any = None
    refers: str | None = None
    """Which keys it names: a field of :class:`Known`."""


Complaint = tuple[str, str, Mapping[str, str]]
"""Column, code and values of a message."""


Check = Callable[[Any], Iterator[Complaint]]


class Kind(NamedTuple):
    """A kind of register."""

    record: type
    columns: tuple[Column, ...]
    checks: tuple[Check, ...] = ()
    """What the fields of one record say together."""
    defines: tuple[str, str] | None = None
    """Which keys a file of this kind makes known, and the field that holds them."""
    grid: bool = False
    """Whether the other columns are dates, or days of a month."""


@dataclass(frozen=True)
class Known:
    """Keys that a file may refer to; None where they are not known here, and not checked."""

    people: frozenset[str] | None = None
    units: frozenset[str] | None = None
    terminals: frozenset[str] | None = None
    sites: frozenset[str] | None = None
    timetables: frozenset[str] | None = None
    schedules: frozenset[str] | None = None
    policies: frozenset[str] | None = None

    def __call__(self, register: str, keys: frozenset[str]) -> frozenset[str] | None:
        """Return which of the keys are known; see :data:`References`."""
        known: frozenset[str] | None = getattr(self, register)
        return None if known is None else keys & known


References = Callable[[str, frozenset[str]], frozenset[str] | None]
"""Returns which of the keys that a file refers to are known, by the name of a field of :class:`Known`; None: they are
not checked."""


def _interval(record: Any) -> Iterator[Complaint]:
    if record.until is not None and record.until < record.since:
        yield "until", "ends_before_begin", {"begin": record.since.isoformat(), "end": record.until.isoformat()}


def _one_of(first: str, second: str) -> Check:
    def check(record: Any) -> Iterator[Complaint]:
        if (getattr(record, first) is None) == (getattr(record, second) is None):
            yield first, "one_of", {"first": word_of(COLUMNS, first), "second": word_of(COLUMNS, second)}

    return check


def _slot(record: TimetableSlot) -> Iterator[Complaint]:
    if record.window_until < record.window_from:
        yield "window until", "window_ends_before_begin", {}
    elif record.due is not None and not record.window_from <= record.due <= record.window_until:
        yield "due", "due_outside_window", {}


def _assignment(record: Assignment) -> Iterator[Complaint]:
    if record.schedule is None and record.policy is None:
        yield "schedule", "nothing_assigned", {}


def _calendar(record: CalendarEntry) -> Iterator[Complaint]:
    if record.until is not None and record.until < record.date:
        yield "until", "ends_before_begin", {"begin": record.date.isoformat(), "end": record.until.isoformat()}
    elif record.until is not None and record.until - record.date > timedelta(days=60):
        yield "until", "calendar_too_long", {}


def _hours(record: Leave) -> Iterator[Complaint]:
    hours = record.begin is not None or record.end is not None
    if hours and (record.begin is None or record.end is None):
        yield ("begin" if record.begin is None else "end"), "begin_and_end", {}
    elif record.begin is not None and record.end is not None and record.end <= record.begin:
        yield "end", "hours_end_before_begin", {}
    if hours and record.slot is not None:
        yield "slot", "hours_or_slot", {}


def _one_date(record: Leave) -> Iterator[Complaint]:
    hours = record.begin is not None or record.end is not None
    if (hours or record.slot is not None) and record.until not in (None, record.since):
        yield "until", "one_date_only", {}


def _order(record: OvertimeOrder) -> Iterator[Complaint]:
    if record.end <= record.begin:
        yield "end", "hours_end_before_begin", {}


def _decision(record: Decision) -> Iterator[Complaint]:
    needed = DECISIONS[record.decision]
    if record.decision == "not_concerned" and record.terminal is None:
        needed = ("person",)
    for column in needed:
        if getattr(record, column) is None:
            yield (
                column,
                "decision_needs",
                {"decision": word_of(VALUES, record.decision), "column": word_of(COLUMNS, column)},
            )


_SINCE = Column("from", cells.day, field="since")
_UNTIL = Column("until", cells.day, required=False)
_PERSON = Column("person", cells.person_key, refers="people")
_PAPER = Column("paper", cells.text, required=False)

KINDS: Mapping[str, Kind] = {
    "people": Kind(
        Person,
        (
            Column("key", cells.person_key),
            Column("name", cells.text),
            Column("employment", cells.choice(EMPLOYMENT)),
            Column("unit", cells.level, required=False, refers="units"),
            Column("nip", cells.nip, required=False),
            _SINCE,
            _UNTIL,
        ),
        (_interval,),
        ("people", "key"),
    ),
    "units": Kind(
        Unit,
        (
            Column("key", cells.level),
            Column("name", cells.text),
            Column("parent", cells.level, required=False, refers="units"),
            Column("zone", cells.zone, required=False),
            _SINCE,
            _UNTIL,
        ),
        (_interval,),
        ("units", "key"),
    ),
    "enrolments": Kind(
        Enrolment,
        (
            Column("pin", cells.pin),
            Column("terminal", cells.serial, required=False, refers="terminals"),
            Column("site", cells.level, required=False, refers="sites"),
            _PERSON,
            _SINCE,
            _UNTIL,
        ),
        (_interval, _one_of("terminal", "site")),
    ),
    "timetables": Kind(
        TimetableSlot,
        (
            Column("timetable", cells.timetable_code),
            _SINCE,
            Column("slot", cells.code),
            Column("kind", cells.code),
            Column("due", cells.clock, required=False),
            Column("window from", cells.clock, field="window_from"),
            Column("window until", cells.clock, field="window_until"),
            Column("break min", cells.whole(1440), required=False, field="break_min", default=0),
            Column("shifts", cells.whole(4), required=False, default=1),
        ),
        (_slot,),
        ("timetables", "timetable"),
    ),
    "schedules": Kind(
        ScheduleDay,
        (
            Column("schedule", cells.code),
            _SINCE,
            Column("day", cells.schedule_day),
            Column("timetable", cells.work_code, refers="timetables"),
            Column("calendar", cells.choice(YES), required=False, default=True),
        ),
        defines=("schedules", "schedule"),
    ),
    "rosters": Kind(
        RosterDay,
        (
            _PERSON,
            Column("month", cells.month, required=False),
            Column("timetable", cells.work_code, required=False, refers="timetables"),
        ),
        grid=True,
    ),
    "assignments": Kind(
        Assignment,
        (
            _PERSON._replace(required=False),
            Column("unit", cells.level, required=False, refers="units"),
            Column("schedule", cells.code, required=False, refers="schedules"),
            Column("policy", cells.code, required=False, refers="policies"),
            _SINCE,
            _UNTIL,
        ),
        (_interval, _one_of("person", "unit"), _assignment),
    ),
    "calendar": Kind(
        CalendarEntry,
        (
            Column("date", cells.day),
            _UNTIL,
            Column("kind", cells.choice(CALENDAR)),
            Column("scope", cells.level, required=False, default=ALL, refers="units"),
            Column("name", cells.text),
            Column("estimated", cells.choice(YES), required=False, default=False),
        ),
        (_calendar,),
    ),
    "leave": Kind(
        Leave,
        (
            _PERSON,
            Column("kind", cells.leave_kind),
            _SINCE,
            _UNTIL,
            Column("begin", cells.clock, required=False),
            Column("end", cells.clock, required=False),
            Column("slot", cells.code, required=False),
            _PAPER,
        ),
        (_interval, _hours, _one_date),
    ),
    "orders": Kind(
        OvertimeOrder,
        (_PERSON, Column("date", cells.day), Column("begin", cells.clock), Column("end", cells.clock), _PAPER),
        (_order,),
    ),
    "corrections": Kind(
        Correction,
        (
            _PERSON,
            Column("date", cells.day),
            Column("time", cells.clock),
            Column("by", cells.text),
            Column("paper", cells.text),
            Column("slot", cells.code, required=False),
            Column("reason", cells.text, required=False),
        ),
    ),
    "decisions": Kind(
        Decision,
        (
            Column("decision", cells.choice({word: word for word in DECISIONS} | _DECISIONS)),
            _PERSON._replace(required=False),
            Column("terminal", cells.serial, required=False, refers="terminals"),
            Column("pin", cells.pin, required=False),
            Column("suspect", cells.choices({word: word for word in SUSPECTS}), required=False),
            _SINCE,
            _UNTIL,
            Column("by", cells.text),
            Column("paper", cells.text),
        ),
        (_interval, _decision),
    ),
    "presence": Kind(
        Presence,
        (
            _PERSON,
            Column("date", cells.day),
            Column("time", cells.clock),
            Column("source", cells.leave_kind),
            Column("state", cells.whole(255), required=False),
            _PAPER,
        ),
    ),
}
"""Every kind of register by its name."""


def heads_of(kind: Kind) -> dict[str, str]:
    """Return what may stand at the head of a kind's columns, with the column's name."""
    found = {plain(word): "" for word in IGNORED}
    for column in kind.columns:
        if kind.grid and column.name == "timetable":
            continue  # the cells of the grid
        found |= {plain(word): column.name for word in (column.name, *HEADS.get(column.name, ()))}
    return found
