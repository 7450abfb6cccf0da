"""The command ``hadir-central sheet``: recap, annex, full attendance, history, discipline and outages as files."""
# ruff: noqa: T201 - a command line prints

import io
import os
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import date
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from central.closing.close import unit_period
from central.collector import paused_collector
from central.options import Db, InLanguage, Policies, clock_of, parse_date
from central.policy.office import OfficePolicies
from central.registers.lookup import UnknownSubjectError, find_person
from central.registers.problems import printable
from central.registers.words import summary
from central.reports.doubts import doubted
from central.reports.kept import kept
from central.sheets import evidence, month, source, write
from central.sheets.lines import UnitPeriod
from central.sheets.messages import message
from central.sheets.settings import Settings, SettingsError, load_settings
from central.sheets.sheet import Sheet
from central.sheets.source import NoSheetError
from central.store.engine import Database
from central.store.registers import Registers
from central.texts import Language

app = typer.Typer(no_args_is_help=True, help="Sheets of a unit's period as XLSX, CSV or HTML that prints on A4.")


class Format(StrEnum):
    """Formats of sheets."""

    XLSX = "xlsx"
    CSV = "csv"
    HTML = "html"


Unit = Annotated[str, typer.Argument(metavar="UNIT", help="Key of the unit; those below it belong to it.")]
OnDate = Annotated[date, typer.Argument(metavar="DATE", parser=parse_date, help="A date of the period, YYYY-MM-DD.")]
First = Annotated[date, typer.Option("--from", metavar="DATE", parser=parse_date, help="The first date.")]
Last = Annotated[date, typer.Option("--to", metavar="DATE", parser=parse_date, help="The last date.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; an existing file is not replaced.")
]
AsFormat = Annotated[Format | None, typer.Option("--format", help="By default that of the file's name.")]
InSettings = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE", help="Signatories, leave codes and CSV columns, in YAML.")
]
Builder = Callable[[UnitPeriod, Settings, Language, date], Sheet]


def _add_unit_command(name: str, builder: Builder, explained: str) -> None:
    """Add the command that writes one sheet of a unit's period."""

    @app.command(name, help=explained)
    def write_sheet(
        context: typer.Context,
        unit: Unit,
        on: OnDate,
        db: Db,
        output: Output,
        form: AsFormat = None,
        settings: InSettings = None,
        policies: Policies = None,
        lang: InLanguage = Language.INDONESIAN,
    ) -> None:
        def build(connection: Connection, given: Settings, today: date) -> Sheet:
            return builder(unit_period(connection, OfficePolicies(policies), unit, on), given, lang, today)

        _write(context, build, db, output, form, settings, lang)


_add_unit_command(
    "recap",
    month.recap,
    "Write the monthly recap: person and date with codes, sums, minutes, cut, cut of last month. Rekap bulanan.",
)
_add_unit_command(
    "annex",
    month.annex,
    "Write the annex to the payment: cuts in percent, and those of last month. Lampiran pembayaran.",
)
_add_unit_command("full", month.full_attendance, "Write the list of full attendance, by name. Daftar kehadiran penuh.")


@app.command()
def history(
    context: typer.Context,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="A key, or a name that only one person has.")],
    first: First,
    last: Last,
    db: Db,
    output: Output,
    form: AsFormat = None,
    settings: InSettings = None,
    lang: InLanguage = Language.INDONESIAN,
) -> None:
    """Write a person's dates between two dates. Riwayat presensi satu pegawai."""
    _check(first, last)

    def build(connection: Connection, given: Settings, today: date) -> Sheet:
        try:
            key = find_person(Registers(connection), person).removeprefix("person:")
        except UnknownSubjectError as error:
            print(printable(summary(error.code, error.values, lang)), file=sys.stderr)
            raise typer.Exit(1) from None
        name, _nip = source.names_of(Registers(connection), [key]).get(key, (key, None))
        days = source.person_days(connection, key, first, last)
        return evidence.history(name, key, days, first, last, given, lang, today)

    _write(context, build, db, output, form, settings, lang)


@app.command()
def discipline(
    context: typer.Context,
    unit: Unit,
    until: Annotated[date, typer.Argument(metavar="DATE", parser=parse_date, help="The last date of the year so far.")],
    db: Db,
    output: Output,
    form: AsFormat = None,
    settings: InSettings = None,
    policies: Policies = None,
    lang: InLanguage = Language.INDONESIAN,
) -> None:
    """Write whom the ladder of the policy names in the calendar year, with dates and evidence. Bahan disiplin."""

    def build(connection: Connection, given: Settings, today: date) -> Sheet:
        name = source.unit_name(Registers(connection), unit, until)
        years = source.years(connection, OfficePolicies(policies), unit, until)
        return evidence.discipline_sheet(name, years, until, given, lang, today)

    _write(context, build, db, output, form, settings, lang)


@app.command()
def outages(
    context: typer.Context,
    unit: Unit,
    first: First,
    last: Last,
    db: Db,
    output: Output,
    form: AsFormat = None,
    settings: InSettings = None,
    policies: Policies = None,
    lang: InLanguage = Language.INDONESIAN,
) -> None:
    """Write what keeps verdicts of a unit from being final: outages, gaps, unread logs. Laporan gangguan."""
    _check(first, last)

    def build(connection: Connection, given: Settings, today: date) -> Sheet:
        registers = Registers(connection)
        name = source.unit_name(registers, unit, last)
        people = set(source.people_in(connection, unit, first, last))
        found = [one for one in kept(connection, OfficePolicies(policies), first, last, lang) if one.person in people]
        return evidence.outages(name, doubted(found), first, last, given, lang, today)

    _write(context, build, db, output, form, settings, lang)


def _check(first: date, last: date) -> None:
    if last < first:
        raise typer.BadParameter("is before --from.", param_hint="--to")


def _write(
    context: typer.Context,
    build: Callable[[Connection, Settings, date], Sheet],
    db: str,
    output: Path,
    form: Format | None,
    settings: Path | None,
    language: Language,
) -> None:
    """Build a sheet and write it beside its name first: a sheet that fails leaves no file."""
    try:
        chosen = form or Format(output.suffix.removeprefix(".").lower())
    except ValueError:
        raise typer.BadParameter("end the name in .xlsx, .csv or .html.", param_hint="--output") from None
    try:
        given = load_settings(settings)
    except SettingsError as error:
        raise typer.BadParameter(error.into(language), param_hint="--settings") from None
    if output.exists():
        raise typer.BadParameter(message("exists", language, file=output), param_hint="--output")
    now = clock_of(context)()
    draft = output.with_name(f".{output.name}.{os.getpid()}.draft")
    try:
        with closing(Database(db, read_only=True)) as database, paused_collector(), database.reading() as connection:
            sheet = build(connection, given, source.today_in(connection, now))
            rows = _into(draft, sheet, chosen, given, language)
        digest = _sha256(draft)
        os.link(draft, output)  # fails where the name was taken meanwhile
    except NoSheetError as error:
        print(printable(message(error.code, language, **error.values)), file=sys.stderr)
        raise typer.Exit(1) from None
    except SettingsError as error:
        raise typer.BadParameter(error.into(language), param_hint="--settings") from None
    except ImportError:
        print(message("needs_extra", language), file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        what = message("no_folder", language, file=output, why=error.strerror or type(error).__name__)
        raise typer.BadParameter(what, param_hint="--output") from None
    finally:
        draft.unlink(missing_ok=True)
    print(printable(message("written", language, file=output, rows=rows, sha256=digest)))


def _into(draft: Path, sheet: Sheet, form: Format, settings: Settings, language: Language) -> int:
    with draft.open("xb") as file:
        if form is Format.XLSX:
            return write.xlsx(sheet, file)
        with io.TextIOWrapper(file, "utf-8", newline="") as text:
            if form is Format.HTML:
                return write.html(sheet, text, language)
            return write.csv_text(sheet, text, settings.csv.get(sheet.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
