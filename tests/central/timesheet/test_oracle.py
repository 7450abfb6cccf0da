"""An oracle in SQL: first and last punch, rounding, grace and bands of random offices, computed by DuckDB.

It knows nothing of policies: its figures are columns, written apart from every decree's table, and both sides get the
same facts.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

import duckdb
import pytest

from central.policy.document import parse
from central.policy.load import Library, Policy
from central.timesheet.clock import midnight, zone_named
from central.timesheet.judge import judge
from central.timesheet.model import PlanDay, Punch, Slot, Span

ZONE = zone_named("Asia/Makassar")
START = date(2027, 3, 1)
PEOPLE, DAYS = 60, 10
Rule = tuple[bool, str, str, int, bool, list[tuple[int, str, int]]]
"""Round up, pick, kind of grace, its minutes, exact, bands as (from, class, thousandths of a percent)."""

QUERY = """
with held as (
    select person, day, slot, due, early, moment
    from punch join plan using (person, day)
    where moment between opens and closes
),
picked as (
    select person, day, slot, due, early,
           case when pick = 'first' then min(moment) else max(moment) end as moment
    from held join rule using (slot) group by person, day, slot, due, early, pick
),
measured as (
    select *, greatest(0, case when early then due - moment else moment - due end
                          - case when grace = 'offset' then 60 * forgiven else 0 end) as late_s
    from picked join rule using (slot)
),
rounded as (
    select *, case when up then (late_s + 59) // 60 else late_s // 60 end as whole from measured
),
graced as (
    select *, case when grace <> 'threshold' then whole
                   when exact and late_s > 60 * forgiven then whole
                   when not exact and whole > forgiven then whole
                   else 0 end as minutes
    from rounded
),
classed as (
    select g.person, g.day, g.slot, g.minutes,
           arg_max(b.class, b.start) as class, coalesce(arg_max(b.cut, b.start), 0) as cut
    from graced g left join band b on b.slot = g.slot and b.start <= g.minutes
    group by g.person, g.day, g.slot, g.minutes
)
select p.person, p.day, p.slot, c.minutes, c.class, coalesce(c.cut, 0)
from plan p left join classed c using (person, day, slot) order by 1, 2, 3
"""


def _rule(random: Random, slot: str) -> Rule:
    starts = sorted(random.sample([0, 1, 2, 5, 16, 31, 45, 61, 91, 120], random.randrange(5)))
    bands = [(start, f"{slot}{start}", random.randrange(0, 5000)) for start in starts]
    grace = random.choice(["none", "threshold", "offset"])
    pick, forgiven = random.choice(["first", "last"]), random.choice([1, 5, 15])
    return random.random() < 0.5, pick, grace, forgiven, random.random() < 0.5, bands


def _policy(rules: dict[str, Rule]) -> Policy:
    """Write the same rules as a policy."""
    up = rules["in"][0]
    lines = ["policy: random", "source: {decree: tests}", f"rounding: {'ceil' if up else 'floor'}", "slots:"]
    for slot, (_, pick, grace, forgiven, exact, bands) in rules.items():
        written = ", ".join(
            f'{{from: {start}, class: {name}, cut: "{cut // 1000}.{cut % 1000:03d}"}}' for start, name, cut in bands
        )
        lines += [
            f"  {slot}:",
            f"    measure: {'late' if slot == 'in' else 'early'}",
            f"    pick: {pick}",
            f"    grace: {{kind: {grace}, min: {forgiven}, exact: {str(exact).lower()}}}",
            f"    bands: [{written}]",
        ]
    return Library().load(parse("\n".join(lines), "inline"), Path())


@pytest.mark.parametrize("seed", range(6))
def test_the_judgement_agrees_with_sql(seed: int) -> None:
    """Minutes, class and cut of every slot of every person and day."""
    random = Random(seed)
    rules = {slot: _rule(random, slot) for slot in ("in", "out")}
    rules["out"] = (rules["in"][0], *rules["out"][1:])
    policy = _policy(rules)
    plans, punches, found = [], [], []
    for person in range(PEOPLE):
        days = []
        for number in range(DAYS):
            when = START + timedelta(days=number)
            begin = midnight(when)
            due_in, due_out = random.choice([(27000, 57600), (28800, 59400), (26100, 56700)])
            days.append(
                PlanDay(when, ZONE, (Slot("in", "in", 20700, 41400, due_in), Slot("out", "out", 41460, 71160, due_out)))
            )
            plans += [
                (person, number, "in", begin + due_in, begin + 20700, begin + 41400, False),
                (person, number, "out", begin + due_out, begin + 41460, begin + 71160, True),
            ]
            for _ in range(random.randrange(6)):
                near = random.choice([due_in, due_out]) + random.choice([0, 1, 59, 60, 61, -1, -60, -61, 3599, -5400])
                punches.append((person, number, begin + random.choice([near, near, random.randrange(20000, 72000)])))
        facts = tuple(Punch(ZONE.instant(at), at) for who, _, at in punches if who == person)
        judged = judge(Span(tuple(days), facts), policy.on)
        for day in judged.days:
            number = (day.date - START).days
            found += [(person, number, slot.name, slot.minutes, slot.class_, slot.cut) for slot in day.slots]

    assert found == _ask_duckdb(plans, punches, rules)


def _ask_duckdb(
    plans: Sequence[tuple[object, ...]], punches: Sequence[tuple[object, ...]], rules: dict[str, Rule]
) -> object:
    rows = [(slot, *rule[:5]) for slot, rule in rules.items()]
    bands = [(slot, *band) for slot, rule in rules.items() for band in rule[5]] or [("none", 0, "none", 0)]
    with duckdb.connect() as connection:
        for table, columns, content in (
            ("plan", "person int, day int, slot text, due bigint, opens bigint, closes bigint, early bool", plans),
            ("punch", "person int, day int, moment bigint", punches),
            ("rule", "slot text, up bool, pick text, grace text, forgiven int, exact bool", rows),
            ("band", "slot text, start int, class text, cut int", bands),
        ):
            connection.execute(f"create table {table} ({columns})")
            marks = ", ".join("unnest(?)" for _ in content[0])
            statement = f"insert into {table} select {marks}"
            connection.execute(statement, [list(column) for column in zip(*content, strict=True)])
        return connection.execute(QUERY).fetchall()
