"""Requests on the pages: entered by one account, decided by another; what is foreign is not even refused otherwise."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest

from central.store import requests
from central.store.registers import Registers
from central.store.requests import Request, Step
from tests.central.web.site import ACCOUNTS, Answer, Browser, Served, token, write_accounts

LEAVE = {
    "kind": "leave",
    "row-person": "b",
    "row-kind": "sick",
    "row-from": "2026-08-31",
    "row-until": "2026-08-31",
    "reason": "<b>demam</b>",
}


FIRST, SECOND = "10000000", "10000001"


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the numbers that are drawn follow each other."""
    drawn = count()
    monkeypatch.setattr("central.store.numbers.randbelow", lambda _: next(drawn))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Yield the pages of an office."""
    found = Served(tmp_path, own_days=True)
    yield found
    found.end()
    found.office.close()


def enter(browser: Browser, **changes: str) -> Answer:
    """Send the form of a new request."""
    kind = changes.get("kind", "leave")
    form = token(browser.get(f"/request/new?kind={kind}"))
    fields = {name.replace("_", "-") if name.startswith("row") else name: text for name, text in changes.items()}
    return browser.post("/request/new", {**LEAVE, **fields, "form": form})


def decide(browser: Browser, step: str, number: str = FIRST, **fields: str) -> Answer:
    """Send one of the forms that decide a request."""
    form = token(browser.get("/requests"))
    return browser.post("/requests", {"form": form, "number": number, "step": step, **fields})


def untyped(answer: Answer) -> tuple[int, str]:
    """Return status and page without what was typed into the form."""
    return answer.status, re.sub(r'(<input type="[a-z]+" name="row-[^>]* value=")[^"]*', r"\1", answer.body)


def stored(served: Served) -> list[tuple[Request, list[Step]]]:
    """Return all requests."""
    with served.office.database.reading() as connection:
        return requests.listing(connection)


def steps(served: Served) -> list[list[tuple[str, str]]]:
    """Return the steps of all requests, newest request first."""
    return [[(step.what, step.by) for step in found] for _, found in stored(served)]


def test_a_request_is_entered_seen_and_approved_by_another_account(served: Served) -> None:
    """Operator enters, superior approves with a paper; the register has it, and both are in the access log."""
    clerk, chief = served.browser("clerk"), served.browser("chief")
    assert (enter(clerk).status, enter(clerk).to) == (303, "/requests")
    page = chief.get("/requests?lang=en").body
    assert " UTC ·" not in page, "the office is not in UTC"
    assert "&lt;b&gt;demam&lt;/b&gt;" in page
    assert "Contoh &lt;b&gt;Dua&lt;/b&gt;" in page
    assert decide(chief, "approve", paper="Contoh 7/2026").status == 303
    assert decide(chief, "refuse", SECOND, reason="ganda").status == 303
    assert steps(served) == [
        [("entered", "clerk"), ("refused", "chief")],
        [("entered", "clerk"), ("approved", "chief")],
    ]
    served.office.at("2026-09-03 09:00")
    assert served.office.day("b", "2026-08-31")["excused"] == [["sick", 1000]]
    assert ("chief", "requests", None, "b", False) in served.log()


def test_a_second_approval_says_who_was_faster(served: Served) -> None:
    """409, and nothing is entered twice."""
    enter(served.browser("clerk"))
    chief, bkd = served.browser("chief"), served.browser("bkd1")
    form = token(bkd.get("/requests?lang=en"))
    assert decide(chief, "approve", paper="Contoh 7/2026").status == 303
    answer = bkd.post("/requests", {"form": form, "number": FIRST, "step": "approve", "paper": "Contoh 8/2026"})
    assert answer.status == 409
    assert "chief" in answer.body
    assert steps(served) == [[("entered", "clerk"), ("approved", "chief")]]


def test_two_steps_at_once_leave_one(served: Served) -> None:
    """Whoever is second gets the list with who was first; the row is entered once."""
    enter(served.browser("clerk"))
    ready = Barrier(2)
    deciders = [
        (served.browser(name), paper) for name, paper in (("chief", "Contoh 7/2026"), ("bkd1", "Contoh 8/2026"))
    ]
    forms = [token(browser.get("/requests")) for browser, _ in deciders]

    def approve(number: int) -> Answer:
        browser, paper = deciders[number]
        ready.wait()
        return browser.post("/requests", {"form": forms[number], "number": FIRST, "step": "approve", "paper": paper})

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(approve, range(2)))
    assert sorted(answer.status for answer in answers) == [303, 409]
    assert len(steps(served)[0]) == 2
    with served.office.database.reading() as connection:
        assert len(Registers(connection).rows("leave", ["person:b"])) == 1


def test_a_second_account_of_a_person_does_not_decide_what_the_first_one_entered(served: Served) -> None:
    """About whomever it is; a third one does."""
    write_accounts(served.accounts, {**ACCOUNTS, "bkd2": "role: bkd\n    person: a"})
    served.pages.accounts.refresh()
    chief, second = served.browser("chief"), served.browser("bkd2")
    assert enter(chief).status == 303
    assert 'value="approve"' not in second.get("/requests").body
    answer = decide(second, "approve", paper="Contoh 7/2026")
    assert answer.status == 403
    assert steps(served) == [[("entered", "chief")]]
    assert decide(served.browser("bkd1"), "approve", paper="Contoh 7/2026").status == 303


def test_no_account_decides_an_own_request(served: Served) -> None:
    """Neither what it entered, nor what is about its person; the form is not even shown."""
    chief, bkd = served.browser("chief"), served.browser("bkd1")
    assert enter(chief, row_person="a").status == 303
    assert 'value="approve"' not in chief.get("/requests").body
    assert decide(chief, "approve", paper="Contoh").status == 403
    assert decide(bkd, "approve", paper="Contoh").status == 303
    assert enter(bkd, row_person="a").status == 303
    assert decide(bkd, "approve", SECOND, paper="Contoh").status == 403
    assert decide(chief, "approve", SECOND, paper="Contoh").status == 403


def test_roles_without_the_right_have_no_form_and_no_step(served: Served) -> None:
    """Operators do not approve, auditors do neither."""
    clerk, auditor = served.browser("clerk"), served.browser("audit")
    enter(clerk)
    assert decide(clerk, "approve", paper="Contoh").status == 404
    assert auditor.get("/request/new").status == 404
    assert 'value="approve"' not in auditor.get("/requests").body
    assert decide(clerk, "withdraw", reason="salah").status == 303
    assert steps(served) == [[("entered", "clerk"), ("withdrawn", "clerk")]]


def test_requests_of_foreign_people_do_not_exist(served: Served) -> None:
    """Neither in the list nor by number; a foreign person, one of other dates and none at all are one answer."""
    enter(served.browser("clerk"))
    other = served.browser("other")
    assert "demam" not in other.get("/requests").body
    foreign = decide(other, "withdraw", FIRST, reason="x")
    unknown = decide(other, "withdraw", "10000999", reason="x")
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
    assert foreign.status == 404
    answers = [
        enter(other, row_person=person) for person in ("a", "nobody", "b")
    ]  # `b` is at the school from September
    assert {untyped(answer) for answer in answers} == {untyped(answers[0])}
    assert answers[0].status == 404
    assert enter(other, row_person="").status == 404
    assert enter(other, row_from="2026-09-02", row_until="2026-09-02").status == 303
    assert len(stored(served)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"row_from": "31 Agustus"},
        {"row_until": "2026-08-01"},
        {"row_kind": ""},
        {"reason": ""},
        {"reason": "x" * 10_000},
        {"row_kind": "x" * 5_000},
        {"row_begin": "25:99"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_form_that_is_wrong_says_what_and_stores_nothing(served: Served, change: dict[str, str]) -> None:
    """400, in the language of the browser and in words of the page; nothing that was typed is lost."""
    answer = enter(served.browser("clerk"), **change)
    assert answer.status == 400
    assert stored(served) == []
    for name, typed in {**LEAVE, **{name.replace("_", "-"): text for name, text in change.items()}}.items():
        assert name == "kind" or not typed or escape(typed) in answer.body
    problem = answer.body.partition('role="alert"')[2].partition("</section>")[0]
    assert problem
    assert not re.search(r"--|`|hadir-central|row ", problem)
    assert next(iter(change)) == "reason" or 'aria-invalid="true"' in answer.body


def test_a_form_is_filled_in_by_choosing(served: Served) -> None:
    """Kinds and slots from lists, people by name; people of one name are distinguished by the key."""
    clerk = served.browser("clerk")
    form = clerk.get("/request/new?kind=leave&lang=id").body
    assert '<option value="annual">tahunan</option>' in form
    assert '<select name="row-slot"' in form
    assert '<option value="b">' not in form  # at the school by today
    assert '<option value="b">Contoh &lt;b&gt;Dua' in served.browser("other").get("/request/new").body
    assert enter(clerk, row_person="  contoh  <B>dua</B> ").status == 303
    assert stored(served)[0][0].person == "b"
    served.office.enter("people", "key,name,employment,unit,from,until\nd,Contoh <b>Dua</b>,pns,clinic,2026-08-24,\n")
    several = enter(clerk, row_person="Contoh <b>Dua</b>")
    assert several.status == 409
    assert "b, d" in several.body
    assert untyped(enter(clerk, row_person="Contoh Satu")) == untyped(enter(clerk, row_person="Siapa"))
    page = clerk.get("/requests").body
    assert "<bdi>sakit</bdi>" in page


def test_what_was_typed_into_a_decision_or_a_note_stays(served: Served) -> None:
    """A paper that is too long costs no remark; of a decided request, the list states by whom."""
    enter(served.browser("clerk"))
    chief = served.browser("chief")
    answer = decide(chief, "approve", paper="x" * 10_000, reason="sudah <dicek>")
    assert answer.status == 400
    assert 'value="sudah &lt;dicek&gt;"' in answer.body
    assert "x" * 10_000 in answer.body
    path = "/notes/a?date=2026-09-01"
    note = chief.post(path, {"form": token(chief.get(path)), "text": "panjang\n" * 400})
    assert note.status == 400
    assert note.body.count("panjang\n") == 400


@pytest.mark.parametrize(
    "fields", [{"number": "x"}, {"number": FIRST, "step": "close"}, {"number": "-1"}, {"number": "9" * 40}]
)
def test_a_step_that_is_none_changes_nothing(served: Served, fields: dict[str, str]) -> None:
    """Altered forms."""
    enter(served.browser("clerk"))
    bkd = served.browser("bkd1")
    answer = bkd.post("/requests", {"form": token(bkd.get("/requests")), **fields})
    assert answer.status in (400, 404)
    assert steps(served) == [[("entered", "clerk")]]


def test_every_form_of_a_kind_is_shown_and_unknown_kinds_are_no_page(served: Served) -> None:
    """Leave, corrections, orders and decisions, in both languages."""
    bkd = served.browser("bkd1")
    for kind in ("leave", "corrections", "orders", "decisions"):
        for language in ("id", "en"):
            form = bkd.get(f"/request/new?kind={kind}&lang={language}").body
            assert 'name="row-' in form
            assert 'id="hint-person"' in form
    assert bkd.get("/request/new?kind=people").status == 404


def test_a_decision_about_a_terminal_is_for_the_personnel_agency(served: Served) -> None:
    """It is about everybody there."""
    served.office.punched("9999", "2026-09-02 07:00:00")
    fields = {"kind": "decisions", "row_decision": "visitor", "row_terminal": "S1", "row_pin": "9999", "row_person": ""}
    given = {**fields, "row_from": "2026-09-02", "row_until": "2026-09-02", "row_kind": ""}
    assert enter(served.browser("chief"), **given).status == 404
    assert enter(served.browser("bkd1"), **given).status == 303
    assert 'value="approve"' not in served.browser("chief").get("/requests").body


def test_notes_and_answers_on_a_day(served: Served) -> None:
    """The superior notes, the person answers; who does not see the day sees neither."""
    chief, own, other = served.browser("chief"), served.browser("own"), served.browser("other")
    path = "/notes/a?date=2026-09-01"
    for browser, words in ((chief, "sudah <ditanya>"), (own, "ban bocor")):
        answer = browser.post(path, {"form": token(browser.get(path)), "text": words})
        assert (answer.status, answer.to) == (303, path)
    page = own.get(path).body
    assert "sudah &lt;ditanya&gt;" in page
    assert "ban bocor" in page
    assert other.get(path).status == 404
    audit = served.browser("audit")
    assert 'name="text"' not in audit.get(path).body
    assert chief.post(path, {"form": token(chief.get(path)), "text": "x" * 5000}).status == 400


def test_a_request_that_reaches_into_another_unit_is_for_whoever_sees_all_its_dates(served: Served) -> None:
    """`b` is at the clinic until August and at the school from September: neither decides about the other's days."""
    clerk, chief, other, bkd = (served.browser(name) for name in ("clerk", "chief", "other", "bkd1"))
    unknown = enter(clerk, row_person="nobody")
    for until in ("2026-09-02", "2027-01-01"):
        assert untyped(enter(clerk, row_until=until)) == untyped(unknown)
    served.office.enter(
        "leave", "person,kind,from,until,paper\nb,maternity,2026-09-01,2026-09-04,Rahasia 1/2026\n", "Rahasia 1/2026"
    )
    assert "Rahasia" not in enter(clerk, row_until="2026-09-02").body
    assert enter(other, row_from="2026-08-31", row_until="2026-09-05").status == 404
    assert stored(served) == []
    assert enter(served.browser("audit")).status == 404
    assert enter(bkd, row_kind="annual", row_until="2026-09-05").status == 303
    assert 'value="approve"' not in chief.get("/requests").body
    assert decide(chief, "approve", paper="Contoh").status == 403
    assert enter(clerk).status == 303
    assert 'value="approve"' in chief.get("/requests").body


def test_a_refused_change_is_in_the_access_log_too(served: Served) -> None:
    """What the register states of the mistake is shown, so the look is stored although nothing else is."""
    clerk = served.browser("clerk")
    assert enter(clerk).status == 303
    before = len(served.log())
    assert enter(clerk, reason="x" * 5_000).status == 400
    assert ("clerk", "request_new", None, "b", False) in served.log()[before:]
