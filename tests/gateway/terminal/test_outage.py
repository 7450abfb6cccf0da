"""Failed visits become an outage after the second, a refused one at once."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.terminal.outage import LOST_AFTER, Ended, Outage
from gateway.terminal.state import Cause

BEGIN = datetime(2026, 9, 1, 7, tzinfo=UTC)


def failures(*causes: Cause) -> list[str]:
    """Return what each failed visit of a row means: ``begins``, ``report`` or ``counted``."""
    outage = Outage()
    meanings = []
    for minute, cause in enumerate(causes):
        failure = outage.fail(cause, BEGIN + timedelta(minutes=minute))
        meanings.append("begins" if failure.begins else "report" if failure.report else "counted")
        assert outage.since == BEGIN
        assert not failure.begins or failure.report
    return meanings


@pytest.mark.parametrize(
    ("causes", "meanings"),
    [
        (["unavailable"], ["counted"]),
        (["unavailable", "unavailable", "unavailable"], ["counted", "begins", "counted"]),
        (["refused", "refused"], ["begins", "counted"]),
        (["unavailable", "refused"], ["counted", "begins"]),
        (["protocol", "internal", "internal"], ["counted", "begins", "counted"]),
        (["unavailable", "unavailable", "refused", "unavailable"], ["counted", "begins", "report", "report"]),
    ],
)
def test_an_outage_is_reported_once_per_cause(causes: list[Cause], meanings: list[str]) -> None:
    """The note is written once; another cause changes the state and raises an alarm again."""
    assert failures(*causes) == meanings


def test_a_success_ends_a_reported_outage_only() -> None:
    """A single failure may be a restart, and is not reported."""
    outage = Outage()
    outage.fail("unavailable", BEGIN)
    assert outage.end() is None
    for minute in range(LOST_AFTER):
        outage.fail("protocol", BEGIN + timedelta(minutes=minute))
    assert outage.end() == Ended(BEGIN, "protocol")
    assert outage == Outage()


def test_a_cause_that_was_never_reported_is_new() -> None:
    """It decides whether the bytes of the connection are kept."""
    outage = Outage()
    assert outage.fail("protocol", BEGIN).is_new
    assert outage.fail("protocol", BEGIN).is_new
    assert not outage.fail("protocol", BEGIN).is_new
    assert outage.fail("unavailable", BEGIN).is_new
