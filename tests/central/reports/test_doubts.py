"""``hadir-central doubts``: what keeps verdicts provisional, in numbers, with what settles it."""

import ast
import inspect
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from central.moments import print_moment
from central.policy.model import Suspect
from central.reports.doubts import SETTLED_BY, Doubted, detail_words, doubted, kept_by, line, settled_by, what_of
from central.reports.messages import MESSAGES
from central.texts import Language
from central.timesheet import doubt, unknown
from central.timesheet.doubt import STANDING, UNSURE
from central.words import MEANINGS
from tests import command
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import address


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an outage, a log that is not read, a PIN of nobody, and a person who is nowhere enrolled."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.enter("people", "key,name,employment,unit,from\nnew,Contoh Baru,pns,dinas,2026-09-01\n")
    found.state("gate", "S2", "2026-08-31 00:00", 0)
    found.now = datetime(2026, 8, 31, 23, tzinfo=UTC)
    out = {"serial": "S1", "from": "2026-08-31T23:00:00.000Z", "cause": "unavailable", "reason": "x"}
    found.receive(found.note("hadir.terminal.lost.v1", "lobby", **out))
    found.state("gate", "S2", "2026-08-31 23:00", 1)
    found.punched("9", "2026-09-01 07:25:00")
    found.at("2026-09-02 08:00")
    yield found
    found.close()


def listed(centre: Centre, *words: str) -> str:
    """Return what the command prints."""
    place = ("--db", address(centre.folder / "centre.db"), "--policies", str(POLICIES))
    done = command.run("central.cli", "doubts", *place, *words, env=os.environ | {"TERM": "dumb"})
    assert done.returncode == 0
    return done.stdout


def found(centre: Centre, *words: str) -> dict[str, dict[str, Any]]:
    """Return the doubts by what they are."""
    return {one["what"]: one for one in json.loads(listed(centre, "--json", *words))}


@pytest.mark.both_stores
def test_each_doubt_is_named_with_how_many_verdicts_it_keeps(centre: Centre) -> None:
    """Where it is, since when, and how far a log was read."""
    doubts = found(centre, "--from", "2026-09-01", "--until", "2026-09-01")

    assert {what: (one["verdicts"], one["people"]) for what, one in doubts.items()} == {
        "outage": (2, 2),
        "unattributed": (2, 2),
        "unenrolled": (1, 1),
        "unread": (2, 2),
    }
    read_until = print_moment("2026-08-31T16:00:00Z", None)
    assert (doubts["unread"]["terminal"], doubts["unread"]["detail"]) == ("S2", f"read until {read_until}")
    assert doubts["outage"]["terminal"] == "lobby (S1)", "decisions name the serial number"


def test_the_list_says_what_settles_each(centre: Centre) -> None:
    """In both languages; what is settled is not listed."""
    text = listed(centre, "--lang", "id", "--until", "2026-09-01")
    assert "keputusan `out_of_use`" in text
    assert "pendaftaran pegawai itu" in text
    rows = "".join(f"not_concerned,{person},2026-01-01,K,P\n" for person in ("a", "b", "new"))
    centre.enter("decisions", f"decision,person,from,by,paper\n{rows}")
    centre.at("2026-09-02 08:01")
    assert listed(centre, "--until", "2026-09-01") == (
        "Dates 2026-08-01 to 2026-09-01; for earlier ones write --since DATE.\n"
        "no verdict of these dates is provisional\n"
    )
    assert "2026-07-01" in listed(centre, "--since", "2026-07-01", "--until", "2026-09-01")


def test_every_doubt_of_the_judgement_has_words_and_what_settles_it() -> None:
    """Also in a line for people."""
    for what, settled in SETTLED_BY.items():
        assert {what, settled} <= MESSAGES.keys()
        one = Doubted(what, "lobby", "stream x", 2, 1, date(2026, 9, 1), date(2026, 9, 2))
        assert "2026-09-01 - 2026-09-02" in line(one, Language.ENGLISH)


def codes() -> set[str]:
    """Return the doubts that the sources of the judgement raise: constants of `Doubt`, and those of named sets."""
    calls = (node for module in (unknown, doubt) for node in ast.walk(ast.parse(inspect.getsource(module))))
    raised = (node for node in calls if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Doubt"))
    third = {
        str(part.args[2].value) for part in raised if len(part.args) > 2 and isinstance(part.args[2], ast.Constant)
    }
    return third | UNSURE | STANDING | set(unknown.RECORDS) | {"outage", "suspect", "arrival", "state_variants"}


@pytest.mark.parametrize("language", Language)
def test_no_code_of_the_judgement_is_shown_as_it_is(language: Language) -> None:
    """Doubts, suspects of punches, and their details, have words in both languages."""
    assert {"gap", "unattributed", "drift", "unread"} <= codes()
    for what in codes():
        one = Doubted(what, None, None, 1, 1, date(2026, 9, 1), date(2026, 9, 1))
        assert what_of(one, language) not in (what, "")
        assert settled_by(one, language) != SETTLED_BY.get(what, "settle_clock")
    for suspect in get_args(Suspect):
        assert MEANINGS[suspect].into(language) != suspect
    for detail in (
        "stream 0f3a sequences 3-9",
        "stream 0f3a up to sequence 9",
        "stream 0f3a sequence 9",
        "gateway kota/utama offline",
        "gateway kota/utama out of contact",
        "punch 01J8",
    ):
        shown = detail_words(detail, language)
        assert shown != detail or language is Language.ENGLISH
        assert language is Language.ENGLISH or not {"sequence", "sequences", "offline", "punch"} & set(shown.split())


def test_a_doubt_of_two_slots_counts_once() -> None:
    """A verdict is a date of a person."""
    reasons = [{"step": "doubt", "what": "gap", "slot": slot, "detail": "stream x"} for slot in ("in", "out")]
    (one,) = doubted(kept_by("a", date(2026, 9, 1), [*reasons, {"step": "plan", "what": "x"}]))
    assert (one.verdicts, one.people) == (1, 1)
