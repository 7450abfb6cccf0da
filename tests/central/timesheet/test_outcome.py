"""What a person's date is, by tables; and that final marks are those of every other report."""

import json
from pathlib import Path
from typing import Any

import pytest

from central.policy.cases import Case, read_cases
from central.policy.load import Library
from central.reports.days import COUNTED, Judged, states
from central.timesheet.judge import judge
from central.timesheet.outcome import Standing, not_judged, standing_of
from central.timesheet.stored import dump_day
from central.web.views.codes import codes_of, tone_of
from tests.central.web.views.verdicts import EIGHT, FOUR, day, late, leaving

CASES = [
    case
    for file in sorted(Path(__file__).parent.glob("*.cases.yaml"))
    for case in read_cases(file)
    if isinstance(case, Case) and "refused" not in case.expect.value
]
LIBRARY = Library()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_final_is_what_other_reports_count(case: Case) -> None:
    """The pages, the command ``days`` and the summaries never disagree about a date."""
    for result in judge(case.span, LIBRARY.load(case.policy, case.folder).on).days:
        content = json.loads(dump_day(result))
        found = standing_of(content)

        assert (found.marks - found.unsettled) & set(COUNTED) == states(Judged("", "", None, content, None))
        assert found.unsettled <= found.marks
        assert codes_of(found)
        assert tone_of(found)


@pytest.mark.parametrize(
    ("content", "marks", "unsettled", "codes"),
    [
        (day(late(EIGHT), leaving(FOUR)), {"present", "on_time", "complete"}, set(), ("H",)),
        (day(late(EIGHT, minutes=12), leaving(FOUR)), {"present", "late"}, set(), ("TL",)),
        (day(late(EIGHT), leaving(FOUR, minutes=5)), {"present", "on_time", "early"}, set(), ("PSW",)),
        (day(late(EIGHT), leaving(None)), {"present", "on_time", "missing"}, set(), ("TP",)),
        (day(late(None), leaving(None), absent=True), {"absent"}, set(), ("TK",)),
        # Nobody is late, early or missing for good while the date is open, and no end counts before its window ends.
        (
            day(late(EIGHT, minutes=12, status="open"), leaving(FOUR, minutes=200, status="open"), status="open"),
            {"open", "present", "late"},
            {"late"},
            ("?",),
        ),
        (
            day(late(None, status="open"), leaving(None, status="open"), status="open"),
            {"open", "empty"},
            set(),
            ("?",),
        ),
        (
            day(late(None, status="provisional"), leaving(FOUR), status="provisional"),
            {"provisional", "present", "missing"},
            {"missing"},
            ("?",),
        ),
        (
            day(late(None, status="provisional"), leaving(None, status="provisional"), status="provisional"),
            {"provisional", "empty"},
            set(),
            ("?",),
        ),
        # Late for good, while the end is still open.
        (
            day(late(EIGHT, minutes=12), leaving(None, status="open"), status="open"),
            {"open", "present", "late"},
            set(),
            ("TL", "?"),
        ),
        (day(excused=[["annual", 1000]]), {"excused"}, set(), ("C",)),
        (day(excused=[["cuti-haji", 1000]]), {"excused"}, set(), ("I",)),
        (
            day(late(EIGHT, minutes=0, excused="duty"), leaving(FOUR)),
            {"present", "excused", "on_time"},
            set(),
            ("DL",),
        ),
        (day(kind="holiday"), {"no_duty"}, set(), ("L",)),
        (day(kind="workday"), {"no_duty"}, set(), ("L",)),
        ({"why": "no_policy"}, {"none"}, set(), ("-",)),
    ],
)
def test_marks(content: dict[str, Any], marks: set[str], unsettled: set[str], codes: tuple[str, ...]) -> None:
    """Each kind of date, with its code."""
    found = standing_of(content)

    assert (set(found.marks), set(found.unsettled)) == (marks, unsettled)
    assert codes_of(found) == codes


def test_what_a_date_says_beside_its_marks() -> None:
    """Punches by the printed clock, minutes, classes that are final, and why it is provisional, each doubt once."""
    reasons = [{"step": "doubt", "what": "outage", "terminal": "lobby", "slot": slot} for slot in ("in", "out")]
    slots = late(EIGHT, minutes=12, class_="TL1"), leaving(None, status="provisional", class_="PSW4")

    found = standing_of(day(*slots, status="provisional", reasons=reasons))

    assert (found.arrived, found.left, found.late_min, found.early_min) == (EIGHT, None, 12, 0)
    assert found.classes == ("TL1",)
    assert [(one.what, one.terminal) for one in found.doubts] == [("outage", "lobby")]


@pytest.mark.parametrize("why", [None, "no_policy"])
def test_a_date_without_a_verdict(why: str | None) -> None:
    """It is nothing but not judged, with the reason where there is one."""
    found = not_judged(why)

    assert found == Standing("none", frozenset({"none"}), frozenset(), why=why)
    assert tone_of(found) == "none"
