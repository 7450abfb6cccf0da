"""Evidence, unknown PINs, policies and the access log in Chromium: on a telephone, in the dark, with a keyboard."""

from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.central.web.evidence import serve_evidence
from tests.central.web.site import PASSWORD, Served
from tests.central.web.visit import go, log_in
from tests.chromium import CONTRASTS, REACHABLE, Browser, console_messages, show, soon

PATHS = (
    "/",
    "/pins",
    "/evidence?from=2026-08-25",
    "/policies",
    "/policies/kementan-2012",
    "/access",
    "/nowhere",
    "/login",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the office."""
    site = serve_evidence(tmp_path_factory.mktemp("office"))
    yield site
    site.end()
    site.office.close()


@pytest.fixture
def browser(chromium: Browser, served: Served) -> Browser:
    """Return the browser of the auditor, logged in by the form."""
    log_in(chromium, served, "audit")
    console_messages(chromium)
    return chromium


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("path", PATHS)
def test_no_page_is_wider_than_a_telephone(browser: Browser, served: Served, path: str, language: str) -> None:
    """At 390 pixels; a wide table is pushed within its own frame, which the keyboard reaches."""
    show(browser, width=390)
    go(browser, served, f"{path}{'&' if '?' in path else '?'}lang={language}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    pushed = browser.execute_script(
        "return [...document.querySelectorAll('.table')].filter((one) => one.scrollWidth > one.clientWidth)"
        ".map((one) => one.tabIndex)"
    )
    assert set(pushed) <= {0}
    assert browser.execute_script("return document.documentElement.lang") == language
    if path != "/nowhere":  # the browser names each 404
        assert console_messages(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_every_text_can_be_read(browser: Browser, served: Served, path: str, scheme: str) -> None:
    """Text and what is behind it differ by 4.5 at least, as the browser paints them."""
    show(browser, width=1280, scheme=scheme)
    go(browser, served, path)
    contrasts: list[tuple[str, float]] = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 5
    assert [text for text, contrast in contrasts if contrast < 4.5] == []


@pytest.mark.parametrize("path", PATHS)
def test_everything_is_reached_with_the_keyboard(browser: Browser, served: Served, path: str) -> None:
    """In the order of the page."""
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


def test_a_wrong_password_and_a_logout_by_clicks(browser: Browser, served: Served) -> None:
    """Each states what it did; afterwards the way back shows nothing."""
    go(browser, served, "/pins")  # the first line of the access log, where this test runs alone
    go(browser, served, "/access")
    assert "audit" in browser.find_element(By.CSS_SELECTOR, "tbody").text
    browser.find_element(By.CSS_SELECTOR, "header button").click()
    soon(browser).until(lambda _: "ended" in browser.current_url)
    assert "sudah keluar" in browser.find_element(By.CSS_SELECTOR, "form.login").text
    browser.back()
    soon(browser).until(lambda _: browser.find_elements(By.ID, "password"))
    browser.find_element(By.ID, "account").send_keys("audit")
    browser.find_element(By.ID, "password").send_keys("wrong password", Keys.ENTER)
    soon(browser).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    assert "tidak cocok" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert browser.find_element(By.ID, "account").get_attribute("value") == "audit"
    browser.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    soon(browser).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "nav.menu"))


def test_without_scripts_the_pages_are_whole(browser: Browser, served: Served) -> None:
    """Filters are plain forms."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    go(browser, served, "/access")
    browser.find_element(By.NAME, "account").send_keys("nowhere", Keys.ENTER)
    soon(browser).until(lambda _: "account=nowhere" in browser.current_url)
    assert "Tidak ada baris" in browser.find_element(By.TAG_NAME, "main").text
