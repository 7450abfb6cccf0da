"""``days``: the table of a date as people read it."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import command
from tests.central.store.office import POLICIES, Centre

PEOPLE = "key,name,employment,unit,from,until\n" + "".join(
    f"{key},Contoh {key.upper()},pns,{unit},2026-08-24,\n"
    for key, unit in (("c", "bidang"), ("d", "dinas"), ("e", "dinas"), ("f", "dinas"))
)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in which every kind of day happened on 31 August, and a doubt is left of 1 September."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.enter("units", "key,name,parent,from\nbidang,Bidang Data,dinas,2026-01-01\nkosong,Kosong,,2026-01-01\n")
    found.enter("people", PEOPLE)
    found.enter(
        "enrolments",
        "pin,site,person,from\n"
        + "".join(f"{pin},3602-bkpsdm,{key},2026-01-01\n" for pin, key in ((1003, "c"), (1004, "d"), (1006, "f"))),
    )
    found.punched("1001", "2026-08-31 07:45:10", "2026-08-31 16:01:00")
    found.punched("1002", "2026-08-31 07:15:10", "2026-08-31 16:01:00")
    found.punched("1003", "2026-08-31 07:40:10", "2026-08-31 15:01:00")
    found.punched("1004", "2026-08-31 07:25:10")
    found.enter("leave", "person,kind,from\ne,annual,2026-08-31\n")
    found.punched("9", "2026-09-01 07:25:00")
    found.at("2026-09-02 08:00")
    yield found
    found.close()


def days(centre: Centre, *words: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines of the command, blanks at their ends removed."""
    options = ("--db", centre.database.address, "--policies", POLICIES)
    done = command.run("central.cli", "days", *words, *options, env=os.environ | {"TERM": "dumb"})
    return done.returncode, [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]


def test_a_date_is_a_table_by_name(centre: Centre) -> None:
    """Whoever was complete stands between those who were late; nothing is sorted by minutes."""
    code, lines = days(centre, "--unit", "dinas", "--date", "2026-08-31")

    assert code == 0
    assert lines[:2] == [
        "Dinas, Monday 2026-08-31",
        "6 people: complete and on time 1 · late 2 · left early 1 · a punch is missing 1 · absent 1 · on leave 1",
    ]
    assert lines[4:] == [
        "Contoh C (c) in 07:40 · out 15:01 10 min late (TL1); left 59 min early (PSW2); cut 1.5 % final",
        "Contoh D (d) in 07:25 · out - no punch out (PSW4); cut 1.5 % final",
        "Contoh Dua (b) in 07:15 · out 16:01 complete and on time final",
        "Contoh E (e) leave: annual final",
        "Contoh F (f) in - · out - absent; cut 3 % final",
        "Contoh Satu (a) in 07:45 · out 16:01 15 min late (TL1); cut 0.5 % final",
    ]


def test_a_doubt_is_named_and_blames_no_one(centre: Centre) -> None:
    """The slot that is provisional has no class; in Indonesian."""
    code, lines = days(centre, "--unit", "bidang", "--date", "2026-09-01", "--lang", "id")

    assert code == 0
    assert lines[:2] == ["Bidang Data, Selasa 2026-09-01", "1 pegawai: presensi kurang 1 · sementara 1"]
    (line,) = lines[4:]
    assert line == (
        "Contoh C (c) masuk - · pulang - tidak ada presensi masuk (sementara); tidak ada presensi pulang (PSW4); "
        "potongan 1,5 % sementara: presensi dengan PIN yang belum ada pemiliknya di lobby"
    )


def test_what_is_not_judged_says_why(centre: Centre) -> None:
    """A person without a plan, a day off, a unit without people, and a unit that is none."""
    centre.enter("people", "key,name,employment,unit,from\nz,Contoh Z,pns,kosong,2026-08-24\n")

    assert "Contoh Z (z) no policy is assigned on it" in days(centre, "--date", "2026-08-31")[1]
    code, lines = days(centre, "--unit", "dinas", "--date", "2026-08-30", "--lang", "id")
    assert (code, lines[1]) == (0, "6 pegawai: tidak bertugas 6")
    assert "Contoh C (c) libur kerja final" in lines
    assert days(centre, "--unit", "kosong", "--date", "2026-01-02")[1][-1] == "no person is employed there on this date"
    assert days(centre, "--unit", "none")[0] == 1


def test_changes_that_wait_are_named(centre: Centre) -> None:
    """The table may be out of date."""
    centre.punched("1004", "2026-08-31 16:25:10")

    assert "1 changes are still to be judged; run `hadir-central recompute`." in days(centre, "--date", "2026-08-31")[1]
