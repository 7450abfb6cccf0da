"""A unit's date as a view: order, figures and what they lead to."""

from datetime import date
from typing import Any

import pytest

from central.registers.kinds import Person
from central.timesheet.outcome import Standing, not_judged, standing_of
from central.web.views.today import ALWAYS, Today, counts, today
from tests.central.web.views.verdicts import EIGHT, FOUR, JAKARTA_S, ON, day, late, leaving

NAMES = {"b": "Bidang Data", "a": "Sekretariat"}
OUTAGE = [{"step": "doubt", "what": "outage", "terminal": "lobby", "slot": "in"}]


def person(key: str, name: str, unit: str | None = "a") -> Person:
    """Return a person."""
    return Person(key, name, "pns", unit, None, date(2026, 1, 1), None)


def view(now: int = EIGHT - JAKARTA_S, until: int | None = None, **days: dict[str, Any] | None) -> Today:
    """Return the view of people, by key and verdict."""
    people = [person(key, key.upper()) for key in days]
    standings = {key: (1, standing_of(found)) for key, found in days.items() if found is not None}
    return today(ON, people, NAMES, standings, {}, now=now, until=until)


def test_people_stand_by_unit_and_name_whatever_their_minutes() -> None:
    """The one who is most late is neither first nor last."""
    people = [person("1", "Ani"), person("2", "Zul", "b"), person("3", "ani", "b"), person("4", "Budi", None)]
    standings = {"1": (3, standing_of(day(late(EIGHT, minutes=90), leaving(FOUR))))}

    found = today(ON, people, NAMES, standings, {}, now=0, until=None)

    assert [row.person.key for row in found.rows] == ["4", "3", "2", "1"]
    assert [row.unit_name for row in found.rows] == ["", "Bidang Data", "Bidang Data", "Sekretariat"]
    assert [row.revision for row in found.rows] == [None, None, None, 3]


@pytest.mark.parametrize(("seconds", "mark"), [(-1, "awaited"), (0, "unseen"), (3600, "unseen")])
def test_a_punch_is_expected_from_the_first_due_time_on(seconds: int, mark: str) -> None:
    """A night shift is not looked for in the morning."""
    waiting = day(late(None, status="open"), leaving(None, status="open"), status="open")

    found = view(now=EIGHT - JAKARTA_S + seconds, a=waiting)

    assert {row.person.key: row.marks & {"awaited", "unseen"} for row in found.rows} == {"a": {mark}}


def test_each_figure_leads_to_those_whom_it_counts() -> None:
    """Number and rows agree; what may still change is named beside it."""
    found = view(
        a=day(late(EIGHT), leaving(FOUR)),
        b=day(late(EIGHT, minutes=5, status="open"), leaving(None, status="open"), status="open"),
        c=day(late(EIGHT, minutes=5), leaving(FOUR)),
        d=day(excused=[["annual", 1000]]),
        e=None,
        f=day(late(None, status="provisional"), leaving(FOUR), status="provisional", reasons=OUTAGE),
    )

    for figure in found.figures:
        assert len(found.showing(figure.name)) == figure.number
    assert {name: (number, unsettled) for name, number, unsettled in found.figures} == {
        "people": (6, 0),
        "complete": (1, 0),
        "present": (4, 0),
        "on_time": (1, 0),
        "late": (2, 1),
        "unseen": (0, 0),
        "excused": (1, 0),
        "missing": (1, 1),
        "provisional": (1, 0),
        "none": (1, 0),
    }
    assert [(one.doubt.what, one.doubt.terminal, one.people) for one in found.reasons] == [("outage", "lobby", 1)]


def test_a_unit_without_people_has_the_figures_that_are_always_shown() -> None:
    """And an unknown figure counts none."""
    found = view()

    assert {figure.name for figure in found.figures} == ALWAYS
    assert not is_counted(found, "worst")
    assert found.arrivals.people == 0


def is_counted(found: Today, name: str) -> bool:
    """Return whether a figure counts any person."""
    return any(counts(row, name) for row in found.rows)


def test_arrivals_count_from_the_dates_own_midnight() -> None:
    """Who is on leave is not expected; earlier dates are those of the same people."""
    earlier = {date(2026, 8, 25): {"a": Standing("final", frozenset(), frozenset(), arrived=EIGHT - 7 * 86_400)}}
    people = [person("a", "A"), person("b", "B"), person("c", "C")]
    standings = {
        "a": (1, standing_of(day(late(EIGHT), leaving(FOUR)))),
        "b": (1, standing_of(day(excused=[["annual", 1000]]))),
        "c": (None, not_judged("no_policy")),
    }

    found = today(ON, people, NAMES, standings, earlier, now=0, until=None).arrivals

    assert (found.people, found.times, found.usual) == (1, (8 * 3600,), None)
