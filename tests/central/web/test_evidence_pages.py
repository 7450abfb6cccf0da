"""Unknown PINs, evidence, policies and the access log, as each role sees them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from central.reports.doubts import SETTLED_BY
from central.reports.messages import MESSAGES
from central.texts import Language
from central.web import messages
from central.web.app import MODULES
from central.web.pages.access_log import WHAT
from tests.central.web.evidence import serve_evidence
from tests.central.web.site import Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the office."""
    site = serve_evidence(tmp_path_factory.mktemp("office"))
    yield site
    site.end()
    site.office.close()


@pytest.mark.parametrize(
    ("account", "seen"),
    [("bkd1", {"7777", "8888"}), ("audit", {"7777", "8888"}), ("other", {"8888"}), ("clerk", set())],
)
def test_unknown_pins_are_shown_at_terminals_of_the_own_units(served: Served, account: str, seen: set[str]) -> None:
    """At a terminal that other units use they could be PINs of those: the personnel agency sees them."""
    page = served.browser(account).get("/pins")
    assert page.status == 200
    assert {pin for pin in ("7777", "8888") if f">{pin}<" in page.body} == seen
    assert ("BKD" in page.body.split("<main")[1]) == (account in ("other", "clerk"))


def test_a_superior_has_no_page_of_pins(served: Served) -> None:
    """It is for who enters enrolments."""
    browser = served.browser("chief")
    assert browser.get("/pins").status == 404
    assert "/pins" not in browser.get("/").body


def test_the_evidence_is_that_of_the_own_people(served: Served) -> None:
    """Terminals, gaps and doubts; others' terminals are not named."""
    everything, school, clinic = (
        served.browser(name).get("/evidence?from=2026-09-01").body for name in ("bkd1", "other", "clerk")
    )
    assert ">lobby" in everything
    assert ">school" in everything
    assert "2026-09-03 07:30:00 WIB" in everything
    assert "3602-bkpsdm/gw-01" in everything
    assert ">school" in school
    assert ">lobby" not in clinic
    assert "S9" not in clinic


def test_what_keeps_verdicts_provisional_is_counted_of_the_own_people(served: Served) -> None:
    """An operator's count holds none of others' verdicts."""

    def counted(account: str) -> list[int]:
        page = served.browser(account).get("/evidence?from=2026-09-02&until=2026-09-02").body
        assert "Contoh" not in page
        return [int(number) for number in re.findall(r"<strong>(\d+) penilaian", page)]

    assert counted("bkd1") == counted("audit") == counted("other")
    assert counted("other") != []
    assert counted("chief") == []


@pytest.mark.parametrize("query", ["from=2026-08-01&until=2026-09-03", "from=2026-09-05&until=2026-09-01", "from="])
def test_dates_of_the_evidence_are_put_in_order(served: Served, query: str) -> None:
    """At most a month, and never backwards."""
    assert served.browser("bkd1").get(f"/evidence?{query}").status == 200
    assert served.browser("bkd1").get("/evidence?until=never").status == 400


def test_policies_in_sentences(served: Served) -> None:
    """Which applies to the own units, also handed down from above, and what each states with its decree."""
    chief, clinic, school = (served.browser(name) for name in ("chief", "clerk", "other"))
    assert "/policies/graded" in chief.get("/policies").body
    inherited = clinic.get("/policies").body
    assert "/policies/graded" in inherited
    assert "Dinas" not in inherited
    assert "/policies/graded" in school.get("/policies").body.split("Semua aturan")[1]
    sentences = school.get("/policies/kementan-2012").body
    assert "Permentan 68/2012" in sentences
    for name in ("nowhere", "..", "../graded", "kementan-2012.yaml", "x" * 300):
        assert school.get(f"/policies/{name.replace('/', '%2F')}").status == 404
    assert "Ministry of Agriculture" in school.get("/policies/kementan-2012?lang=en").body


def test_auditors_see_who_looked_at_whom(served: Served) -> None:
    """Also their own look, and attempts that were refused; page by page."""
    chief, audit = served.browser("chief"), served.browser("audit")
    chief.get("/evidence")
    page = audit.get("/access?account=chief")
    assert page.status == 200
    assert "bukti" in page.body
    assert ">chief</a>" in page.body
    assert "audit</a>" not in page.body.split("<tbody>")[1]
    assert "audit</a>" in audit.get("/access?account=audit").body
    for account in ("chief", "clerk", "bkd1"):
        assert served.browser(account).get("/access").status == 404
    assert audit.get("/access?before=x").status == 400
    assert audit.get("/access?before=" + "9" * 30).status == 400
    assert audit.get("/access?person=%3Cb%3E&before=1").status == 200
    for _ in range(60):
        chief.get("/evidence")
        served.office.now += timedelta(milliseconds=1)
        audit.get("/evidence")
    page = audit.get("/access")
    assert page.body.count("<tr>") == 101
    older = page.body.rpartition('<a href="/access?before=')[2].partition('"')[0]
    assert int(older) > 1
    assert "<tbody>" in audit.get(f"/access?before={older}").body


def test_the_access_log_has_a_word_for_each_page_with_people() -> None:
    """Else auditors would read the program's own name for it."""
    watched = {page.name for module in MODULES for page in module.PAGES if page.watched or page.post}
    assert watched <= WHAT.keys()
    assert len(watched) > 8


def test_the_new_pages_are_in_both_languages(served: Served, tmp_path: Path) -> None:
    """No text stays in the other one."""
    browser = served.browser("audit")
    for path, ours, theirs in (
        ("/pins", "PIN tanpa pemilik", "Unknown PINs"),
        ("/evidence", "Bukti", "Evidence"),
        ("/policies", "Aturan", "Policies"),
        ("/access", "Catatan akses", "Access log"),
    ):
        indonesian, english = browser.get(f"{path}?lang=id").body, browser.get(f"{path}?lang=en").body
        assert f"<h1>{ours}</h1>" in indonesian
        assert theirs not in indonesian
        assert f"<h1>{theirs}</h1>" in english
        assert ours not in english


def test_people_without_a_unit_are_listed_for_those_who_see_everything(served: Served) -> None:
    """In none, or in one that has ended; with what to do. Others have no such page."""
    served.office.enter("people", "key,name,employment,unit,from,until\nx,Contoh <i>Tanpa</i>,pns,,2026-08-24,\n")
    for account in ("bkd1", "audit"):
        browser = served.browser(account)
        page = browser.get("/unassigned?lang=en")
        assert page.status == 200
        assert "Contoh &lt;i&gt;Tanpa&lt;/i&gt;" in page.body
        assert "register of people" in page.body
        assert "/unassigned" in browser.get("/").body
    for account in ("chief", "clerk"):
        browser = served.browser(account)
        assert browser.get("/unassigned").status == 404
        assert "/unassigned" not in browser.get("/").body


def test_no_page_names_a_command() -> None:
    """Officials have no command line; who has one reads the command in the doctor and in the guides."""
    shown = [text for module in (messages, *MODULES) for text in getattr(module, "TEXTS", {}).values()]
    shown += [MESSAGES[code] for code in SETTLED_BY.values()]
    assert len(shown) > 300
    for text in shown:
        for language in Language:
            assert not re.search("hadir-central|systemctl|timedatectl|sudo ", text.into(language)), text
