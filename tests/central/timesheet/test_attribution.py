"""Whose a punch is: dated enrolments, terminal before site; PINs of nobody are counted."""

from datetime import date

from central.timesheet.attribution import Enrolments, PinUse, Reader, UnknownPin, unknown_pins
from tests.central.timesheet.stated import JANUARY, Rows

LOBBY, GATE = Reader("S1", "kupang"), Reader("S2", "kupang")


def enrolments(rows: Rows) -> Enrolments:
    """Return the enrolments of rows."""
    return Enrolments(rows.kinds["enrolments"])


def test_a_pin_passes_from_one_person_to_another() -> None:
    """C25b: the date of the terminal's clock decides."""
    rows = Rows()
    rows.enrolment("1001", "a", None, "kupang", JANUARY, date(2026, 9, 9))
    rows.enrolment("1001", "b", None, "kupang", date(2026, 9, 10))
    found = enrolments(rows)

    assert found.person(LOBBY, "1001", date(2026, 9, 9)) == "a"
    assert found.person(LOBBY, "1001", date(2026, 9, 10)) == "b"
    assert found.person(LOBBY, "1001", date(2025, 12, 31)) is None


def test_a_terminals_enrolment_goes_before_the_sites() -> None:
    """Only at that terminal, and only while it is valid."""
    rows = Rows()
    rows.enrolment("7", "site", None, "kupang", JANUARY)
    rows.enrolment("7", "terminal", "S1", None, JANUARY, date(2026, 9, 1))
    found = enrolments(rows)

    assert found.person(LOBBY, "7", date(2026, 9, 1)) == "terminal"
    assert found.person(LOBBY, "7", date(2026, 9, 2)) == "site"
    assert found.person(GATE, "7", date(2026, 9, 1)) == "site"
    assert found.person(Reader("S2", "ende"), "7", date(2026, 9, 1)) is None


def test_leading_zeros_count() -> None:
    """0017 and 17 are two PINs."""
    rows = Rows()
    rows.enrolment("0017", "a", None, "kupang", JANUARY)

    assert enrolments(rows).person(LOBBY, "17", JANUARY) is None


def test_unknown_pins_are_counted_by_terminal() -> None:
    """How often, where, since when; what somebody had on the date is left out."""
    rows = Rows()
    rows.enrolment("7", "a", None, "kupang", date(2026, 9, 2))
    uses = [
        PinUse(LOBBY, "7", date(2026, 9, 1), 2, "2026-09-01T07:00:00", "2026-09-01T16:00:00"),
        PinUse(LOBBY, "7", date(2026, 8, 31), 1, "2026-08-31T07:00:00", "2026-08-31T07:00:00"),
        PinUse(LOBBY, "7", date(2026, 9, 2), 2, "2026-09-02T07:00:00", "2026-09-02T16:00:00"),
        PinUse(GATE, "8", date(2026, 9, 2), 1, "2026-09-02T07:00:00", "2026-09-02T07:00:00"),
    ]

    assert unknown_pins(uses, enrolments(rows)) == [
        UnknownPin(LOBBY, "7", 3, "2026-08-31T07:00:00", "2026-09-01T16:00:00", 2),
        UnknownPin(GATE, "8", 1, "2026-09-02T07:00:00", "2026-09-02T07:00:00", 1),
    ]
