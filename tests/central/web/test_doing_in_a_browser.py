"""A month's end in Chromium: requested, approved, closed, printed, and corrected later; and how its pages look."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from central.store import closings
from tests.central.web.site import Served
from tests.central.web.visit import go, log_in
from tests.chromium import CONTRASTS, Browser, console_messages, show, soon

INDONESIAN = "/login?lang=id"
UNITS = (
    "key,name,parent,zone,from,until\noffice,Kabupaten Contoh,,Asia/Jakarta,2026-01-01,\n"
    "dinas,Dinas Contoh,office,,2026-01-01,\nclinic,Klinik Contoh,dinas,,2026-01-01,\n"
    "school,Sekolah Contoh,office,,2026-01-01,\n"
)
PEOPLE = (
    "key,name,employment,unit,from,until\na,Ani Contoh,pns,dinas,2026-08-24,\nb,Budi Contoh,pppk,clinic,2026-08-24,\n"
    "d,Dewi Contoh,pns,clinic,2026-08-24,\nz,Tanpa Unit Contoh,pns,,2026-08-24,\n"
)
PINS = "pin,site,person,from,until\n" + "".join(
    f"{pin},3602-bkpsdm,{person},2026-01-01,\n" for pin, person in (("1001", "a"), ("1002", "b"), ("1003", "d"))
)
LATE, ABSENT = date(2026, 9, 8), date(2026, 9, 15)
NAMELESS = """
return [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
  .filter((one) => !one.labels.length || !one.labels[0].textContent.trim()).map((one) => one.name)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve an office on 2 October 2026: `b` was late on one date of September, and on another has no punch."""
    registers = {"units": UNITS, "people": PEOPLE, "enrolments": PINS}
    site = Served(tmp_path_factory.mktemp("office"), registers=registers)
    work(site, date(2026, 9, 1), date(2026, 9, 30))
    site.office.at("2026-10-02 09:00")
    yield site
    site.end()
    site.office.close()


def work(served: Served, first: date, last: date) -> None:
    """Let everyone come and go on each working day, but on two dates."""
    served.office.state("lobby", "S1", records=None)
    for number in range((last - first).days + 1):
        on = first + timedelta(days=number)
        for pin in ("1001", "1002", "1003") if on.weekday() < 5 else ():
            if (pin, on) != ("1002", ABSENT):
                arrived = "07:52:00" if (pin, on) == ("1002", LATE) else "07:15:00"
                served.office.punched(pin, f"{on} {arrived}", f"{on} 16:05:00")


def click(chromium: Browser, words: str) -> None:
    """Click a button or link, and wait for the page after it."""
    before = chromium.find_element(By.TAG_NAME, "html")
    (found,) = chromium.find_elements(By.XPATH, f"//main//*[self::a or self::button][normalize-space()='{words}']")
    found.click()
    soon(chromium).until(lambda _: chromium.find_element(By.TAG_NAME, "html").id != before.id)
    soon(chromium).until(lambda _: chromium.execute_script("return document.readyState") == "complete")


def enter(chromium: Browser, name: str, text: str) -> None:
    """Fill in a field; a date as the browser's own field hands it on."""
    field = chromium.find_element(By.NAME, name)
    if field.tag_name == "select":
        Select(field).select_by_visible_text(text)
    elif field.get_attribute("type") == "date":
        chromium.execute_script("arguments[0].value = arguments[1]", field, text)
    else:
        field.clear()
        field.send_keys(text)


def main(chromium: Browser) -> str:
    """Return what stands on the page."""
    return chromium.find_element(By.TAG_NAME, "main").text


def request(chromium: Browser, served: Served, what: str, **row: str) -> None:
    """Enter a request as the clinic's operator and approve it as the superior."""
    log_in(chromium, served, "clerk", INDONESIAN)
    go(chromium, served, "/requests")
    click(chromium, what)
    for name, text in row.items():
        enter(chromium, f"row-{name}", text)
    enter(chromium, "reason", "Surat terlampir")
    click(chromium, "Kirim permohonan")
    assert "Surat terlampir" in main(chromium)
    log_in(chromium, served, "chief", INDONESIAN)
    go(chromium, served, "/requests")
    enter(chromium, "paper", "445/12/2026, 1 Oktober 2026")
    click(chromium, "Setujui")
    assert "Menunggu (0)" in main(chromium)


def close(chromium: Browser, served: Served, on: date) -> str:
    """Close the whole office's month as BKD; return what the page draft before."""
    log_in(chromium, served, "bkd1", INDONESIAN)
    go(chromium, served, "/closings")
    enter(chromium, "unit", "Kabupaten Contoh")
    enter(chromium, "date", str(on))
    click(chromium, "Lihat yang masih terbuka")
    draft = main(chromium)
    enter(chromium, "paper", "SK 900/3/2026")
    click(chromium, "Tutup secara permanen")
    assert "SK 900/3/2026" in main(chromium)
    return draft


def numbers(served: Served) -> list[int]:
    """Return the numbers of the closings, in the order in which they were made."""
    with served.office.database.reading() as connection:
        return [one.id for one in closings.listing(connection)]


def kept(chromium: Browser, number: int, name: str) -> str:
    """Return a file of a closing as the browser stores it."""
    links = [one.get_attribute("href") for one in chromium.find_elements(By.CSS_SELECTOR, "main a.file")]
    (address,) = [one for one in links if one is not None and one.endswith(f"/closings/{number}/{name}")]
    fetch = "fetch(arguments[0]).then((answer) => answer.text()).then(arguments[1])"
    chromium.set_script_timeout(300)
    return str(chromium.execute_async_script(fetch, address))


def cells(sheet: str, name: str) -> list[str]:
    """Return the cells of a person in a printed sheet."""
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", sheet) if name in row]
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_a_month_is_corrected_closed_printed_and_adjusted_on_the_pages(
    served: Served, chromium: Browser, tmp_path: Path
) -> None:
    """By operator, superior and BKD in turn, each with a browser; the closed sheet never moves."""
    absent = {"from": str(ABSENT), "until": str(ABSENT)}
    request(chromium, served, "Cuti/izin", person="Budi Contoh", kind="sakit", **absent)
    served.office.at("2026-10-02 10:00")
    draft = close(chromium, served, date(2026, 9, 15))
    assert "1 September 2026" in draft
    assert "30 September 2026" in draft
    assert "3 pegawai · 0 belum final · 0 penyesuaian" in draft
    recap, annex = kept(chromium, numbers(served)[0], "recap.html"), kept(chromium, numbers(served)[0], "annex.html")
    assert {"S", "TL"} <= set(cells(recap, "Budi Contoh"))
    assert "TK" not in cells(recap, "Budi Contoh")
    assert cells(annex, "Budi Contoh")[-3:] == ["0,5", "0", "0,5"]
    assert "Ani Contoh" in kept(chromium, numbers(served)[0], "full.html")
    page = tmp_path / "recap.html"
    page.write_text(recap, "utf-8")
    chromium.get(page.as_uri())
    wide = chromium.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert wide, "the month does not fit the sheet"
    assert chromium.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"].startswith("JVBERi")

    work(served, date(2026, 10, 1), date(2026, 10, 31))
    request(chromium, served, "Koreksi", person="Budi Contoh", date=str(LATE), time="07:20", slot="masuk")
    served.office.at("2026-11-02 09:00")
    draft = close(chromium, served, date(2026, 10, 15))
    assert "1 penyesuaian" in draft
    assert (
        "Budi Contoh, 8 September 2026: potongan 1 September 2026 s.d. 30 September 2026: 0,5 % saat ditutup, kini 0 %"
        in draft
    ), "what this closing carries, with the date whose page states why"
    assert cells(kept(chromium, numbers(served)[1], "annex.html"), "Budi Contoh")[-3:] == ["0", "-0,5", "-0,5"]
    assert kept(chromium, numbers(served)[0], "recap.html") == recap
    go(chromium, served, "/closing?unit=office&date=2026-09-15")
    assert f"sudah ditutup pada 2 Oktober 2026, 10:00 WIB oleh bkd1 (penutupan {numbers(served)[0]})" in main(chromium)
    assert console_messages(chromium) == []


@pytest.mark.parametrize(
    ("account", "paths"),
    [
        ("clerk", ("/requests", "/request/new?kind=leave", "/request/new?kind=corrections", "/closings")),
        ("chief", ("/requests", "/request/new?kind=orders", "/notes/a?date=2026-09-08", "/day/b?date=2026-09-08")),
        ("bkd1", ("/requests", "/request/new?kind=decisions", "/closings", "/closing?unit=dinas&date=2026-09-15")),
        ("audit", ("/requests", "/closings", "/unassigned", "/access")),
    ],
)
def test_the_pages_of_each_role_fit_are_read_and_name_their_fields(
    served: Served, chromium: Browser, account: str, paths: tuple[str, ...]
) -> None:
    """In both languages, at 390 and 1,280 pixels, in the light and in the dark."""
    log_in(chromium, served, account, INDONESIAN)
    for path in paths:
        for language, width, scheme in (("id", 390, "light"), ("en", 390, "light"), ("id", 1280, "dark")):
            show(chromium, width=width, scheme=scheme)
            go(chromium, served, f"{path}{'&' if '?' in path else '?'}lang={language}")
            assert chromium.find_element(By.TAG_NAME, "html").get_attribute("lang") == language
            assert chromium.find_element(By.TAG_NAME, "h1").text
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width, path
            assert chromium.execute_script(NAMELESS) == [], path
            contrasts: list[tuple[str, float]] = chromium.execute_script(CONTRASTS)
            assert [text for text, contrast in contrasts if contrast < 4.5] == [], path
    assert console_messages(chromium) == []
