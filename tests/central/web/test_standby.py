"""Pages that read a standby: they say how old their data are, and none of them pretends."""

import re
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from structlog.testing import capture_logs

from central.web import database, live, page
from tests.broker import eventually
from tests.central.stores import STORES
from tests.central.web.site import PASSWORD, Browser, Served, token, with_test_pages
from tests.chromium import Browser as Chromium
from tests.chromium import run_chromium, soon
from tests.postgres import Server
from tests.standby import Standby

DAY = "/day/a?date=2026-08-31&lang="


def age(browser: Browser, language: str = "en") -> str:
    """Return what a page shows of the age of its data; empty: nothing, they are the primary's."""
    answer = browser.get(f"{DAY}{language}")
    assert answer.status == 200
    found = re.search(r'<div id="age">(?:</div>|(.*?)\n</div>)', answer.body, re.DOTALL)
    assert found
    return "" if found[1] is None else " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def text(browser: Chromium, identity: str) -> str:
    """Return what an element of the page that is shown says."""
    found: str = browser.execute_script("return document.getElementById(arguments[0]).innerText.trim()", identity)
    return found


# Longer than 60 lines: one state of the standby after the other; it takes long to start.
def test_pages_of_a_standby_say_how_old_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins and forms stay with the primary; a standby that lags, is promoted or is gone is named.

    Beside them a browser follows the live page: what it says of its age is that of what it shows.
    """
    monkeypatch.setattr(page, "FAR_S", 2.0)
    with_test_pages(monkeypatch)
    monkeypatch.setattr(live, "QUIET_S", 1.0)
    with ExitStack() as stack, Server() as primary, STORES.on(primary), Standby(primary) as standby:
        site = Served(tmp_path, standby=standby)
        try:
            site.office.punched("1001", "2026-08-31 07:20:11")
            site.office.recompute.run()
            standby.caught_up()
            chief = site.browser("chief")
            assert re.fullmatch(r"data as of \d\d:\d\d:\d\d", age(chief))
            assert "07:20:11" in chief.get(f"{DAY}id").body

            follower = stack.enter_context(run_chromium(tmp_path / "chromium"))
            follower.get(f"http://127.0.0.1:{site.port}/login")
            follower.find_element(By.ID, "account").send_keys("chief")
            follower.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
            soon(follower).until(lambda _: follower.find_elements(By.CSS_SELECTOR, "nav.menu"))
            follower.get(f"http://127.0.0.1:{site.port}/today/dinas?lang=en")
            soon(follower).until(lambda _: text(follower, "live-state") == "live")
            heads = text(follower, "as-of"), text(follower, "age")
            assert heads[1].startswith("data as of ")
            follower.execute_script("window.stays = true")
            eventually(lambda: age(chief) != heads[1], what="another second")
            site.office.punched("1001", "2026-09-03 07:31:11")
            site.office.now += timedelta(minutes=2)
            site.office.recompute.run()
            soon(follower).until(lambda _: "07:31" in follower.find_element(By.ID, "live").text)
            assert text(follower, "as-of") != heads[0], "as of when the page is shown stands beside what is shown"
            assert text(follower, "age") != heads[1]
            assert text(follower, "age").startswith("data as of ")

            standby.run("SELECT pg_wal_replay_pause()")
            site.office.punched("1001", "2026-08-31 16:10:22")
            site.office.recompute.run()
            eventually(lambda: "1 minutes behind" in age(chief), what="the notice")
            assert "tertinggal 1 menit" in age(chief, "id")
            assert "16:10:22" not in chief.get(f"{DAY}en").body
            other = site.browser("bkd1")  # a login that only the primary knows
            path = "/test/person/a"
            assert other.post(path, {"form": token(other.get(path)), "text": "x"}).status == 303
            assert age(other) == "", "whoever has changed something sees it"
            assert "16:10:22" in other.get(f"{DAY}en").body
            assert "behind" in age(chief)

            standby.run("SELECT pg_wal_replay_resume()")
            eventually(lambda: age(chief).startswith("data as of"))
            eventually(lambda: age(other).startswith("data as of"))
            assert "16:10:22" in chief.get(f"{DAY}en").body

            monkeypatch.setattr(database, "LOST_S", 600.0)  # it is looked at once, however slow this computer is
            with capture_logs() as logs:
                standby.run("SELECT pg_promote()")
                assert age(chief) == ""
                assert age(chief) == ""
            soon(follower).until(lambda _: text(follower, "age") == "")
            assert "07:31" in follower.find_element(By.ID, "live").text
            assert follower.execute_script("return window.stays"), "the page was not loaded again"
            assert [line["event"] for line in logs if line["event"].startswith("replica")] == ["replica_lost"]
            standby.kill()
            assert "16:10:22" in chief.get(f"{DAY}en").body
        finally:
            site.end()
            site.office.close()
