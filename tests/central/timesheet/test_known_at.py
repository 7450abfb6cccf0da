"""What was known at an earlier moment is judged as it was judged then, whatever has been entered since."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from central.policy.office import OfficePolicies
from central.store import marks, ownership, recorded
from central.store.engine import utc
from central.timesheet.facts import judge_now
from tests.central.sealing import Source
from tests.central.store.office import POLICIES, Centre

OTHER = "3601-dinkes/gw-02"
"""A gateway of another site."""
DAY = date(2026, 9, 1)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, on the morning of Monday, 31 August 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def judged_then(centre: Centre, person: str, moment: datetime, on: date = DAY) -> str | None:
    """Return the digest of a day's inputs as known at a moment."""
    with centre.database.reading() as connection:
        found = judge_now(connection, OfficePolicies(POLICIES), person, on, int(moment.timestamp()), moment)
    return None if found is None else found.inputs


def decide(centre: Centre, gateway: str, since: date = DAY, serial: str = "S1") -> int:
    """Decide that a terminal belongs to a gateway; return how many punches count otherwise."""
    with centre.database.writing() as connection:
        entered = utc(centre.now)
        changed = ownership.assign(connection, serial, gateway, since.isoformat(), "Kepala", "Contoh 1/2026", entered)
        marks.mark_assigned(connection, serial, since, changed, entered)
        return len(changed)


def second_gateway(centre: Centre, *times: str, pin: str = "1001") -> None:
    """Let a gateway of another site send the same punches, with another state."""
    first, centre.source = centre.source, Source("theirs", OTHER)
    centre.punched(pin, *times, state=1)
    centre.source = first


def test_a_later_decision_on_a_terminal_takes_no_punch_from_what_was_known(centre: Centre) -> None:
    """The event that counts today arrived later; the one that counted then is judged."""
    centre.punched("1001", "2026-09-01 07:20:00", "2026-09-01 16:03:00")
    then = centre.at("2026-09-02 08:00").now
    stored = centre.history("a", "2026-09-01")[-1].inputs
    centre.at("2026-09-03 08:00")
    second_gateway(centre, "2026-09-01 07:20:00", "2026-09-01 16:03:00")
    both = centre.at("2026-09-03 09:00").now
    assert judged_then(centre, "a", then) == stored
    centre.at("2026-09-04 08:00")

    assert decide(centre, OTHER) == 2

    centre.at("2026-09-04 09:00")
    assert not centre.day("a", "2026-09-01")["worked"]
    assert judged_then(centre, "a", then) == stored
    assert judged_then(centre, "a", both) == stored
    assert judged_then(centre, "a", centre.now) == centre.history("a", "2026-09-01")[-1].inputs


def test_an_unknown_pin_that_counts_elsewhere_now_was_a_doubt_then(centre: Centre) -> None:
    """The doubt of the former site's people, as known before the decision."""
    centre.state("gate", "S2", records=None)  # another terminal, which stays
    centre.punched("9", "2026-09-01 07:25:00")
    then = centre.at("2026-09-02 08:00").now
    stored = centre.history("a", "2026-09-01")[-1]
    assert stored.status == "provisional"
    second_gateway(centre, "2026-09-01 07:25:00", pin="9")
    centre.at("2026-09-03 08:00")

    assert decide(centre, OTHER) == 1

    assert centre.at("2026-09-03 09:00").history("a", "2026-09-01")[-1].status == "final"
    assert judged_then(centre, "a", then) == stored.inputs


def test_uses_as_known_at_a_moment_are_those_of_the_gateway_that_counted(centre: Centre) -> None:
    """Counted at the site of then, each once."""
    centre.punched("9", "2026-09-01 07:25:00", "2026-09-01 07:26:00")
    then = utc(centre.at("2026-09-02 08:00").now)
    centre.at("2026-09-02 09:00")
    second_gateway(centre, "2026-09-01 07:25:00", pin="9")
    decide(centre, OTHER)

    with centre.database.reading() as connection:
        known = recorded.uses(connection, known_at=then)
        today = recorded.uses(connection)
        same = recorded.uses(connection, known_at=utc(centre.now))

    assert [(use.site, use.punches) for use in known] == [("3602-bkpsdm", 2)]
    assert sorted((use.site, use.punches) for use in today) == [("3601-dinkes", 1), ("3602-bkpsdm", 1)]
    assert sorted(same) == sorted(today)


def test_a_punch_without_a_pin_is_a_doubt_as_any_unknown_one(centre: Centre) -> None:
    """A terminal that gave only the number of the user: nobody has it, and it may be hers."""
    centre.punched("uid:7", "2026-09-01 07:25:00", pin=None, uid=7)

    assert centre.at("2026-09-02 08:00").day("a", "2026-09-01")["status"] == "provisional"
    assert judged_then(centre, "a", centre.now) == centre.history("a", "2026-09-01")[-1].inputs
