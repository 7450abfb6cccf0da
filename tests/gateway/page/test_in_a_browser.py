"""The page as people meet it: in Chromium, on a telephone, in the dark, with a keyboard, without scripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.chromium import CONTRASTS, REACHABLE, Browser, console_messages, open_all, renewed, run_chromium, show, soon
from tests.gateway.page.office import Office, office


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run an office with four weeks behind it and a terminal with a long name."""
    folder = tmp_path_factory.mktemp("office")
    with office(folder, history=2000, more=1, name="loket-gedung-utama-lantai-3") as place:
        yield place


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run Debian's Chromium."""
    with run_chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """Return the browser as if nothing had been done with it."""
    return renewed(chromium)


def feed(browser: Browser) -> list[str]:
    """Return the lines of the feed."""
    rows: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#feed tbody tr')].map((row) => row.textContent)"
    )
    return rows


@pytest.mark.parametrize("language", ["id", "en"])
def test_nothing_has_to_be_pushed_sideways_on_a_telephone(browser: Browser, place: Office, language: str) -> None:
    """At 360 pixels, everything unfolded, a terminal's long name included."""
    show(browser, width=360)
    browser.get(f"{place.url}/?lang={language}")
    open_all(browser)

    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')]"
        ".filter((element) => element.checkVisibility()).map((element) => element.getBoundingClientRect().right)]"
    )
    assert max(widths) <= 360
    assert len(widths) > 100
    assert browser.find_element(By.CSS_SELECTOR, "svg.narrow").is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, "svg.wide").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, place: Office, scheme: str) -> None:
    """Text and what is behind it differ by 4.5 at least, as the browser paints them."""
    show(browser, width=1280, scheme=scheme)
    browser.get(place.url)
    open_all(browser)

    contrasts: list[tuple[str, float]] = browser.execute_script(CONTRASTS)

    assert len(contrasts) > 100
    assert [text for text, contrast in contrasts if contrast < 4.5] == []
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 27)"
    assert dark == (scheme == "dark")


def test_everything_is_reached_with_the_keyboard(browser: Browser, place: Office) -> None:
    """Each link and each thing that unfolds, in the order of the page; what unfolds does so."""
    browser.get(place.url)
    wanted = [element for element in browser.find_elements(By.CSS_SELECTOR, REACHABLE) if element.is_displayed()]
    reached = []
    for _ in wanted:
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element)
    assert reached == wanted
    assert len(wanted) > 3

    last = reached[-1].find_element(By.XPATH, "..")
    assert last.get_attribute("open") is None
    reached[-1].send_keys(Keys.ENTER)
    assert last.get_attribute("open") is not None


def test_a_punch_appears_by_itself_and_shows_no_more_than_two_characters(browser: Browser, place: Office) -> None:
    """The feed brings it at once, the rest of the page follows; nothing is refused by the page's own policy."""
    browser.get(place.url)
    soon(browser).until(lambda _: browser.find_element(By.ID, "feed-state").text == "langsung")
    events = browser.find_element(By.CSS_SELECTOR, "#figures").text
    place.lobby.punch("199001019876", verify=15)

    soon(browser).until(lambda _: "***76" in feed(browser)[0])

    assert feed(browser)[0].endswith("lobby***76masuk, wajah")
    soon(browser).until(lambda _: browser.find_element(By.CSS_SELECTOR, "#figures").text != events)
    assert "9876" not in browser.page_source
    assert console_messages(browser) == []


def test_without_scripts_everything_but_the_live_parts_is_there(browser: Browser, place: Office) -> None:
    """The feed has its newest lines, what unfolds does so, and the page is loaded anew by itself."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(place.url)

    rows = browser.find_elements(By.CSS_SELECTOR, "#feed tbody tr")
    assert len(rows) == 12
    assert "***" in rows[0].text
    assert browser.find_element(By.CSS_SELECTOR, "noscript meta[http-equiv=refresh]").get_attribute("content") == "60"
    table = browser.find_element(By.ID, "day-table")
    table.find_element(By.TAG_NAME, "summary").click()
    assert "07:15" in table.text


def test_a_drawing_says_what_it_shows(browser: Browser, place: Office) -> None:
    """A screen reader reads the chart's title and its sum."""
    browser.get(f"{place.url}/?lang=en")
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    images: list[dict[str, Any]] = [node for node in tree if node.get("role", {}).get("value") == "image"]

    assert len(images) == 1
    name = images[0]["name"]["value"]
    assert name.startswith("Today, by quarter of an hour")
    assert "punches today up to 10:" in name
    assert "Usually there are" in name


def test_a_browser_without_the_token_gets_the_login_form(browser: Browser, tmp_path: Path) -> None:
    """A wrong one is refused; the right one shows the page, and the browser remembers."""
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n")
    token.chmod(0o600)
    with office(tmp_path, token_file="token") as guarded:
        browser.get(guarded.url)
        assert browser.current_url.endswith("/login")
        browser.switch_to.active_element.send_keys("correct-horse-batterx", Keys.ENTER)
        soon(browser).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "[role=alert]"))
        browser.switch_to.active_element.send_keys("correct-horse-battery", Keys.ENTER)
        soon(browser).until(lambda _: browser.find_elements(By.ID, "terminals"))
        browser.get(guarded.url)
        soon(browser).until(lambda _: browser.find_element(By.ID, "feed-state").text == "langsung")
        assert "correct-horse" not in str(browser.get_cookies())
