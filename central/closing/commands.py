"""The commands ``hadir-central period``: what is still open, closing, and what was closed."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing as closing_after
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from central.closing.close import ClosingError, Draft, StillOpen, close, draft
from central.closing.messages import message
from central.options import AsJson, By, Db, InLanguage, Paper, Policies, clock_of, parse_date
from central.policy.office import OfficePolicies
from central.registers.problems import printable
from central.reports.messages import MESSAGES as REASONS
from central.sheets.settings import SettingsError, load_settings
from central.store import closings
from central.store.closings import StoredAdjustment
from central.store.engine import Database
from central.texts import Language

app = typer.Typer(no_args_is_help=True, help="Close a unit's period, and see what was closed.")

Unit = Annotated[str, typer.Argument(metavar="UNIT", help="Key of the unit; those below it belong to it.")]
OnDate = Annotated[date, typer.Argument(metavar="DATE", parser=parse_date, help="A date of the period, YYYY-MM-DD.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Of the closing, from `hadir-central period list`.")]
SHOWN = 20
"""Lines of a kind that are printed for people; --json has all."""


@app.command()
def status(
    context: typer.Context,
    unit: Unit,
    on: OnDate,
    db: Db,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Show what closing a period would fix: people, what is still open, adjustments of earlier periods.

    Exit code 1 where it cannot be closed now. Apa yang masih terbuka sebelum periode ditutup.
    """
    with closing_after(Database(db, read_only=True)) as database, database.reading() as connection:
        try:
            read = draft(connection, OfficePolicies(policies), unit, on, clock_of(context)())
        except ClosingError as error:
            raise _refused(error, lang) from None
    if as_json:
        print(json.dumps(_as_json(read), indent=2, ensure_ascii=False))
        return
    for line in _lines(read, lang):
        print(printable(line))


@app.command("close")
def close_period(
    context: typer.Context,
    unit: Unit,
    on: OnDate,
    db: Db,
    by: By,
    paper: Paper,
    with_open: Annotated[
        bool, typer.Option("--with-open", help="Close although verdicts are open or provisional; they cut nothing.")
    ] = False,
    policies: Policies = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="Signatories and codes of the sheets, in YAML.")
    ] = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Close the period of a unit that has a date: its totals stay as they are, whatever is known later.

    Exit code 1 where it was not closed. Tutup periode satu unit kerja.
    """
    office = OfficePolicies(policies)
    try:
        given = load_settings(settings)
    except SettingsError as error:
        raise typer.BadParameter(error.into(lang), param_hint="--settings") from None
    with closing_after(Database(db)) as database:
        try:
            number = close(
                database,
                office,
                unit,
                on,
                closed_by=by,
                paper=paper,
                now=clock_of(context)(),
                with_open=with_open,
                settings=given,
            )
        except ClosingError as error:
            raise _refused(error, lang) from None
        with database.reading() as connection:
            found = closings.find(connection, number)
            adjustments = closings.adjustments_of(connection, number)
            people = len({one.person for one in closings.totals_of(connection, number)})
    if found is None:  # committed a moment ago, and closings are never deleted
        raise LookupError(number)
    values = {"unit": unit, "first": found.first, "last": found.last, "people": people}
    print(printable(message("period", lang, **values)))
    for line in [*_adjusted(adjustments, lang), message("closed", lang, number=number, digest=found.digest)]:
        print(printable(line))


@app.command("list")
def list_closings(db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False) -> None:
    """List the closings in the order in which they were made. Daftar periode yang sudah ditutup."""
    with closing_after(Database(db, read_only=True)) as database, database.reading() as connection:
        found = closings.listing(connection)
    if as_json:
        rows = [{**one._asdict(), "still_open": json.loads(one.still_open), "policies": None} for one in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    for one in found:
        values = {key: value for key, value in one._asdict().items() if key != "id"}
        print(printable(message("closing", lang, number=one.id, **values)))
    if not found:
        print(message("closing_none", lang))


@app.command("show")
def show_closing(number: Number, db: Db, lang: InLanguage = Language.ENGLISH) -> None:
    """Show a closing: its totals, adjustments and files, and whether they are what was closed.

    Exit code 1 where there is none, or it was changed. Isi satu penutupan periode.
    """
    with closing_after(Database(db, read_only=True)) as database, database.reading() as connection:
        found = closings.find(connection, number)
        if found is None:
            raise _refused(ClosingError("closing_unknown", number=number), lang)
        totals, adjustments = closings.totals_of(connection, number), closings.adjustments_of(connection, number)
        files, files_hold = list(_files(connection, number, lang)), True
    values = {key: value for key, value in found._asdict().items() if key != "id"}
    lines = [message("closing", lang, number=number, **values)]
    for one in totals:
        row = json.loads(one.content)
        minutes = {"late": row["late_min"], "early": row["early_min"], "absent": row["absent_days"]}
        lines.append(message("total", lang, person=one.person, days=row["days"], cut=row["cut"], **minutes))
    lines += _adjusted(adjustments, lang)
    files_hold = all(holds for _, holds in files)
    lines += [line for line, _ in files]
    holds = closings.digest_of(totals, adjustments) == found.digest
    lines.append(message("closing_digest_ok" if holds else "closing_digest_wrong", lang, digest=found.digest))
    for line in lines:
        print(printable(line))
    if not holds or not files_hold:
        raise typer.Exit(1)


@app.command("file")
def write_file(
    number: Number,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the file, as `show` prints it.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; an existing file is not replaced.")],
    db: Db,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Write a file that was made at a closing, byte for byte as it was. Simpan kembali berkas penutupan."""
    with closing_after(Database(db, read_only=True)) as database, database.reading() as connection:
        found = closings.file_of(connection, number, name)
        names = ", ".join(one for one, _, _ in closings.files_of(connection, number)) or "-"
    if found is None:
        raise _refused(ClosingError("closing_no_file", number=number, name=name, names=names), lang)
    try:
        with to.open("xb") as file:
            file.write(found[0].content)
    except OSError as exc:
        raise typer.BadParameter(f"{to}: {exc.strerror}", param_hint="FILE") from None
    print(printable(message("closing_file", lang, name=to, size=len(found[0].content), sha256=found[1])))


def _refused(error: ClosingError, language: Language) -> typer.Exit:
    print(printable(message(error.code, language, **error.values)), file=sys.stderr)
    return typer.Exit(1)


def _files(connection: Connection, number: int, language: Language) -> Iterator[tuple[str, bool]]:
    """Yield a line for each file of a closing, and whether its bytes are those that were stored."""
    for name, digest, size in closings.files_of(connection, number):
        found = closings.file_of(connection, number, name)
        holds = found is not None and sha256(found[0].content).hexdigest() == digest
        code = "closing_file" if holds else "closing_file_wrong"
        yield message(code, language, name=name, size=size, sha256=digest), holds


def _lines(read: Draft, language: Language) -> Iterator[str]:
    people = len({one.person for one in read.totals})
    yield message("period", language, unit=read.unit, first=read.first, last=read.last, people=people)
    if read.closed_elsewhere:
        yield message("closed_elsewhere", language, people=read.closed_elsewhere)
    yield from _open(read.still_open, language)
    yield from _adjusted(read.adjustments, language)


def _open(still_open: StillOpen, language: Language) -> Iterator[str]:
    lines = [message("closing_unjudged_person", language, person=person) for person in still_open.unjudged]
    lines += [message("open_day", language, person=person, date=on) for person, on in still_open.open_]
    for person, on, whats in still_open.provisional:
        doubts = ", ".join(REASONS["suspect_punch" if what == "suspect" else what].into(language) for what in whats)
        lines.append(message("provisional_day", language, person=person, date=on, doubts=doubts))
    for subject, first, last in still_open.set_aside:
        lines.append(message("set_aside_change", language, subject=subject, first=first, last=last))
    if not lines:
        yield message("no_open", language)
        return
    yield message("open_head", language, count=len(lines))
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield message("more", language, count=len(lines) - SHOWN)


def _adjusted(adjustments: Sequence[StoredAdjustment], language: Language) -> Iterator[str]:
    if not adjustments:
        yield message("no_adjustments", language)
        return
    yield message("adjustments_head", language, count=len(adjustments))
    for one in adjustments[:SHOWN]:
        content = json.loads(one.content)
        values = {
            "person": one.person,
            "first": one.first,
            "last": one.last,
            "after": content["after"]["cut"],
            "cut": content["cut"],
            "dates": ", ".join(change["date"] for change in content["changes"]),
        }
        if content["before"] is None:
            yield message("adjustment_new", language, **values)
        else:
            yield message("adjustment", language, before=content["before"]["cut"], **values)
    if len(adjustments) > SHOWN:
        yield message("more", language, count=len(adjustments) - SHOWN)


def _as_json(read: Draft) -> dict[str, Any]:
    return {
        "unit": read.unit,
        "first": read.first.isoformat(),
        "last": read.last.isoformat(),
        "totals": [json.loads(one.content) for one in read.totals],
        "still_open": read.still_open.content,
        "adjustments": [
            {"person": one.person, "first": one.first, "last": one.last, **json.loads(one.content)}
            for one in read.adjustments
        ],
        "closed_elsewhere": read.closed_elsewhere,
    }
