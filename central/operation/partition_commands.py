"""The commands ``hadir-central partitions``: punches by month on PostgreSQL."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from contextlib import closing
from typing import Annotated, NoReturn

import typer

from central.operation.server_messages import PARTITIONS
from central.options import AsJson, By, Db, InLanguage, Paper, clock_of
from central.rights.retain import MARGIN
from central.store import accesses, partitions, retention
from central.store.accesses import Access
from central.store.engine import Database, utc
from central.store.partitions import Month, Obstacles
from central.texts import Language

app = typer.Typer(no_args_is_help=True, help="Punches by month on PostgreSQL: list, make, detach for the archive.")


def _month(written: str) -> str:
    try:
        return partitions.checked_month(written)
    except ValueError:
        raise typer.BadParameter("write a month as YYYY-MM.") from None


def _refuse(*lines: str) -> NoReturn:
    for line in lines:
        print(line, file=sys.stderr)
    raise typer.Exit(1)


@app.command("list")
def partitions_list(
    context: typer.Context, db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False
) -> None:
    """List the months with their size, those that lack a partition, and those that were detached. Daftar bulan."""
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        if not partitions.is_partitioned(connection):
            _refuse(PARTITIONS["sqlite"].into(lang))
        found = partitions.months(connection)
        outside = partitions.outside(connection)
        missing = partitions.missing(connection, clock_of(context)().date())
        archived = retention.archived_months(connection)
    if as_json:
        rows = {"months": [one._asdict() for one in found], "outside": dict(outside), "missing": missing}
        print(json.dumps(rows | {"archived": archived}, indent=2))
        return
    for one in found:
        size = f"{one.size / 1024**2:,.1f} MiB"
        code = "month" if one.month else "others"
        print(PARTITIONS[code].into(lang, month=one.month, rows=one.rows, size=size))
    for month, count in list(outside.items())[:SHOWN]:
        print(PARTITIONS["outside"].into(lang, month=month, rows=count))
    if len(outside) > SHOWN:
        print(PARTITIONS["more"].into(lang, months=len(outside) - SHOWN))
    if archived:
        print(PARTITIONS["archived"].into(lang, months=", ".join(archived)))
    if missing:
        print(PARTITIONS["missing"].into(lang, months=", ".join(missing)))


SHOWN = 12
"""Months of the default partition that are printed for people."""


@app.command("make")
def partitions_make(
    context: typer.Context,
    db: Db,
    ahead: Annotated[int, typer.Option(min=0, max=24, metavar="N", help="How many months ahead.")] = partitions.AHEAD,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Make the months that are missing, also while inboxes run, which do the same each day. Buat bulan di muka."""
    with closing(Database(db)) as database, database.writing() as connection:
        if not partitions.is_partitioned(connection):
            _refuse(PARTITIONS["sqlite"].into(lang))
        try:
            made = partitions.make(connection, clock_of(context)().date(), ahead)
        except partitions.Busy:
            _refuse(PARTITIONS["busy"].into(lang))
    print(PARTITIONS["made" if made else "none_missing"].into(lang, months=", ".join(made)))


@app.command("detach")
def partitions_detach(
    context: typer.Context,
    db: Db,
    before: Annotated[str, typer.Option(metavar="YYYY-MM", callback=_month, help="Months before this one.")],
    by: By,
    paper: Paper,
    yes: Annotated[bool, typer.Option("--yes", help="Detach; without it only what would be done is printed.")] = False,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Detach months for the archive: their days are not judged again. Lepas bulan lama untuk arsip.

    Refused while a hold is in force, or a day of them is not decided or not of a closed period.
    """
    now = clock_of(context)()
    with closing(Database(db)) as database, database.writing() as connection:
        if not partitions.is_partitioned(connection):
            _refuse(PARTITIONS["sqlite"].into(lang))
        if before > partitions.month_of(now.date()):
            _refuse(PARTITIONS["not_over"].into(lang, month=before))
        until = partitions.settled_by(before, MARGIN)
        due = partitions.detachable(connection, before)
        if not due:
            print(PARTITIONS["none_before"].into(lang, month=before))
            return
        speaks_against = partitions.obstacles(connection, before, MARGIN)
        if speaks_against.any:
            _refuse(*_why_not(speaks_against, str(until), lang))
        if not yes:
            months = ", ".join(one.month for one in due)
            print(PARTITIONS["would_detach"].into(lang, months=months, until=until))
            return
        try:
            done = partitions.detach(connection, before, MARGIN, at=utc(now), by=by, paper=paper)
        except partitions.Busy:
            _refuse(PARTITIONS["busy"].into(lang))
        accesses.add(connection, [Access(utc(now), by, "command", "", "retention_applied")])
    _print_detached(done, str(until), lang)


def _why_not(found: Obstacles, until: str, language: Language) -> list[str]:
    lines = []
    if found.holds:
        lines.append(PARTITIONS["held"].into(language, holds=", ".join(map(str, found.holds))))
    if found.unsettled.waiting:
        lines.append(PARTITIONS["waiting"].into(language, marks=found.unsettled.waiting, until=until))
    if found.unsettled.undecided:
        lines.append(PARTITIONS["undecided"].into(language, days=found.unsettled.undecided, until=until))
    if found.not_closed or found.unsettled.not_carried:
        days = found.not_closed + found.unsettled.not_carried
        lines.append(PARTITIONS["not_closed"].into(language, days=days, until=until))
    return lines


def _print_detached(done: list[Month], until: str, language: Language) -> None:
    for one in done:
        print(PARTITIONS["detached"].into(language, month=one.month, rows=one.rows, table=one.name))
    print(PARTITIONS["settled"].into(language, until=until))
    print(PARTITIONS["next_dump"].into(language, table=done[-1].name))
