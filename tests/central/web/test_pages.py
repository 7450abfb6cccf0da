"""The pages of units and people over real sockets: what they show, where figures lead, and what they keep from view."""

import re
from collections.abc import Iterator

import pytest

from central.texts import Language
from central.words import MEANINGS
from tests.central.web.month import HEBREW, LONG, serve_month
from tests.central.web.site import Answer, Browser, Served

ROW = re.compile(r'<tr><th scope="row">.*?</tr>', re.DOTALL)
FIGURE = re.compile(r'<li class="figure[^"]*"><a href="([^"#]+)#people".*?<strong>([\d.,]+)</strong>', re.DOTALL)
TODAY = "/today/dinas?date=2026-08-31"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the office; the tests of this module change nothing but the access log."""
    site = serve_month(tmp_path_factory.mktemp("office"))
    yield site
    site.end()
    site.office.close()


@pytest.fixture(scope="module")
def chief(served: Served) -> Browser:
    """Return the browser of the superior of the unit and those below it."""
    return served.browser("chief")


def names(answer: Answer) -> list[str]:
    """Return the names of a page's table of people, in their order."""
    return [re.sub(r"<[^>]+>", "", found) for found in re.findall(r"<bdi>(.*?)</bdi></a>", answer.body)]


def texts(answer: Answer) -> str:
    """Return what a page shows, tags left out."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.body).split())


@pytest.mark.parametrize("path", [TODAY, "/today/dinas?date=2026-09-03", "/period/dinas?month=2026-08"])
def test_each_figure_leads_to_the_people_whom_it_counts(chief: Browser, path: str) -> None:
    """As many rows as it states; the chosen one is named."""
    found = FIGURE.findall(chief.get(f"{path}&lang=en").body)

    assert len(found) > 5
    for address, number in found:
        shown = chief.get(address.replace("&amp;", "&"))
        assert (shown.status, len(names(shown))) == (200, int(number)), address
        assert 'aria-current="true"' in shown.body


def test_a_person_of_a_figure_leads_to_the_reasons(chief: Browser) -> None:
    """To the punch with its place in the stream, the line of the policy, the paper, the revisions."""
    page = chief.get(f"{TODAY}&show=late&lang=en")
    addresses = re.findall(r'href="(/day/[^"]+)"', page.body)
    assert addresses == ["/day/a?date=2026-08-31", "/day/d?date=2026-08-31"]

    day = chief.get(addresses[0])
    found = texts(day)

    for part in (
        "▲ 15 min late (TL1); cut 0.5 %",
        "in, due 07:30:00: punch 07:45:10, 15 minutes late (final)",
        "in: TL1, cut 0.5 %, by in, class 1 (tests of the centre)",
        "sequence 1, id ",
        "paper: Kepala BKD, SK 9/2026",
        "Due: 07:30, 16:00. Punches that count: 07:45:10, 16:01:00.",
        "import of decisions by Kepala Contoh",
    ):
        assert part in found
    assert 'href="/policies/graded"' in day.body
    assert chief.get("/policies/graded").status == 200


def test_people_stand_by_unit_and_name_never_by_minutes(chief: Browser) -> None:
    """Whoever was latest, earliest or complete is where the name is."""
    assert names(chief.get(f"{TODAY}&lang=en")) == [
        "Contoh Enam",
        "Contoh Satu",
        "Contoh &lt;b&gt;Dua&lt;/b&gt;",
        "Penjaga Malam",
        LONG,
        HEBREW,
    ]
    assert names(chief.get("/period/dinas?month=2026-08&lang=en")) == [
        "Contoh &lt;b&gt;Dua&lt;/b&gt;",
        "Contoh Enam",
        "Contoh Satu",
        "Penjaga Malam",
        LONG,
        HEBREW,
    ]


def test_what_may_still_change_is_named_so(chief: Browser) -> None:
    """On the date that goes on: late without a cut, not seen yet, arrivals up to now."""
    found = texts(chief.get("/today/dinas?date=2026-09-03&lang=en"))

    assert "late 1 1 of them may still change" in found
    assert "▲ 25 min late (open)" in found
    assert "○ not seen yet" in found
    assert "Until 09:00, 2 of 5 have arrived." in found
    assert "cut" not in found


def test_full_attendance_is_shown_like_absence(chief: Browser) -> None:
    """A figure of its own, and a mark at the name."""
    page = chief.get("/period/dinas?month=2026-09&show=full&lang=en")

    assert names(page) == ["Contoh Enam", "Contoh Satu", "Penjaga Malam", LONG]
    assert "● full attendance so far" in texts(page)


def test_a_night_shift_belongs_to_its_first_date(chief: Browser) -> None:
    """The punch of the next morning stands with its date."""
    rows = ROW.findall(chief.get("/today/clinic?date=2026-09-01").body)
    guard = next(row for row in rows if "Penjaga Malam" in row)

    assert "<td>20:55</td><td>07:03 +1</td>" in guard
    assert "○" not in next(
        row for row in ROW.findall(chief.get("/today/clinic?date=2026-09-02").body) if "Penjaga" in row
    )


def test_a_person_who_moved_is_each_units_on_its_dates(served: Served) -> None:
    """Nothing of the dates in another unit: no verdict, no code, no totals, no page of the day."""
    clinic, school = served.browser("clerk"), served.browser("other")

    august, september = (clinic.get(f"/person/b?month=2026-{month}&lang=en") for month in ("08", "09"))
    assert (august.status, september.status) == (200, 200)
    assert "/day/b?date=2026-08-31" in august.body
    assert "/day/b" not in september.body
    assert "are not shown" in texts(september)
    assert clinic.get("/day/b?date=2026-09-01").status == 404
    assert served.log()[-1] == ("clerk", "day", None, "b", 1)
    assert school.get("/day/b?date=2026-08-31").status == 404
    assert "Dua" in clinic.get("/today/clinic?date=2026-08-31").body
    assert "Dua" not in clinic.get("/today/clinic?date=2026-09-01").body
    assert "Dua" in clinic.get("/period/clinic?month=2026-08").body
    assert "Dua" not in clinic.get("/period/clinic?month=2026-09").body
    moved, stayed = ROW.findall(clinic.get("/period/clinic?month=2026-08&lang=en").body)[:2]
    assert "Dua" in moved
    for row in (moved, stayed):
        assert re.search(r'<td class="number">\d+ %</td></tr>$', row)


@pytest.mark.parametrize(
    "path",
    [
        "/today/{}",
        "/today/{}?date=2026-08-31&show=late",
        "/period/{}?month=2026-08",
        "/person/{}",
        "/person/{}?month=2026-08",
        "/day/{}?date=2026-08-31",
        "/day/{}?date=2026-08-31&known=2026-09-01T10:00",
    ],
)
def test_what_is_foreign_is_answered_as_what_does_not_exist(served: Served, path: str) -> None:
    """Byte for byte, but for the token of the form."""
    browser = served.browser("other")
    foreign, missing = ("dinas", "dinqs") if path.startswith(("/today", "/period")) else ("a", "q")
    strip = re.compile(r"[0-9a-f]{64}|dinas|dinqs")

    answers = [browser.get(path.format(key)) for key in (foreign, missing)]

    assert [answer.status for answer in answers] == [404, 404]
    assert len({strip.sub("", answer.body) for answer in answers}) == 1
    assert "Contoh" not in answers[0].body


def test_the_tree_of_units_names_no_person_and_no_unit_above(served: Served) -> None:
    """Numbers of the units of the account, each with those below it."""
    page = served.browser("clerk").get("/units?date=2026-08-31&lang=en")

    assert re.findall(r"<bdi>(.*?)</bdi>", page.body) == ["Klinik"]
    assert "Contoh" not in page.body
    chief = served.browser("chief").get("/units?date=2026-08-31&lang=en")
    assert re.findall(r"<bdi>(.*?)</bdi>", chief.body) == [
        "Dinas &lt;script&gt;alert(1)&lt;/script&gt;",
        "Bidang Kosong",
        "Klinik",
    ]
    numbers = [re.findall(r'<td class="number">(?:<a[^>]*>)?(\d+)', row) for row in chief.body.split("<tr>")[2:]]
    assert [row[:2] for row in numbers] == [["6", "4"], ["0", "0"], ["4", "2"]]


def test_a_unit_without_people_is_shown(chief: Browser) -> None:
    """On a date and in a month."""
    assert "Tidak ada pegawai di unit ini pada tanggal ini." in chief.get("/today/empty?lang=id").body
    assert "Tidak ada pegawai di unit ini pada periode ini." in chief.get("/period/empty?lang=id").body


def test_names_are_text_whatever_they_hold(chief: Browser) -> None:
    """Markup is escaped, and names of another direction are kept apart from what stands beside them."""
    for path in (TODAY, "/period/dinas?month=2026-08", "/units", "/person/b?month=2026-08", "/day/b?date=2026-08-31"):
        body = chief.get(path).body
        assert "<script>alert" not in body
        assert "<b>Dua" not in body
    assert f"<bdi>{HEBREW}</bdi>" in chief.get(TODAY).body


def test_a_suspect_of_a_punch_is_shown_in_words(chief: Browser) -> None:
    """The name that the protocol and registers have stays at the command line."""
    found = texts(chief.get("/day/a?date=2026-08-31&lang=id"))
    assert MEANINGS["drift"].into(Language.INDONESIAN) in found
    assert "drift" not in found


def test_a_date_is_shown_as_it_was_known(chief: Browser) -> None:
    """Before the decision the drift was a doubt; the month shows the same."""
    then = "known=2026-09-03T08:15"
    found = texts(chief.get(f"/day/a?date=2026-08-31&{then}&lang=en"))

    assert "As known at 2026-09-03 08:15:00 WIB" in found
    assert "15 min late (provisional)" in found
    assert "SK 9/2026" not in found
    month = chief.get(f"/person/a?month=2026-08&{then}&lang=en").body
    before = texts(chief.get("/person/a?month=2026-09&known=2026-09-01T07:00&lang=en"))
    assert re.search(r"Wed 2\b", before) is None
    assert 'day waiting"><a href="/day/a?date=2026-08-31&amp;known=2026-09-03T08%3A15%3A00%2B07%3A00"' in month
    assert re.search(r'day exception"><a href="/day/a\?date=2026-08-31"', chief.get("/person/a?month=2026-08").body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/today/dinas?date=9999-12-31", 400),
        ("/today/dinas?date=0001-01-01", 400),
        ("/today/dinas?date=2026-02-30", 400),
        ("/today/dinas?date=2099-12-31", 200),
        ("/today/dinas?date=2000-01-01", 404),
        ("/today/dinas?show=worst", 404),
        ("/today/", 404),
        ("/period/dinas?month=9999-12", 400),
        ("/period/dinas?month=2026-13", 400),
        ("/period/dinas?month=2099-12", 200),
        ("/period/dinas?month=2026-08&show=minutes", 404),
        ("/person/a?month=2100-12", 200),
        ("/person/a?month=x", 400),
        ("/person/a?month=2026-01", 200),
        ("/day/a?date=2026-09-01&known=yesterday", 400),
        ("/day/a?date=2026-09-01&known=9999-12-31T23:59", 200),
        ("/day/a?date=2026-09-01&known=0001-01-01T00:00", 400),
        ("/day/a?date=2099-12-31", 200),
        ("/day/a?date=2026-01-01", 404),
        ("/units?date=2099-01-01", 200),
        ("/units?date=x", 400),
    ],
)
def test_dates_of_an_address(chief: Browser, path: str, status: int) -> None:
    """What cannot be is said; what lies ahead or before the person is shown empty or is no page."""
    assert chief.get(path).status == status


def test_a_month_without_a_policy_says_so(served: Served) -> None:
    """Each date is not judged, with the reason, and the period has no totals."""
    found = texts(served.browser("other").get("/person/h?month=2026-08&lang=en"))

    assert "no policy is assigned on it" in found
    assert "No policy is assigned in this period, so it has no totals." in found
    assert "8 not judged" in texts(served.browser("other").get("/period/school?month=2026-08&lang=en"))


def test_the_work_of_a_person_has_its_place_beside_presence(chief: Browser) -> None:
    """Presence is an instrument, not the judgement."""
    assert "Kehadiran adalah alat, bukan penilaian atas pegawai" in texts(chief.get("/person/a?lang=id"))


def test_each_look_is_in_the_access_log(served: Served) -> None:
    """With page, unit or person; also where the page itself was kept from a look before."""
    browser = served.browser("chief")
    before = len(served.log())
    for _ in range(2):
        for path in (TODAY, "/person/a", "/day/a?date=2026-08-31", "/period/dinas?month=2026-08", "/units"):
            assert browser.get(path).status == 200

    assert served.log()[before:] == 2 * [
        ("chief", "today", "dinas", None, 0),
        ("chief", "person", None, "a", 0),
        ("chief", "day", None, "a", 0),
        ("chief", "period", "dinas", None, 0),
        ("chief", "units", None, None, 0),
    ]


@pytest.mark.parametrize("path", [TODAY, "/today/dinas", "/person/a", "/day/a?date=2026-08-31", "/period/dinas"])
def test_a_page_in_indonesian_has_no_english_word(chief: Browser, path: str) -> None:
    """But for names of the office and the papers' own."""
    found = texts(chief.get(path + ("&" if "?" in path else "?") + "lang=id"))

    assert (
        re.findall(r"\b(late|early|missing|absent|people|date|month|verdict|show|punch|leave|annual|due)\b", found)
        == []
    )
