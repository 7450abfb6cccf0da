"""What must hold of every judgement, whatever the facts."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central.policy.load import Library, Policy
from central.timesheet.clock import DAY_S, midnight, zone_named
from central.timesheet.discipline import discipline
from central.timesheet.judge import judge, lay_out_once
from central.timesheet.model import (
    Doubt,
    Judged,
    LeaveDay,
    LeaveInterval,
    Order,
    PlanDay,
    Punch,
    Slot,
    Span,
)
from central.timesheet.outcome import Outcomes, counts_of_days, outcome_of
from central.timesheet.render import day_json, discipline_json, total_json
from central.timesheet.rules import RulesOn
from central.timesheet.stored import content_of
from central.timesheet.totals import by_period, total

HERE = Path(__file__).parent
LIBRARY = Library()
POLICIES = [LIBRARY.load_file(path) for path in sorted((HERE / "policies").glob("*.yaml"))]
ZONE = zone_named("Asia/Jakarta")
ZONES = [zone_named(name) for name in ("Asia/Jakarta", "Asia/Jayapura", "America/New_York", "Pacific/Apia", "UTC")]
START = date(2026, 8, 30)
PROFILE = settings(max_examples=60)


BY_NAME = {policy.name: policy for policy in POLICIES}

seconds = st.one_of(
    st.integers(0, 2 * DAY_S).map(lambda value: value // 60 * 60),
    st.integers(0, 2 * DAY_S),
    st.integers(-(10**12), 10**12),
)
near = st.integers(-DAY_S, 5 * DAY_S).map(lambda value: midnight(START) + value)
anywhere = st.one_of(near, near, near, st.integers(-(10**13), 10**13), st.just(midnight(date(2103, 5, 1))))
slots = st.builds(
    Slot,
    name=st.sampled_from(["in", "out", "noon", "apel", "in2"]),
    kind=st.sampled_from(["in", "out", "noon", "apel", "mystery"]),
    start=seconds,
    end=seconds,
    due=st.none() | seconds,
)
days = st.builds(
    PlanDay,
    date=st.integers(0, 4).map(lambda number: START + timedelta(days=number)),
    zone=st.sampled_from(ZONES),
    slots=st.lists(slots, max_size=6).map(tuple),
    kind=st.sampled_from(["workday", "workday", "off", "holiday"]),
    break_min=st.integers(0, 10**6),
    shifts=st.integers(0, 3),
    version=st.none() | st.sampled_from(["a", "b"]),
    personal=st.booleans(),
)
punches = st.builds(
    Punch,
    instant=anywhere,
    local=anywhere,
    terminal=st.sampled_from(["", "lobby", "gate"]),
    sequence=st.none() | st.integers(0, 9),
    states=st.lists(st.integers(0, 3), max_size=2, unique=True).map(lambda found: tuple(sorted(found))),
    suspect=st.lists(
        st.sampled_from(["reset", "future", "step", "drift", "unverified", "unmeasured", "host_time"]), max_size=2
    ).map(tuple),
    offset_ms=st.none() | st.integers(-(10**9), 10**9),
    between=st.none() | st.tuples(anywhere, anywhere),
    between_local=st.none() | st.tuples(anywhere, anywhere),
)
leave = st.builds(LeaveInterval, start=near, end=near, kind=st.sampled_from(["annual", "sick", "unknown"])) | st.builds(
    LeaveDay,
    date=st.integers(0, 4).map(lambda number: START + timedelta(days=number)),
    kind=st.sampled_from(["annual", "sick"]),
    slot=st.none() | st.sampled_from(["in", "out"]),
)
spans = st.builds(
    Span,
    days=st.lists(days, max_size=4).map(tuple),
    punches=st.lists(punches, max_size=12).map(tuple),
    leave=st.lists(leave, max_size=3).map(tuple),
    orders=st.lists(st.builds(Order, start=near, end=near, paper=st.none() | st.just("x")), max_size=2).map(tuple),
    doubts=st.lists(st.builds(Doubt, start=near, end=near, why=st.just("outage")), max_size=2).map(tuple),
    read_until=st.none() | near,
    now=st.none() | near,
)
policies = st.sampled_from(sorted(BY_NAME))


def _all(span: Span, rules_on: RulesOn) -> dict[str, Any]:
    """Return everything that comes of a span, through JSON."""
    judged = judge(span, rules_on)
    days = counts_of_days(judged.days)
    periods = by_period(days, rules_on(START).begins_on)
    found = {
        "days": {day.date.isoformat(): day_json(day) for day in judged.days},
        "totals": [total_json(total(period, results, rules_on)) for period, results in periods.items()],
        "discipline": discipline_json(discipline(days, rules_on)),
        "unclaimed": [punch.local for punch in judged.unclaimed],
        "unplaced": [punch.local for punch in judged.unplaced],
    }
    loaded: dict[str, Any] = json.loads(json.dumps(found))
    return loaded


@PROFILE
@given(spans, policies)
def test_every_input_has_a_result_and_the_same_one_again(span: Span, name: str) -> None:
    """No input raises, recomputing changes nothing, and the order of arrival has no influence."""
    policy = BY_NAME[name]
    found = _all(span, policy.on)

    assert _all(span, policy.on) == found
    turned = replace(
        span,
        days=span.days[::-1],
        punches=span.punches[::-1],
        leave=span.leave[::-1],
        orders=span.orders[::-1],
        doubts=span.doubts[::-1],
    )
    assert _all(turned, policy.on) == found


@PROFILE
@given(spans, policies)
def test_what_people_share_is_found_once_with_the_same_results(span: Span, name: str) -> None:
    """Plans laid out once serve others' facts as well, and outcomes are kept for verdicts that differ in times only."""
    policy, outcomes = BY_NAME[name], Outcomes()
    laid_out = lay_out_once(span.days, policy.on)
    later = tuple(replace(punch, local=punch.local + 1) for punch in span.punches)
    for facts in (span, replace(span, punches=(), leave=()), replace(span, punches=later)):
        judged = judge(facts, policy.on, laid_out)

        assert judged == judge(facts, policy.on)
        for day in judged.days:
            content = content_of(day)
            assert outcomes.of(day, content) == outcome_of(content)


@PROFILE
@given(spans, policies, st.sampled_from(["days", "punches", "leave", "orders", "doubts"]), st.integers(0, 11))
def test_equal_digests_have_equal_verdicts(span: Span, name: str, what: str, index: int) -> None:
    """One fact less: a day either has another digest, or the same result to its last reason."""
    facts = getattr(span, what)
    left = facts[: index % max(1, len(facts))] + facts[index % max(1, len(facts)) + 1 :]
    policy = BY_NAME[name]
    before = {day.date: day for day in judge(span, policy.on).days}
    changed: dict[str, Any] = {what: left}
    for day in judge(replace(span, **changed), policy.on).days:
        assert day.inputs != before[day.date].inputs or day == before[day.date]


def _office_span(in_at: int | None, out_at: int | None, doubts: tuple[Doubt, ...] = (), shift: int = 0) -> Span:
    """Return one day from 07:30 to 16:00, its punches in seconds from midnight."""
    when = START + timedelta(days=shift)
    begin = midnight(when)
    plan = PlanDay(
        date=when, zone=ZONE, slots=(Slot("in", "in", 20700, 41400, 27000), Slot("out", "out", 41460, 71160, 57600))
    )
    found = tuple(
        Punch(ZONE.instant(begin + second), begin + second) for second in (in_at, out_at) if second is not None
    )
    moved = tuple(doubt._replace(start=doubt.start + begin, end=doubt.end + begin) for doubt in doubts)
    return Span((plan,), found, doubts=moved)


in_window = st.integers(20700, 41400)
out_window = st.integers(41460, 71160)


def _slot_minutes(judged: Judged, name: str) -> int | None:
    return next(slot.minutes for slot in judged.days[0].slots if slot.name == name)


@PROFILE
@given(in_window, st.integers(1, 20000), policies)
def test_an_earlier_arrival_never_raises_lateness(at: int, earlier: int, name: str) -> None:
    """Under ``first`` and without trusted offsets, with and without flexible hours."""
    policy = BY_NAME[name if BY_NAME[name].on(START).slots["in"].pick == "first" else "graded"]
    later = _slot_minutes(judge(_office_span(at, 57600), policy.on), "in") or 0
    sooner = _slot_minutes(judge(_office_span(max(20700, at - earlier), 57600), policy.on), "in") or 0

    assert sooner <= later


@PROFILE
@given(st.none() | in_window, st.none() | out_window, st.integers(-800, 800), policies)
def test_shifting_everything_by_days_changes_only_dates(
    come: int | None, gone: int | None, shift: int, name: str
) -> None:
    """Under policies without dates; Jakarta has one offset since 1964."""
    policy = BY_NAME[name]
    here, there = (judge(_office_span(come, gone, shift=number), policy.on).days[0] for number in (0, shift))

    assert (there.date - here.date).days == shift
    timeless = ("date", "work_date", "reasons", "inputs", "slots", "unclaimed", "repeats")
    for field in here.__dataclass_fields__:
        if field not in timeless:
            assert getattr(here, field) == getattr(there, field)
    assert [(slot.minutes, slot.class_, slot.cut) for slot in here.slots] == [
        (slot.minutes, slot.class_, slot.cut) for slot in there.slots
    ]


@PROFILE
@given(
    st.none() | in_window,
    st.none() | out_window,
    st.lists(st.tuples(st.integers(0, DAY_S), st.integers(0, DAY_S)), min_size=1, max_size=3),
    policies,
)
def test_a_doubt_never_worsens_or_withdraws_a_good_verdict(
    come: int | None, gone: int | None, times: list[tuple[int, int]], name: str
) -> None:
    """Minutes and classes stay; cuts only fall; what was neither missing, late nor early stays final."""
    policy = BY_NAME[name]
    doubts = tuple(Doubt(min(pair), max(pair), "gap") for pair in times)
    sure = judge(_office_span(come, gone), policy.on).days[0]
    unsure = judge(_office_span(come, gone, doubts), policy.on).days[0]

    assert unsure.cut <= sure.cut
    for before, after in zip(sure.slots, unsure.slots, strict=True):
        assert after.cut <= before.cut or sure.absent
        if before.missing is False and not before.minutes:
            assert (after.status, after.minutes, after.class_) == (before.status, before.minutes, before.class_)
        if after.status == "provisional":
            assert after.missing or after.minutes


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_band_tables_cover_every_minute(policy: Policy) -> None:
    """Each minute late has the class of the band that begins last before it, and none before the first band."""
    rule = policy.on(START).slots["in"]
    for late in range(240):
        span = _office_span(27000 + 60 * late, 57600)
        arrival, leaving = span.punches
        keyed = replace(arrival, states=tuple(sorted(rule.states or ())))
        slot = judge(replace(span, punches=(keyed, leaving)), policy.on).days[0].slots[0]
        begun = [band for band in rule.bands if band.start <= (slot.minutes or 0)]

        assert slot.missing is False
        assert slot.class_ == (begun[-1].name if begun else None)


def test_forty_punches_a_clock_of_2000_and_a_plan_with_holes_are_named_conditions() -> None:
    """Nothing is lost: each punch is claimed, unclaimed, a repeat or unplaced."""
    span = _office_span(27000, None)
    begin = midnight(START)
    many = tuple(Punch(ZONE.instant(begin + 30000 + 60 * n), begin + 30000 + 60 * n) for n in range(40))
    reset = Punch(ZONE.instant(midnight(date(2000, 1, 1)) + 14), midnight(date(2000, 1, 1)) + 14, suspect=("reset",))
    future = Punch(ZONE.instant(midnight(date(2103, 1, 1))), midnight(date(2103, 1, 1)), suspect=("future",))
    hole = PlanDay(date=START + timedelta(days=1), zone=ZONE)
    odd = PlanDay(
        date=START + timedelta(days=2),
        zone=ZONE,
        slots=(Slot("in", "mystery", 20700, 41400, 27000), Slot("out", "out", 41460, 71160, 80000)),
    )
    judged = judge(
        Span((*span.days, hole, odd), (*span.punches, *many, reset, future)),
        LIBRARY.load_file(HERE / "policies/graded.yaml").on,
    )

    assert [day.conditions for day in judged.days] == [(), ("no_slots",), ("due_outside_window", "unknown_kind")]
    assert [punch.suspect for punch in judged.unplaced] == [("reset",), ("future",)]
    assert sum(slot.punches for slot in judged.days[0].slots) == 41
    assert judged.unclaimed == ()


def test_the_digest_knows_what_touches_the_day_and_nothing_else() -> None:
    """A punch of another day changes nothing; one inside a window does, as do plan, policy, leave, doubt and status."""
    policy = LIBRARY.load_file(HERE / "policies/graded.yaml")
    base = _office_span(27000, 57600)
    begin = midnight(START)

    def digest(span: Span, policy: Policy = policy) -> str:
        return judge(span, policy.on).days[0].inputs

    def punch(second: int, **more: Any) -> Punch:
        return Punch(ZONE.instant(begin + second), begin + second, **more)

    same = digest(base)
    assert digest(replace(base, punches=(*base.punches, punch(-40000)))) == same
    assert digest(replace(base, doubts=(Doubt(begin - DAY_S, begin - DAY_S + 60, "gap"),))) == same
    assert digest(replace(base, read_until=ZONE.instant(begin + DAY_S))) == same
    changed = [
        digest(replace(base, punches=(*base.punches, punch(30000)))),
        digest(replace(base, punches=(base.punches[0], punch(57600, id="other")))),
        digest(replace(base, days=(replace(base.days[0], version="2"),))),
        digest(replace(base, leave=(LeaveDay(START, "annual", "in"),))),
        digest(replace(base, doubts=(Doubt(ZONE.instant(begin + 27000), ZONE.instant(begin + 28000), "gap"),))),
        digest(replace(base, now=ZONE.instant(begin + 50000))),
        digest(base, LIBRARY.load_file(HERE / "policies/absent-four.yaml")),
    ]
    assert len({same, *changed}) == 8


def test_a_personal_plan_goes_before_the_units_and_the_reasons_name_the_other() -> None:
    """One plan for each person and date."""
    base = _office_span(27000, 57600)
    unit = replace(base.days[0], version="unit 3")
    own = replace(base.days[0], version="own 1", personal=True, slots=(Slot("in", "in", 0, 40000, 36000),))
    [day] = judge(replace(base, days=(unit, own)), BY_NAME["graded"].on).days

    assert [slot.name for slot in day.slots] == ["in"]
    assert day.reasons[0]["version"] == "own 1"
    assert day.reasons[0]["not_taken"] == [{"what": "unit", "version": "unit 3"}]


def test_orders_of_the_same_hours_on_different_papers_are_one_time() -> None:
    """Orders are put in order by their paper too, also where only one of them names one."""
    begin = ZONE.instant(midnight(START))
    hours = begin + 17 * 3600, begin + 18 * 3600
    plan = PlanDay(START, ZONE, (Slot("in", "in", 0, 39_600, 25_200), Slot("out", "out", 43_200, 72_000, 57_600)))
    span = Span(
        (plan,),
        tuple(Punch(begin + hour * 3600, midnight(START) + hour * 3600) for hour in (7, 19)),
        orders=(Order(*hours, paper="SPT 4"), Order(*hours)),
    )
    policy = LIBRARY.load_file(HERE.parents[2] / "config/policies/starter.yaml")

    found = judge(span, policy.on)
    assert found.days[0].overtime_min == 60
    assert judge(replace(span, orders=span.orders[::-1]), policy.on) == found
