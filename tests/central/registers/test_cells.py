"""One value at a time: what is taken, what is refused, and why."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from central.registers import cells, words
from central.registers.cells import Wrong


def wrong(parse: Any, value: Any) -> str:
    """Return the code with which a value is refused."""
    with pytest.raises(Wrong) as caught:
        parse(value)
    return caught.value.code


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Dr. Budi, S.Kom., M.T.", "Dr. Budi, S.Kom., M.T."),
        ('Siti "Ani" Aminah', 'Siti "Ani" Aminah'),
        ("\u202bBudi\u202c \u200f Santoso\u00a0", "Budi Santoso"),
        ("\ufeffBudi", "Budi"),
        ("Ma\u2019ruf", "Ma\u2019ruf"),
        ("Rene\u0301", "Ren\u00e9"),
        ('="0017"', "0017"),
        (" ", None),
        ("-", None),
        (None, None),
    ],
)
def test_texts(value: Any, found: str | None) -> None:
    """Commas and quotes stay; marks that cannot be seen go."""
    assert cells.text(value) == found


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("=1+1", "looks_like_formula"),
        ("@SUM(A1)", "looks_like_formula"),
        ("+62812", "looks_like_formula"),
        ("two\nlines", "control_character"),
        ("\x1b[2J", "control_character"),
        ("\ud800", "control_character"),
        ("a" * 201, "too_long"),
        (True, "truth_for_text"),
        (1.5, "number_for_text"),
        (float("nan"), "number_for_text"),
        (float("inf"), "number_for_text"),
    ],
)
def test_texts_that_are_refused(value: Any, code: str) -> None:
    """What another program would run, hide or change."""
    assert wrong(cells.text, value) == code


@pytest.mark.parametrize("value", ["198609262015051001", "19860926 201505 1 001", "19860926.201505.1.001"])
def test_a_key_that_looks_like_a_nip_is_refused(value: str) -> None:
    """A NIP leaves the centre by no message; keys do."""
    assert wrong(cells.person_key, value) == "key_like_nip"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("1,98609E+17", "scientific"),
        ("1.98E17", "scientific"),
        ("1.001", "separators_in_number"),
        ("1001,0", "separators_in_number"),
        ("uid:7", "pin_form"),
        ("10 01", "pin_form"),
        ("1" * 25, "pin_form"),
        ("\u0663", "pin_form"),
        (1001, "number_for_identifier"),
    ],
)
def test_pins_that_are_refused(value: Any, code: str) -> None:
    """What a spreadsheet made of a PIN, and what no terminal sends."""
    assert wrong(cells.pin, value) == code


def test_pins_stay_as_they_are() -> None:
    """Leading zeros and the eighteen digits of offices that use the NIP."""
    assert [cells.pin(value) for value in ("0017", '="0017"', "198609262015051001")] == [
        "0017",
        "0017",
        "198609262015051001",
    ]


def test_nips() -> None:
    """Digits are kept; a birth date, and a sex, must be in them."""
    assert cells.nip("19860926 201505 1 001") == "198609262015051001"
    assert wrong(cells.nip, "19861326 201505 1 001") == "nip_birth"
    assert wrong(cells.nip, "198609262015053001") == "nip_birth"
    assert wrong(cells.nip, "1986") == "nip_form"


@pytest.mark.parametrize(
    "value", ["2026-09-01", "2026-9-1", "2026-09-01 00:00:00", "1 September 2026", "01-Sep-2026", "1 sept 2026"]
)
def test_dates(value: str) -> None:
    """ISO, and dates with the month in words, English or Indonesian."""
    assert cells.day(value) == date(2026, 9, 1)


def test_dates_of_digits_are_taken_only_where_their_order_is_certain() -> None:
    """Indonesia writes the day first, Excel in English the month."""
    assert cells.day("25/03/2026") == date(2026, 3, 25)
    assert cells.day("05-05-2026") == date(2026, 5, 5)
    assert wrong(cells.day, "03/04/2026") == "date_order"
    assert wrong(cells.day, "3/25/2026") == "date_order"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-02-29", "no_such_date"),
        ("31 April 2026", "no_such_date"),
        ("1 Foo 2026", "date_form"),
        ("tomorrow", "date_form"),
        ("0001-01-01", "year"),
        ("2103-02-03", "year"),
        (46266, "number_for_date"),
    ],
)
def test_dates_that_are_refused(value: Any, code: str) -> None:
    """Days that do not exist, years of a wrong clock, numbers."""
    assert wrong(cells.day, value) == code


def test_times() -> None:
    """With a colon or a dot; from 24:00 on of the next day."""
    assert [cells.clock(value) for value in ("07:30", "7.30", "07:30:15", "24:00", "31:00")] == [
        27_000,
        27_000,
        27_015,
        86_400,
        111_600,
    ]
    for value, code in (("7:60", "time_form"), ("7", "time_form"), ("97:00", "time_range"), (7.3, "number_for_time")):
        assert wrong(cells.clock, value) == code


def test_every_code_has_a_text_and_both_texts_name_the_same() -> None:
    """Codes that the reader uses are found in its source."""
    sources = "".join(path.read_text("utf-8") for path in Path(cells.__file__).parent.glob("*.py"))
    used = set(re.findall(r'(?:Wrong\(|refuse\([^"()]*(?:\([^()]*\))?[^"()]*, )"([a-z0-9_]+)"', sources))

    assert len(used) > 40
    assert used <= words.MESSAGES.keys()
