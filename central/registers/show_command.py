"""The command ``hadir-central show``: what the registers state about a subject on a date."""
# ruff: noqa: T201 - a command line prints

import sys
from contextlib import closing
from datetime import date
from itertools import takewhile
from typing import Annotated, Any

import typer

from central.options import AsJson, Db, InLanguage, KnownAt, On
from central.registers.commands import print_json
from central.registers.lookup import UnknownSubjectError, find_subjects, other_dates, rows_about
from central.registers.problems import printable
from central.registers.statements import JOINED, VERSIONED
from central.registers.words import summary
from central.registers.write import cells_of, print_statement
from central.store.engine import Database, utc
from central.store.registers import Registers, Stated
from central.texts import Language

_WIDTH = 12
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
    known = "" if moment is None else summary("known_at", {"moment": moment}, lang)
    try:
        with closing(Database(db, read_only=True)) as database, database.reading() as connection:
            registers = Registers(connection, known_at)
            found = [
                (subject, rows_about(registers, subject, day), other_dates(registers, subject))
                for subject in find_subjects(registers, what)
            ]
    except UnknownSubjectError as error:
        print(printable(summary(error.code, error.values, lang) + known), file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json(
            [
                {"subject": subject, "on": day.isoformat(), "known_at": moment, "rows": [_as_json(row) for row in rows]}
                for subject, rows, _ in found
            ]
        )
        return
    for subject, rows, dates in found:
        title = {"what": subject.replace(":", " ", 1), "on": day.isoformat(), "known": known}
        print(printable(summary("shown", title, lang)))
        if not any(subject == row.statement.subject for row in rows) and (dates or not rows):
            spans = ", ".join(f"{since}/{until or '..'}" for since, until in dates)
            print(summary("shown_nothing", {"dates": spans or "-"}, lang))
        for row in rows:
            for line in _lines(row):
                print(printable(line))


def _lines(row: Stated) -> list[str]:
    kind = row.statement.kind
    until = f", until {row.until}" if kind in VERSIONED and row.until is not None else ""
    found = [f"  {kind:{_WIDTH}} {print_statement(row.statement)}{until} [{row.entered}, {row.by}, {row.paper}]"]
    if kind in JOINED and len(row.records) > 1:
        rows = [list(cells_of(kind, record).items()) for record in row.records]
        same = sum(1 for _ in takewhile(lambda cells: len(set(cells)) == 1, zip(*rows, strict=False)))
        found += [f"  {'':{_WIDTH}}   {', '.join(f'{name} {value}' for name, value in one[same:])}" for one in rows]
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
