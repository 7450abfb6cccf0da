"""The plan of a recount: whatever differs between terminal and ledger is found, delivered, or reported."""

import itertools
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.terminal import recount_plan
from gateway.terminal.recount_plan import Counts, Explained, RecountPlan, Span, Step, spans

TODAY = date(2026, 11, 30)


class Model:
    """A terminal and a ledger that hold records of dates; a delivery brings what the ledger lacks."""

    def __init__(self, terminal: list[date], ledger: list[date], *, delivers: bool = True) -> None:
        self.terminal = terminal
        self.ledger = ledger
        self.delivers = delivers
        self.explained: Explained = {}
        self.steps: list[Step] = []

    def held(self, span: Span) -> int:
        """Count the records of a span in the ledger."""
        return sum(span.first <= day <= span.last for day in self.ledger)

    def run(self, between: Callable[[Step], None] = lambda _step: None) -> RecountPlan:
        """Run a recount to its end; ``between`` is called while a request is under way."""
        plan = RecountPlan(TODAY, self.explained)
        self.steps = []
        while (step := plan.step) is not None:
            self.steps.append(step)
            before = self.held(step.span)
            inside = [day for day in self.terminal if step.span.first <= day <= step.span.last]
            if step.again and self.delivers:
                for day in set(inside):
                    self.ledger += [day] * max(0, inside.count(day) - self.ledger.count(day))
            between(step)
            plan.answered(len(inside) if self.delivers or not step.again else 0, before, self.held(step.span))
        return plan


def test_spans_cover_the_calendar_once() -> None:
    """Every date that a terminal knows lies in one of them."""
    found = sorted(spans(TODAY))
    assert found[0].first == recount_plan.FIRST
    assert found[-1].last == recount_plan.LAST
    for before, after in itertools.pairwise(found):
        assert after.first == before.last + timedelta(days=1)
    assert list(spans(TODAY))[-1] == Span(TODAY, TODAY)
    assert sum(span.days == 1 for span in found) == recount_plan.DAYS + 1


def test_what_agrees_is_counted_and_not_delivered() -> None:
    """One request a span."""
    days = [TODAY - timedelta(days=day) for day in range(100)]
    model = Model(days, days.copy())
    plan = model.run()
    assert plan.agrees
    assert (plan.counted, plan.recovered) == (100, 0)
    assert len(model.steps) == recount_plan.DAYS + 3
    assert not any(step.again for step in model.steps)


DATES = st.dates(recount_plan.FIRST, recount_plan.LAST)
NEAR = st.dates(TODAY - timedelta(days=40), TODAY + timedelta(days=2))


@given(st.lists(NEAR | DATES, max_size=12), st.lists(NEAR | DATES, max_size=8), st.data())
def test_everything_is_recovered(terminal: list[date], ledger: list[date], data: st.DataObject) -> None:
    """Wherever a wrong clock has put it; what only the ledger holds does not matter."""
    held = data.draw(st.lists(st.sampled_from(terminal), unique=True)) if terminal else []
    model = Model(terminal, [*held, *ledger])
    model.run()
    plan = model.run()
    if plan.failed:
        assert len(model.steps) > recount_plan.STEPS_MAX
        return
    assert plan.agrees
    # A surplus of the ledger can hide what is missing only within one span that is counted as a whole.
    for span in spans(TODAY):
        if span.days == 1:
            inside = [day for day in terminal if day == span.first]
            assert model.held(span) >= len(inside)


def test_a_punch_of_the_year_2000_is_found() -> None:
    """The clock was reset: the span before the last days is halved until it is short enough."""
    lost = recount_plan.FIRST + timedelta(days=3)
    old = [TODAY - timedelta(days=day) for day in range(40, 3000, 7)]
    model = Model([lost, *old], old.copy())
    plan = model.run()
    assert lost in model.ledger
    assert plan.agrees
    assert plan.recovered == 1
    again = [step.span for step in model.steps if step.again]
    assert len(again) == 1
    assert again[0].days <= recount_plan.DELIVERED_DAYS
    assert len(model.steps) < recount_plan.DAYS + 40


def test_a_day_that_is_not_delivered_is_reported() -> None:
    """The ledger never claims it."""
    yesterday = TODAY - timedelta(days=1)
    model = Model([yesterday] * 3, [yesterday], delivers=False)
    plan = model.run()
    assert not plan.agrees
    assert plan.missing == {Span(yesterday, yesterday): 3}


def test_a_difference_that_is_explained_is_not_delivered_each_night() -> None:
    """The terminal holds one line twice: everything was delivered, and the counts differ all the same."""
    yesterday = TODAY - timedelta(days=1)
    span = Span(yesterday, yesterday)
    model = Model([yesterday] * 3, [yesterday] * 2)
    model.ledger = [yesterday] * 2
    plan = RecountPlan(TODAY, model.explained)
    plan.answered(3, 2, 2)
    assert plan.step == Step(span, again=True)
    plan.answered(3, 2, 2)
    assert plan.step == Step(span)
    plan.answered(3, 2, 2)
    assert model.explained == {span: Counts(3, 2)}
    later = RecountPlan(TODAY, model.explained)
    later.answered(3, 2, 2)
    assert later.step is not None
    assert later.step.span != span
    more = RecountPlan(TODAY, model.explained)
    more.answered(4, 2, 2)
    assert more.step == Step(span, again=True)


def test_punches_that_arrive_in_between() -> None:
    """A count that a live punch overtakes is repeated: it could hide a record that is missing."""
    model = Model([TODAY], [TODAY])

    def punch(step: Step) -> None:
        if step.span == Span(TODAY, TODAY) and len(model.ledger) < 2:
            model.ledger.append(TODAY)
            model.terminal.append(TODAY)

    plan = model.run(punch)
    assert plan.agrees
    assert [step.span for step in model.steps].count(Span(TODAY, TODAY)) == 2


def test_a_live_punch_does_not_hide_a_missing_one() -> None:
    """Terminal two, ledger one; a third punch arrives during the count: two equals two, and means nothing."""
    model = Model([TODAY, TODAY], [TODAY])

    def punch(step: Step) -> None:
        if step.span == Span(TODAY, TODAY) and len(model.terminal) == 2:
            model.ledger.append(TODAY)
            model.terminal.append(TODAY)

    plan = model.run(punch)
    assert plan.agrees
    assert model.ledger.count(TODAY) == 3


@pytest.mark.parametrize("when", [0, 5, 20])
def test_a_terminal_that_does_not_answer(when: int) -> None:
    """The recount ends, and nothing is claimed."""
    plan = RecountPlan(TODAY, {})
    for _ in range(when):
        plan.answered(0, 0, 0)
    plan.answered(None, 0, 0)
    assert plan.step is None
    assert plan.failed
    assert not plan.agrees


def test_requests_are_bounded() -> None:
    """A terminal that always counts otherwise does not occupy the night."""
    plan = RecountPlan(TODAY, {})
    number = 0
    while plan.step is not None:
        number += 1
        plan.answered(number, 0, number % 2)
    assert number <= recount_plan.STEPS_MAX + 1
    assert not plan.agrees
