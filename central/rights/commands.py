"""The commands ``hadir-central hold``, ``retention`` and ``person``."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy import Connection

from central.moments import print_moment
from central.options import AsJson, By, Db, InLanguage, Paper, Policies, clock_of
from central.policy.office import OfficePolicies
from central.registers.lookup import UnknownSubjectError, find_person
from central.registers.problems import printable
from central.registers.words import summary
from central.rights import person as own
from central.rights.messages import KINDS, message
from central.rights.retain import Plan, Retention, UndecidedError, plan
from central.rights.settings import KINDS as ALL_KINDS
from central.rights.settings import RetentionError, load_settings
from central.rights.settings import Settings as Kept
from central.store import accesses, retention
from central.store.accesses import Access
from central.store.engine import Database, utc
from central.store.registers import Registers
from central.store.retention import Hold
from central.texts import Count, Language, counted

app = typer.Typer(no_args_is_help=True, help="For how long data is kept, and what is deleted then.")
hold = typer.Typer(no_args_is_help=True, help="Legal holds: of whom nothing is deleted.")
person = typer.Typer(no_args_is_help=True, help="A person's own data.")

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", exists=True, dir_okay=False, help="For how long the office keeps what."),
]


def _refuse(text: str) -> NoReturn:
    print(printable(text), file=sys.stderr)
    raise typer.Exit(1)


def _settings(file: Path | None, language: Language) -> Kept:
    try:
        return load_settings(file)
    except RetentionError as error:
        _refuse(f"hadir-central: {error.into(language)}")


def _log(connection: Connection, at: str, by: str, what: str, **about: Any) -> None:
    """Store in the access log what the command line does with people's data."""
    accesses.add(connection, [Access(at, by, "command", "", what, **about)])


# --- holds --------------------------------------------------------------------------------------------------------


@hold.command("set")
def hold_set(
    context: typer.Context,
    db: Db,
    case: Annotated[str, typer.Option(metavar="TEXT", help="The case: its number or name.")],
    by: By,
    paper: Paper,
    people: Annotated[list[str] | None, typer.Option("--person", metavar="KEY", help="May be repeated.")] = None,
    units: Annotated[
        list[str] | None, typer.Option("--unit", metavar="KEY", help="With the units below; may be repeated.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody: nothing at all is deleted.")] = False,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Let nothing of people be deleted until the hold is lifted. Tahan penghapusan data selama perkara berjalan."""
    if everybody == bool(people or units):
        _refuse(message("hold_whom", lang))
    if not case.strip() or not case.isprintable() or len(case) > 200:
        raise typer.BadParameter("write one line of text.", param_hint="--case")
    with closing(Database(db)) as database, database.writing() as connection:
        registers = Registers(connection)
        for what, kind, keys in (("person", "people", people or []), ("unit", "units", units or [])):
            unknown = {f"{what}:{key}" for key in keys} - registers.known(kind, [f"{what}:{key}" for key in keys])
            if unknown:
                _refuse(message(f"hold_no_{what}", lang, key=min(unknown).partition(":")[2]))
        content = {"case": case.strip(), "people": people or [], "units": units or [], "everybody": everybody}
        at = utc(clock_of(context)())
        number = retention.add(connection, at, retention.HOLD, content, by, paper)
        _log(connection, at, by, "hold_set")
        set_now = next(one for one in retention.holds(connection) if one.number == number)
    print(printable(message("hold_set", lang, number=number, whom=_whom(set_now, lang))))


@hold.command("lift")
def hold_lift(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="From `hadir-central hold list`.")],
    db: Db,
    by: By,
    paper: Paper,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Lift a hold: the next deletion takes what is due. Cabut penahanan."""
    with closing(Database(db)) as database, database.writing() as connection:
        found = next((one for one in retention.holds(connection) if one.number == number), None)
        if found is None:
            _refuse(message("hold_unknown", lang, number=number))
        if found.lifted is not None:
            _refuse(message("hold_lifted_before", lang, number=number, by=found.lifted.by, at=found.lifted.at))
        at = utc(clock_of(context)())
        retention.add(connection, at, retention.LIFT, {"hold": number}, by, paper)
        _log(connection, at, by, "hold_lifted")
    print(message("hold_lifted", lang, number=number))


@hold.command("list")
def hold_list(
    db: Db,
    every: Annotated[bool, typer.Option("--all", help="Also those that were lifted.")] = False,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """List the holds. Daftar penahanan."""
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = [one for one in retention.holds(connection) if every or one.lifted is None]
    if as_json:
        rows = [{**one._asdict(), "lifted": one.lifted and one.lifted._asdict()} for one in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for one in found:
        state = message("hold_in_force" if one.lifted is None else "hold_ended", lang)
        print(
            printable(message("hold_line", lang, number=one.number, case=one.case, whom=_whom(one, lang), state=state))
        )
        for step in (one, one.lifted):
            if step is not None:
                at = print_moment(step.at, None)
                print(printable(message("hold_by", lang, at=at, by=step.by, paper=step.paper)))
    if not found:
        print(message("hold_none", lang))


def _whom(one: Hold, language: Language) -> str:
    if one.everybody:
        return message("hold_everybody", language)
    parts = [message("hold_people", language, keys=", ".join(one.people))] if one.people else []
    parts += [message("hold_units", language, keys=", ".join(one.units))] if one.units else []
    return "; ".join(parts)


# --- retention ----------------------------------------------------------------------------------------------------


@app.command("show")
def retention_show(
    db: Db, retention_file: SettingsFile = None, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False
) -> None:
    """Show for how long what is kept, and what was deleted, by whom and on which paper. Tampilkan masa simpan."""
    kept = _settings(retention_file, lang)
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        deletions, settled = retention.deletions(connection), retention.settled_until(connection)
    if as_json:
        rows = [
            {**one._asdict(), "until": str(one.until), "settled": one.settled and str(one.settled)} for one in deletions
        ]
        print(json.dumps({"keep": kept.model_dump(), "deletions": rows}, indent=2, ensure_ascii=False))
        return
    for kind in ALL_KINDS:
        keep = kept.of(kind)
        code = "keep_ever" if keep.keep_days is None else "keep_days"
        name = KINDS[kind].into(lang)
        print(printable(message(code, lang, kind=name, days=Count(keep.keep_days or 0), source=keep.source)))
    for one in deletions:
        values = one._asdict() | {"at": print_moment(one.at, None), "kind": KINDS[one.kind].into(lang)}
        values["rows"] = Count(one.rows)
        print(printable(message("deletion", lang, **values)))
    if settled is not None:
        print(message("settled", lang, until=settled))


@app.command("plan")
def retention_plan(
    context: typer.Context,
    db: Db,
    retention_file: SettingsFile = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Show what is due to be deleted, and what a hold keeps; nothing is changed. Rencana penghapusan."""
    kept = _settings(retention_file, lang)
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = plan(connection, kept, clock_of(context)().date())
    if as_json:
        due = [{**one._asdict(), "until": str(one.until)} for one in found.due]
        unsettled = found.unsettled._asdict()
        print(json.dumps({"due": due, "settled": found.settled and str(found.settled), **unsettled}, indent=2))
        return
    _print_plan(found, lang)


def _print_plan(found: Plan, language: Language) -> None:
    for one in found.due:
        print(message("due", language, **(counted(one._asdict()) | {"kind": KINDS[one.kind].into(language)})))
    if not found.due:
        print(message("due_none", language))
    if found.settled is not None:
        print(message("would_settle", language, until=found.settled))
        for line in _objections(UndecidedError(found.settled, found.unsettled), language):
            print(line)


def _objections(error: UndecidedError, language: Language) -> list[str]:
    found, lines = error.unsettled, []
    if found.waiting:
        lines.append(message("waiting", language, marks=Count(found.waiting), until=error.settled))
    if found.undecided:
        lines.append(message("undecided", language, days=Count(found.undecided), until=error.settled))
    if found.not_carried:
        lines.append(message("not_carried", language, days=Count(found.not_carried), until=error.settled))
    return lines


@app.command("apply")
def retention_apply(
    context: typer.Context,
    db: Db,
    by: By,
    paper: Paper,
    retention_file: SettingsFile = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete; without it the command only shows what it would do.")
    ] = False,
    with_open: Annotated[
        bool, typer.Option("--with-open", help="Also where days are not decided: they stay as they are.")
    ] = False,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Delete what is due, in steps that are whole or absent; also while an inbox runs. Exit code 1 where it is refused.

    Digests, totals and the files of closed periods stay, and no verdict changes. Hapus data yang lewat masa simpan.
    """
    kept, now = _settings(retention_file, lang), clock_of(context)
    with closing(Database(db)) as database:
        if not yes:
            with database.reading() as connection:
                _print_plan(plan(connection, kept, now().date()), lang)
            print(message("dry_run", lang))
            return
        try:
            taken = Retention(database, kept, by, paper, now, with_open=with_open).run()
        except UndecidedError as error:
            for line in _objections(error, lang):
                print(line, file=sys.stderr)
            raise typer.Exit(1) from None
    for kind, rows in taken.items():
        print(message("deleted", lang, kind=KINDS[kind].into(lang), rows=Count(rows)))
    if sum(taken.values()):
        print(message("backups", lang))


# --- a person's own data ------------------------------------------------------------------------------------------


@person.command("export")
def person_export(
    context: typer.Context,
    who: Annotated[str, typer.Argument(metavar="PERSON", help="A key, or a name that only one person has.")],
    db: Db,
    by: By,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file: .json, .html, or .zip with both.")],
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Write everything that is held about a person into one file, and store that in the access log.

    Exit code 1 where there is no such person. Salin seluruh data satu orang ke satu berkas.
    """
    if out.suffix not in own.SUFFIXES:
        raise typer.BadParameter(message("export_suffix", lang), param_hint="--out")
    if out.exists():
        _refuse(message("export_exists", lang, file=out))
    now = clock_of(context)()
    with closing(Database(db)) as database:
        try:
            with database.writing() as connection:
                key = find_person(Registers(connection), who).removeprefix("person:")
                _log(connection, utc(now), by, "person_export", person=key)
        except UnknownSubjectError as error:
            _refuse(summary(error.code, error.values, lang))
        with database.reading() as connection:
            data = own.collect(connection, key, by, now)
            page = "" if out.suffix == ".json" else own.readable(connection, data, OfficePolicies(policies), now, lang)
    try:
        own.write_new(out, own.contents(out, data, page))
    except FileExistsError:
        _refuse(message("export_exists", lang, file=out))
    except OSError as error:
        _refuse(f"hadir-central: {out}: {error.strerror or error}")
    print(printable(message("export_done", lang, file=out, person=data["name"] or key)))
