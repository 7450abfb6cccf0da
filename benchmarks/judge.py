"""Judging attendance, reasons and digest included, against the bare cost of writing the same results."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random

from benchmarks.decode import cpu_s
from benchmarks.figures import TIMES, Figure, Plan, yes_no
from central.policy.load import SHIPPED, Library
from central.timesheet.clock import midnight, zone_named
from central.timesheet.judge import judge
from central.timesheet.model import Judged, PlanDay, Punch, Slot, Span
from central.timesheet.render import day_json

PEOPLE = 500
DAYS = 22
RUNS = 5
AIM = 4
START = date(2026, 9, 1)
SLOTS = (Slot("in", "in", 20700, 41400, 27000), Slot("out", "out", 41460, 71160, 57600))


def run(plan: Plan) -> Iterator[Figure]:
    """Measure a month of an office; the baseline is its results as canonical JSON with SHA-256."""
    spans = office(plan.size(PEOPLE))
    rules_on = Library().load_file(Path(SHIPPED) / "kementan-2012.yaml").on
    days = len(spans) * DAYS
    ours = cpu_s(lambda: [judge(span, rules_on) for span in spans], RUNS)
    judged = [judge(span, rules_on) for span in spans]
    written = [[day_json(day) for day in month.days] for month in judged]
    bare = cpu_s(lambda: [write(day) for month in written for day in month], RUNS)
    yield Figure(
        f"judge {days} person-days",
        baseline=f"{days / bare:,.0f}/s written as JSON with SHA-256",
        ours=f"{days / ours:,.0f}/s",
        ratio=f"{ours / bare:.1f} {TIMES}",
        aim=f"at most {AIM} {TIMES}",
        met=yes_no(ours <= AIM * bare),
    )
    assert sum(len(month.days) for month in judged) == days
    assert _late(judged) > 0


def write(day: dict[str, object]) -> str:
    """Return the digest of a result's canonical JSON."""
    return sha256(json.dumps(day, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def office(people: int) -> list[Span]:
    """Return a month of an office: most in time, some late, early, missing, at two terminals."""
    random = Random(1)  # noqa: S311 - a seed reproduces the office
    zone = zone_named("Asia/Jakarta")
    dates = [START + timedelta(days=number) for number in range(DAYS)]
    spans = []
    for person in range(people):
        punches: list[Punch] = []
        for when in dates:
            for second in (27000 + random.randrange(-2400, 600), 57600 + random.randrange(-300, 3600)):
                if random.random() < 0.98:
                    local = midnight(when) + second
                    punches.append(_punch(zone.instant(local), local, person, len(punches)))
        spans.append(Span(tuple(PlanDay(when, zone, SLOTS, version="office 3") for when in dates), tuple(punches)))
    return spans


def _punch(instant: int, local: int, person: int, number: int) -> Punch:
    return Punch(
        instant,
        local,
        terminal="lobby" if person % 2 else "gate",
        sequence=1000 * person + number,
        states=(number % 2,),
        suspect=("unmeasured",) if person % 5 == 0 else (),
        offset_ms=None if person % 5 == 0 else -1400,
        id=f"27f13449-e835-5880-8093-{person:06d}{number:06d}",
        stream="6f9c1c80-2f61-4d55-9d53-0b6a5c1f6c11",
    )


def _late(judged: list[Judged]) -> int:
    return sum(1 for month in judged for day in month.days for slot in day.slots if slot.minutes)
