"""The pages of an invented office, served over real sockets, and a browser without a screen."""

import http.client
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from sqlalchemy import Connection, text

from central.store import results
from central.texts import Text
from central.web import app, layout, server
from central.web.access import Action
from central.web.accounts import AccountFile
from central.web.app import Centre as Pages
from central.web.database import Source
from central.web.guard import Site
from central.web.page import Done, Look, Page, Refusal, Shown
from tests.central.store.office import OFFICE, POLICIES, Centre
from tests.central.stores import address
from tests.postgres import Server

WAIT_S = 180.0
"""Longer than anything takes on a busy machine."""
PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Cheap: the tests log in a hundred times."""
ACCOUNTS = {
    "chief": "role: superior\n    units: [dinas]\n    person: a",
    "clerk": "role: operator\n    units: [clinic]",
    "other": "role: operator\n    units: [school]",
    "bkd1": "role: bkd\n    person: z",
    "audit": "role: auditor",
    "own": "role: person\n    person: a",
}
UNITS = (
    "key,name,parent,zone,from,until\noffice,Kabupaten,,Asia/Jakarta,2026-01-01,\n"
    "dinas,Dinas <script>alert(1)</script>,office,,2026-01-01,\nclinic,Klinik,dinas,,2026-01-01,\n"
    "school,Sekolah,office,,2026-01-01,\n"
)
PEOPLE = (
    "key,name,employment,unit,from,until\na,Contoh Satu,pns,dinas,2026-08-24,\nb,Contoh <b>Dua</b>,pppk,clinic,"
    "2026-08-24,2026-08-31\nb,Contoh <b>Dua</b>,pppk,school,2026-09-01,\nc/1,Contoh Tiga,pns,school,2026-08-24,\n"
)


def write_accounts(path: Path, accounts: Mapping[str, str] = ACCOUNTS, hashed: str = HASH) -> Path:
    """Write a file of accounts that all have one password."""
    lines = [f"  {name}:\n    {keys}\n    password: {hashed}\n" for name, keys in accounts.items()]
    path.write_text("accounts:\n" + "".join(lines))
    path.chmod(0o600)
    return path


def _unit(look: Look) -> Shown:
    on = look.day_of("date", look.today())
    people = look.people(look.parameters["unit"], on)
    unit = look.unit(look.parameters["unit"], on)

    def values() -> dict[str, Any]:
        judged = results.people_judged(look.connection, on, on)
        return {"people": people, "name": unit.name, "days": ",".join(judged)}

    units = look.tree.below(frozenset({unit.key}), on)
    return look.show("test_unit.html", values, key=(unit.key, on), live="test_unit_live.html", units=units)


def _person(look: Look) -> Shown:
    seen = look.person(look.parameters["person"])
    row = seen.row(look.day_of("date", look.today()))
    name = "-" if row is None else row.name
    return look.show("test_person.html", lambda: {"name": name, "form_token": look.form_token})


def _note(look: Look, form: Mapping[str, str]) -> Done:
    seen = look.person(look.parameters["person"])
    if form["text"] == "refuse":
        raise Refusal(400, "date_form")

    def change(connection: Connection) -> None:
        if form["text"] == "conflict":
            raise Refusal(409, "date_form")
        connection.execute(text("CREATE TABLE IF NOT EXISTS noted (text TEXT)"))
        connection.execute(text("INSERT INTO noted VALUES (:text)"), {"text": form["text"]})

    return Done(look.url("test_person", person=seen.key), change)


def _silent(look: Look) -> Shown:
    return look.show("test_person.html", lambda: {"name": "people's data"})


def _broken(_: Look) -> Shown:
    raise ZeroDivisionError


class TestPages:
    """Pages of the tests: a unit's people, a person, and pages that do what no page should."""

    __test__ = False
    PAGES = (
        Page("/test/unit/{unit:path}", "test_unit", Text("Unit"), _unit, live=True),
        Page("/test/person/{person:path}", "test_person", Text("Person"), _person, post=_note),
        Page("/test/silent", "test_silent", Text("Silent"), _silent),
        Page("/test/broken", "test_broken", Text("Broken"), _broken, watched=False),
        Page("/test/log", "test_log", Text("Log"), _silent, action=Action.ACCESS_LOG, watched=False),
    )


@dataclass
class Answer:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def to(self) -> str:
        """Return where it leads."""
        return self.headers["location"] or ""


@dataclass
class Browser:
    """Sends requests with the cookies that it was given."""

    port: int
    address: str = "127.0.0.1"
    keeps_cookies: bool = True
    cookies: dict[str, str] = field(default_factory=dict)

    def request(
        self, method: str, path: str, body: str | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the response to a request."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=WAIT_S, source_address=(self.address, 0)
        )
        given = dict(headers or {})
        if self.cookies and "Cookie" not in given:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request(method, path, body, given)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode())
        connection.close()
        for line in response.headers.get_all("set-cookie") or () if self.keeps_cookies else ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """Return a page."""
        return self.request("GET", path, headers=headers)

    def post(self, path: str, fields: Mapping[str, str], origin: str | None = "own") -> Answer:
        """Send a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if origin is not None:
            headers["Origin"] = f"http://127.0.0.1:{self.port}" if origin == "own" else origin
        return self.request("POST", path, urlencode(fields), headers)

    def login(self, account: str, password: str = PASSWORD, target: str = "/") -> Answer:
        """Log in by the form."""
        form = self.get("/login")
        return self.post("/login", {"form": token(form), "account": account, "password": password, "next": target})


def token(answer: Answer) -> str:
    """Return the token of a page's form."""
    found = re.search(r'name="form" value="([0-9a-f]+)"', answer.body)
    assert found, answer.body
    return found[1]


class Served:
    """The office with its pages, until it is closed; the office's clock is that of the pages."""

    def __init__(
        self,
        folder: Path,
        *,
        registers: Mapping[str, str] | None = None,
        own_days: bool = False,
        standby: Server | None = None,
        **site: Any,
    ) -> None:
        """Serve the pages of an office in a folder; ``registers`` instead of the usual ones."""
        self.standby = standby
        self.office = Centre(folder, datetime(2026, 9, 3, 8, tzinfo=ZoneInfo("Asia/Jakarta")))
        for kind, content in {**OFFICE, "units": UNITS, "people": PEOPLE, **(registers or {})}.items():
            self.office.enter(kind, content)
        self.accounts = write_accounts(folder / "accounts.yaml")
        self.policies, self.settings = POLICIES, folder / "sheets.yaml"
        self.settings.write_text("place: Contoh\n")
        self.port = 0
        self.session_now: datetime | None = None
        """The clock of logins, where it is another one."""
        self.own_days, self._site = own_days, site
        self.begin()

    def begin(self) -> None:
        """Start a server on the office's database."""
        listening = server.open_socket("127.0.0.1", self.port)
        self.port = listening.getsockname()[1]
        site = Site(listens="127.0.0.1", **({"tls": False, "public_url": None} | self._site))
        self.pages = Pages(
            Source(self.office.folder / "centre.db", self._read_from()),
            AccountFile(self.accounts),
            site=site,
            policies=self.policies,
            settings=self.settings,
            own_days=self.own_days,
            now=lambda: self.office.now,
            session_now=lambda: self.session_now or self.office.now,
        )
        ready = threading.Event()
        self.server = server.Server(self.pages, site, None, ready.set)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        assert ready.wait(WAIT_S)

    def _read_from(self) -> str | None:
        if self.standby is None:
            return None
        (name,) = re.findall(r"/(hadir_\d+)\?", address(self.office.folder / "centre.db"))
        return self.standby.url(name)

    def end(self) -> None:
        """Stop the server."""
        self.server.should_exit = True
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self.pages.close()

    def browser(self, account: str | None = None, **more: Any) -> Browser:
        """Return a browser, logged in to an account."""
        browser = Browser(self.port, **more)
        if account is not None:
            assert browser.login(account).status == 303
        return browser

    def log(self) -> list[tuple[Any, ...]]:
        """Return what the access log has: account, page, unit, person, refused."""
        with self.office.database.reading() as connection:
            rows = connection.execute(text("SELECT account, what, unit, person, refused FROM access_log ORDER BY id"))
            return [tuple(row) for row in rows]


def with_test_pages(monkeypatch: Any) -> None:
    """Let the pages of the tests be among those of the program."""
    monkeypatch.setattr(app, "MODULES", (*app.MODULES, TestPages))
    monkeypatch.setattr(layout, "TEMPLATES", [layout.TEMPLATES, Path(__file__).parent / "templates"])
