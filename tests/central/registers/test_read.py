"""From a file to records: headers, every mistake in one go, large files, hostile files."""

import random
import re
from functools import partial
from pathlib import Path

import pytest
from openpyxl import load_workbook

from central.registers.cells import plain
from central.registers.kinds import HEADS, IGNORED, KINDS, Known, heads_of
from central.registers.problems import MAX_PROBLEMS, Problem, RegisterFileError
from central.registers.read import ALL_HEADS, read_register
from central.texts import Language
from tests.central.registers.files import TEMPLATES, change_part, refused, register, taken, write_csv, write_xlsx
from tests.mutation import HOSTILE_TEXTS, mutate_bytes, mutate_lines, mutate_text

HEADER = "key,name,employment,from,until\n"
ROUNDS = 300


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_template_that_is_taken(kind: str) -> None:
    """What offices begin from is right."""
    (template,) = TEMPLATES.glob(f"{kind}.*")

    assert register(template, kind).lines


def test_there_are_no_other_templates() -> None:
    """A template of no kind would be checked by nothing."""
    assert {path.stem for path in TEMPLATES.iterdir()} == set(KINDS)


def test_the_template_of_pins_keeps_leading_zeros() -> None:
    """Its cells are text, also those that are still empty."""
    book = load_workbook(TEMPLATES / "enrolments.xlsx")

    assert taken(TEMPLATES / "enrolments.xlsx", "enrolments")[0].pin == "0017"
    assert {book.active.cell(row, 1).number_format for row in range(1, 1001)} == {"@"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_means_one_column_of_a_kind(kind: str) -> None:
    """The table of heads has no word for two columns of one kind."""
    spec = KINDS[kind]
    words = [word for column in spec.columns for word in (column.name, *HEADS.get(column.name, ()))]

    assert len(words) == len(set(words))
    assert set(heads_of(spec)) <= ALL_HEADS | set(IGNORED)
    assert {column.name for column in spec.columns} <= HEADS.keys()


def test_the_heads_in_the_documentation_are_accepted() -> None:
    """Each word of its table, for the column beside it."""
    page = (TEMPLATES.parents[1] / "docs" / "registers.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+) \| (.+) \|$", page.partition("| column | also |")[2], re.MULTILINE)
    documented = {
        column: {plain(word) for word in words.split(", ")}
        for columns, groups in rows
        for column, words in zip(columns.split(", "), groups.split("; "), strict=True)
    }

    assert documented.keys() == HEADS.keys()
    for column, words in documented.items():
        assert words <= {plain(word) for word in HEADS[column]}


def test_indonesian_heads_in_any_order(tmp_path: Path) -> None:
    """Capitals, dots and underscores do not matter; remarks are not read."""
    text = "No.;TMT;NAMA_PEGAWAI;Kunci;Status Pegawai;Keterangan\n1;1 Januari 2026;Contoh;p-1;PPPK Paruh Waktu;x\n"

    (person,) = taken(write_csv(tmp_path, text), "people")

    assert (person.key, person.employment) == ("p-1", "pppk-part-time")


def test_every_mistake_is_named_in_one_go(tmp_path: Path) -> None:
    """Of cells, of rows and of several rows; what follows only from a refused row is not named."""
    text = HEADER + (
        "p-1,,pns,2026-01-01,\n"
        "198609262015051001,A,boss,2026-13-01,\n"
        "p-2,A,pns,2026-02-01,2026-01-01\n"
        "p-3,A,pns,2026-01-01,\n"
        "p-3,A,pns,2026-01-01,,more\n"
    )

    assert refused(write_csv(tmp_path, text), "people") == [
        ("file.csv:2:2", "cell_missing"),
        ("file.csv:3:1", "key_like_nip"),
        ("file.csv:3:3", "choice"),
        ("file.csv:3:4", "no_such_date"),
        ("file.csv:4:5", "ends_before_begin"),
        ("file.csv:6:6", "outside_columns"),
        ("file.csv:6:4", "person_overlaps"),
    ]
    schedule = "schedule,from,day,timetable\n" + "".join(
        f"a,2026-01-01,{n},{'a b' if n == 2 else 'x'}\n" for n in (1, 2, 3)
    )
    assert refused(write_csv(tmp_path, schedule), "schedules") == [("file.csv:3:4", "code_form")]


def test_mistakes_of_the_header_are_named_first(tmp_path: Path) -> None:
    """A column that is missing, stands twice, or is misspelt, with what may be meant."""
    path = write_csv(tmp_path, "key,name,name,employmnet,from\np-1,A,A,pns,x\n")
    with pytest.raises(RegisterFileError) as caught:
        register(path, "people")

    assert [problem.code for problem in caught.value.problems] == [
        "column_twice",
        "unknown_column_close",
        "column_missing",
    ]
    assert "employment" in str(caught.value.problems[1])


def test_one_mistake_in_a_hundred_thousand_rows(tmp_path: Path) -> None:
    """It is named, and nothing of the file is taken."""
    rows = [f"p-{number},Contoh,pns,2026-01-01,\n" for number in range(100_000)]
    rows[77_776] = "p-77776,Contoh,pns,2026-02-30,\n"

    assert refused(write_csv(tmp_path, HEADER + "".join(rows)), "people") == [("file.csv:77778:4", "no_such_date")]


def test_more_mistakes_than_anybody_reads_are_counted(tmp_path: Path) -> None:
    """The report is bounded, the count is not."""
    path = write_csv(tmp_path, HEADER + "p-1,,pns,2026-01-01,\n" * (MAX_PROBLEMS + 5))
    with pytest.raises(RegisterFileError) as caught:
        register(path, "people")

    assert (len(caught.value.problems), caught.value.more) == (MAX_PROBLEMS, 5)


def check(path: Path, kind: str) -> None:
    """Read a file: it is taken, or refused with texts for every mistake; anything else fails the test."""
    problems: tuple[Problem, ...] = ()
    try:
        held = len(read_register(path, kind).lines)
    except RegisterFileError as error:
        held, problems = 0, error.problems
    assert bool(held) != bool(problems)
    for problem in problems:
        assert problem.text(Language.ENGLISH)
        assert problem.text(Language.INDONESIAN)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "enrolments"])
def test_mutated_text_files_are_taken_or_refused(tmp_path: Path, kind: str) -> None:
    """Valid files with bytes, lines, cells and words changed; encodings too."""
    (template,) = TEMPLATES.glob(f"{kind}.*")
    valid = template.read_bytes()
    path = tmp_path / template.name
    for seed in range(ROUNDS):
        randomness = random.Random(seed)
        match seed % 4:
            case 0:
                content = mutate_bytes(valid, randomness)
            case 1:
                content = mutate_lines(valid.replace(b",", b"\t"), randomness)
            case 2:
                text = mutate_text(valid.decode().replace(",", " , "), randomness)
                content = text.encode("utf-8", "surrogatepass")
            case _:
                content = mutate_bytes(valid.decode().encode("utf-16"), randomness)
        path.write_bytes(content)
        check(path, kind)


@pytest.mark.parametrize("kind", ["people", "timetables", "rosters"])
def test_mutated_workbooks_are_taken_or_refused(tmp_path: Path, kind: str) -> None:
    """Cells exchanged for hostile ones, and the bytes of the file and of its parts changed."""
    (template,) = TEMPLATES.glob(f"{kind}.*")
    rows: list[list[object]] = [[*line.split(",")] for line in template.read_text("utf-8").splitlines()]
    values = [text[:30_000] for text in HOSTILE_TEXTS if text.isprintable() and text]
    hostile: list[object] = [*values, 0, -1, 2**53, 1e300, True, "=A1", "#REF!", None, "\u202eA"]
    for seed in range(40):
        randomness = random.Random(seed)
        changed = [list(row) for row in rows]
        row = randomness.choice(changed)
        row[randomness.randrange(len(row))] = randomness.choice(hostile)
        path = write_xlsx(tmp_path, changed)
        check(path, kind)
        change_part(path, "xl/worksheets/sheet1.xml", partial(mutate_bytes, random=randomness))
        check(path, kind)
        path.write_bytes(mutate_bytes(path.read_bytes(), randomness))
        check(path, kind)


def test_a_roster_has_a_bound_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell is one, also over several rows."""
    monkeypatch.setattr("central.registers.read.MAX_ENTRIES", 6)
    heads = "person,2026-10-01,2026-10-02,2026-10-03\n"

    assert len(taken(write_csv(tmp_path, heads + "p-1,off,off,off\np-2,off,off,off\np-3,,,\n"), "rosters")) == 6
    path = write_csv(tmp_path, heads + "p-1,off,off,off\np-2,off,off,off\np-3,,off,\n")
    assert refused(path, "rosters") == [("file.csv", "too_many_entries")]


def test_keys_are_checked_together_with_every_other_mistake(tmp_path: Path) -> None:
    """Also those that a refused row names; a key that stands in a refused row of the file is no unknown one."""
    known = Known(units=frozenset(), people=frozenset({"p-1"}), timetables=frozenset({"office"}))
    units = "key,name,parent,zone,from\na,A,zz,WIB,2026-01-01\nb,B,a,XX,2026-01-01\nc,C,b,,2026-13-01\nd,D,qq,,x\n"
    assert refused(write_csv(tmp_path, units), "units", known) == [
        ("file.csv:3:4", "zone"),
        ("file.csv:4:5", "no_such_date"),
        ("file.csv:5:5", "date_form"),
        ("file.csv:2:3", "unknown_reference"),
        ("file.csv:5:3", "unknown_reference"),
    ]
    grid = "person,2026-09-01,2026-09-02\np-9,office,night\np 1,off,late\np-1,office,b d\n"
    assert refused(write_csv(tmp_path, grid), "rosters", known) == [
        ("file.csv:3:1", "key_form"),
        ("file.csv:4:3", "code_form"),
        ("file.csv:2:1", "unknown_reference"),
        ("file.csv:2:3", "unknown_reference"),
        ("file.csv:3:3", "unknown_reference"),
    ]


def test_a_schedule_that_lacks_days_is_named_beside_mistakes_of_another(tmp_path: Path) -> None:
    """Of the one with a refused row the day may be that row's."""
    rows = "a,2026-01-01,1,x\na,2026-01-01,3,x\nb,2026-01-01,1,x\nb,2026-13-01,2,x\nb,2026-01-01,3,x\n"
    found = refused(write_csv(tmp_path, "schedule,from,day,timetable\n" + rows), "schedules")
    assert found == [("file.csv:5:2", "no_such_date"), ("file.csv:2:1", "schedule_lacks_days")]


def test_a_cell_that_cannot_be_read_hides_no_other_mistake_of_its_row(tmp_path: Path) -> None:
    """What the other cells say together is checked; what needs the unreadable one is not guessed."""
    text = (
        "person,kind,from,until,begin,end,slot\n"
        "a,annual,2026-09-03,2026-09-01,8 o'clock,,\n"
        "a,annual,someday,2026-09-01,12:00,10:00,\n"
        "a,annual,2026-09-01,,8 o'clock,,in\n"
    )
    assert refused(write_csv(tmp_path, text), "leave") == [
        ("file.csv:2:5", "time_form"),
        ("file.csv:2:4", "ends_before_begin"),
        ("file.csv:3:3", "date_form"),
        ("file.csv:3:6", "hours_end_before_begin"),
        ("file.csv:4:5", "time_form"),
    ]
