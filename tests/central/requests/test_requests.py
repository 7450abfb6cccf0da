"""Requests: what one person enters and another decides, once; each step dated and named."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from central.cli import app
from central.policy.office import OfficePolicies
from central.registers.problems import RegisterFileError
from central.requests import requests as acts
from central.requests.requests import Person, RequestError
from central.store import requests
from tests.central.store.office import POLICIES, Centre

BOTH_STORES = True

SITI = Person("siti", "op-1")
"""An operator."""
HEAD = Person("kepala", "h-1")
"""A superior."""
ILL = {"person": "a", "kind": "sick", "from": "2026-09-01", "until": "2026-09-01", "paper": "surat dokter"}


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre that has judged 1 September 2026: `a` came late."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00")
    found.at("2026-09-02 08:00")
    yield found
    found.close()


def entered(centre: Centre, row: dict[str, str] | None = None, kind: str = "leave", by: Person = SITI) -> int:
    """Enter a request."""
    with centre.database.writing() as connection:
        return acts.enter(connection, OfficePolicies(POLICIES), kind, row or ILL, by, "sakit", centre.now)


def approved(connection: Connection, centre: Centre, number: int, by: Person = HEAD) -> int:
    """Approve a request; return how many statements it changed."""
    office = OfficePolicies(POLICIES)
    return len(acts.approve(connection, office, number, by, "Contoh 7/2026", "", centre.now).changes)


def state(centre: Centre, number: int) -> list[tuple[str, str]]:
    """Return the steps of a request, with their people."""
    with centre.database.reading() as connection:
        found = requests.find(connection, number)
    assert found is not None
    return [(step.what, step.by) for step in found[1]]


def test_a_request_counts_from_its_approval_on_and_the_punch_stays(centre: Centre) -> None:
    """Before, the day is late; after, it is excused, with the approval's paper as its cause."""
    number = entered(centre)
    centre.at("2026-09-02 09:00")
    assert centre.day("a", "2026-09-01")["excused"] == []
    with centre.database.writing() as connection:
        assert approved(connection, centre, number) == 1
    centre.at("2026-09-02 10:00")
    day = centre.day("a", "2026-09-01")
    assert day["excused"] == [["sick", 1000]]
    with centre.database.reading() as connection:
        punches = connection.exec_driver_sql("SELECT count(*) FROM punch").scalar_one()
    assert punches == 2
    cause = json.loads(centre.history("a", "2026-09-01")[-1].cause)[0]
    assert (cause["by"], cause["paper"], cause["file"]) == ("kepala", "Contoh 7/2026", f"request-{number}")
    assert state(centre, number) == [("entered", "siti"), ("approved", "kepala")]


def test_a_correction_has_the_approvers_name_and_paper(centre: Centre) -> None:
    """Whatever the requester wrote in these columns."""
    row = {"person": "a", "date": "2026-09-01", "time": "07:25", "paper": "mine", "by": "siti", "reason": "mesin"}
    number = entered(centre, row, "corrections")
    with centre.database.writing() as connection:
        approved(connection, centre, number)
    with centre.database.reading() as connection:
        text = connection.exec_driver_sql("SELECT content FROM register_row WHERE kind = 'corrections'").scalar_one()
    assert "Contoh 7/2026" in text
    assert "mine" not in text


@pytest.mark.parametrize(
    "by",
    [SITI, Person("siti-2", "op-1"), Person("adik", "a")],
    ids=["the account", "another account of the person", "the person it is about"],
)
def test_no_person_decides_an_own_request(centre: Centre, by: Person) -> None:
    """Neither approves nor refuses."""
    number = entered(centre)
    with pytest.raises(RequestError, match="request_own"), centre.database.writing() as connection:
        approved(connection, centre, number, by)
    with pytest.raises(RequestError, match="request_own"), centre.database.writing() as connection:
        acts.refuse(connection, number, by, "tidak", centre.now)
    assert state(centre, number) == [("entered", "siti")]


def test_two_approvals_at_once_enter_one_row(centre: Centre) -> None:
    """The second one states who was faster; the register has the row once."""
    number = entered(centre)
    ready = threading.Barrier(2)
    found: list[str] = []

    def attempt(name: str) -> None:
        ready.wait()
        try:
            with centre.database.writing() as connection:
                approved(connection, centre, number, Person(name))
            found.append("done")
        except RequestError as error:
            found.append(error.code)

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("kepala", "bkd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["done", "request_approved"]
    with centre.database.reading() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM register_row WHERE kind = 'leave'").scalar_one()
    assert (count, len(state(centre, number))) == (1, 2)


def test_refused_and_withdrawn_requests_are_over(centre: Centre) -> None:
    """With a reason; only the requester withdraws."""
    refused, withdrawn = entered(centre), entered(centre)
    with centre.database.writing() as connection:
        acts.refuse(connection, refused, HEAD, "tanpa surat", centre.now)
        with pytest.raises(RequestError, match="request_not_own"):
            acts.withdraw(connection, withdrawn, HEAD, "salah", centre.now)
        acts.withdraw(connection, withdrawn, SITI, "salah", centre.now)
    for number, code in ((refused, "request_refused"), (withdrawn, "request_withdrawn")):
        with pytest.raises(RequestError, match=code), centre.database.writing() as connection:
            approved(connection, centre, number)
    centre.at("2026-09-02 10:00")
    assert centre.day("a", "2026-09-01")["excused"] == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("leave", {"person": "nobody"}),
        ("leave", {"until": "2026-08-01"}),
        ("leave", {"from": "1 Sept"}),
        ("leave", {"unknown": "x"}),
        ("leave", {"person": "x" * 600}),
        ("people", {}),
        ("policies", {}),
        ("nonsense", {}),
    ],
)
def test_a_row_that_could_not_be_imported_cannot_be_requested(
    centre: Centre, kind: str, change: dict[str, str]
) -> None:
    """Nothing is stored."""
    with pytest.raises((RequestError, RegisterFileError)):
        entered(centre, ILL | change, kind)
    with centre.database.reading() as connection:
        assert requests.listing(connection) == []


@pytest.mark.parametrize("reason", ["", "   ", "x" * 10_000, "a\x00b", "a\x1b[31m"])
def test_a_reason_is_a_text_of_bounded_length(centre: Centre, reason: str) -> None:
    """Refused, said clearly; nothing is stored."""
    with pytest.raises(RequestError, match="request_reason"), centre.database.writing() as connection:
        acts.enter(connection, OfficePolicies(POLICIES), "leave", ILL, SITI, reason, centre.now)
    with pytest.raises(RequestError, match="request_text"), centre.database.writing() as connection:
        acts.note(connection, "a", date(2026, 9, 1), "note", "kepala", reason, centre.now)


def test_a_row_that_became_wrong_is_not_approved(centre: Centre) -> None:
    """The person was taken out of the register since: the request waits, nothing is half applied."""
    number = entered(centre, ILL | {"person": "b"})
    pin = "pin,site,person,from,until\n1002,3602-bkpsdm,b,2026-01-01,\n"
    centre.enter("enrolments", pin, "Contoh 6/2026", withdraw=True)
    person = "key,name,employment,unit,from,until\nb,Contoh Dua,pppk,dinas,2026-08-24,\n"
    centre.enter("people", person, "Contoh 6/2026", withdraw=True)
    with pytest.raises(RegisterFileError), centre.database.writing() as connection:
        approved(connection, centre, number)
    assert state(centre, number) == [("entered", "siti")]


def test_notes_and_answers_stand_on_their_day_in_order(centre: Centre) -> None:
    """No verdict depends on them."""
    before = centre.digests()
    with centre.database.writing() as connection:
        acts.note(connection, "a", date(2026, 9, 1), "note", "kepala", "terlambat, sudah ditanya", centre.now)
        acts.note(connection, "a", date(2026, 9, 1), "answer", "a", "ban bocor", centre.now)
    centre.at("2026-09-02 08:00")
    assert centre.digests() == before
    with centre.database.reading() as connection:
        found = requests.notes_of(connection, "a", date(2026, 9, 1), date(2026, 9, 1))
    assert [(one.what, one.by) for one in found] == [("note", "kepala"), ("answer", "a")]


def test_the_commands_enter_list_and_decide(centre: Centre) -> None:
    """As BKD does it without a page; mistakes and refusals have exit code 1."""

    def run(*words: str, code: int = 0) -> str:
        arguments = ["request", *words, "--db", str(centre.database.address)]
        if words[0] in ("enter", "approve"):
            arguments += ["--policies", str(POLICIES)]
        result = CliRunner().invoke(app, arguments, obj=lambda: centre.now)
        assert result.exit_code == code, result.output
        return result.output

    row = [f"{head}={text}" for head, text in ILL.items()]
    number = run("enter", "leave", *row, "--by", "siti", "--reason", "sakit").split()[1]
    second = run("enter", "leave", *row, "--by", "siti", "--reason", "sakit").split()[1]
    assert len(number) == len(second) == 8
    assert int(second) - int(number) != 1, "the difference of two numbers would say how many others there are"
    run("withdraw", second, "--by", "siti", "--reason", "ganda")
    listed = run("list")
    assert "sick" in listed
    assert "until ," not in listed
    assert "pegawai" in run("list", "--lang", "id")
    assert "own" in run("approve", number, "--by", "siti", "--paper", "Contoh", code=1)
    assert "approved" in run("approve", number, "--by", "kepala", "--paper", "Contoh 7/2026")
    assert "kepala" in run("refuse", number, "--by", "bkd", "--reason", "x", code=1)
    assert "tidak ada" in run("refuse", "9", "--by", "bkd", "--reason", "x", "--lang", "id", code=1).lower()
    assert json.loads(run("list", "--all", "--json"))[-1]["steps"][-1]["what"] == "approved"
    assert "no requests" in run("list")
    run("enter", "leave", "person=none", "kind=sick", "from=2026-09-01", "--by", "x", "--reason", "y", code=1)
    run("enter", "leave", "nonsense", "--by", "x", "--reason", "y", code=2)
