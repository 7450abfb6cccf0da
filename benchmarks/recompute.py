"""Verdicts from database to database, against judging the same days from facts in memory."""

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from json import JSONEncoder
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

from sqlalchemy import func, insert, select

from benchmarks.figures import TIMES, Figure, Plan, yes_no
from benchmarks.judge import SLOTS
from central.policy.office import OfficePolicies
from central.registers import kinds
from central.registers.rules import Line
from central.registers.statements import compose
from central.store import marks
from central.store.engine import Database
from central.store.registers import Entry, enter
from central.store.results import RESULT
from central.store.tables import events, gateways, ownership, punches, streams
from central.store.terminals import TERMINAL, WATERMARK
from central.timesheet.affected import Mark, Reading, read_key
from central.timesheet.clock import midnight, zone_named
from central.timesheet.judge import judge
from central.timesheet.model import PlanDay, Punch, Span
from central.timesheet.recompute import Recompute

PEOPLE, MANY, FEW = 10_000, 100_000, 1_000
WORKDAYS = 22
START = date(2026, 9, 1)
JANUARY = date(2026, 1, 1)
LATE = 200
"""Late punches, of which each is one batch."""
AIM_DAY, AIM_MONTH, AIM_MB, AIM_LATE = 2, 22, 300, 2
POLICY = "kementan-2012"
ZONE = zone_named("Asia/Jakarta")
_encode = JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def run(plan: Plan) -> Iterator[Figure]:
    """Measure a day, a month, memory, and one late punch in offices of two sizes."""
    people = plan.size(PEOPLE)
    folder = plan.fresh("recompute")
    alone = judge_alone(people)
    day = _measured(folder / "day.db", people, 1)
    yield Figure(
        f"a day of {people:,} people, database to database",
        baseline=f"{alone:.2f} s judged in memory",
        ours=f"{day[0]:.2f} s",
        ratio=f"{day[0] / alone:.1f} {TIMES}",
        aim=f"at most {AIM_DAY} {TIMES}",
        met=yes_no(day[0] <= AIM_DAY * alone),
    )
    month = _measured(folder / "month.db", people, WORKDAYS)
    yield Figure(
        f"a month of {people:,} people, database to database",
        baseline=f"a day in {day[0]:.2f} s",
        ours=f"{month[0]:.1f} s",
        ratio=f"{month[0] / day[0]:.1f} {TIMES}",
        aim=f"at most {AIM_MONTH} {TIMES}",
        met=yes_no(month[0] <= AIM_MONTH * day[0]),
    )
    yield Figure(
        f"memory of judging a month of {people:,} people",
        ours=f"{month[1]:.0f} MB",
        aim=f"at most {AIM_MB} MB",
        met=yes_no(month[1] <= AIM_MB),
    )
    size, texts = room(folder / "month.db")
    yield Figure(
        "room of a person-day in the database: two punches, one verdict with its reasons",
        baseline=f"{texts:,.0f} bytes of events and verdicts as JSON",
        ours=f"{size:,.0f} bytes",
        ratio=f"{size / texts:.1f} {TIMES}",
    )
    few, many = (late_punch(folder / f"late-{size}.db", plan.size(size)) for size in (FEW, MANY))
    yield Figure(
        f"one late punch, {plan.size(MANY):,} people in the registers",
        baseline=f"{few * 1e3:.1f} ms with {plan.size(FEW):,}",
        ours=f"{many * 1e3:.1f} ms",
        ratio=f"{many / few:.1f} {TIMES}",
        aim=f"at most {AIM_LATE} {TIMES}",
        met=yes_no(many <= AIM_LATE * few),
    )


def judge_alone(people: int) -> float:
    """Return the processor time of judging a day of people whose facts are in memory."""
    rules_on = OfficePolicies()[POLICY]
    spans = [_span(number) for number in range(people)]
    begun = process_time()
    for span in spans:
        judge(span, rules_on)
    return process_time() - begun


def build(path: Path | str, people: int, days: Sequence[date]) -> Database:
    """Return the database of an office in which everybody works on these days; ``path`` may be the URL of a server."""
    database = Database(path, create=True)
    now = datetime(2026, 8, 1, tzinfo=UTC)
    keys = [f"p-{number:06d}" for number in range(people)]
    slots = [
        kinds.TimetableSlot("office", JANUARY, one.name, one.kind, one.due, one.start, one.end, 0, 1) for one in SLOTS
    ]
    week = [kinds.ScheduleDay("week", JANUARY, ("week", day), "office", True) for day in range(7)]
    registers: dict[str, list[Any]] = {
        "units": [kinds.Unit("dinas", "Dinas", None, "Asia/Jakarta", JANUARY, None)],
        "timetables": slots,
        "schedules": week,
        "assignments": [kinds.Assignment(None, "dinas", "week", POLICY, JANUARY, None)],
        "people": [kinds.Person(key, key, "pns", "dinas", None, JANUARY, None) for key in keys],
        "enrolments": [
            kinds.Enrolment(str(number), None, "site", key, JANUARY, None) for number, key in enumerate(keys)
        ],
    }
    with database.writing() as connection:
        for kind, records in registers.items():
            statements = [one.statement for one in compose(kind, [Line("", record, str) for record in records])]
            enter(connection, Entry(kind, "file", "", "", "", False), statements, now)
        connection.execute(insert(gateways).values(id=1, name="site/gw", informed=True))
        connection.execute(insert(streams).values(id=1, gateway=1, name="s", found="", seen=0, assigned=0))
        connection.execute(insert(ownership).values(serial="S", since="", gateway="site/gw", entered=""))
        found = "2026-08-01T00:00:00.000Z"
        connection.execute(insert(TERMINAL).values(id=1, gateway=1, name="lobby", serial="S", found=found, log=found))
        read = ZONE.instant(midnight(days[-1]) + 86_400)
        marked = {"terminal": 1, "stream": 1, "until": read, "sequence": 0, "received": found, "counted": found}
        connection.execute(insert(WATERMARK).values(marked))
        place = 0
        for day in days:
            event_rows, punch_rows = [], []
            for number in range(people):
                for punch in _punches(number, day):
                    place += 1
                    event_rows.append(_event(place, number, punch))
                    punch_rows.append(_row(place, number, punch))
            connection.execute(insert(events), event_rows)
            connection.execute(insert(punches), punch_rows)
    return database


def _measured(path: Path, people: int, days: int) -> tuple[float, float]:
    """Return processor time and memory of a process that judges days of an office."""
    dates = [START + timedelta(days=number) for number in range(days)]
    build(path, people, dates).close()
    program = f"from benchmarks.recompute import judge_file; judge_file({str(path)!r}, {days})"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    seconds, megabytes, judged = output.split()
    assert int(judged) == people * days
    return float(seconds), float(megabytes)


def room(path: Path) -> tuple[float, float]:
    """Return the bytes of a file for each verdict, and those of the texts alone."""
    with Database(path) as database:
        database.truncate_log()
        with database.reading() as connection:
            verdicts, texts = connection.execute(select(func.count(), func.sum(func.length(RESULT.c.content)))).one()
            texts += connection.execute(select(func.sum(func.length(events.c.body)))).scalar_one()
    return path.stat().st_size / verdicts, texts / verdicts


def judge_file(path: str, days: int) -> None:
    """Judge days of an office, and print processor time, memory and the number of person-days."""
    database = Database(Path(path))
    last = START + timedelta(days=days - 1)
    now = datetime(last.year, last.month, last.day, 23, tzinfo=UTC) - timedelta(hours=8)
    worker = Recompute(database, OfficePolicies(), now=lambda: now)
    with database.writing() as connection:
        marks.mark(connection, [Mark("scope:all", START, last)], {"kind": "benchmark"}, "")
    begun = process_time()
    written = worker.run()
    spent = process_time() - begun
    print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, written)


def late_punch(path: Path, people: int) -> float:
    """Return the processor time of one late punch in an office of so many people."""
    database = build(path, people, [START])
    now = datetime(2026, 9, 1, 15, tzinfo=UTC)
    worker = Recompute(database, OfficePolicies(), now=lambda: now)
    worker.begin()
    spent = 0.0
    for number in range(LATE):
        reading = Reading("site", "S", str(number * people // LATE), 7 * 3600)
        with database.writing() as connection:
            marks.mark(connection, [Mark(read_key(reading), START, START)], {"kind": "punch"}, "")
        begun = process_time()
        worker.batch()
        spent += process_time() - begun
    assert worker.written == min(LATE, people)
    database.close()
    return spent / LATE


def _punches(number: int, day: date) -> list[Punch]:
    random = Random(number * 1000 + day.toordinal())  # noqa: S311 - a seed reproduces the office
    found = []
    for index, second in enumerate((27000 + random.randrange(-2400, 600), 57600 + random.randrange(-300, 3600))):
        local = midnight(day) + second
        identity = f"27f13449-e835-5880-{number:08d}{day.toordinal() % 1000:03d}{index}"
        found.append(
            Punch(
                ZONE.instant(local),
                local,
                terminal="lobby",
                sequence=number,
                states=(index,),
                suspect=("unmeasured",),
                id=identity,
                stream="6f9c1c80-2f61-4d55-9d53-0b6a5c1f6c11",
            )
        )
    return found


def _span(number: int) -> Span:
    plan = PlanDay(
        START, ZONE, SLOTS, version="assigned () · schedule week 2026-01-01 () · timetable office 2026-01-01 ()"
    )
    now = ZONE.instant(midnight(START) + 80_000)
    return replace(Span((plan,), tuple(_punches(number, START))), now=now)


def _event(place: int, number: int, punch: Punch) -> dict[str, object]:
    local_time = datetime.fromtimestamp(punch.local, UTC).replace(tzinfo=None).isoformat()
    body = {
        "specversion": "1.0",
        "type": "hadir.punch.recorded.v1",
        "id": punch.id,
        "source": "/hadir/site/gw",
        "subject": "lobby",
        "time": f"{local_time}+07:00",
        "datacontenttype": "application/json",
        "sequence": f"{place:020d}",
        "stream": "6f9c1c80-2f61-4d55-9d53-0b6a5c1f6c11",
        "recordedtime": "2026-09-04T00:30:00.412Z",
        "previous": "sha256:" + "a" * 64,
        "digest": "sha256:" + "b" * 64,
        "data": {
            "terminal": "lobby",
            "serial": "S",
            "pin": str(number),
            "local_time": local_time,
            "timezone": "Asia/Jakarta",
            "occurrence": 1,
            "state": punch.states[0],
            "state_label": "check_in",
            "verify": 1,
            "verify_label": "fingerprint",
            "work_code": "0",
            "via": "log",
            "position": place,
            "suspect": list(punch.suspect),
            "clock": None,
            "raw": "01" * 40,
        },
    }
    return {
        "key": place,
        "stream": 1,
        "sequence": place,
        "id": punch.id,
        "digest": body["digest"],
        "previous": body["previous"],
        "type": body["type"],
        "received": "2026-09-04T00:30:00.412Z",
        "body": _encode(body),
    }


def _row(place: int, number: int, punch: Punch) -> dict[str, object]:
    local_time = datetime.fromtimestamp(punch.local, UTC).replace(tzinfo=None).isoformat()
    return {
        "id": punch.id,
        "event": place,
        "terminal": "lobby",
        "serial": "S",
        "pin": str(number),
        "uid": None,
        "local_time": local_time,
        "instant": punch.instant,
    }
