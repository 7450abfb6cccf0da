"""An account of one unit beside an office with other units, and beside one without: it sees the same, byte for byte."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from central.store import closings, requests
from central.web.access import Role, Viewer
from central.web.app import MODULES
from central.web.guard import Buckets
from central.web.page import Page
from central.web.views.period import FIGURES
from tests.central.web.site import Answer, Browser, Served, token, write_accounts

UNITS = "key,name,parent,zone,from,until\nschool,Sekolah,,Asia/Jakarta,2026-01-01,\n"
PEOPLE = "key,name,employment,unit,from,until\nc/1,Contoh Tiga,pns,school,2026-08-24,\nb,Contoh Dua,pppk,school,"
PINS = "pin,site,person,from,until\n1001,kelas,c/1,2026-01-01,\n1002,kelas,b,2026-09-01,\n"
ASSIGNED = "unit,schedule,policy,from\nschool,week,graded,2026-01-01\n"
OURS = {
    "units": UNITS,
    "people": PEOPLE + "2026-09-01,\n",
    "enrolments": PINS,
    "assignments": ASSIGNED,
}
EVERYTHING = {
    "units": UNITS + "office,Kabupaten,,Asia/Jakarta,2026-01-01,\nhospital,Rumah Sakit,office,,2026-01-01,\n",
    "people": PEOPLE + "2026-09-01,\nb,Contoh Dua,pppk,hospital,2026-08-24,2026-08-31\n"
    "x/7,Rahasia Tujuh,pns,hospital,2026-08-24,\nx-8,Rahasia Delapan,pns,office,2026-08-24,\n",
    "enrolments": PINS + "1007,bangsal,x/7,2026-01-01,\n1008,bangsal,x-8,2026-01-01,\n",
    "assignments": ASSIGNED + "office,week,graded,2026-01-01\n",
}
ACCOUNTS = {
    "clerk": "role: operator\n    units: [school]",
    "head": "role: superior\n    units: [school]\n    person: c/1",
    "own": "role: person\n    person: c/1",
    "bkd": "role: bkd",
}
FOREIGN = {
    "unit": ("hospital", "office"),
    "person": ("x/7", "Rahasia Tujuh", "b"),
    "number": ("10000000", "10000001"),
    "name": ("recap.html", "totals.csv"),
    "policy": ("graded",),
}
"""What an outsider may guess: keys, names, numbers. `b` was in the other unit until August."""
DATES = ("2026-08-31", "2026-09-02")
QUERIES = (
    *({"date": on} for on in DATES),
    {"month": "2026-08"},
    {"known": "2026-09-01T12:00", "month": "2026-08", "date": "2026-08-31"},
    {"show": "people", "date": "2026-08-31"},
    *({"unit": unit, "date": "2026-08-31"} for unit in FOREIGN["unit"]),
    *({"person": person, "from": "2026-08-20"} for person in FOREIGN["person"]),
)


@dataclass
class World:
    """An office, with a browser of each account and the token of its forms."""

    served: Served
    browsers: dict[str, tuple[Browser, str]] = field(default_factory=dict)

    def browser(self, account: str) -> Browser:
        """Return the browser of an account; each account logs in once."""
        if account not in self.browsers:
            browser = self.served.browser(account)
            self.browsers[account] = browser, token(browser.get("/"))
        return self.browsers[account][0]

    def answer(self, account: str, path: str, form: dict[str, str] | None) -> Answer:
        """Return what an account gets: a page, or what a form leads to."""
        browser = self.browser(account)
        return browser.get(path) if form is None else browser.post(path, {**form, "form": self.browsers[account][1]})


def build(folder: Path, registers: dict[str, str]) -> World:
    """Serve an office on 3 September 2026; punches of its own people only where it has them."""
    folder.mkdir()
    served = Served(folder, registers=registers, own_days=True)
    write_accounts(served.accounts, ACCOUNTS)
    served.pages.accounts.refresh()
    served.pages._addresses, served.pages._tokens = Buckets(1e9, 1.0), Buckets(1e9, 1.0)  # thousands of requests
    served.office.at("2026-09-03 09:00")
    return World(served)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """Yield an office with another unit, of which a request waits and a period is closed, and one without."""
    tmp_path = tmp_path_factory.mktemp("worlds")
    drawn = count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("central.store.numbers.randbelow", lambda _: next(drawn))
        yield from _worlds(tmp_path)


def _worlds(tmp_path: Path) -> Iterator[tuple[World, World]]:
    whole, alone = build(tmp_path / "whole", EVERYTHING), build(tmp_path / "alone", OURS)
    bkd = whole.browser("bkd")
    path = "/closing?unit=office&date=2026-08-31"
    closed = bkd.post(path, {"form": token(bkd.get(path)), "paper": "Rahasia 1/2026", "with-open": "yes"})
    given = {"kind": "leave", "row-person": "x/7", "row-kind": "sick", "row-from": "2026-09-02", "reason": "Rahasia"}
    entered = bkd.post("/request/new", {**given, "form": token(bkd.get("/request/new"))})
    note = "/notes/x-8?date=2026-09-01"
    noted = bkd.post(note, {"form": token(bkd.get(note)), "text": "Rahasia"})
    assert (closed.status, entered.status, noted.status) == (303, 303, 303)
    with whole.served.office.database.reading() as connection:
        assert len(closings.listing(connection)) == len(requests.listing(connection)) == 1
    yield whole, alone
    for world in (whole, alone):
        world.served.end()
        world.served.office.close()


def plain(answer: Answer) -> tuple[int, dict[str, str], str]:
    """Return an answer without what differs between any two answers: tokens, cookies, the clock of HTTP."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for name in ("date", "set-cookie"):
        headers.pop(name, None)
    return answer.status, headers, re.sub(r'(name="form" value=")[0-9a-f]+', r"\1", answer.body)


def addresses(page: Page) -> Iterator[str]:
    """Yield the addresses of a page with everything foreign that fits into its path."""
    names = re.findall(r"{(\w+)(?::path)?}", page.path)
    for values in product(*(FOREIGN[name] for name in names)):
        path = page.path
        for name, value in zip(names, values, strict=True):
            path = re.sub(rf"{{{name}(:path)?}}", quote(value, safe="/"), path)
        yield path


def forms() -> Iterator[dict[str, str]]:
    """Yield what an outsider may send, whatever the page."""
    for step in ("approve", "refuse", "withdraw"):
        yield {"number": "10000001", "step": step, "paper": "Contoh 1", "reason": "Contoh"}
    for kind, person, on in product(("leave", "decisions"), FOREIGN["person"], DATES):
        row = {"row-kind": "sick", "row-date": on, "row-time": "07:30", "row-decision": "not_concerned"}
        yield {"kind": kind, "row-person": person, "row-from": on, "row-until": on, "reason": "x" * 1_001, **row}
    yield {"text": "Contoh", "paper": "Contoh", "with-open": "yes"}


def own_pages() -> Iterator[str]:
    """Yield the pages of the outsider's own unit and person, which must not depend on what is foreign either."""
    for page in ("/today/school?date=", "/person/c/1?month=", "/day/c/1?date=", "/notes/c/1?date="):
        yield from (f"{page}{on if 'date' in page else on[:7]}" for on in DATES)
    yield from (f"/period/school?month={month}&show={show}" for month in ("2026-08", "2026-09") for show in FIGURES)


def attempts(account: str) -> Iterator[tuple[str, dict[str, str] | None]]:
    """Yield each page, live part and form of the program, with everything foreign that it may be sent."""
    yield from ((path, None) for path in own_pages())
    viewer = Viewer(account, Role(ACCOUNTS[account].partition("role: ")[2].partition("\n")[0]))
    for page in (page for module in MODULES for page in module.PAGES):
        for path in addresses(page):
            inside = "{" in page.path
            for query in ({}, *(query for query in QUERIES if inside or not query.keys() & {"month", "known"})):
                if not (inside and query.keys() & {"unit", "person"}):
                    yield (f"{path}?{urlencode(query)}" if query else path), None
            if page.live:
                yield f"/live{path}", None
            if page.post is not None and page.is_for(viewer):
                for form in forms():
                    yield f"{path}?date=2026-08-31&unit=hospital", form


@pytest.mark.parametrize("account", ["clerk", "head", "own"])
def test_an_outsider_learns_nothing_about_another_unit(worlds: tuple[World, World], account: str) -> None:
    """Every route, with every foreign key, name and number, as page, live part and form: as where they do not exist.

    So are the pages of the own unit. Status, headers with the length, and body are equal; `Rahasia` is in all that is
    foreign and in no answer to what does not have it.
    """
    tried = 0
    for path, form in attempts(account):
        whole, alone = (world.answer(account, path, form) for world in worlds)
        assert plain(whole) == plain(alone), (path, form)
        assert "Rahasia" not in whole.body or "Rahasia" in f"{path} {form}", (path, form)
        tried += 1
    assert tried > 100
