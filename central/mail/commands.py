"""The command ``hadir-central mail``: run by a timer, and tried by a person."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from central.log import configure_logging
from central.mail.making import address_of, mails_due
from central.mail.messages import message
from central.mail.sending import Outcome, Sending
from central.mail.settings import MailSettingsError, Settings, load_settings
from central.moments import print_moment
from central.options import AsJson, Db, InLanguage, Policies, clock_of
from central.policy.office import OfficePolicies
from central.registers.problems import printable
from central.store import mails
from central.store.engine import Database, utc
from central.texts import Count, Language, counted
from central.web.accounts import AccountsError, read_accounts

app = typer.Typer(no_args_is_help=True, help="Mails: a daily digest to superiors, alarms to operators; counts only.")

NOT_DUE = "the account is not due this mail any more"

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", exists=True, dir_okay=False, help="How mails are sent (YAML)."),
]
Accounts = Annotated[Path, typer.Option("--accounts", metavar="FILE", help="The file of accounts (YAML).")]


def _refuse(text: str) -> NoReturn:
    print(printable(f"hadir-central: {text}"), file=sys.stderr)
    raise typer.Exit(1)


def _settings(file: Path | None, language: Language) -> Settings:
    try:
        return Settings() if file is None else load_settings(file)
    except MailSettingsError as error:
        _refuse(error.into(language))


@app.command()
def run(
    context: typer.Context,
    db: Db,
    accounts: Accounts,
    mail_file: SettingsFile = None,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Make the mails that are due, and send those that wait; for a timer, every few minutes.

    Each mail is made once for its account, unit and day. Exit code 1 where a mail was given up. Kirim surel.
    """
    found, now = _settings(mail_file, lang), clock_of(context)
    if not found.enabled or found.server is None or found.sender is None:
        print(message("mail_off", lang))
        return
    configure_logging()
    try:
        known = list(read_accounts(accounts).values())
    except AccountsError as error:
        _refuse(str(error))
    with closing(Database(db)) as database:
        with database.reading() as connection:
            due = list(mails_due(connection, known, OfficePolicies(policies), found, now()))
        with database.writing() as connection:
            made = mails.add(connection, due, utc(now()))
            mails.readdress(connection, partial(address_of, {one.name: one for one in known}), NOT_DUE)
        try:
            outcome: Outcome = Sending(database, found.server, found.sender, now).run()
        except MailSettingsError as error:
            _refuse(error.into(lang))
    print(message("mail_made", lang, made=Count(made), **counted(outcome._asdict())))
    if outcome.refused:
        raise typer.Exit(1)


@app.command()
def preview(
    context: typer.Context,
    db: Db,
    accounts: Accounts,
    mail_file: SettingsFile = None,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Show the mails that `run` would make now; nothing is stored or sent. Pratinjau surel."""
    found = _settings(mail_file, lang)
    if found.pages is None:
        print(message("mail_off", lang))
        return
    try:
        known = list(read_accounts(accounts).values())
    except AccountsError as error:
        _refuse(str(error))
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        due = list(mails_due(connection, known, OfficePolicies(policies), found, clock_of(context)()))
    for one in due:
        print(message("mail_preview", lang, **one._asdict()))
    if not due:
        print(message("mail_preview_none", lang))


@app.command()
def status(db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False) -> None:
    """Show how many mails were sent, wait and were given up, and why. Keadaan surel."""
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = mails.counts(connection)
    if as_json:
        print(json.dumps(found._asdict(), indent=2))
        return
    last = message("mail_never", lang) if found.last_sent is None else print_moment(found.last_sent, None)
    print(message("mail_counts", lang, last=last, **counted(found._asdict())))
    if found.last_failure is not None:
        print(printable(message("mail_failure", lang, failure=found.last_failure)))


@app.command()
def retry(db: Db, lang: InLanguage = Language.ENGLISH) -> None:
    """Let the next run try every mail that was not sent, also those given up. Coba kirim lagi."""
    with closing(Database(db)) as database, database.writing() as connection:
        count = mails.retry(connection)
    print(message("mail_retried", lang, mails=Count(count)))
