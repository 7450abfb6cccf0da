"""The command ``hadir-central import``: enter a file of a register, or take back what it states."""
# ruff: noqa: T201 - a command line prints

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from central.moments import print_moment
from central.options import AsJson, By, Db, InLanguage, Paper, Policies, clock_of
from central.policy.office import OfficePolicies
from central.registers import importing
from central.registers.commands import FileName, KindName, Sheet, print_json, print_mistakes, print_notes
from central.registers.extent import Extent, extent_of
from central.registers.importing import Change, Preview
from central.registers.lookup import zone_of
from central.registers.problems import RegisterFileError, printable
from central.registers.read import Scan, scan_register
from central.registers.words import summary
from central.registers.write import print_change
from central.store.engine import Database, is_there
from central.store.registers import Entered, Registers
from central.texts import Language
from central.words import REGISTERS, word_of

SHOWN, SHOWN_JSON = 20, 1_000
"""Changes that are printed for people, and for scripts; the others are counted."""


def import_file(
    context: typer.Context,
    kind: KindName,
    file: FileName,
    db: Db,
    by: By,
    paper: Paper,
    sheet: Sheet = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what the file states; it must be entered exactly so.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; store nothing.")] = False,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Enter a file of a register (CSV, XLSX or YAML), whole or not at all; every mistake is named at its place.

    Exit code 1 where there is a mistake. Catat berkas daftar ke basis data: seluruhnya, atau tidak sama sekali.
    """
    known, now = OfficePolicies(policies), clock_of(context)()
    entered: Entered | None = None
    try:
        scan = scan_register(file, kind, sheet)
        with _opened(db, scan, known, withdraw=withdraw, dry_run=dry_run) as database:
            if dry_run:
                with database.reading() as connection:
                    found = importing.preview(connection, scan, known, withdraw=withdraw)
            else:
                given = importing.Paper(by, paper)
                found, entered = importing.enter_file(database, scan, known, given, now, withdraw=withdraw)
            with database.reading() as connection:
                today = now.astimezone().date()  # days to come are not judged yet, whatever the zone
                zone = zone_of(Registers(connection).rows("units"))
                extent = extent_of(Registers(connection), found.marks, today, employment=kind == "people")
    except RegisterFileError as error:
        print_mistakes(error, file, lang, as_json=as_json)
        raise typer.Exit(1) from None
    done = _summed_up(scan, found, entered, extent) | {"by": by, "paper": paper}
    if as_json:
        changes = [_text(change, Language.ENGLISH) for change in found.changes[:SHOWN_JSON]]
        remarks = [remark.text(lang) for remark in found.remarks]
        print_json({**done, "dry_run": dry_run, "changes": changes, "remarks": remarks})
        return
    shown = {**done, "kind": word_of(REGISTERS, scan.kind)}
    print(summary("withdrawn" if withdraw else "imported", shown, lang))
    _print_changes([change for change in found.changes if dry_run or change.old is not None], lang)
    if done["affected_days"]:
        print(summary("affected_people", done, lang))
    print_notes(scan, found.remarks, lang)
    if not found.changes:
        print(summary("nothing_changed", {}, lang))
    if dry_run:
        print(summary("dry_run" if is_there(db) else "dry_run_without", {"file": db.rpartition("/")[2]}, lang))
    if entered is not None:
        print(printable(summary("entered", {**done, "moment": print_moment(entered.moment, zone)}, lang)))
        if entered.clock is not None:
            clocks = {"clock": print_moment(entered.clock, zone), "moment": print_moment(entered.moment, zone)}
            print(summary("clock_behind", clocks, lang), file=sys.stderr)


@contextmanager
def _opened(db: str, scan: Scan, policies: OfficePolicies, *, withdraw: bool, dry_run: bool) -> Iterator[Database]:
    """Yield the database, or for a dry run without one an empty one; none is made for a file that is not taken."""
    if is_there(db):
        with Database(db, create=not dry_run) as database:
            yield database
        return
    with TemporaryDirectory(prefix="hadir-") as folder, Database(Path(folder, "centre.db"), create=True) as empty:
        if dry_run:
            yield empty
            return
        with empty.reading() as connection:
            importing.preview(connection, scan, policies, withdraw=withdraw)
    with Database(db, create=True) as database:
        yield database


def _summed_up(scan: Scan, found: Preview, entered: Entered | None, extent: Extent) -> dict[str, Any]:
    return {
        "file": scan.file,
        "kind": scan.kind,
        "new": found.new,
        "changed": found.changed,
        "withdrawn": found.withdrawn,
        "unchanged": found.unchanged,
        "entered": None if entered is None else entered.moment,
        "clock": None if entered is None else entered.clock,
        "affected_people": extent.people,
        "affected_days": extent.days,
    }


def _print_changes(changes: list[Change], language: Language) -> None:
    for change in changes[:SHOWN]:
        print(f"  {_text(change, language)}")
    if len(changes) > SHOWN:
        print(summary("more_changes", {"more": len(changes) - SHOWN}, language))


def _text(change: Change, language: Language) -> str:
    """Return a change on one line: ``+`` new, ``~`` changed, ``-`` withdrawn."""
    new, old = change
    if new is not None:
        return printable(f"{'+' if old is None else '~'} {print_change(new, old, language)}")
    return "" if old is None else printable(f"- {print_change(old, None, language)}")
