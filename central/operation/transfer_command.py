"""The command ``hadir-central transfer``: from a SQLite file to PostgreSQL."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy import Connection

from central import report as reports
from central.operation.server_messages import TRANSFER
from central.options import AsJson, InLanguage, clock_of
from central.registers.problems import printable
from central.store import transfer as moving
from central.store.copies import unused
from central.store.engine import Database, is_url
from central.store.transfer import Compared, TransferError
from central.texts import Language


def _refuse(text: str) -> NoReturn:
    print(printable(f"hadir-central: {text}"), file=sys.stderr)
    raise typer.Exit(1)


def transfer(
    context: typer.Context,
    db: Annotated[str, typer.Option("--db", metavar="FILE", help="The SQLite file; no service may use it.")],
    to: Annotated[str, typer.Argument(metavar="URL", help="postgresql://ROLE@HOST:5432/DATABASE, an empty database.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Copy everything from a SQLite file into an empty PostgreSQL database, compare both, and verify the copy.

    One transaction: whatever ends it early leaves the database empty, and the command can be run again. The file is
    only read. Pindahkan basis data ke PostgreSQL.
    """
    if is_url(db):
        _refuse(TRANSFER["at_server"].into(lang, database=db.partition("?")[0]))
    file = Path(db)
    if not file.is_file():
        _refuse(TRANSFER["no_file"].into(lang, file=file))
    Database(file, read_only=True).close()  # of this version, or the error says what to do
    try:
        rows = moving.counts(file)
        if there := moving.filled_at(to, rows):
            _refuse(TRANSFER["not_empty"].into(lang, database=to, tables=", ".join(there)))
        if dry_run:
            print(TRANSFER["would"].into(lang, rows=sum(rows.values()), tables=len(rows), file=file, database=to))
            return
        found, sent, arrived = _moved(file, to, clock_of(context)().date(), lang)
    except TransferError as error:
        _refuse(str(error))
    differing = len(sent ^ arrived)
    if as_json:
        tables = [one._asdict() for one in found]
        print(json.dumps({"tables": tables, "faults": len(sent), "differing_faults": differing}, indent=2))
    else:
        for one in found:
            print(TRANSFER["table"].into(lang, table=one.table, rows=one.rows, digest=one.digest[:16]))
        total = sum(one.rows for one in found)
        print(TRANSFER["done"].into(lang, database=to, rows=total, file=file, tables=len(found)))
        code = "verified_otherwise" if differing else "verified"
        print(TRANSFER[code].into(lang, events=_events(found), faults=differing or len(sent)))
        print(TRANSFER["next"].into(lang, database=to, file=file))
    if differing:
        raise typer.Exit(1)


Faults = set[tuple[str, str, int, str]]
"""What `verify` finds: gateway, stream, sequence and what is wrong."""


def _moved(file: Path, url: str, today: date, language: Language) -> tuple[list[Compared], Faults, Faults]:
    """Transfer, and return what was compared, with the faults of the file's events and of those that arrived."""
    with unused(file), closing(Database(url, create=True)) as database:
        with database.writing() as connection:
            found = moving.transfer(file, connection, today, lambda table, rows: _show(table, rows, language))
        with reports.open_readonly(file) as connection:
            sent = _faults(connection)
        with database.reading() as connection:
            return found, sent, _faults(connection)


def _events(found: list[Compared]) -> int:
    return next((one.rows for one in found if one.table == "event"), 0)


def _faults(connection: Connection) -> Faults:
    return {(one.gateway, one.stream, one.sequence, one.what) for one in reports.verify(connection)}


def _show(table: str, rows: int, language: Language) -> None:
    """Name a table once its rows are there, and every some rows: a province's events take minutes."""
    if sys.stderr.isatty():
        print(TRANSFER["copying"].into(language, table=table, rows=rows), end="\x1b[K\r", file=sys.stderr, flush=True)
