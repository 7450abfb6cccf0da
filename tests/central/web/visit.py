"""A visit to the centre's pages in a browser: pages opened, a login by the form."""

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.central.web.site import PASSWORD, Served
from tests.chromium import Browser, renewed, soon


def go(chromium: Browser, served: Served, path: str) -> None:
    """Open a page."""
    chromium.get(f"http://127.0.0.1:{served.port}{path}")


def log_in(chromium: Browser, served: Served, account: str, page: str = "/login") -> None:
    """Log in by the form of a page, as if in another browser."""
    renewed(chromium)
    go(chromium, served, page)
    chromium.find_element(By.ID, "account").send_keys(account)
    chromium.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    soon(chromium).until(lambda _: chromium.find_elements(By.CSS_SELECTOR, "nav.menu"))
