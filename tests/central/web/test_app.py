"""The pages over real sockets: sessions, forms, scopes, the access log, and bad input."""

import json
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from central.web import live
from central.web.guard import Buckets
from tests.central.web.site import ACCOUNTS, PASSWORD, WAIT_S, Browser, Served, token, with_test_pages, write_accounts


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve the office's pages."""
    with_test_pages(monkeypatch)
    site = Served(tmp_path)
    yield site
    site.end()
    site.office.close()


# --- sessions -----------------------------------------------------------------------------------------------------


def test_a_page_leads_to_the_login_and_back(served: Served) -> None:
    """Also one that does not exist; the address states nothing about it."""
    browser = served.browser()
    for path in ("/test/unit/dinas?date=2026-09-02", "/nowhere", "/test/unit/nowhere"):
        assert browser.get(path).status == 303
        assert browser.get(path).to.startswith("/login?next=%2F")
    target = "/test/unit/dinas?date=2026-09-02"
    answer = browser.login("chief", target=target)
    assert (answer.status, answer.to) == (303, target)
    assert "Contoh Satu" in browser.get(target).body


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/login", "x", ""])
def test_the_login_leads_nowhere_else(served: Served, target: str) -> None:
    """A foreign address after ?next= is the overview."""
    assert served.browser().login("chief", target=target).to == "/"


def test_a_login_gives_a_new_session_and_ends_the_one_before(served: Served) -> None:
    """A cookie that somebody planted in the browser is worthless after the login."""
    browser = served.browser("chief")
    before = browser.cookies["hadir-centre"]
    browser.login("chief")
    assert browser.cookies["hadir-centre"] != before
    assert served.browser(None, cookies={"hadir-centre": before}).get("/").status == 303
    assert browser.get("/").status == 200


def test_a_session_cannot_be_replayed_after_the_logout(served: Served) -> None:
    """The database forgets it."""
    browser = served.browser("chief")
    kept = dict(browser.cookies)
    assert browser.post("/logout", {"form": token(browser.get("/"))}).to == "/login?ended=1"
    assert served.browser(None, cookies=kept).get("/").status == 303


def test_a_logout_needs_a_form_of_the_session(served: Served) -> None:
    """A foreign page can log out nobody."""
    browser = served.browser("chief")
    form = token(browser.get("/"))
    assert browser.post("/logout", {"form": form}, origin="https://evil.example").status == 403
    assert browser.post("/logout", {"form": "0" * 64}).status == 403
    assert browser.get("/").status == 200


@pytest.mark.parametrize(
    ("steps", "status"),
    [([119], 200), ([121], 303), ([100] * 7, 200), ([100] * 8, 303)],
    ids=["idle", "idle too long", "in use", "twelve hours"],
)
def test_a_session_ends_by_itself(served: Served, steps: list[int], status: int) -> None:
    """After two hours without a page, and after twelve hours in use."""
    browser = served.browser("chief")
    for minutes in steps:
        served.office.now += timedelta(minutes=minutes)
        answer = browser.get("/")
    assert answer.status == status


def test_a_session_outlives_a_day_that_is_replayed(served: Served) -> None:
    """What pages show has a clock of its own: thirteen hours of it are a moment to the reader."""
    served.session_now = served.office.now
    browser = served.browser("chief")
    served.office.now += timedelta(hours=13)
    answer = browser.get("/")
    assert answer.status == 200
    assert "2026-09-03 21:00" in answer.body


def test_a_session_of_a_clock_that_was_ahead_is_refused(served: Served) -> None:
    """It would else last longer than twelve hours."""
    browser = served.browser("chief")
    served.office.now -= timedelta(hours=1)
    assert browser.get("/").status == 303


def test_a_restart_and_a_second_server_keep_sessions(served: Served) -> None:
    """Both read the database."""
    browser = served.browser("chief")
    served.end()
    served.begin()
    assert browser.get("/").status == 200
    beside = copy(served)
    beside.port = 0
    beside.begin()
    second = beside.browser(None, cookies=browser.cookies)
    assert second.port != browser.port
    assert second.get("/").status == 200
    second.post("/logout", {"form": token(second.get("/"))})
    beside.end()
    assert browser.get("/").status == 303


def test_a_session_does_not_depend_on_the_reader_s_clock(served: Served) -> None:
    """Its cookie has no date of the browser's: the server alone decides when it ends; no script reads it."""
    cookies = served.browser().login("chief").headers.get_all("set-cookie") or []
    session = next(cookie for cookie in cookies if cookie.startswith("hadir-centre=")).lower()
    assert "expires" not in session
    assert "max-age" not in session
    assert "httponly" in session
    assert "samesite=lax" in session
    wrong = {"Date": "Mon, 01 Jan 1990 00:00:00 GMT", "If-Modified-Since": "Mon, 01 Jan 2090 00:00:00 GMT"}
    assert served.browser("chief").get("/", **wrong).status == 200


def test_the_oldest_session_of_an_account_ends_with_the_twenty_first(served: Served) -> None:
    """An account that logs in everywhere does not fill the database."""
    browsers = []
    for _ in range(21):
        served.office.now += timedelta(seconds=1)
        browsers.append(served.browser("chief"))
    assert [browser.get("/").status for browser in browsers] == [303] + [200] * 20


@pytest.mark.parametrize("value", ["", "x", "x" * 43, "ä" * 43, "x" * 5000, "' OR 1=1 --"])
def test_an_invented_session_is_refused(served: Served, value: str) -> None:
    """Whatever it holds."""
    cookie = {"Cookie": f"hadir-centre={value}".encode().decode("latin-1")}
    assert served.browser().request("GET", "/", headers=cookie).status == 303


# --- passwords ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "password"),
    [("chief", "wrong password"), ("nobody", PASSWORD), ("", ""), ("chief", "x" * 10_000), ("own", PASSWORD)],
    ids=["password", "account", "empty", "long", "switched off"],
)
def test_a_wrong_login_says_one_thing(served: Served, account: str, password: str) -> None:
    """Whether an account exists, or may log in, is not said."""
    answer = served.browser().login(account, password)
    assert answer.status == 401
    assert "tidak cocok" in answer.body
    assert "set-cookie" not in str(answer.headers).lower().replace("hadir-form", "")


def test_a_wrong_password_loses_neither_the_account_nor_the_page(served: Served) -> None:
    """Both are in the form again, the password is not."""
    answer = served.browser().login("chief", "wrong <password>", "/requests")
    assert 'value="chief"' in answer.body
    assert 'name="next" value="/requests"' in answer.body
    assert "wrong" not in answer.body


def test_a_spray_of_passwords_waits_and_locks_no_account(served: Served) -> None:
    """Of one address; others, a browser that was logged in before, and sessions go on."""
    known, inside = served.browser("chief"), served.browser("chief")
    known.post("/logout", {"form": token(known.get("/"))})
    attacker = served.browser()
    answers = [attacker.login("chief", f"guess number {number}") for number in range(8)]
    assert [answer.status for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) > 0
    assert attacker.login("chief").status == 429
    assert served.browser(address="127.0.0.9").login("chief").status == 303
    assert known.login("chief").status == 303
    assert inside.get("/").status == 200
    assert attacker.login("clerk").status == 303


def test_one_address_cannot_try_all_accounts(served: Served) -> None:
    """Twenty wrong passwords, whatever the accounts; the count falls with time."""
    attacker = served.browser()
    answers = [attacker.login("account0", "wrong password").status]
    while answers[-1] == 401 and len(answers) < 200:  # the slower the machine, the more of the count has fallen
        answers.append(attacker.login(f"account{len(answers)}", "wrong password").status)
    assert len(answers) > 20
    assert answers[-1] == 429
    assert served.browser(address="127.0.0.9").login("chief").status == 303


def test_wrong_passwords_at_once_are_counted_before_they_are_verified(served: Served) -> None:
    """A burst gets no further than one after the other."""
    form = served.browser()
    page = form.get("/login")

    def attempt(number: int) -> int:
        fields = {"form": token(page), "account": "chief", "password": f"guess number {number}"}
        return served.browser(None, cookies=form.cookies).post("/login", fields).status

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(attempt, range(20)))
    assert answers.count(401) <= 5
    assert set(answers) <= {401, 429}


def test_a_browser_without_cookies_gets_an_explanation(served: Served) -> None:
    """It would else come back to the login without a reason."""
    answer = served.browser(None, keeps_cookies=False).login("chief")
    assert answer.status == 403
    assert "kuki" in answer.body


def test_a_login_from_a_foreign_page_is_refused(served: Served) -> None:
    """Else a page could log its reader in to another account."""
    browser = served.browser()
    fields = {"form": token(browser.get("/login")), "account": "chief", "password": PASSWORD}
    for origin in ("https://evil.example", "null", None, f"https://127.0.0.1:{served.port}"):
        assert browser.post("/login", fields, origin=origin).status == 403
    assert browser.post("/login", {**fields, "form": "0" * 64}).status == 403
    assert browser.post("/login", fields).status == 303


# --- scopes -------------------------------------------------------------------------------------------------------


def _same(served: Served, browser: Browser, foreign: str, missing: str) -> None:
    """Assert that two pages differ only in what the address itself holds."""
    one, other = browser.get(foreign), browser.get(missing)
    assert one.status == other.status == 404
    strip = re.compile(r'value="[0-9a-f]{64}"')
    assert strip.sub("", one.body) == strip.sub("", other.body)
    assert {name.lower() for name in one.headers} == {name.lower() for name in other.headers}
    assert one.headers["content-length"] == other.headers["content-length"]


def test_a_foreign_unit_and_none_at_all_are_the_same(served: Served) -> None:
    """An operator of one unit learns nothing of others, on no date."""
    browser = served.browser("other")
    assert browser.get("/test/unit/school").status == 200
    for query in ("", "?date=2026-08-30", "?date=2025-01-01"):
        _same(served, browser, f"/test/unit/dinas{query}", f"/test/unit/xxxxx{query}")
    assert served.log().count(("other", "test_unit", "dinas", None, 1)) == 3
    assert served.log().count(("other", "test_unit", "xxxxx", None, 1)) == 3


def test_a_foreign_person_and_none_at_all_are_the_same(served: Served) -> None:
    """Not even whether a person exists; the attempt is in the access log."""
    browser = served.browser("other")
    assert "Contoh Tiga" in browser.get("/test/person/c/1").body
    _same(served, browser, "/test/person/a", "/test/person/q")
    assert ("other", "test_person", None, "a", 1) in served.log()
    assert ("other", "test_person", None, "q", 1) in served.log()


def test_a_person_is_seen_on_the_dates_in_the_unit(served: Served) -> None:
    """She moved from the clinic to the school on 1 September."""
    clinic, school = served.browser("clerk"), served.browser("other")
    assert "Contoh" in clinic.get("/test/person/b?date=2026-08-31").body
    assert "Contoh" not in clinic.get("/test/person/b?date=2026-09-01").body
    assert "Contoh" not in school.get("/test/person/b?date=2026-08-31").body
    assert "Contoh" in school.get("/test/person/b?date=2026-09-01").body


@pytest.mark.parametrize(("foreign", "missing"), [("person/a", "person/q"), ("unit/dinas", "unit/xxxxx")])
def test_the_work_for_what_is_foreign_is_that_for_what_is_not(served: Served, foreign: str, missing: str) -> None:
    """The database gets the same statements, so that the time states nothing either."""
    browser = served.browser("other")
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    def of(path: str) -> list[str]:
        statements.clear()
        assert browser.get(f"/test/{path}").status == 404
        return list(statements)

    of(foreign)  # what is read once only
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert of(foreign) == of(missing)
        assert len(statements) > 3
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_pages_are_for_their_roles(served: Served) -> None:
    """A page of another role is no page."""
    assert served.browser("audit").get("/test/log").status == 200
    for account in ("chief", "clerk", "bkd1"):
        assert served.browser(account).get("/test/log").status == 404


def test_the_own_days_need_to_be_switched_on(served: Served, tmp_path: Path) -> None:
    """Then an account with the role *person* sees its own person only."""
    assert served.browser().login("own").status == 401
    served.end()
    served.own_days = True
    served.begin()
    browser = served.browser("own")
    assert 'href="/person/a"' in browser.get("/").body
    assert browser.get("/test/person/a").status == 200
    assert browser.get("/test/person/b").status == 404
    assert browser.get("/test/unit/dinas").status == 404
    served.end()
    served.own_days = False
    served.begin()
    assert browser.get("/test/person/a").status == 303


# --- forms --------------------------------------------------------------------------------------------------------


def _noted(served: Served) -> list[str]:
    with sqlite3.connect(served.office.folder / "centre.db") as connection:
        try:
            return [row[0] for row in connection.execute("SELECT text FROM noted")]
        except sqlite3.OperationalError:
            return []


def test_a_form_changes_something_once_it_is_ours(served: Served) -> None:
    """Origin and token both; a foreign session's token is none."""
    browser, other = served.browser("chief"), served.browser("bkd1")
    form = token(browser.get("/test/person/a"))
    path = "/test/person/a"
    for fields, origin in (
        ({"text": "x"}, "own"),
        ({"text": "x", "form": ""}, "own"),
        ({"text": "x", "form": token(other.get(path))}, "own"),
        ({"text": "x", "form": form}, "https://evil.example"),
        ({"text": "x", "form": form}, None),
        ({"text": "x", "form": form}, "null"),
    ):
        assert browser.post(path, fields, origin=origin).status == 403
    assert _noted(served) == []
    answer = browser.post(path, {"text": "ä <b>", "form": form})
    assert (answer.status, answer.to) == (303, "/test/person/a")
    assert _noted(served) == ["ä <b>"]


def test_a_form_that_is_refused_changes_nothing(served: Served) -> None:
    """By the page, or within the transaction, where others' changes wait too."""
    browser = served.browser("chief")
    form = token(browser.get("/test/person/a"))
    assert browser.post("/test/person/a", {"text": "refuse", "form": form}).status == 400
    with ThreadPoolExecutor(8) as threads:
        texts = ["conflict", "one", "conflict", "two"] * 4
        answers = list(
            threads.map(lambda text: browser.post("/test/person/a", {"text": text, "form": form}).status, texts)
        )
    assert [status == 409 for status in answers] == [text == "conflict" for text in texts]
    assert sorted(_noted(served)) == ["one"] * 4 + ["two"] * 4


def test_a_form_for_a_foreign_person_is_no_page(served: Served) -> None:
    """As the page itself."""
    browser = served.browser("other")
    form = token(browser.get("/test/person/c/1"))
    assert browser.post("/test/person/a", {"text": "x", "form": form}).status == 404
    assert _noted(served) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"text=" + b"x" * 100_000, 413),
        (b"&".join(b"a%d=1" % number for number in range(300)), 400),
        (b"\xff\xfe=%zz&&==", 403),
        (b"", 403),
    ],
    ids=["large", "fields", "bytes", "empty"],
)
def test_a_bad_form_is_refused(served: Served, body: bytes, status: int) -> None:
    """With a page that states what to do."""
    browser = served.browser("chief")
    headers = {"Origin": f"http://127.0.0.1:{served.port}"}
    answer = browser.request("POST", "/test/person/a", body, headers)
    assert answer.status == status
    assert "Tidak ada yang berubah" in answer.body


# --- access log ---------------------------------------------------------------------------------------------------


def test_each_look_at_people_is_in_the_log_before_the_page(served: Served) -> None:
    """A page that reports none is not shown."""
    browser = served.browser("chief")
    assert browser.get("/").status == 200
    assert served.log() == []
    browser.get("/test/unit/dinas")
    browser.get("/test/person/a?date=2026-09-02")
    assert served.log() == [
        ("chief", "test_unit", "dinas", None, 0),
        ("chief", "test_person", None, "a", 0),
    ]
    assert browser.get("/test/silent").status == 500


def test_a_page_is_not_shown_while_the_log_cannot_be_written(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds the database: 503, and nothing of people; it works again by itself."""
    browser = served.browser("chief")
    with sqlite3.connect(served.office.folder / "centre.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = browser.get("/test/unit/dinas")
        assert answer.status == 503
        assert "Contoh" not in answer.body
        assert browser.get("/").status == 200
        other.execute("ROLLBACK")
    assert browser.get("/test/unit/dinas").status == 200


def test_a_database_that_is_gone_or_another_one(served: Served, tmp_path: Path) -> None:
    """503 with a page that states what to do; a restored file is used without a restart."""
    browser = served.browser("chief")
    path = served.office.folder / "centre.db"
    with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "aside.db") as other:
        source.backup(other)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    answer = browser.get("/")
    assert answer.status == 503
    assert "pengelola sistem" in answer.body
    assert browser.get("/healthz").status == 503
    path.write_bytes(b"no database at all" * 100)
    assert browser.get("/").status == 503
    (tmp_path / "aside.db").replace(path)
    assert browser.get("/").status == 200
    assert browser.get("/healthz").status == 200


# --- what else reaches the server -----------------------------------------------------------------------------------


def test_names_are_text_in_every_page(served: Served) -> None:
    """HTML in the names of units and people is shown as it is written."""
    browser = served.browser("bkd1")
    for path in ("/", "/test/unit/dinas", "/test/unit/school"):
        body = browser.get(path).body
        assert "<script>alert" not in body
        assert "<b>Dua" not in body
    assert "Dinas &lt;script&gt;" in browser.get("/test/unit/dinas").body


@pytest.mark.parametrize("path", ["/", "/login", "/nowhere", "/centre.css", "/test/broken", "/healthz"])
def test_every_response_has_the_headers(served: Served, path: str) -> None:
    """It loads nothing from elsewhere, runs no script of its own text, cannot be framed, and is not kept."""
    headers = served.browser("chief").get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_a_script_or_style_in_its_text(served: Served) -> None:
    """The policy would refuse it."""
    browser = served.browser("chief")
    for path in ("/", "/login", "/test/unit/dinas", "/nowhere"):
        body = browser.get(path).body
        assert not re.search(r"<style|style=|\son[a-z]+=|<script(?! src=\"/centre.js\" defer></script>)", body)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", body)


def test_a_fault_of_a_page_costs_that_page(served: Served) -> None:
    """500 with a page that states what to do, and no traceback in it."""
    browser = served.browser("chief")
    answer = browser.get("/test/broken")
    assert answer.status == 500
    assert "ZeroDivision" not in answer.body
    assert "log halaman menyebut letaknya" in answer.body
    assert browser.get("/").status == 200


@pytest.mark.parametrize(
    "query",
    [
        "date=2026-02-30",
        "date=x",
        "date=0001-01-01",
        "date=9999-12-31",
        "date=" + "9" * 1900,
        "date=%00",
        "date=%F0%9F",
    ],
)
def test_a_date_that_is_none_is_named(served: Served, query: str) -> None:
    """400, and how a date is written."""
    answer = served.browser("chief").get(f"/test/unit/dinas?{query}")
    assert answer.status == 400
    assert "TTTT-BB-HH" in answer.body


@pytest.mark.parametrize(
    "key", ["x" * 2000, "%00", "%F0%9F", "..%2F..%2Fetc%2Fpasswd", "'; DROP TABLE punch; --", "%0a"]
)
def test_an_odd_key_is_no_page(served: Served, key: str) -> None:
    """Whatever it holds."""
    browser = served.browser("chief")
    for kind in ("unit", "person"):
        assert browser.get(f"/test/{kind}/{key.replace(' ', '%20')}").status == 404


def test_an_address_of_ten_thousand_characters_is_refused(served: Served) -> None:
    """Before anything reads it."""
    assert served.browser("chief").get(f"/test/unit/{'x' * 10_000}").status == 414
    assert served.browser("chief").get(f"/?{'x' * 10_000}").status == 414


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost.evil:80"])
def test_a_foreign_host_name_is_refused(served: Served, host: str) -> None:
    """A name that leads here by a foreign site's wish."""
    assert served.browser("chief").get("/", Host=host).status == 421


def test_a_request_with_two_host_names_is_refused(served: Served) -> None:
    """Or without any."""
    for heads in ("Host: localhost\r\nHost: evil.example\r\n", ""):
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\n{heads}Connection: close\r\n\r\n".encode())
            assert connection.recv(100).split()[1] in (b"421", b"400")


def test_a_flood_of_an_account_waits_and_others_do_not(served: Served) -> None:
    """429 with the seconds to wait."""
    browser, other = served.browser("chief"), served.browser("clerk")
    served.pages._tokens = Buckets(20, 3600.0)  # no machine is too slow for that
    answers = [browser.get("/") for _ in range(25)]
    assert answers[0].status == 200
    assert answers[-1].status == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert other.get("/").status == 200


def test_the_language_is_that_of_the_last_choice(served: Served) -> None:
    """Indonesian to begin with; the rest of the address stays."""
    browser = served.browser("chief")
    page = browser.get("/test/unit/dinas?date=2026-09-02")
    assert '<html lang="id">' in page.body
    link = re.search(r'href="(\?[^"]+)" hreflang="en"', page.body)
    assert link
    assert browser.get("/test/unit/dinas" + link[1].replace("&amp;", "&")).body.count('<html lang="en">') == 1
    assert '<html lang="en">' in browser.get("/").body
    assert '<html lang="en">' in browser.get("/?lang=<b>").body


# --- accounts while the server runs -----------------------------------------------------------------------------------


def test_a_changed_account_is_logged_out(served: Served) -> None:
    """Another unit, role or password ends its sessions within seconds; others stay."""
    chief, clerk = served.browser("chief"), served.browser("clerk")
    write_accounts(served.accounts, {**ACCOUNTS, "chief": "role: superior\n    units: [school]"})
    _wait(lambda: chief.get("/").status == 303)
    assert clerk.get("/").status == 200
    write_accounts(served.accounts, {"chief": ACCOUNTS["chief"]})
    _wait(lambda: clerk.get("/").status == 303)


def test_a_broken_account_file_leaves_the_accounts_of_before(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is wrong with it, also that it is gone; the log names the place."""
    browser = served.browser("chief")
    for broken in ("accounts:\n  chief: {role: king}\n", "{", "", "\0"):
        served.accounts.write_text(broken)
        _wait(lambda: served.pages.accounts.problem is not None)
        assert served.browser("clerk").get("/").status == 200
        assert browser.get("/").status == 200
        write_accounts(served.accounts)
        _wait(lambda: served.pages.accounts.problem is None)
    served.accounts.unlink()
    _wait(lambda: served.pages.accounts.problem is not None)
    assert browser.get("/").status == 200
    assert "accounts_not_read" in capfd.readouterr().out


# --- live parts -------------------------------------------------------------------------------------------------------


def _feed(served: Served, browser: Browser, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n\r\n".encode())
    return connection


def _until(connection: socket.socket, wanted: bytes) -> bytes:
    received, until = b"", time.monotonic() + WAIT_S
    while wanted not in received:
        assert time.monotonic() < until, received
        part = connection.recv(65536)
        assert part, received
        received += part
    return received


def test_a_change_is_sent_to_who_follows(served: Served) -> None:
    """As the page's live part; the look is in the access log once."""
    browser = served.browser("chief")
    with _feed(served, browser, "/live/test/unit/dinas") as feed:
        first = _until(feed, b"data: ")
        assert b"text/event-stream" in first
        served.office.at("2026-09-03 08:30")
        _until(feed, b"</a> a")
    assert [row for row in served.log() if row[1] == "test_unit live"] == [
        ("chief", "test_unit live", "dinas", None, 0)
    ]


def test_a_feed_ends_with_its_login(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a foreign unit has none."""
    monkeypatch.setattr(live, "QUIET_S", 0.3)
    browser = served.browser("clerk")
    with _feed(served, browser, "/live/test/unit/clinic") as feed:
        _until(feed, b"data: ")
        browser.post("/logout", {"form": token(browser.get("/"))})
        _until(feed, b"event: ended")
    other = served.browser("other")
    with _feed(served, other, "/live/test/unit/dinas") as feed:
        assert b"Contoh" not in _until(feed, b"event: ended")
    with _feed(served, served.browser(), "/live/test/unit/dinas") as feed:
        assert b"Contoh" not in _until(feed, b"event: ended")


def test_the_places_of_feeds_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address takes at most four fifths; places are given back."""
    monkeypatch.setattr(live, "FOLLOWERS", 5)
    browser = served.browser("chief")
    feeds = [_feed(served, browser, "/live/test/unit/dinas") for _ in range(4)]
    for feed in feeds:
        _until(feed, b"data: ")
    with _feed(served, browser, "/live/test/unit/dinas") as fifth:
        assert b"503" in _until(fifth, b"\r\n\r\n")
    for feed in feeds:
        feed.close()

    def again() -> bool:
        with _feed(served, browser, "/live/test/unit/dinas") as feed:
            return b"200" in feed.recv(20)

    _wait(again)


def test_a_live_part_is_json_of_what_the_page_holds(served: Served) -> None:
    """The script replaces the one with the other."""
    browser = served.browser("chief")
    page = browser.get("/test/unit/dinas").body
    with _feed(served, browser, "/live/test/unit/dinas") as feed:
        received = _until(feed, b'</ul>"\n\n')
    sent = json.loads(received.rpartition(b"data: ")[2].partition(b"\n")[0])
    heads, part = sent.partition("</div>")[::2]
    assert f'<div id="live" data-live>{part}</div>' in page
    assert '<span id="as-of">' in heads
    assert heads.partition('<div id="age">')[0] in page
    assert '<script src="/centre.js" defer></script>' in page


# --- slow and many clients --------------------------------------------------------------------------------------------


def test_slow_clients_are_closed_and_hold_up_no_other(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that never ends, a form that never ends, a response that is not read."""
    from central.web import server

    monkeypatch.setattr(server, "REQUEST_S", 1.0)
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) for _ in range(50)]
    for number, connection in enumerate(slow):
        begun = b"GET / HTTP/1.1\r\n" if number % 2 else b"POST /login HTTP/1.1\r\nContent-Length: 9\r\n"
        connection.sendall(begun + b"Host: 127.0.0.1\r\n" + (b"" if number % 2 else b"\r\nx"))
    assert served.browser("chief").get("/").status == 200
    for connection in slow:
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        connection.close()


def test_connections_of_one_address_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of all; another address is served meanwhile."""
    from central.web import server

    monkeypatch.setattr(server, "CONNECTIONS", 20)
    held = [socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) for _ in range(10)]
    for connection in held:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as eleventh:
        try:
            eleventh.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert eleventh.recv(12) == b""
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert served.browser(address="127.0.0.9").get("/healthz").status == 200
    for connection in held:
        connection.close()


def test_many_readers_at_once(served: Served) -> None:
    """Each gets the page, and each look is in the log."""
    browsers = [served.browser("chief"), served.browser("bkd1"), served.browser("audit")]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda n: browsers[n % 3].get("/test/unit/dinas").status, range(90)))
    assert answers == [200] * 90
    assert len(served.log()) == 90


def _wait(condition: object, seconds: float = WAIT_S) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.2)
