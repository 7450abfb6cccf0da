"""``policy try`` on a database: two policies side by side, each as if it were assigned."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from central.policy.office import OfficePolicies
from central.policy.trial import people_on, try_policies
from tests import command
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import address

DATES = date(2026, 8, 31), date(2026, 9, 2)
NAMES = "graded", "kemenkeu-2021"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with lateness, a missing punch, leave, a doubt, and a policy of a person's own."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,dinas,2026-08-24\n")
    found.enter("enrolments", "pin,site,person,from\n1003,3602-bkpsdm,c,2026-01-01\n")
    found.enter("assignments", "person,policy,from\nc,starter,2026-08-24\n")
    found.punched("1001", "2026-08-31 07:45:10", "2026-08-31 16:01:00", "2026-09-01 08:45:10", "2026-09-01 15:01:00")
    found.punched("1002", "2026-08-31 07:15:10", "2026-09-01 07:55:10", "2026-09-01 16:31:00")
    found.punched("1003", "2026-08-31 08:00:10", "2026-08-31 16:20:00", suspect=["drift"])
    found.enter("leave", "person,kind,from\nb,annual,2026-09-02\n")
    found.punched("9", "2026-09-02 07:25:00")
    found.at("2026-09-03 08:00")
    yield found
    found.close()


def tried(centre: Centre) -> dict[str, list[dict[date, str]]]:
    """Return the digest of each day of each person under each policy."""
    with centre.database.reading() as connection:
        people = people_on(connection, None, DATES)
        found = try_policies(connection, OfficePolicies(POLICIES), NAMES, people, DATES, centre.now)
        return {one.person: [{on: day.inputs for on, day in side.days.items()} for side in one.sides] for one in found}


def test_each_side_is_what_is_judged_where_that_policy_is_assigned(centre: Centre) -> None:
    """To the digest; also for whom another policy is assigned. Nothing is stored by trying."""
    before = centre.digests()
    sides = tried(centre)
    assert centre.digests() == before
    assert {person: [len(side) for side in found] for person, found in sides.items()} == {key: [3, 3] for key in "abc"}

    for number, name in enumerate(NAMES):
        for word in ("unit,policy,from\ndinas", "person,policy,from\nc"):
            since = "2026-08-24" if word.startswith("person") else "2026-01-01"
            centre.enter("assignments", f"{word},{name},{since}\n")
        centre.recompute.run()
        stored = centre.digests()
        for person, found in sides.items():
            assert found[number] == {on: stored[person, on.isoformat()] for on in found[number]}


def run(centre: Centre, *words: str) -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    options = ("--db", address(Path(centre.database.address)), "--policies", POLICIES)
    done = command.run("central.cli", "policy", "try", *words, *options, env=os.environ | {"TERM": "dumb"})
    return done.returncode, done.stdout + done.stderr


def test_people_stand_side_by_side(centre: Centre) -> None:
    """A unit by totals, a person by days too; what differs is marked."""
    code, output = run(centre, "graded", "starter", "--from", "2026-08-31", "--to", "2026-09-01", "--unit", "dinas")
    assert code == 0
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    assert lines[0] == "person date or period graded starter"
    assert lines[-1].startswith("people: 3, of them with a difference: ")
    at = next(number for number, line in enumerate(lines) if line.startswith("Contoh Satu (a) period from 2026-08-01"))
    assert lines[at].endswith("late 15 min; cut 0.5 % late 15 min; cut 0 % *")
    assert lines[at + 1].startswith("period from 2026-09-01 late 75 min; early 59 min; cut ")

    code, output = run(centre, "graded", "starter", "--from", "2026-08-31", "--person", "contoh satu", "--lang", "id")
    assert "terlambat 15 menit (TL1); potongan 0,5 %" in output
    assert "yang hasilnya berbeda: 1" in output


def test_scripts_get_days_and_totals_of_each_side(centre: Centre) -> None:
    """By policy and date."""
    code, output = run(centre, "graded", "starter", "--from", "2026-08-31", "--person", "a", "--json")
    (found,) = json.loads(output)
    assert (code, found["person"], found["name"]) == (0, "a", "Contoh Satu")
    assert found["graded"]["days"]["2026-08-31"]["slots"]["in"]["class"] == "TL1"
    assert found["starter"]["days"]["2026-08-31"]["cut"] == "0"
    assert list(found["graded"]["totals"]) == ["2026-08-01"]


def test_what_cannot_be_tried_is_named(centre: Centre) -> None:
    """No such policy, person or unit; words of the other form; no date."""
    assert run(centre, "graded", "none", "--from", "2026-08-31")[0] == 1
    assert run(centre, "graded", "starter", "--from", "2026-08-31", "--person", "zz")[0] == 1
    assert run(centre, "graded", "starter", "--from", "2026-08-31", "--unit", "zz")[0] == 1
    assert run(centre, "cases.yaml", "graded", "starter", "--from", "2026-08-31")[0] == 2
    code, output = run(centre, "graded", "starter")
    assert code == 2
    assert "write the first date to judge" in " ".join(output.split())
    assert run(centre, "graded", "starter", "--from", "2026-08-31", "--to", "2026-08-30")[0] == 2
