"""Pages that read a standby: they say how old their data are, and none of them pretends."""

import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from central.web import page
from tests.broker import eventually
from tests.central.stores import STORES
from tests.central.web.site import Browser, Served, token, with_test_pages
from tests.postgres import Server
from tests.standby import Standby

DAY = "/day/a?date=2026-08-31&lang="


def age(browser: Browser, language: str = "en") -> str:
    """Return what a page shows of the age of its data; empty: nothing, they are the primary's."""
    answer = browser.get(f"{DAY}{language}")
    assert answer.status == 200
    found = re.search(r'<div id="age">(.*?)\n</div>', answer.body, re.DOTALL)
    return "" if found is None else " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def test_pages_of_a_standby_say_how_old_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins and forms stay with the primary; a standby that lags, is promoted or is gone is named."""
    monkeypatch.setattr(page, "FAR_S", 2.0)
    with_test_pages(monkeypatch)
    with Server() as primary, STORES.on(primary), Standby(primary) as standby:
        site = Served(tmp_path, standby=standby)
        try:
            site.office.punched("1001", "2026-08-31 07:20:11")
            site.office.recompute.run()
            standby.caught_up()
            chief = site.browser("chief")
            assert re.fullmatch(r"data as of \d\d:\d\d:\d\d", age(chief))
            assert "07:20:11" in chief.get(f"{DAY}id").body

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

            with capture_logs() as logs:
                standby.run("SELECT pg_promote()")
                assert age(chief) == ""
                assert age(chief) == ""
            assert [line["event"] for line in logs if line["event"].startswith("replica")] == ["replica_lost"]
            standby.kill()
            assert "16:10:22" in chief.get(f"{DAY}en").body
        finally:
            site.end()
            site.office.close()
