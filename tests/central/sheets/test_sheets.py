"""Sheets of the end of a month: what stands in them, as a clerk opens them."""

import csv
import hashlib
import io
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from shutil import which

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from central.cli import app
from central.closing.close import close
from central.policy.office import OfficePolicies
from central.sheets import write
from central.sheets.lines import Line, UnitPeriod
from central.sheets.month import recap
from central.sheets.settings import Settings, SettingsError, load_settings
from central.sheets.sheet import Cell, Column, Sheet, Signatory
from central.store import closings
from central.texts import Language
from central.timesheet.outcome import COMPLETE, LATE, PRESENT, Standing
from tests.central.store.office import POLICIES, Centre

HOSTILE = '=HYPERLINK("http://x","y")'


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with September 2026 of four people: late once, absent, ill one day and else full, full."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    people = "key,name,employment,unit,nip,from,until\n"
    people += "c,<b>Contoh</b> Tiga,pns,dinas,,2026-09-29,\nd,Contoh Empat,pns,dinas,,2026-09-29,\n"
    found.enter("people", people)
    pins = "pin,site,person,from,until\n1003,3602-bkpsdm,c,2026-01-01,\n1004,3602-bkpsdm,d,2026-01-01,\n"
    found.enter("enrolments", pins)
    found.enter("leave", "person,kind,from,until,paper\nc,sick,2026-09-29,2026-09-29,Contoh 3/2026\n")
    found.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00")
    found.punched("1003", "2026-09-30 07:20:00", "2026-09-30 16:05:00")
    for day in ("29", "30"):
        found.punched("1004", f"2026-09-{day} 07:20:00", f"2026-09-{day} 16:05:00")
    found.at("2026-10-02 08:00")
    yield found
    found.close()


def sheet(centre: Centre, *words: str, code: int = 0) -> str:
    """Run the command at the centre's present moment."""
    arguments = ["sheet", *words, "--db", str(centre.database.address)]
    if words[0] != "history":
        arguments += ["--policies", str(POLICIES)]
    result = CliRunner().invoke(app, arguments, obj=lambda: centre.now)
    assert result.exit_code == code, result.output
    return result.output


def closed(centre: Centre, on: date) -> int:
    """Close a period."""
    office = OfficePolicies(POLICIES)
    return close(centre.database, office, "dinas", on, closed_by="BKD Contoh", paper="Contoh 9/2026", now=centre.now)


def table(centre: Centre, *words: str) -> list[dict[str, str]]:
    """Write a sheet as CSV, and read it."""
    file = centre.folder / f"{'-'.join(words[:3])}-{len(list(centre.folder.iterdir()))}.csv"
    sheet(centre, *words, "-o", str(file))
    return list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))


def test_the_recap_has_a_code_for_each_person_and_date_and_their_sums(centre: Centre) -> None:
    """By name; what a cell contains, its column counts."""
    rows = {row["Kode pegawai"]: row for row in table(centre, "recap", "dinas", "2026-09-15")}
    assert list(rows) == ["c", "b", "d", "a"]  # < before C; Dua, Empat, Satu
    assert [rows["a"][day] for day in ("1", "2", "5")] == ["TL", "TK", "L"]
    assert (rows["a"]["H"], rows["a"]["TL"], rows["a"]["TK"], rows["a"]["Menit TL"]) == ("1", "1", "21", "15")
    assert (rows["c"]["29"], rows["c"]["30"], rows["c"]["S"], rows["c"]["H"]) == ("S", "H", "1", "1")
    assert rows["c"]["28"] == ""  # not employed yet
    assert {row["Potongan bulan lalu %"] for row in rows.values()} == {"0"}


def test_full_attendance_lists_whoever_was_complete_or_excused(centre: Centre) -> None:
    """Illness takes nobody from the list; by name."""
    assert [row["Kode pegawai"] for row in table(centre, "full", "dinas", "2026-09-15")] == ["c", "d"]


def test_a_closed_recap_stays_and_the_next_one_carries_the_cut_of_last_month(centre: Centre) -> None:
    """The late day was leave, as is known in October: September stays as it was filed, October gives back."""
    before = table(centre, "annex", "dinas", "2026-09-15")
    closed(centre, date(2026, 9, 15))
    centre.enter("leave", "person,kind,from,until,paper\na,annual,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    assert table(centre, "annex", "dinas", "2026-09-15") == before
    closed(centre, date(2026, 10, 15))
    after = {row["Kode pegawai"]: row for row in table(centre, "annex", "dinas", "2026-10-15")}
    assert (after["a"]["Potongan bulan lalu %"], after["b"]["Potongan bulan lalu %"]) == ("-0.5", "0")
    assert Decimal(after["a"]["Jumlah %"]) == Decimal(after["a"]["Potongan %"]) - Decimal("0.5")


def test_whoever_left_is_in_the_annex_while_something_is_given_back(centre: Centre) -> None:
    """No verdict in October, an adjustment of September."""
    closed(centre, date(2026, 9, 15))
    centre.enter("people", "key,name,employment,unit,from,until\na,Contoh Satu,pns,dinas,2026-08-24,2026-09-30\n")
    centre.enter("leave", "person,kind,from,until,paper\na,annual,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    closed(centre, date(2026, 10, 15))
    (row,) = [row for row in table(centre, "annex", "dinas", "2026-10-15") if row["Kode pegawai"] == "a"]
    assert (row["Nama"], row["Hari kerja"], row["Potongan bulan lalu %"]) == ("Contoh Satu", "0", "-0.5")


def test_a_sheet_of_the_unit_above_says_who_was_closed_below(centre: Centre) -> None:
    """Recap: with their closed lines; annex: named by count and closing, so that no person is in two; closed or not."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,UPT Contoh,dinas,,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nd,Contoh Empat,pns,upt,2026-09-29,\n")
    centre.at("2026-10-02 09:00")
    office = OfficePolicies(POLICIES)
    on = date(2026, 9, 15)
    before = table(centre, "recap", "dinas", "2026-09-15")
    below = close(centre.database, office, "upt", on, closed_by="BKD", paper="Contoh 8/2026", now=centre.now)
    for state in ("waits", "closed"):
        assert table(centre, "recap", "dinas", "2026-09-15") == before
        assert "d" not in {row["Kode pegawai"] for row in table(centre, "annex", "dinas", "2026-09-15")}
        for name in ("recap", "annex", "full"):
            file = centre.folder / f"{name}-{state}.html"
            sheet(centre, name, "dinas", "2026-09-15", "-o", str(file))
            assert f"1 pegawai ditutup bersama UPT Contoh (penutupan {below}" in file.read_text("utf-8")
        if state == "waits":
            number = closed(centre, on)
    with centre.database.reading() as connection:
        kept = closings.file_of(connection, number, "recap.html")
    assert kept is not None
    assert f"UPT Contoh (penutupan {below}" in kept[0].content.decode()
    assert [row["Kode pegawai"] for row in table(centre, "annex", "upt", "2026-09-15")] == ["d"]


def test_a_sheet_before_the_closing_has_the_adjustments_that_wait(centre: Centre) -> None:
    """As the closing will carry them, and states that they wait."""
    closed(centre, date(2026, 9, 15))
    centre.enter("leave", "person,kind,from,until,paper\na,annual,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    waits = table(centre, "annex", "dinas", "2026-10-15")
    file = centre.folder / "waits.html"
    sheet(centre, "annex", "dinas", "2026-10-15", "-o", str(file), "--lang", "en")
    assert "It waits: the closing of this period carries it" in file.read_text("utf-8")
    closed(centre, date(2026, 10, 15))
    assert table(centre, "annex", "dinas", "2026-10-15") == waits
    assert {row["Kode pegawai"]: row["Potongan bulan lalu %"] for row in waits}["a"] == "-0.5"


def test_files_of_a_closing_are_the_sheets_as_they_were_filed(centre: Centre) -> None:
    """Recap and annex as XLSX and HTML, the list of full attendance; they open, and their digests hold."""
    number = closed(centre, date(2026, 9, 15))
    with centre.database.reading() as connection:
        names = [name for name, _, _ in closings.files_of(connection, number)]
        found = {name: closings.file_of(connection, number, name) for name in names}
    assert set(names) == {
        *("adjustments.csv", "annex.html", "annex.xlsx", "full.html", "recap.html", "recap.xlsx", "totals.csv")
    }
    for kept in found.values():
        assert kept is not None
        assert hashlib.sha256(kept[0].content).hexdigest() == kept[1]
    recap = found["recap.xlsx"]
    assert recap is not None
    page = load_workbook(io.BytesIO(recap[0].content)).active
    assert page is not None
    texts = [cell.value for row in page.iter_rows(max_row=4, max_col=1) for cell in row]
    assert texts[0] == "Rekapitulasi Presensi"
    assert "BKD Contoh" in str(texts[2])


def test_an_opened_workbook_has_texts_and_numbers_and_no_formula(tmp_path: Path) -> None:
    """Whatever a name begins with; a percentage is a number; the paper is A4, lying."""
    path = tmp_path / "x.xlsx"
    columns = [Column("name", "Nama", 20), Column("cut", "Potongan %", 8), Column("nip", "NIP", 20)]
    rows: list[list[Cell]] = [[HOSTILE, Decimal("0.5"), "199001012020121001"], ["@x", 3, None]]
    found = Sheet(
        "recap", "Rekap", ["Dinas"], columns, rows, ["Jumlah", 4, None], ["catatan"], "Kota", [Signatory("K", "N", "1")]
    )
    with path.open("wb") as file:
        assert write.xlsx(found, file) == 2
    page = load_workbook(path).active
    assert page is not None
    cells = {cell.value: cell.data_type for row in page.iter_rows() for cell in row if cell.value is not None}
    assert (cells[HOSTILE], cells["@x"], cells[0.5], cells["199001012020121001"]) == ("s", "s", "n", "s")
    assert "f" not in cells.values()
    assert (page.page_setup.orientation, page.page_setup.paperSize) == ("landscape", 9)


def test_the_same_sheet_is_the_same_bytes(centre: Centre, tmp_path: Path) -> None:
    """Workbook and page; so a digest states whether a file is the one that was made."""
    for suffix in ("xlsx", "html", "csv"):
        digests = set()
        for number in range(2):
            file = tmp_path / f"{number}.{suffix}"
            digests.add(sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(file)).rsplit(" ", 1)[-1])
        assert len(digests) == 1


def test_csv_columns_are_those_that_another_program_takes(centre: Centre, tmp_path: Path) -> None:
    """Heads, order, separator, decimal comma and constants by settings; a formula in a head is text."""
    settings = tmp_path / "sheets.yaml"
    settings.write_text(
        "leave_codes: {sick: SK}\n"
        "csv:\n  annex:\n    separator: ';'\n    decimal: ','\n    bom: true\n    columns:\n"
        "      - {head: ID, value: person}\n      - {head: '=PERIODE', value: '=2026-09'}\n"
        "      - {head: POTONGAN, value: cut}\n"
    )
    file = tmp_path / "annex.csv"
    sheet(centre, "annex", "dinas", "2026-09-15", "-o", str(file), "--settings", str(settings))
    lines = file.read_bytes().decode("utf-8-sig").splitlines()
    assert lines[0] == "ID;'=PERIODE;POTONGAN"
    assert lines[-1] == "a;2026-09;63,5"
    recap = tmp_path / "recap.csv"
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(recap), "--settings", str(settings))
    rows = {row["Kode pegawai"]: row for row in csv.DictReader(io.StringIO(recap.read_text("utf-8")))}
    assert (rows["c"]["29"], rows["c"]["SK"], rows["c"]["S"]) == ("SK", "1", "0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("csv: {annex: {columns: [{head: A, value: nonsense}]}}", "nonsense"),
        ("csv: {annex: {columns: []}}", "csv.annex.columns"),
        ("csv: {annex: {separator: ab, columns: [{head: A, value: name}]}}", "separator"),
        ("leave_codes: {sick: 'x y'}", "leave_codes.sick"),
        ("unknown: 1", "unknown"),
        ("signatories: [{title: a}]", "name"),
        ("place: [", "not YAML"),
        ("", "empty"),
    ],
)
def test_settings_that_are_wrong_say_where(centre: Centre, tmp_path: Path, text: str, says: str) -> None:
    """And no file is left."""
    settings = tmp_path / "sheets.yaml"
    settings.write_text(text)
    file = tmp_path / "annex.csv"
    output = sheet(centre, "annex", "dinas", "2026-09-15", "-o", str(file), "--settings", str(settings), code=2)
    assert says in re.sub(r"[\s│]+", " ", output)
    assert not file.exists()
    assert not list(tmp_path.glob(".*.draft"))


def test_the_template_of_settings_is_one() -> None:
    """As people begin from it."""
    found = load_settings(Path(__file__).parents[3] / "config" / "sheets.example.yaml")
    assert found.csv["annex"].columns[0].value == "person"
    with pytest.raises(SettingsError):
        load_settings(Path("/nonexistent"))


def test_mistakes_of_settings_are_translated(tmp_path: Path) -> None:
    """What is wrong reads in Indonesian too, with the same place."""
    settings = tmp_path / "sheets.yaml"
    settings.write_text("signatories: [{title: a}]")
    with pytest.raises(SettingsError) as raised:
        load_settings(settings)
    place = f"{settings}:1:15: signatories.0.name"
    assert raised.value.into(Language.ENGLISH) == f"{place}: is missing"
    assert raised.value.into(Language.INDONESIAN) == f"{place}: belum ada"


def test_what_cannot_be_printed_says_why(centre: Centre, tmp_path: Path) -> None:
    """No unit, no verdict, an existing file, a name without a format, a folder that is missing."""
    file = tmp_path / "recap.csv"
    assert "lain" in sheet(centre, "recap", "lain", "2026-09-15", "-o", str(file), code=1)
    assert "2020-01-01" in sheet(centre, "recap", "dinas", "2020-01-01", "-o", str(file), code=1)
    assert "x" in sheet(centre, "history", "x", "--from", "2026-09-01", "--to", "2026-09-30", "-o", str(file), code=1)
    file.write_text("mine")
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(file), code=2)
    assert file.read_text() == "mine"
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(tmp_path / "recap.doc"), code=2)
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(tmp_path / "none" / "recap.csv"), code=2)


def test_a_history_shows_each_date_with_its_punches(centre: Centre) -> None:
    """By date, with what each is."""
    rows = table(centre, "history", "Contoh Satu", "--from", "2026-09-01", "--to", "2026-09-03")
    assert [(row["Tanggal"], row["Kode"], row["Masuk"], row["Pulang"]) for row in rows] == [
        ("2026-09-01", "TL", "07:45:00", "16:05:00"),
        ("2026-09-02", "TK", "", ""),
        ("2026-09-03", "TK", "", ""),
    ]


def test_discipline_names_level_dates_and_leaves_open_who_must_act(centre: Centre) -> None:
    """By the ladder of the policy; who is below it is not listed."""
    rows = {row["Kode pegawai"]: row for row in table(centre, "discipline", "dinas", "2026-09-30")}
    assert set(rows) == {"a", "b"}
    assert "2026-08-31, 2026-09-02, 2026-09-03" in rows["a"]["Tidak hadir pada tanggal"]
    assert rows["a"]["Tingkat"]
    assert rows["a"]["Pejabat yang menindaklanjuti"] == ""


def test_outages_say_what_keeps_how_many_verdicts_open(tmp_path: Path) -> None:
    """A log that was not read further: its people, its dates."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    centre.state("lobby", "S1", "2026-09-15 12:00")
    centre.at("2026-10-02 08:00")
    (row,) = table(centre, "outages", "dinas", "--from", "2026-09-01", "--to", "2026-09-30")
    assert (row["Pegawai"], row["Mesin absen"]) == ("2", "S1")
    assert int(row["Hasil belum final"]) > 10
    centre.close()


def test_a_page_prints_on_a4_with_the_head_on_each_sheet(centre: Centre, tmp_path: Path) -> None:
    """A real browser prints it: lying A4, more than one sheet for sixty people; HTML in a name is text."""
    chromium = which("chromium") or which("chromium-browser")
    assert chromium is not None, "install chromium"
    page, pdf = tmp_path / "recap.html", tmp_path / "recap.pdf"
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(page))
    text = page.read_text("utf-8")
    assert "&lt;b&gt;Contoh&lt;/b&gt; Tiga" in text
    assert "<script" not in text
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf.read_bytes())
    assert boxes
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(842, 595)}


def test_english_where_it_is_wanted(centre: Centre, tmp_path: Path) -> None:
    """Heads and title."""
    file = tmp_path / "recap.html"
    sheet(centre, "recap", "dinas", "2026-09-15", "-o", str(file), "--lang", Language.ENGLISH)
    assert "Attendance recap" in file.read_text("utf-8")


def test_a_unit_has_the_sheet_of_the_closing_of_the_unit_above(centre: Centre) -> None:
    """Its people as they were closed, and nobody else's; whatever is known later."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,UPT Contoh,dinas,,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\ne,Contoh Lima,pns,upt,2026-09-29,\n")
    centre.enter("enrolments", "pin,site,person,from,until\n1005,3602-bkpsdm,e,2026-01-01,\n")
    centre.at("2026-10-02 09:00")
    closed(centre, date(2026, 9, 15))
    before = table(centre, "annex", "upt", "2026-09-15")
    assert [(row["Kode pegawai"], row["TK"]) for row in before] == [("e", "2")]
    centre.enter("leave", "person,kind,from,until,paper\ne,annual,2026-09-29,2026-09-29,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    assert table(centre, "annex", "upt", "2026-09-15") == before
    closed(centre, date(2026, 10, 15))
    (row,) = table(centre, "annex", "upt", "2026-10-15")
    assert Decimal(row["Potongan bulan lalu %"]) < 0


def test_a_closed_sheet_has_the_names_of_its_closing(centre: Centre) -> None:
    """A name that has changed since is in the next sheet."""
    closed(centre, date(2026, 9, 15))
    before = table(centre, "annex", "dinas", "2026-09-15")
    rows = "key,name,employment,unit,from,until\nd,Contoh Empat,pns,dinas,2026-09-29,2026-09-30\n"
    centre.at("2026-10-02 09:00")
    centre.enter("people", rows + "d,Contoh Keempat,pns,dinas,2026-10-01,\n")
    centre.at("2026-11-02 08:00")
    assert table(centre, "annex", "dinas", "2026-09-15") == before
    assert "Contoh Keempat" in {row["Nama"] for row in table(centre, "annex", "dinas", "2026-10-15")}


def test_a_night_shift_planned_outside_the_period_stands_in_the_nearest_column() -> None:
    """It is work of the period: what the sums count, a cell shows."""
    late = Standing("final", frozenset({LATE, PRESENT}), frozenset(), kind="workday")
    fine = Standing("final", frozenset({COMPLETE, PRESENT}), frozenset(), kind="workday")
    days = {date(2026, 8, 31): late, date(2026, 9, 1): fine}
    total = {**dict.fromkeys(("late_min", "early_min", "open_days", "provisional_days"), 0), "days": 2, "cut": "0"}
    line = Line("a", "Contoh", None, days, total, Decimal(0), 0)
    period = UnitPeriod("dinas", "Dinas", date(2026, 9, 1), date(2026, 9, 30), [line], None)
    found = recap(period, Settings(), Language.INDONESIAN, date(2026, 10, 1))
    (cells,) = found.rows
    row = dict(zip([column.name for column in found.columns], cells, strict=True))
    assert (row["2026-09-01"], row["TL"], row["present_days"], row["planned_days"]) == ("TL H", 1, 2, 2)
