"""What later knowledge changes in a closed period: by tables."""

from typing import Any

import pytest

from central.closing.adjust import Change, adjust, signed_percent, thousandths

ROW: dict[str, Any] = {
    "person": "a",
    "first": "2026-09-01",
    "last": "2026-09-30",
    "unit": "dinas",
    "policy": "graded",
    "days": 22,
    "shifts": 22,
    "absent_days": 0,
    "open_days": 0,
    "provisional_days": 0,
    "planned_min": 9900,
    "late_min": 15,
    "early_min": 0,
    "missing": 0,
    "cut": "0.5",
    "cut_rp": 0,
    "presence": None,
    "excused": {},
}


def test_equal_numbers_are_no_adjustment_whatever_revision_they_come_from() -> None:
    """Another reason for the same verdict, another unit or policy name: nothing to pay or to give back."""
    assert adjust(ROW, {"2026-09-01": 1}, {**ROW, "unit": "upt"}, {"2026-09-01": 2}) is None


@pytest.mark.parametrize(
    ("after", "cut", "rupiah"),
    [
        ({"cut": "0", "late_min": 0}, "-0.5", 0),
        ({"cut": "1.25", "late_min": 60}, "0.75", 0),
        ({"cut_rp": 7000}, "0", 7000),
        ({"excused": {"sick": "1"}, "cut": "0.5"}, "0", 0),
        ({"provisional_days": 1}, "0", 0),
    ],
)
def test_a_difference_says_what_is_cut_or_given_back(after: dict[str, Any], cut: str, rupiah: int) -> None:
    """The sign is that of the cut: negative gives back."""
    found = adjust(ROW, {"2026-09-01": 1, "2026-09-02": 1}, {**ROW, **after}, {"2026-09-01": 3, "2026-09-03": 1})
    assert found is not None
    assert (found.content["cut"], found.content["cut_rp"]) == (cut, rupiah)
    assert found.changes == [Change("2026-09-01", 1, 3), Change("2026-09-02", 1, None), Change("2026-09-03", None, 1)]


def test_a_person_who_was_not_closed_is_adjusted_from_nothing() -> None:
    """All that the period comes to is the difference, also where nothing is cut."""
    found = adjust(None, {}, ROW, {"2026-09-01": 1})
    assert found is not None
    assert (found.content["before"], found.content["cut"]) == (None, "0.5")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("0.5", 500), ("1.125", 1125), ("100", 100_000)])
def test_percentages_are_read_and_written_alike(text: str, value: int) -> None:
    """Thousandths are exact, and a minus is written once."""
    assert (thousandths(text), signed_percent(value)) == (value, text)
    assert signed_percent(-value) == (f"-{text}" if value else "0")
