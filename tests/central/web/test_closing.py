"""Closing a period on the pages: by BKD alone, once, with what is open in view; the files as they were made."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text

from central.store import closings
from central.store.closings import ClosedTotal
from tests.central.store.office import POLICIES
from tests.central.web.site import WAIT_S, Answer, Browser, Served, token

PATH = "/closing?unit=office&date=2026-08-31"


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the numbers that are drawn follow each other."""
    drawn = count()
    monkeypatch.setattr("central.store.numbers.randbelow", lambda _: next(drawn))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Yield the pages of an office whose August is over; two people have no PIN yet."""
    found = Served(tmp_path)
    found.office.at("2026-09-03 09:00")
    yield found
    found.end()
    found.office.close()


def close(browser: Browser, path: str = PATH, **fields: str) -> Answer:
    """Send the form that closes a period."""
    return browser.post(path, {"form": token(browser.get(path)), "paper": "Contoh 9/2026", **fields})


def numbers(served: Served) -> list[int]:
    """Return the numbers of all closings."""
    with served.office.database.reading() as connection:
        return [one.id for one in closings.listing(connection)]


def test_a_period_is_closed_with_what_is_open_in_view(served: Served) -> None:
    """Open verdicts are listed with links and need a choice; then it is closed, once."""
    bkd = served.browser("bkd1")
    page = bkd.get(PATH + "&lang=en").body
    assert "/day/c/1?date=2026-08-31" in page
    refused = close(bkd)
    assert refused.status == 409
    assert 'value="Contoh 9/2026"' in refused.body
    assert not re.search("--|hadir-central", refused.body.partition("<main")[2])
    assert numbers(served) == []
    form = token(bkd.get(PATH))
    given = {"form": form, "paper": "Contoh 9/2026", "with-open": "yes"}
    assert bkd.post(PATH, given).to == "/closings"
    second = bkd.post(PATH, given)
    assert (second.status, numbers(served)) == (409, [10_000_000])
    assert "bkd1" in second.body
    assert "bkd1" in bkd.get(PATH).body
    assert ("bkd1", "closing", "office", None, False) in served.log()


def test_pages_of_a_closed_period_state_that_it_is_closed(served: Served) -> None:
    """The day and the month do from the closing on; the day as known before it does not."""
    bkd, closed = served.browser("bkd1"), "was closed on"
    day, month = "/day/a?date=2026-08-31&lang=en", "/period/office?month=2026-08&lang=en"
    person = "/person/a?month=2026-08&lang=en"
    assert closed not in bkd.get(day).body + bkd.get(month).body + bkd.get(person).body
    close(bkd, **{"with-open": "yes"})
    assert closed in bkd.get(day).body
    assert re.search(r"was closed on .* for \d+ of \d+ people", bkd.get(month).body)
    assert (
        "1 August 2026 to 31 August 2026 was closed on 3 September 2026, 09:00 WIB: its totals" in bkd.get(person).body
    )
    assert (
        closed not in bkd.get(f"{day}&known=2026-09-02T09:00").body + bkd.get(f"{person}&known=2026-09-02T09:00").body
    )
    assert closed not in bkd.get("/day/a?date=2026-09-01&lang=en").body
    assert closed not in bkd.get("/period/office?month=2026-09&lang=en").body


def test_a_closing_of_dates_in_another_unit_is_not_mentioned(served: Served) -> None:
    """`k` moved on 2 September; the clinic closed until the day before, of which the school learns nothing."""
    moved = "k,Contoh Pindah,pns,clinic,2026-08-24,2026-09-01\nk,Contoh Pindah,pns,school,2026-09-02,\n"
    served.office.enter("people", f"key,name,employment,unit,from,until\n{moved}")
    made = {"unit": "clinic", "first": "2026-08-02", "last": "2026-09-01", "closed_by": "bkd1", "paper": "Contoh"}
    more = {"entered": "2026-09-03T01:00:00.000Z", "still_open": "[]", "policies": "{}"}
    total = ClosedTotal("k", "2026-08-02", "2026-09-01", "clinic", "{}", "{}")
    with served.office.database.writing() as connection:
        closings.add(connection, {**made, **more}, [total], [])
    for page in ("/person/k?month=2026-09&lang=en", "/period/{unit}?month=2026-09&lang=en"):
        for account, unit in (("clerk", "clinic"), ("other", "school")):
            body = served.browser(account).get(page.format(unit=unit)).body
            assert ("was closed on" in body) is (unit == "clinic"), (page, account)


def test_two_closings_at_once_leave_one(served: Served) -> None:
    """The second browser gets the page again, which names the first closing."""
    ready = Barrier(2)
    browsers = [served.browser("bkd1") for _ in range(2)]
    given = [{"form": token(one.get(PATH)), "paper": "Contoh 9/2026", "with-open": "yes"} for one in browsers]

    def send(number: int) -> Answer:
        ready.wait()
        return browsers[number].post(PATH, given[number])

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(send, range(2)))
    assert sorted(answer.status for answer in answers) == [303, 409]
    (number,) = numbers(served)
    assert f"penutupan {number}" in next(answer.body for answer in answers if answer.status == 409)


@pytest.mark.parametrize("paper", ["", "  ", "x" * 10_000, "a\x1bb"])
def test_a_paper_is_wanted(served: Served, paper: str) -> None:
    """400, and nothing is closed; the form is there again as it was sent."""
    answer = close(served.browser("bkd1"), paper=paper, **{"with-open": "yes"})
    assert answer.status == 400
    assert f'value="{paper.strip()}"' in answer.body or not paper.strip()
    assert 'value="yes" checked' in answer.body
    assert numbers(served) == []


def test_other_roles_do_not_close(served: Served) -> None:
    """The page is none for them, and a form of BKD's page does not help."""
    for account in ("chief", "clerk", "audit"):
        browser = served.browser(account)
        assert browser.get(PATH).status == 404
        form = token(browser.get("/requests"))
        assert browser.post(PATH, {"form": form, "paper": "Contoh", "with-open": "yes"}).status == 404
    assert numbers(served) == []


def test_a_period_that_is_not_over_or_no_unit(served: Served) -> None:
    """Said in words; a unit that does not exist is no page."""
    bkd = served.browser("bkd1")
    assert "belum berakhir" in bkd.get("/closing?unit=office&date=2026-09-02").body
    assert bkd.get("/closing?unit=nowhere&date=2026-08-31").status == 404
    assert bkd.get("/closing?unit=office&date=yesterday").status == 400


def test_files_are_handed_out_as_they_were_to_those_who_see_the_unit(served: Served) -> None:
    """As attachments, byte for byte; a superior of a part does not get the whole's; a changed file is refused."""
    bkd, chief = served.browser("bkd1"), served.browser("chief")
    close(bkd, **{"with-open": "yes"})
    page = bkd.get("/closings").body
    assert "/closings/10000000/recap.xlsx" in page
    assert "/closings/10000000/" not in chief.get("/closings").body
    answer = bkd.get("/closings/10000000/recap.html")
    with served.office.database.reading() as connection:
        found = closings.file_of(connection, 10_000_000, "recap.html")
    assert found is not None
    assert answer.body.encode() == found[0].content
    assert answer.headers["content-disposition"].startswith("attachment")
    foreign, unknown = chief.get("/closings/10000000/recap.html"), chief.get("/closings/10000099/recap.html")
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
    assert {bkd.get(f"/closings/{name}").status for name in ("10000000/nothing", "x/recap.html", "1e3/recap.html")} == {
        404
    }
    assert ("bkd1", "closing_file", "office", None, False) in served.log()
    with served.office.database.writing() as connection:
        connection.execute(text("UPDATE kept_file SET content = x'00' WHERE name = 'recap.html'"))
    assert bkd.get("/closings/10000000/recap.html").status == 409


def test_files_of_a_unit_that_has_ended_stay_with_those_who_saw_it(served: Served) -> None:
    """The clinic is closed down in September; August's sheets are there as before."""
    close(served.browser("bkd1"), "/closing?unit=clinic&date=2026-08-31", **{"with-open": "yes"})
    assert numbers(served) == [10_000_000]
    served.office.enter("units", "key,name,parent,zone,from,until\nclinic,Klinik,dinas,,2026-01-01,2026-09-01\n")
    served.office.at("2026-09-04 09:00")
    for browser in (served.browser("bkd1"), served.browser("chief")):
        assert "/closings/10000000/recap.html" in browser.get("/closings").body
        assert browser.get("/closings/10000000/recap.html").status == 200


def test_sheets_have_the_office_s_settings_and_a_mistake_in_them_keeps_those_of_before(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file is read again while the server runs; the closing's recap has its signatory."""
    served.settings.write_text("place: Kota Contoh\nsignatories: [{title: Kepala, name: Nama Contoh}]\n")
    wait(lambda: served.pages.settings.value.place == "Kota Contoh")
    served.settings.write_text("place: [\n")
    wait(lambda: served.pages.settings.problem is not None)
    bkd = served.browser("bkd1")
    assert close(bkd, **{"with-open": "yes"}).status == 303
    recap = bkd.get("/closings/10000000/recap.html").body
    assert "Kota Contoh, " in recap
    assert "Nama Contoh" in recap
    assert "files_not_read" in capfd.readouterr().out


def test_policies_are_read_again_and_a_mistake_keeps_those_of_before(served: Served, tmp_path: Path) -> None:
    """Another sentence on the page without a restart; a broken file takes nothing away."""
    served.end()
    served.policies = tmp_path / "policies"
    served.policies.mkdir()
    for file in POLICIES.glob("*.yaml"):
        (served.policies / file.name).write_text(file.read_text("utf-8"), "utf-8")
    served.begin()
    browser, graded = served.browser("chief"), served.policies / "graded.yaml"
    before = browser.get("/policies/graded?lang=en").body
    assert "Periods begin on day 26" not in before
    text = graded.read_text("utf-8")
    graded.write_text("period: {begins_on: 99}\n" + text, "utf-8")
    wait(lambda: served.pages.policies.problem is not None)
    assert browser.get("/policies/graded?lang=en").body.partition("<main")[2] == before.partition("<main")[2]
    graded.write_text(text + "\nperiod: {begins_on: 26}\n", "utf-8")
    wait(lambda: served.pages.policies.problem is None)
    assert "Periods begin on day 26" in browser.get("/policies/graded?lang=en").body


def wait(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
