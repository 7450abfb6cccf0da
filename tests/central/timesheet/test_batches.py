"""What a batch of judging takes together: each day of a person is judged once for all that waits about it."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from central.store import marks
from central.store.engine import utc
from central.timesheet.affected import Mark
from tests.central.store.office import Centre

BOTH_STORES = True
MORNING = datetime(2026, 8, 31, 1, tzinfo=UTC)
"""Monday, 08:00 in Jakarta."""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in which an office was entered, file by file, and nothing was judged."""
    found = Centre(tmp_path, MORNING)
    found.enter_office()
    yield found
    found.close()


def mark(centre: Centre, kind: str, *days: Mark) -> None:
    """Mark days to be judged again, by a cause of a kind."""
    with centre.database.writing() as connection:
        marks.mark(connection, days, {"kind": kind}, utc(centre.now))


def waiting(centre: Centre) -> list[tuple[str, str]]:
    """Return the subject and the first date of the marks that wait."""
    with centre.database.reading() as connection:
        query = select(marks.AFFECTED.c.subject, marks.AFFECTED.c.first).order_by(marks.AFFECTED.c.id)
        return [(subject, first) for subject, first in connection.execute(query)]


def test_a_first_import_judges_each_day_once(centre: Centre) -> None:
    """Six files mark the eight days of both people until today; every file is a cause of the one revision."""
    centre.recompute.run()

    (first,) = centre.history("a", "2026-08-27")
    assert {cause["register"] for cause in json.loads(first.cause) if cause["kind"] == "import"} == {
        "units",
        "timetables",
        "schedules",
        "people",
        "enrolments",
        "assignments",
    }
    assert centre.recompute.judged == 2 * 8
    before = centre.digests()
    centre.recompute.rebuild()
    assert (centre.recompute.run(), centre.digests()) == (0, before)


def test_what_names_the_same_days_of_a_person_is_judged_together(centre: Centre) -> None:
    """A mark of other days, and one of another person, wait for their turn."""
    centre.recompute.run()
    one, week = (date(2026, 8, 26), date(2026, 8, 26)), (date(2026, 8, 24), date(2026, 8, 30))
    mark(centre, "first", Mark("person:a", *one))
    mark(centre, "wide", Mark("person:a", *week))
    mark(centre, "other", Mark("person:b", *one))
    mark(centre, "same", Mark("person:a", *one))
    small, judged = centre.worker(person_days=1), []
    while small.batch():
        judged.append((small.judged, waiting(centre)))

    assert judged == [
        (1, [("person:a", "2026-08-24"), ("person:b", "2026-08-26")]),
        (8, [("person:b", "2026-08-26")]),
        (9, []),
    ]


def test_dates_before_any_policy_and_behind_tomorrow_keep_no_marks_apart(centre: Centre) -> None:
    """Without end or until a date ahead, since a policy or for ever: judged are the same dates."""
    centre.recompute.run()
    mark(centre, "ever", Mark("person:a", date.min, date.max))
    mark(centre, "ahead", Mark("person:a", date(2026, 1, 1), date(2027, 1, 1)))
    small = centre.worker(person_days=1)

    assert small.batch() == 2
    assert (waiting(centre), small.judged) == ([], 8)


def test_a_rebuild_does_not_join_what_else_waits(centre: Centre) -> None:
    """Else what another cause has changed would be no difference of its own."""
    centre.recompute.run()
    centre.recompute.rebuild()
    small = centre.worker(person_days=1)
    small.batch()  # everybody's mark becomes one of each person
    assert sorted(subject for subject, _ in waiting(centre)) == ["person:a", "person:b"]
    mark(centre, "later", Mark("person:a", date.min, date.max))

    assert small.batch() == 1
    assert sorted(subject for subject, _ in waiting(centre)) == ["person:a", "person:b"]
    assert centre.worker().batch() == 2


def test_marks_of_many_people_are_spread_before_their_people_are_judged(centre: Centre) -> None:
    """They were made later than a mark of a person, and what they stand for waits beside it."""
    centre.recompute.run()
    on = date(2026, 8, 26)
    mark(centre, "person", Mark("person:a", on, on))
    mark(centre, "unit", *(Mark("unit:dinas", on, on), Mark("schedule:week", on, on)))
    small = centre.worker(person_days=2)

    assert small.batch() == 2
    assert small.judged == 0
    assert {subject for subject, _ in waiting(centre)} == {"person:a", "unit:dinas", "person:b"}
