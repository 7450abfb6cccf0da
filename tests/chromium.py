"""Chromium for tests of pages: its screen and colours, what it complains of, what can be read and reached in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.support.wait import WebDriverWait

from tests.broker import WAIT_S

MISSING = "these tests need a browser: apt-get install chromium chromium-driver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
CONTRASTS = """
const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => {
  const [red, green, blue] = channels(colour).map(linear);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if ((channels(colour)[3] ?? 1) === 1) return colour;
  }
};
const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
  if (element.matches("title, desc, noscript")) continue;
  const style = getComputedStyle(element);
  const both = [element instanceof SVGElement ? style.fill : style.color, ground(element)].map(luminance).sort();
  found.push([texts.currentNode.data.trim(), (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)]);
}
return found;
"""
REACHABLE = "a[href], button, input, summary"

Browser = webdriver.Chrome


@contextmanager
def run_chromium(folder: Path) -> Iterator[Browser]:
    """Run Debian's Chromium with its files in a folder; its absence is a failure, never a reason to skip."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser, MISSING
    assert driver, MISSING
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"intl.accept_languages": "id"})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chromium:
        yield chromium


def renewed(browser: Browser) -> Browser:
    """Return the browser as if nothing had been done with it."""
    browser.delete_all_cookies()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    console_messages(browser)
    show(browser, width=1280)
    return browser


def show(browser: Browser, *, width: int, scheme: str = "light") -> None:
    """Give the screen a width, and its owner a liking for the dark or the light."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme_wished = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_wished)


def console_messages(browser: Browser) -> list[Any]:
    """Return what the browser has complained of since this was called last."""
    complaints: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    return complaints


def soon(browser: Browser) -> WebDriverWait[Browser]:
    """Wait for what the page does by itself; an element that it exchanges meanwhile is looked for again."""
    return WebDriverWait(browser, WAIT_S, ignored_exceptions=[StaleElementReferenceException])


def open_all(browser: Browser) -> None:
    """Unfold everything."""
    browser.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
