"""``hadir-central status``: the state of a centre in a dozen lines."""
# ruff: noqa: T201 - a command line prints

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime

import typer

from central.operation.messages import STATUS
from central.operation.tasks import TASKS, Ended, Tasks, read_tasks
from central.options import AsJson, Db, InLanguage, clock_of
from central.registers.problems import printable
from central.store.condition import Condition, read_condition
from central.store.engine import Database
from central.texts import Language

NAMES = 5
"""Late terminals that one line shows; --json and the metrics have more."""
HELD_S = 5.0
"""A commit that has waited this long for a standby is shown."""
NOT_RUNNING = 3
"""Exit code where no inbox is connected, as that of `hadir status` where no daemon answers."""
_UNITS = (("days_ago", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


def status(
    context: typer.Context, db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False, tasks: Tasks = None
) -> None:
    """Show the state of the centre: database, inbox, events, terminals, judging, results, nightly tasks.

    Keadaan pusat. Exit code 0 while an inbox is connected to the broker, whatever else there is to look at; 3 where
    none is. `doctor` says what to do.
    """
    now = clock_of(context)().astimezone()
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = read_condition(connection, now)
    last = read_tasks(tasks)
    if as_json:
        more = {"inbox_connected": found.inbox_connected, "provisional_share": found.provisional_share}
        ends = {name: {"at": one.at.isoformat(), **one.shown()} for name, one in last.items()}
        print(json.dumps({**asdict(found), **more, "tasks": ends}, indent=2, ensure_ascii=False))
    else:
        rows = [(STATUS[label].into(lang), text) for label, text in _lines(found, last, tasks is not None, now, lang)]
        width = max(len(label) for label, _ in rows)
        before = None
        for label, text in rows:
            print(printable(f"{'' if label == before else label:{width}}  {text}"))
            before = label
    if not found.inbox_connected:
        raise typer.Exit(NOT_RUNNING)


# Longer than 60 lines: the lines of the output, one after the other.
def _lines(
    found: Condition, last: Mapping[str, Ended], knows_tasks: bool, now: datetime, lang: Language
) -> Iterator[tuple[str, str]]:
    """Yield the lines, each with the name of its label; what is as it should be takes one."""

    def text(key: str, /, **values: object) -> str:
        return STATUS[key].into(lang, **values)

    def counted(label: str, *names: tuple[str, int]) -> Iterator[tuple[str, str]]:
        yield from ((label, text(name, count=_number(count, lang))) for name, count in names if count)

    yield (
        "database",
        text("database_is", kind=found.database, size=f"{_number(round(found.database_bytes / 2**20, 1), lang)} MiB"),
    )
    standbys = [
        text("standby_hidden" if one.lag_s is None else "standby", name=one.name, age=_age(one.lag_s, lang))
        for one in found.standbys
    ]
    if standbys:
        yield "database", text("standbys", standbys="; ".join(standbys))
    if (found.commit_wait_s or 0) >= HELD_S:
        yield "database", text("commits_held", age=_age(found.commit_wait_s, lang))
    if found.inbox_connected:
        yield "inbox", text("inbox_connected", held=found.lanes_held, lanes=found.lanes)
    elif found.inbox_age_s is None:
        yield "inbox", text("inbox_never")
    else:
        yield "inbox", text("inbox_away", age=_age(found.inbox_age_s, lang))
    if found.event_age_s is None:
        yield "events", text("events_none")
    else:
        ages = {"age": _age(found.event_age_s, lang), "lag": _age(found.event_lag_s, lang)}
        yield "events", text("events_held", held=_number(found.events_held, lang), **ages)
    yield from counted(
        "events",
        ("events_missing", found.events_missing),
        ("quarantined", found.quarantined),
        ("findings", found.findings),
    )
    if found.rejected:
        reasons = ", ".join(f"{reason} {_number(count, lang)}" for reason, count in sorted(found.rejected.items()))
        yield "events", text("rejected", reasons=reasons)
    yield "gateways", text("gateways_are", count=_number(found.gateways, lang))
    yield from counted("gateways", ("gateways_offline", found.gateways_offline), ("gateways_away", found.gateways_away))
    if found.terminals:
        terminals = _number(found.terminals, lang)
        yield "terminals", text("terminals_are", count=terminals, age=_age(found.watermark_age_s, lang))
    else:
        yield "terminals", text("terminals_none")
    if found.terminals_late:
        names = [f"{one.gateway} {one.terminal}" for one in found.late[:NAMES]]
        shown = ", ".join(names) + (", …" if found.terminals_late > NAMES else "")
        yield "terminals", text("terminals_late", count=_number(found.terminals_late, lang), names=shown)
    if found.marks:
        yield "judging", text("marks", count=_number(found.marks, lang), age=_age(found.mark_age_s, lang))
    else:
        yield "judging", text("marks_none")
    yield from counted("judging", ("marks_failed", found.marks_failed))
    share = found.provisional_share
    if share is None:
        yield "yesterday", text("days_none")
    else:
        days = {name: _number(count, lang) for name, count in found.days.items()}
        yield "yesterday", text("days", **days, share=_number(round(100 * share, 1), lang))
    yield "outbox", text("outbox_is", count=_number(found.outbox, lang))
    yield from counted("outbox", ("outbox_refused", found.outbox_refused))
    yield "mails", text("mails_are", count=_number(found.mails, lang))
    yield from counted("mails", ("mails_refused", found.mails_refused))
    for name in TASKS if knows_tasks else ():
        one = last.get(name)
        if one is None:
            yield "tasks", text("task_never", task=name)
        else:
            age = _age((now - one.at).total_seconds(), lang)
            yield "tasks", text("task_done" if one.succeeded else "task_failed", task=name, age=age, **one.shown())


def _age(seconds: float | None, lang: Language) -> str:
    """Return a span in the greatest unit of which it has two."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    name, size = next((one for one in _UNITS if whole >= 2 * one[1]), _UNITS[-1])
    return STATUS[name].into(lang, count=_number(whole // size, lang))


def _number(value: float, lang: Language) -> str:
    text = f"{value:,}"
    return text if lang is Language.ENGLISH else text.translate(str.maketrans(",.", ".,"))
