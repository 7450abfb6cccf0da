"""The centre's pages as people meet them: in Chromium, on a telephone, in the dark, with a keyboard, no scripts."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of

from tests.central.web.month import serve_month
from tests.central.web.site import Served
from tests.central.web.visit import go, log_in
from tests.chromium import CONTRASTS, REACHABLE, Browser, console_messages, open_all, show, soon

PATHS = (
    "/units?date=2026-08-31",
    "/today/dinas?date=2026-08-31",
    "/today/dinas",
    "/today/empty",
    "/person/a?month=2026-08",
    "/person/d?month=2026-09",
    "/day/a?date=2026-08-31",
    "/day/g?date=2026-09-01",
    "/day/f?date=2026-09-03",
    "/period/dinas?month=2026-08",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the office."""
    site = serve_month(tmp_path_factory.mktemp("office"))
    yield site
    site.end()
    site.office.close()


@pytest.fixture
def browser(chromium: Browser, served: Served) -> Browser:
    """Return the browser of the superior, logged in by the form."""
    log_in(chromium, served, "chief")
    console_messages(chromium)
    return chromium


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("path", PATHS)
def test_no_page_is_wider_than_a_telephone(browser: Browser, served: Served, path: str, language: str) -> None:
    """At 390 pixels, everything unfolded; a wide table is pushed within its own frame, which the keyboard reaches."""
    show(browser, width=390)
    go(browser, served, f"{path}{'&' if '?' in path else '?'}lang={language}")
    open_all(browser)

    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')]"
        ".filter((element) => element.checkVisibility() && !element.closest('.table'))"
        ".map((element) => element.getBoundingClientRect().right)]"
    )
    assert max(widths) <= 390
    assert len(widths) > 5
    pushed = browser.execute_script(
        "return [...document.querySelectorAll('.table')].filter((one) => one.scrollWidth > one.clientWidth)"
        ".map((one) => one.tabIndex)"
    )
    assert set(pushed) <= {0}
    assert console_messages(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_every_text_can_be_read(browser: Browser, served: Served, path: str, scheme: str) -> None:
    """Text and what is behind it differ by 4.5 at least, as the browser paints them."""
    show(browser, width=1280, scheme=scheme)
    go(browser, served, path)
    open_all(browser)

    contrasts: list[tuple[str, float]] = browser.execute_script(CONTRASTS)

    assert len(contrasts) > 15
    assert [text for text, contrast in contrasts if contrast < 4.5] == []


@pytest.mark.parametrize("path", PATHS)
def test_everything_is_reached_with_the_keyboard(browser: Browser, served: Served, path: str) -> None:
    """In the order of the page; parts of a field for dates are the browser's own."""
    go(browser, served, path)
    wanted = [element for element in browser.find_elements(By.CSS_SELECTOR, REACHABLE) if element.is_displayed()]
    reached = []
    for _ in range(len(wanted) * 3):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        if element in wanted and element not in reached:
            reached.append(element)
        if len(reached) == len(wanted):
            break
    assert reached == wanted
    assert len(wanted) > 6


@pytest.mark.parametrize("path", PATHS)
def test_tables_and_drawings_say_what_they_are(browser: Browser, served: Served, path: str) -> None:
    """Each table has heads with a scope, each drawing that is shown a title and a description."""
    go(browser, served, f"{path}{'&' if '?' in path else '?'}lang=en")
    heads = browser.execute_script("return [...document.querySelectorAll('th')].map((one) => one.scope)")
    assert set(heads) <= {"col", "row", "rowgroup"}
    drawings = browser.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')].map((one) => "
        "one.querySelector('title').textContent + one.querySelector('desc').textContent)"
    )
    assert all(len(text) > 10 for text in drawings)
    assert browser.execute_script("return document.querySelectorAll('h1').length") == 1


def test_a_figure_leads_to_a_person_and_the_person_to_the_reasons(browser: Browser, served: Served) -> None:
    """By clicks alone, from the overview on."""
    go(browser, served, "/?lang=id")
    browser.find_element(By.CSS_SELECTOR, ".units a").click()
    soon(browser).until(lambda _: browser.find_elements(By.ID, "people"))
    browser.find_element(By.PARTIAL_LINK_TEXT, "terlambat").click()
    soon(browser).until(lambda _: "show=late" in browser.current_url)
    browser.find_element(By.LINK_TEXT, "Contoh Enam").click()
    soon(browser).until(lambda _: browser.find_elements(By.ID, "verdict-heading"))
    assert "terlambat 25 menit (belum selesai)" in browser.find_element(By.CSS_SELECTOR, ".verdict").text
    assert "07:55:00 di lobby, stream" in browser.find_element(By.CSS_SELECTOR, ".reasons-punches").text
    browser.find_element(By.LINK_TEXT, "Rekap bulan pegawai ini").click()
    soon(browser).until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".calendar"))
    assert browser.find_element(By.CSS_SELECTOR, ".calendar .today .codes").text == "?"


def test_a_punch_appears_by_itself(browser: Browser, served: Served) -> None:
    """Without a reload: the figure, the row, the curve; what is unfolded stays so."""
    go(browser, served, "/today/dinas?lang=id")
    open_all(browser)
    soon(browser).until(lambda _: browser.find_element(By.ID, "live-state").text == "langsung")
    assert "Contoh Satu" in browser.find_element(By.CSS_SELECTOR, "table.people").text
    present = "li.figure:nth-child(2) strong"
    before = browser.find_element(By.CSS_SELECTOR, present).text
    browser.execute_script("window.stays = true")

    served.office.punched("1001", "2026-09-03 09:00:30")
    served.office.now += timedelta(minutes=1)
    served.office.recompute.run()

    soon(browser).until(lambda _: browser.find_element(By.CSS_SELECTOR, present).text != before)
    assert "terlambat 90 menit (belum selesai)" in browser.find_element(By.CSS_SELECTOR, "table.people").text
    assert browser.find_element(By.ID, "arrivals-table").get_attribute("open") is not None
    assert browser.execute_script("return window.stays")
    assert console_messages(browser) == []


def test_without_scripts_everything_but_the_live_parts_is_there(browser: Browser, served: Served) -> None:
    """Choosing a date and a moment are plain forms."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    go(browser, served, "/today/dinas?date=2026-08-31&lang=id")

    assert len(browser.find_elements(By.CSS_SELECTOR, "table.people tbody tr")) == 8
    browser.find_element(By.PARTIAL_LINK_TEXT, "berikutnya").click()
    soon(browser).until(lambda _: "2026-09-01" in browser.current_url)
    before = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(By.CSS_SELECTOR, "form.filter button").click()
    soon(browser).until(staleness_of(before))
    soon(browser).until(lambda _: browser.find_elements(By.ID, "people"))
    go(browser, served, "/day/a?date=2026-08-31")
    browser.find_elements(By.CSS_SELECTOR, "form.filter button")[-1].click()
    soon(browser).until(lambda _: "known=" in browser.current_url)
    assert "Seperti yang diketahui pada" in browser.find_element(By.CSS_SELECTOR, ".notice").text
