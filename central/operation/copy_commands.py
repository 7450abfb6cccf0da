"""The commands ``hadir-central backup`` and ``restore``."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from central.operation import copies
from central.operation.messages import COPIES
from central.options import AsJson, Db, InLanguage, Policies, clock_of, settings_path
from central.registers.problems import printable
from central.settings import SettingsError, load_settings
from central.store.copies import ENTERED, Held
from central.store.engine import is_url
from central.texts import Language

_Accounts = Annotated[Path | None, typer.Option("--accounts", metavar="FILE", help="The file of accounts.")]
_Sheets = Annotated[Path | None, typer.Option("--settings", metavar="FILE", help="Settings of sheets (YAML).")]
_Mail = Annotated[Path | None, typer.Option("--mail", metavar="FILE", help="How mails are sent (YAML).")]
_Retention = Annotated[
    Path | None, typer.Option("--retention", metavar="FILE", help="For how long what is kept (YAML).")
]


def _refuse(message: object) -> NoReturn:
    print(f"hadir-central: {message}", file=sys.stderr)
    raise typer.Exit(1)


def _file(db: str, language: Language) -> Path:
    """Return the database's file; that of a server is copied by the server's own programs."""
    if is_url(db):
        _refuse(COPIES["server"].into(language, database=db.partition("?")[0]))
    return Path(db)


def _others(
    context: typer.Context, accounts: Path | None, policies: Path | None, settings: Mapping[str, Path | None]
) -> dict[str, Path]:
    """Return what a copy holds beside the database, by its name in the copy."""
    named = {"centre.yaml": settings_path(context), "accounts.yaml": accounts, "policies": policies, **settings}
    return {name: path for name, path in named.items() if path is not None}


def backup(
    context: typer.Context,
    db: Db,
    to: Annotated[Path, typer.Argument(metavar="TO", help="The folder in which the copy gets a folder of its own.")],
    keep: Annotated[int, typer.Option(min=0, max=1000, help="How many copies are left there afterwards; 0: all.")] = 0,
    accounts: _Accounts = None,
    policies: Policies = None,
    settings: _Sheets = None,
    mail_file: _Mail = None,
    retention_file: _Retention = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Copy database, accounts, settings and policies as they are now, also while the inbox runs; verify the copy.

    Cadangan. The files of closed periods are in the database. Passwords and keys are in no copy.
    """
    named = {"sheets.yaml": settings, "mail.yaml": mail_file, "retention.yaml": retention_file}
    others = {name: path for name, path in _others(context, accounts, policies, named).items() if path.exists()}
    try:
        copy, held = copies.make(_file(db, lang), to, others, clock_of(context)())
        removed = copies.prune(to, keep, copy, clock_of(context)()) if keep else []
    except copies.CopyError as error:
        _refuse(error)
    if as_json:
        print(json.dumps({"copy": str(copy), **asdict(held), "removed": [str(path) for path in removed]}, indent=2))
        return
    print(COPIES["made"].into(lang, copy=copy, events=held.events, streams=len(held.streams)))
    if removed:
        print(COPIES["removed"].into(lang, copies=", ".join(path.name for path in removed)))


def restore(
    context: typer.Context,
    db: Db,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FROM", exists=True, file_okay=False, help="A copy, or a folder of copies: the newest sound one."
        ),
    ],
    accounts: _Accounts = None,
    policies: Policies = None,
    settings: _Sheets = None,
    mail_file: _Mail = None,
    retention_file: _Retention = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Put a copy in the place of the database; the services must be stopped. What was there is kept beside it.

    Pemulihan. Accounts, settings and policies are put back only where they are missing.
    """
    at, file = clock_of(context)(), _file(db, lang)
    copy, made = _chosen(source, at, lang)
    for line in _later(source, copy, at, lang):
        print(printable(line), file=sys.stderr)
    named = {"sheets.yaml": settings, "mail.yaml": mail_file, "retention.yaml": retention_file}
    others = _others(context, accounts, policies, named)
    try:
        done = copies.restore(copy, file, others, at, made)
    except copies.CopyError as error:
        _refuse(error)
    print(COPIES["restored"].into(lang, database=db, copy=copy, events=done.made.events))
    for line in _missing(done, copy, lang):
        print(printable(line))
    for path in done.written:
        print(COPIES["written"].into(lang, file=path))
    for path in done.differing:
        print(COPIES["differing"].into(lang, file=path))
    for path in _secrets(context):
        print(COPIES["secret"].into(lang, file=path))
    print(COPIES["start"].into(lang))


def _chosen(source: Path, at: datetime, language: Language) -> tuple[Path, Held | None]:
    """Return the copy that is meant, and what it holds where that is known already; name those that are not sound."""
    if (source / copies.SUMS).is_file():
        return source, None
    try:
        copy, made, passed_over = copies.newest_valid(source, at)
    except copies.CopyError as error:
        _refuse(error)
    for reason in passed_over:
        print(printable(COPIES["passed_over"].into(language, reason=reason)), file=sys.stderr)
    if copy is None:
        _refuse(COPIES["none"].into(language, folder=source))
    return copy, made


def _later(source: Path, copy: Path, at: datetime, language: Language) -> Iterator[str]:
    """Warn of copies that were made after what the clock shows: of the one that is taken, and of those left out."""
    now = _local(at)
    made = copies.made_at(copy)
    if made is not None and made > at:
        yield COPIES["clock_behind"].into(language, copy=copy, made=_local(made), now=now)
    elif copy != source:
        later = [one.name for one in copies.in_order(source, at) if (copies.made_at(one) or at) > at]
        if later:
            yield COPIES["after_now"].into(language, copies=", ".join(later), now=now)


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _missing(done: copies.Restored, copy: Path, language: Language) -> Iterator[str]:
    """Yield what the copy lacks: what comes again by itself, and what has to be entered again."""
    before, made = done.before, done.made
    if done.aside is not None:
        yield COPIES["aside"].into(language, file=done.aside)
    if before is None:
        made_at = copies.made_at(copy)
        moment = "?" if made_at is None else _local(made_at)
        yield COPIES["unknown"].into(language, made=moment)
        return
    events = sum(max(0, seen - made.streams.get(stream, 0)) for stream, seen in before.streams.items())
    if events:
        yield COPIES["again"].into(language, events=events)
    for kind in ENTERED:
        rows, last = before.entered[kind]
        if (lacking := rows - made.entered[kind][0]) > 0:  # retention may have deleted rows that the copy still has
            yield COPIES[f"lost_{kind}"].into(language, rows=lacking, last=last)


def _secrets(context: typer.Context) -> list[Path]:
    """Return the files that the settings name, that no copy holds, and that are not there."""
    try:
        found = load_settings(settings_path(context))
    except SettingsError:
        return []
    broker, pages = found.broker, found.pages
    named = (
        found.postgresql.password_file,
        broker.password_file,
        broker.ca_file,
        broker.cert_file,
        broker.key_file,
        pages.cert_file,
        pages.key_file,
    )
    return [path for path in named if path is not None and not path.exists()]
