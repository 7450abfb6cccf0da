"""Makes the pictures of the documentation from the demo, in Chromium: `make pictures`.

The demo stands still on a morning on which one terminal cannot be reached. Date and people are the same each time.
Needs Chromium with its driver, and pngquant.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

HERE = Path(__file__).parent
DEMO = (
    sys.executable,
    "-m",
    "gateway.cli",
    "demo",
    "--plain",
    "--lang",
    "id",
    "--date",
    "2026-10-01",
    "--weeks",
    "5",
    "--hold",
    "10:10",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
)
STILL = "hari berhenti di sini"
"""How the demo's line begins while the day stands still."""


PATIENCE_S = 60


class Picture(NamedTuple):
    """The top of a page."""

    name: str
    account: str | None
    """Of the centre's pages; None: the gateway's page."""
    path: str
    width: int
    height: int
    dark: bool = False


PICTURES = (
    Picture("page-light", None, "/?lang=en", 1280, 900),
    Picture("page-phone", None, "/?lang=id", 390, 844, dark=True),
    Picture("status", None, "/?lang=id", 760, 900),
    Picture("today", "atasan", "/today/pelayanan?lang=id", 760, 900),
    Picture("person", "atasan", "/person/p-0124?month=2026-09&lang=id", 900, 1000),
    Picture("day", "atasan", "/day/p-0123?date=2026-10-01&lang=id", 900, 900),
    Picture("period", "atasan", "/period/pelayanan?month=2026-09&lang=id", 900, 900),
    Picture("requests", "atasan", "/request/new?lang=id", 900, 800),
    Picture("closing", "bkd", "/closing?unit=pelayanan&date=2026-09-15&lang=id", 900, 900),
)


@contextmanager
def demo(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run the demo until it stands still; yield the addresses of its pages, and the password of the accounts."""
    command = subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True, cwd=folder)  # noqa: S603 - our own command
    assert command.stdout is not None
    try:
        lines: list[str] = []
        for line in command.stdout:
            lines.append(line)
            if line.startswith(STILL):
                break
        else:
            sys.exit("".join(lines))
        status, centre = (re.findall(r"http://[\d.:]+", line)[0] for line in lines[:2])
        yield status, centre, lines[1].split()[-1]
    finally:
        for _ in range(2):  # the second ends it without the rest of the day
            if command.poll() is None:
                command.send_signal(signal.SIGINT)
                next((line for line in command.stdout if not line.startswith(STILL)), "")
        command.communicate()


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Run a browser with its files in a folder."""
    browser_file, driver_file = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser_file, "apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = browser_file
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(driver_file)) as browser:
        browser.implicitly_wait(PATIENCE_S)
        yield browser


def log_in(browser: webdriver.Chrome, centre: str, account: str, password: str) -> None:
    """Log in to the centre's pages."""
    browser.delete_all_cookies()
    browser.get(f"{centre}/login")
    for name, value in (("account", account), ("password", password)):
        browser.find_element(By.NAME, name).send_keys(value)
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    WebDriverWait(browser, PATIENCE_S).until(lambda page: "/login" not in page.current_url)


def take(browser: webdriver.Chrome, address: str, picture: Picture) -> None:
    """Take a picture with few colours, of more points than the screen it is for."""
    metrics = {
        "width": picture.width,
        "height": picture.height,
        "deviceScaleFactor": 1.5,
        "mobile": picture.width < 500,
    }
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if picture.dark else "light"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(f"{address}{picture.path}")
    browser.find_element(By.CSS_SELECTOR, "main")
    file = HERE / f"{picture.name}.png"
    browser.save_screenshot(str(file))
    subprocess.run(["pngquant", "--force", "--strip", "--speed", "1", "--ext", ".png", "64", file], check=True)  # noqa: S603, S607 - Debian's
    print(f"{file.name}  {file.stat().st_size // 1000} kB")


def main() -> None:
    """Make all pictures, or those named on the command line."""
    wanted = [one for one in PICTURES if one.name in sys.argv[1:] or len(sys.argv) == 1]
    with (
        tempfile.TemporaryDirectory() as name,
        demo(Path(name)) as (status, centre, password),
        chromium(Path(name) / "chromium") as browser,
    ):
        account = None
        for picture in sorted(wanted, key=lambda one: one.account or ""):
            if picture.account not in (None, account):
                account = picture.account
                log_in(browser, centre, str(account), password)
            take(browser, status if picture.account is None else centre, picture)


if __name__ == "__main__":
    main()
