"""One lane on PostgreSQL against a bare COPY of the same rows and against SQLite; then judging, database to database.

Times are processor times, of this process and of the whole server together: other work on the machine spoils them less
than the time on the wall. The server is one of the tests' own, durable as an office's is.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any

import psycopg

from benchmarks import ingest, recompute
from benchmarks.figures import TIMES, Figure, Plan, yes_no
from central.event import Punch
from central.policy.office import OfficePolicies
from central.store import Message, Store, marks
from central.timesheet.affected import Mark
from central.timesheet.recompute import Recompute
from tests.postgres import Server

EVENTS = 30_000
GATEWAYS = 40
PERSON_DAYS = 56_000
"""A hundredth of the nation's civil servants, one day."""
RUNS = 3
AIM_COPY, AIM_SQLITE = 0.5, 0.8
AIM_JUDGE, AIM_MARKS = 3, 10
TABLES = ("event", "punch", "affected")
_TICKS = os.sysconf("SC_CLK_TCK")


def run(plan: Plan) -> Iterator[Figure]:
    """Measure ingest by turns with its baselines, then a day of many people."""
    with Server(durable=True) as server:
        yield from _ingest(plan, server)
        yield from _judge(plan, server)


def _ingest(plan: Plan, server: Server) -> Iterator[Figure]:
    count = plan.size(EVENTS)
    bodies = ingest.backlog(count)
    parts = [bodies[at : at + ingest.TOGETHER] for at in range(0, len(bodies), ingest.TOGETHER)]
    yield from _stored(plan, server, "of a backlog on PostgreSQL, one lane, batches", ingest.as_batches(parts), count)
    morning = _morning(count // GATEWAYS)
    count = sum(map(len, morning))
    yield from _stored(plan, server, f"of {GATEWAYS} gateways at once on PostgreSQL, one lane", morning, count)


def _stored(plan: Plan, server: Server, what: str, arriving: list[list[Message]], count: int) -> Iterator[Figure]:
    """Measure one lane by turns with its baselines."""
    bare, ours, file = [], [], []
    for _ in range(RUNS):  # by turns: other work on the machine spoils all alike
        url = server.url(server.fresh())
        ours.append(_store(server, url, arriving, count))
        target = server.url(server.fresh())
        Store(target).close()
        bare.append(copy(server, url, target, ingest.TOGETHER))
        file.append(ingest.store(plan.fresh("ingest") / "centre.db", arriving, count))
    rate, base, sqlite = (count / min(times) for times in (ours, bare, file))
    for other, rows, aim in ((base, "a bare COPY of the same rows", AIM_COPY), (sqlite, "SQLite", AIM_SQLITE)):
        yield Figure(
            f"store {count:,} punches {what}; processor, server included",
            baseline=f"{other:,.0f}/s {rows}",
            ours=f"{rate:,.0f}/s",
            ratio=f"{rate / other:.2f} {TIMES}",
            aim=f"at least {aim} {TIMES}",
            met=yes_no(rate >= aim * other),
        )


def _morning(each: int) -> list[list[Message]]:
    """Return single messages of many gateways by turns, so many of each, in a stream of its own."""
    sent = [
        [
            Message(f"{gateway}/punch/lobby", body)
            for body in ingest.backlog(each, gateway, f"{ingest.STREAM[:-2]}{number:02d}", f"S{number}")
        ]
        for number in range(GATEWAYS)
        for gateway in [f"site-{number}/gw"]
    ]
    messages = [message for round_ in zip(*sent, strict=True) for message in round_]
    return [messages[at : at + ingest.TOGETHER] for at in range(0, len(messages), ingest.TOGETHER)]


def _judge(plan: Plan, server: Server) -> Iterator[Figure]:
    people = plan.size(PERSON_DAYS)
    alone = recompute.judge_alone(people)
    database = recompute.build(server.url(server.fresh()), people, [recompute.START])
    now = datetime(2026, 9, 1, 15, tzinfo=UTC)
    with closing(database):
        punches = [("site/gw", _punch(number)) for number in range(people)]
        with database.writing() as connection:
            marking = spent(server, lambda: marks.mark_punches(connection, punches, ""))
            connection.execute(marks.AFFECTED.delete())
            marks.mark(connection, [Mark("scope:all", recompute.START, recompute.START)], {"kind": "benchmark"}, "")
        worker = Recompute(database, OfficePolicies(), now=lambda: now)
        judging = spent(server, worker.run)
        if worker.written != people:
            raise RuntimeError(f"{worker.written} of {people} person-days were judged")
    yield Figure(
        f"{people:,} person-days, database to database on PostgreSQL; processor, server included",
        baseline=f"{alone:.1f} s judged in memory",
        ours=f"{judging:.1f} s",
        ratio=f"{judging / alone:.1f} {TIMES}",
        aim=f"at most {AIM_JUDGE} {TIMES}",
        met=yes_no(judging <= AIM_JUDGE * alone),
    )
    yield Figure(
        f"mark {people:,} affected days on PostgreSQL; processor, server included",
        baseline=f"{people / judging:,.0f}/s judged",
        ours=f"{people / marking:,.0f}/s",
        ratio=f"{judging / marking:.0f} {TIMES}",
        aim=f"at least {AIM_MARKS} {TIMES}",
        met=yes_no(judging >= AIM_MARKS * marking),
    )


def spent(server: Server, work: Callable[[], object]) -> float:
    """Return the processor time of work, in this process and in all of the server's."""
    begun, before = process_time(), server_s(server)
    work()
    return process_time() - begun + server_s(server) - before


def server_pid(server: Server) -> int:
    """Return the process that the others of a server are children of."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


def process_s(pid: int) -> float:
    """Return the processor time of a process; 0 where it has ended."""
    return sum(_ticks(pid, 13, 15)) / _TICKS


def server_s(server: Server) -> float:
    """Return the processor time of a server's processes, those that have ended included."""
    pid = server_pid(server)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (sum(_ticks(pid, 13, 17)) + sum(sum(_ticks(int(child), 13, 15)) for child in children)) / _TICKS


def _ticks(pid: int, first: int, behind: int) -> list[int]:
    """Return fields of proc(5)'s stat: own time in user and kernel mode, then that of ended children."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return [0]
    fields = text.rpartition(")")[2].split()
    return [int(value) for value in fields[first - 2 : behind - 2]]


def _store(server: Server, url: str, batches: list[list[Message]], count: int) -> float:
    with closing(Store(url)) as centre:
        taken: list[int] = []
        time = spent(server, lambda: taken.extend(centre.ingest(part).stored for part in batches))
    if sum(taken) != count:
        raise RuntimeError(f"{sum(taken)} of {count} events were stored")
    return time


def copy(server: Server, source: str, target: str, together: int, tables: Sequence[str] = TABLES) -> float:
    """Copy the rows of a store into the same empty tables, so many events a transaction; nothing is looked at.

    Return the processor time, that of the server included. ``tables`` are those of events and punches, and others.
    """
    with psycopg.connect(source) as reading:
        rows = {name: reading.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}  # noqa: S608
        rows["punch"].sort(key=lambda row: row[1])  # in the order of their events, to which they refer
        rest: dict[str, list[Any]] = {
            name: reading.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for name in ("gateway", "stream")
        }
    with psycopg.connect(target) as writing:
        for name, values in rest.items():
            _copy_rows(writing, name, values)
        writing.commit()
        parts = max(1, len(rows["event"]) // together)

        def copy_all() -> None:
            for number in range(parts):
                for name in tables:
                    size = -(-len(rows[name]) // parts)
                    _copy_rows(writing, name, rows[name][number * size : (number + 1) * size])
                writing.commit()

        return spent(server, copy_all)


def _copy_rows(writing: psycopg.Connection[Any], name: str, rows: list[Any]) -> None:
    with writing.cursor().copy(f"COPY {name} FROM STDIN") as copying:
        for row in rows:
            copying.write_row(row)


def _punch(number: int) -> Punch:
    return Punch("lobby", "S", str(number), None, "2026-09-01T07:20:00", 1_788_222_000)
