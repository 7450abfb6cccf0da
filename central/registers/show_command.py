"""The command ``hadir-central show``: what the registers state about a subject on a date."""
# ruff: noqa: T201 - a command line prints

import sys
from contextlib import closing
from datetime import date
from itertools import takewhile
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from central.moments import print_moment
from central.options import AsJson, Db, InLanguage, KnownAt, On
from central.registers.commands import print_json
from central.registers.lookup import UnknownSubjectError, find_subjects, other_dates, rows_about, zone_of
from central.registers.problems import printable
from central.registers.statements import JOINED, VERSIONED
from central.registers.words import summary
from central.registers.write import cells_of, print_cells, print_statement, print_subject
from central.store.engine import Database, utc
from central.store.registers import Registers, Stated
from central.texts import Language, into
from central.words import COLUMNS, REGISTERS, word_of

_WIDTH = {Language.ENGLISH: 12, Language.INDONESIAN: 16}
"""Of the column with the kind of register."""


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A person (key, or name where only one has it), a unit, a terminal's serial number, a site, "
            "a timetable, a schedule or a policy; unit:KEY and the like where a key is several of these.",
        ),
    ],
    db: Db,
    on: On = None,
    known_at: KnownAt = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Show what is valid on a date, with who entered it and on which paper; also as known at an earlier moment.

    Exit code 1 where nothing has that key or name. Tampilkan yang berlaku pada suatu tanggal, dengan suratnya.
    """
    day = on or date.today()  # noqa: DTZ011 - the office's own date, as this computer's zone is
    moment = None if known_at is None else utc(known_at)
    zone: ZoneInfo | None = None
    try:
        with closing(Database(db, read_only=True)) as database, database.reading() as connection:
            registers = Registers(connection, known_at)
            zone = zone_of(Registers(connection).rows("units"))
            found = [
                (subject, rows_about(registers, subject, day), other_dates(registers, subject))
                for subject in find_subjects(registers, what)
            ]
    except UnknownSubjectError as error:
        print(printable(summary(error.code, error.values, lang) + _known(moment, zone, lang)), file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json(
            [
                {"subject": subject, "on": day.isoformat(), "known_at": moment, "rows": [_as_json(row) for row in rows]}
                for subject, rows, _ in found
            ]
        )
        return
    known = _known(moment, zone, lang)
    for subject, rows, dates in found:
        title = {"what": print_subject(subject, lang), "on": day.isoformat(), "known": known}
        print(printable(summary("shown", title, lang)))
        if not any(subject == row.statement.subject for row in rows) and (dates or not rows):
            spans = ", ".join(f"{since}/{until or '..'}" for since, until in dates)
            print(summary("shown_nothing", {"dates": spans or "-"}, lang))
        for row in rows:
            for line in _lines(row, zone, lang):
                print(printable(line))


def _known(moment: str | None, zone: ZoneInfo | None, language: Language) -> str:
    return "" if moment is None else summary("known_at", {"moment": print_moment(moment, zone)}, language)


def _lines(row: Stated, zone: ZoneInfo | None, language: Language) -> list[str]:
    kind, width = row.statement.kind, _WIDTH[language]
    until = ""
    if kind in VERSIONED and row.until is not None:
        until = f", {into(COLUMNS['until'], language)} {row.until}"
    head = f"  {into(word_of(REGISTERS, kind), language):{width}} {print_statement(row.statement, language)}{until}"
    found = [f"{head} [{print_moment(row.entered, zone)}, {row.by}, {row.paper}]"]
    if kind in JOINED and len(row.records) > 1:
        rows = [list(cells_of(kind, record).items()) for record in row.records]
        same = sum(1 for _ in takewhile(lambda cells: len(set(cells)) == 1, zip(*rows, strict=False)))
        found += [f"  {'':{width}}   {print_cells(kind, one[same:], language)}" for one in rows]
    return found


def _as_json(row: Stated) -> dict[str, Any]:
    return {
        "kind": row.statement.kind,
        "subject": row.statement.subject,
        "from": row.since.isoformat(),
        "until": None if row.until is None else row.until.isoformat(),
        "rows": [cells_of(row.statement.kind, record) for record in row.records],
        "entered": row.entered,
        "by": row.by,
        "paper": row.paper,
        "file": row.file,
    }
