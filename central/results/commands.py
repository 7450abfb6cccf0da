"""The command ``hadir-central export``: verdicts and totals as CSV or JSON on standard output."""

import sys
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import typer

from central.options import Db, KnownAt, Policies, parse_date
from central.policy.office import OfficePolicies
from central.registers.lookup import UnknownSubjectError, find_person
from central.registers.words import summary
from central.results import export
from central.store.engine import Database
from central.store.registers import Registers

app = typer.Typer(no_args_is_help=True, help="Verdicts and totals as CSV or JSON, for other programs.")


class Format(StrEnum):
    """Formats of files."""

    CSV = "csv"
    JSON = "json"


First = Annotated[date, typer.Option("--from", metavar="DATE", parser=parse_date, help="The first date.")]
Last = Annotated[date, typer.Option("--to", metavar="DATE", parser=parse_date, help="The last date.")]
OfUnit = Annotated[str | None, typer.Option("--unit", metavar="KEY", help="Only this unit, with those below it.")]
OfPerson = Annotated[str | None, typer.Option("--person", metavar="PERSON", help="Only this person: key, or name.")]
AsFormat = Annotated[Format, typer.Option("--format", help="CSV for spreadsheets, JSON with the slots.")]


@app.command()
def days(
    db: Db,
    first: First,
    last: Last,
    unit: OfUnit = None,
    person: OfPerson = None,
    form: AsFormat = Format.CSV,
    known_at: KnownAt = None,
) -> None:
    """Write the last verdict on each day, or the one that stood at a moment. Hasil per pegawai dan tanggal."""
    _check(first, last, unit, person)
    with Database(db, read_only=True) as database, database.reading() as connection:
        key = _key(Registers(connection), person)
        rows = export.days(connection, first, last, unit=unit, person=key, known_at=known_at)
        _write(rows, export.DAYS, form)


@app.command()
def totals(
    db: Db,
    first: First,
    last: Last,
    unit: OfUnit = None,
    person: OfPerson = None,
    form: AsFormat = Format.CSV,
    known_at: KnownAt = None,
    policies: Policies = None,
) -> None:
    """Write what each period with one of the dates comes to, whole. Rekap per pegawai dan periode."""
    _check(first, last, unit, person)
    with Database(db, read_only=True) as database, database.reading() as connection:
        key = _key(Registers(connection), person)
        rows = export.totals(
            connection, OfficePolicies(policies), first, last, unit=unit, person=key, known_at=known_at
        )
        _write(rows, export.TOTALS, form)


def _check(first: date, last: date, unit: str | None, person: str | None) -> None:
    if last < first:
        raise typer.BadParameter("is before --from.", param_hint="--to")
    if unit is not None and person is not None:
        raise typer.BadParameter("write one of --unit and --person.", param_hint="--unit")


def _key(registers: Registers, person: str | None) -> str | None:
    if person is None:
        return None
    try:
        return find_person(registers, person).removeprefix("person:")
    except UnknownSubjectError as error:
        raise typer.BadParameter(summary(error.code, error.values), param_hint="--person") from None


def _write(rows: Iterator[dict[str, Any]], columns: tuple[str, ...], form: Format) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if form is Format.CSV:
        export.write_csv(rows, columns, sys.stdout)
    else:
        export.write_json(rows, sys.stdout)
