"""The commands ``hadir-central request``: enter, list, approve, refuse, withdraw."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from central.moments import print_moment
from central.options import AsJson, By, Db, InLanguage, Paper, Policies, clock_of
from central.policy.office import OfficePolicies
from central.registers.commands import print_mistakes
from central.registers.problems import RegisterFileError, printable
from central.requests import requests as acts
from central.requests.messages import STATES, STEPS, message
from central.requests.requests import Person, RequestError
from central.store import requests
from central.store.engine import Database
from central.store.requests import Request, Step
from central.texts import Language, into
from central.words import COLUMNS, REGISTERS, word_of

app = typer.Typer(no_args_is_help=True, help="Requests: rows of registers that another person approves.")

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Of the request, from `hadir-central request list`.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")]


@app.command("enter")
def enter_request(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="leave, corrections, orders or decisions.")],
    values: Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE…", help="The row, as in a register's file.")],
    db: Db,
    by: By,
    reason: Reason,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Enter a request; it counts once another person has approved it. Ajukan permohonan."""
    pairs = [value.partition("=") for value in values]
    if any(not middle for _, middle, _ in pairs):
        raise typer.BadParameter("write COLUMN=VALUE.", param_hint="COLUMN=VALUE")
    row = {head: text for head, _, text in pairs}

    def act(connection: Connection) -> str:
        number = acts.enter(connection, OfficePolicies(policies), kind, row, Person(by), reason, clock_of(context)())
        return message("request_entered", lang, number=number)

    _do(db, act, lang)


@app.command()
def approve(
    context: typer.Context,
    number: Number,
    db: Db,
    by: By,
    paper: Paper,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="A remark.")] = "",
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Approve a request: its row is entered into the register. Setujui permohonan."""

    def act(connection: Connection) -> str:
        now = clock_of(context)()
        found = acts.approve(connection, OfficePolicies(policies), number, Person(by), paper, reason, now)
        return message("request_done_approved", lang, number=number, changes=len(found.changes))

    _do(db, act, lang)


@app.command()
def refuse(
    context: typer.Context, number: Number, db: Db, by: By, reason: Reason, lang: InLanguage = Language.ENGLISH
) -> None:
    """Refuse a request, with a reason. Tolak permohonan."""

    def act(connection: Connection) -> str:
        acts.refuse(connection, number, Person(by), reason, clock_of(context)())
        return message("request_done_refused", lang, number=number)

    _do(db, act, lang)


@app.command()
def withdraw(
    context: typer.Context, number: Number, db: Db, by: By, reason: Reason, lang: InLanguage = Language.ENGLISH
) -> None:
    """Withdraw one's own request while it waits. Tarik permohonan."""

    def act(connection: Connection) -> str:
        acts.withdraw(connection, number, Person(by), reason, clock_of(context)())
        return message("request_done_withdrawn", lang, number=number)

    _do(db, act, lang)


@app.command("list")
def list_requests(
    db: Db,
    every: Annotated[bool, typer.Option("--all", help="Also those that were decided.")] = False,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """List the newest requests that wait, with their steps. Daftar permohonan."""
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = requests.listing(connection, what=None if every else requests.ENTERED)
    if as_json:
        rows = [
            {**one._asdict(), "content": json.loads(one.content), "steps": [step._asdict() for step in steps]}
            for one, steps in found
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for one, steps in found:
        for line in lines_of(one, steps, lang):
            print(printable(line))
    if not found:
        print(message("request_none", lang))


def lines_of(one: Request, steps: list[Step], language: Language) -> Iterator[str]:
    """Yield a request with its steps, for people."""
    given = [(into(word_of(COLUMNS, head), language), text) for head, text in json.loads(one.content).items() if text]
    row = ", ".join(f"{head} {text}" for head, text in given)
    kind, state = into(word_of(REGISTERS, one.kind), language), STATES[steps[-1].what].into(language)
    yield message("request_line", language, number=one.id, kind=kind, what=row, state=state)
    for step in steps:
        reason, paper = (f": {step.reason}" if step.reason else ""), (f" ({step.paper})" if step.paper else "")
        what = STEPS[step.what].into(language)
        yield message(
            "request_step", language, at=print_moment(step.at, None), by=step.by, what=what, reason=reason, paper=paper
        )


def _do(db: str, act: Callable[[Connection], str], language: Language) -> None:
    with _refusals(language), closing(Database(db)) as database:
        with database.writing() as connection:
            line = act(connection)
        print(printable(line))


@contextmanager
def _refusals(language: Language) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        print(printable(message(error.code, language, **error.values)), file=sys.stderr)
        raise typer.Exit(1) from None
    except RegisterFileError as error:
        print_mistakes(error, Path("request"), language, as_json=False)
        raise typer.Exit(1) from None
