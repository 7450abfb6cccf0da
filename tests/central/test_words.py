"""Words that texts share: each stands in a file as it is shown, in both languages."""

import pytest

from central.moments import print_moment
from central.registers.cells import plain, schedule_day
from central.registers.kinds import CALENDAR, DECISIONS, EMPLOYMENT, KINDS, YES, heads_of
from central.registers.lookup import SUBJECTS
from central.texts import Language
from central.words import COLUMNS, REGISTERS, VALUES, with_meaning
from central.words import SUBJECTS as SUBJECT_WORDS


@pytest.mark.parametrize("name", KINDS)
def test_columns_are_shown_as_they_are_read(name: str) -> None:
    """A person may copy a word of a message into the head of a file."""
    heads = heads_of(KINDS[name])
    for column in KINDS[name].columns:
        if not (KINDS[name].grid and column.name == "timetable"):
            for language in Language:
                assert heads[plain(COLUMNS[column.name].into(language))] == column.name
    assert name in REGISTERS


def test_values_are_shown_as_they_are_read() -> None:
    """In both languages, with the same meaning."""
    columns = {
        column.name: column.parse for kind in ("people", "calendar", "decisions") for column in KINDS[kind].columns
    }
    for name, words in (
        ("employment", EMPLOYMENT.values()),
        ("kind", CALENDAR.values()),
        ("decision", DECISIONS),
        ("estimated", YES),
    ):
        for word in words:
            indonesian = VALUES[word].into(Language.INDONESIAN) if word in VALUES else word
            assert columns[name](indonesian) == columns[name](word)
    for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"):
        assert schedule_day(VALUES[day].into(Language.INDONESIAN)) == schedule_day(day)
    assert set(DECISIONS) <= set(VALUES)


def test_every_subject_has_a_word() -> None:
    """What `show` prints before a key."""
    assert set(SUBJECTS) == set(SUBJECT_WORDS)


def test_names_of_policies_are_shown_with_their_meaning() -> None:
    """Where the name does not say it in the language."""
    assert with_meaning("annual", Language.INDONESIAN) == "annual (tahunan)"
    assert with_meaning("annual", Language.ENGLISH) == "annual"
    assert with_meaning("shift-b", Language.INDONESIAN) == "shift-b"


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Asia/Jakarta", "2026-09-02 08:00:00 WIB"),
        ("Asia/Makassar", "2026-09-02 09:00:00 WITA"),
        ("Asia/Jayapura", "2026-09-02 10:00:00 WIT"),
        ("Asia/Dubai", "2026-09-02 05:00:00 UTC+04"),
    ],
)
def test_moments_are_shown_in_a_zone_with_its_name(zone: str, shown: str) -> None:
    """Fractions of a second are left out."""
    from zoneinfo import ZoneInfo

    assert print_moment("2026-09-02T01:00:00.999Z", ZoneInfo(zone)) == shown
    assert print_moment("unknown", ZoneInfo(zone)) == "unknown"
