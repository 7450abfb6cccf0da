"""The commands ``hadir-central why``, ``days``, ``recompute``, ``judge``, ``rebuild``, ``doubts`` and ``pins``."""
# ruff: noqa: T201 - a command line prints

import json
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from sqlalchemy import Connection

from central.cluster import ClusterError, OnCluster, recompute_on, whole
from central.log import configure_logging
from central.options import AsJson, Db, InLanguage, KnownAt, Policies, clock_of
from central.outage import Outage
from central.policy.office import OfficePolicies
from central.registers.lookup import UnknownSubjectError, find_person, zone_of
from central.registers.problems import printable
from central.registers.statements import pin_key
from central.registers.words import summary
from central.reports.days import counts, heads, table, title
from central.reports.doubts import doubted
from central.reports.doubts import line as doubt_line
from central.reports.explained import explained
from central.reports.kept import kept
from central.reports.messages import message
from central.reports.on_date import judged_on
from central.reports.why import Explained, explain
from central.screen import print_table
from central.store import marks, outcome_proof, recorded, results, retention
from central.store.engine import Database, StoreError, is_url
from central.store.registers import Registers
from central.texts import Language
from central.timesheet.attribution import Enrolments, PinUse, Reader, UnknownPin, unknown_pins
from central.timesheet.recompute import Recompute
from central.timesheet.worker import PERSON_DAYS, Worker
from central.words import SUBJECTS, word_of

IDLE_S = 1.0
"""How often `judge` looks for marks while none waits."""
LOOK_S = 60.0
"""How often `judge` looks whether the database is still of its version."""
PAUSE_S = 0.15
"""Between batches: longer than SQLite waits between two attempts, so that an inbox beside this gets the write lock."""


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a date as YYYY-MM-DD.") from None


def why(
    context: typer.Context,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="A key, or a name that only one person has.")],
    on: Annotated[date, typer.Argument(metavar="DATE", parser=_date, help="YYYY-MM-DD.")],
    db: Db,
    known_at: KnownAt = None,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Explain the verdict on a day: plan, punches, policy line with decree, doubts, and what brought each revision.

    Exit code 1 where there is no such person. Jelaskan penilaian satu hari: rencana, presensi, aturan, keraguan.
    """
    try:
        with closing(Database(db, read_only=True)) as database, database.reading() as connection:
            subject = find_person(Registers(connection, known_at), person)
            moment = clock_of(context)() if known_at is None else known_at
            key = subject.removeprefix("person:")
            found = explained(connection, key, on, OfficePolicies(policies), known_at, moment)
    except UnknownSubjectError as error:
        print(printable(summary(error.code, error.values, lang)), file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
        return
    for line in explain(found, lang):
        print(printable(line))


def _as_json(found: Explained) -> dict[str, Any]:
    history = [
        {
            **{key: value for key, value in revision._asdict().items() if key not in ("person", "date", "content")},
            "changed": json.loads(revision.changed),
            "cause": json.loads(revision.cause),
        }
        for revision in found.history
    ]
    stated = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "zone"}
    return {**stated, "date": found.date.isoformat(), "history": history}


def days(
    context: typer.Context,
    db: Db,
    unit: Annotated[
        str | None, typer.Option(metavar="KEY", help="The unit, with those below it; else the whole office.")
    ] = None,
    on: Annotated[
        date | None, typer.Option("--date", metavar="DATE", parser=_date, help="YYYY-MM-DD; else yesterday.")
    ] = None,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Show the verdicts on a date: who was complete and on time, late, early or missing, what is provisional and why.

    By unit and name. Exit code 1 where there is no such unit. Hasil penilaian satu tanggal untuk satu unit kerja.
    """
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        registers = Registers(connection)
        if on is None:
            on = clock_of(context)().astimezone(zone_of(registers.rows("units"))).date() - timedelta(days=1)
        named = message("days_office", lang)
        if unit is not None:
            rows = registers.rows("units", [f"unit:{unit}"], on, on) or registers.rows("units", [f"unit:{unit}"])
            if not rows:
                values = {"what": word_of(SUBJECTS, "unit"), "key": unit}
                print(printable(summary("no_such_key", values, lang)), file=sys.stderr)
                raise typer.Exit(1)
            named = rows[-1].record.name
        found = judged_on(connection, unit, on, OfficePolicies(policies))
        waiting = marks.numbers(connection)[0]
    print(printable(title(named, on, lang)))
    if not found:
        print(message("days_nobody", lang))
        return
    print(counts(found, lang))
    if waiting:
        print(message("waiting", lang, marks=waiting))
    print_table(heads(lang), table(found, lang))


def recompute(
    context: typer.Context,
    db: Db,
    policies: Policies = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also try again what could not be judged before.")] = False,
    on: OnCluster = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Judge again what has changed, then end; also while an inbox runs, which does the same.

    Exit code 1 where something could not be judged. Nilai ulang yang berubah.
    """
    with closing(Database(db)) as database:
        if retry:
            with database.writing() as connection:
                marks.retry(connection)
        office = OfficePolicies(policies)
        worker = Recompute(database, office, now=clock_of(context))
        judged = written = 0
        if on is not None:
            worker.begin()
            worker.advance()
            judged, written = _recompute_on(on, db, office)
        _run(worker, _pause_s(db))
        with database.reading() as connection:
            failed = marks.numbers(connection)[1]
    print(message("recomputed", lang, judged=judged + worker.judged, written=written + worker.written))
    if failed:
        print(message("set_aside", lang, failed=failed), file=sys.stderr)
        raise typer.Exit(1)


def _recompute_on(address: str, db: str, office: OfficePolicies) -> tuple[int, int]:
    try:
        return recompute_on(address, whole(db), office)
    except ClusterError as error:
        print(f"hadir-central: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def judge(context: typer.Context, db: Db, policies: Policies = None) -> None:
    """Judge what changes until SIGTERM or Ctrl-C, as an inbox does: beside it, and on a server in any number.

    Each takes what no other has taken, on whatever machine; any of them may be killed. While the database is away it
    tries again; it ends where that cannot help, such as a database of another version. Nilai terus yang berubah.
    """
    configure_logging()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log, outage = structlog.get_logger("judging"), Outage()
    while not stopping.is_set():
        try:
            with closing(Database(db)) as database:  # opened anew after an outage: it may be of another version then
                office = OfficePolicies(policies)
                worker = Worker(Recompute(database, office, now=clock_of(context), person_days=PERSON_DAYS))
                if not outage.worked:
                    log.info("judging_started", db=str(db))
                look_s = time.monotonic() + LOOK_S
                while not stopping.is_set():
                    more = worker.step()
                    outage.over()
                    if time.monotonic() >= look_s:
                        look_s = time.monotonic() + LOOK_S
                        Database(db).close()  # raises where an inbox has brought it to a newer version
                    stopping.wait(_pause_s(db) if more else IDLE_S)
        except StoreError as error:
            stopping.wait(outage.wait_s(error))
    log.info("judging_stopped")


def rebuild(context: typer.Context, db: Db, policies: Policies = None, lang: InLanguage = Language.ENGLISH) -> None:
    """Judge every day again from facts alone: the digests must be those that are stored.

    Days that differ get a new revision and are counted; outcomes that are not what their verdicts come to are made
    anew and counted. Exit code 1 where there are any. An inbox may run beside it:
    what arrives meanwhile is no difference. Nilai ulang semua hari.
    """
    with closing(Database(db)) as database:
        office, now = OfficePolicies(policies), clock_of(context)
        _run(Recompute(database, office, now=now), _pause_s(db))
        worker = Recompute(database, office, now=now)
        since = worker.rebuild()
        _run(worker, _pause_s(db))
        outcomes = _renew_outcomes(database)
        with database.reading() as connection:
            days, different = results.rebuilt(connection, since)
            failed = marks.numbers(connection)[1]
            settled = retention.settled_until(connection)
            trusted = 0 if settled is None else results.days_until(connection, settled)
    print(message("rebuilt", lang, days=days, same=days - different, different=different))
    if settled is not None:
        print(message("rebuilt_settled", lang, days=trusted, until=settled))
    if outcomes:
        print(message("rebuilt_outcomes", lang, count=outcomes))
    if failed:
        print(message("set_aside", lang, failed=failed), file=sys.stderr)
    if different or outcomes or failed:
        raise typer.Exit(1)


def _renew_outcomes(database: Database) -> int:
    """Compare all outcomes with their verdicts, and make wrong ones anew; return how many. Others write meanwhile."""
    wrong, after = 0, outcome_proof.BEGIN
    while True:
        with database.reading() as connection:
            page = outcome_proof.check_page(connection, after)
        if page.wrong:
            with database.writing() as connection:
                page = outcome_proof.renew_page(connection, after)
        wrong += len(page.wrong)
        if page.last is None:
            return wrong
        after = page.last


def _run(worker: Recompute, pause_s: float) -> None:
    worker.begin()
    worker.advance()
    worker.finish(pause_s)


def _pause_s(db: Path | str) -> float:
    """Return the pause between batches: on a server none keeps another one from writing."""
    return 0.0 if is_url(db) else PAUSE_S


def doubts(
    db: Db,
    first: Annotated[
        date | None,
        typer.Option("--since", "--from", metavar="DATE", parser=_date, help="YYYY-MM-DD; else 31 days earlier."),
    ] = None,
    last: Annotated[
        date | None, typer.Option("--until", metavar="DATE", parser=_date, help="YYYY-MM-DD; else the newest.")
    ] = None,
    policies: Policies = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """List what keeps how many verdicts provisional, and which decision or import would settle it.

    Yang membuat hasil masih sementara, dan cara menyelesaikannya.
    """
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        until = last or results.newest_day(connection) or date.min
        since = first or date.fromordinal(max(until.toordinal() - 31, 1))
        found = doubted(kept(connection, OfficePolicies(policies), since, until, lang))
    if as_json:
        rows = [{**one._asdict(), "first": one.first.isoformat(), "last": one.last.isoformat()} for one in found]
        print(json.dumps(rows, indent=2))
        return
    print(message("doubts_span", lang, first=since, last=until))
    for one in found:
        print(printable(doubt_line(one, lang)))
    if not found:
        print(message("no_doubts", lang))


def pins(db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False) -> None:
    """List the PINs that were read and belong to no person: how often, where, since when.

    PIN yang terbaca tetapi belum ada pemiliknya.
    """
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = unknown(connection)
    if as_json:
        print(json.dumps([{**one._asdict(), "reader": one.reader._asdict()} for one in found], indent=2))
        return
    for one in found:
        moments = {name: getattr(one, name).replace("T", " ") for name in ("first", "last")}
        values = one._asdict() | one.reader._asdict() | moments
        print(printable(message("unknown_pin", lang, **values)))
    if not found:
        print(message("no_unknown_pins", lang))


def unknown(connection: Connection) -> list[UnknownPin]:
    """Return the PINs that were read and belonged to no person on the date."""
    uses = [
        PinUse(Reader(use.serial, use.site), use.pin, date.fromisoformat(use.date), use.punches, use.first, use.last)
        for use in recorded.uses(connection)
    ]
    keys = {
        key
        for use in uses
        for key in (pin_key(use.pin, use.reader.serial, None), pin_key(use.pin, None, use.reader.site))
    }
    return unknown_pins(uses, Enrolments(Registers(connection).rows("enrolments", sorted(keys), by="other")))
