"""Several processes judge one database on a server, and are killed: the verdicts are those of one undisturbed one."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import delete, func, select

from central.policy.office import OfficePolicies
from central.store import marks, outbox, recorded, results
from central.store.engine import Database
from central.timesheet.affected import Mark
from central.timesheet.recompute import Recompute
from tests.broker import WAIT_S, eventually
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import STORES, address
from tests.postgres import Server, waits

PEOPLE = [f"p{number:02d}" for number in range(15)]
FIRST = date(2026, 8, 31)
ROUNDS = 3
KILLS = 5
"""In each round."""
NIGHT = (
    "timetable,from,slot,kind,due,window from,window until\n"
    "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,31:00,29:00,33:00\n"
)


def judge(url: str, now: datetime) -> None:
    """Bring verdicts up to date in a process of its own, in small batches, and end it; where it hangs, print where."""
    faulthandler.dump_traceback_later(2.5 * WAIT_S)
    with Database(url) as database:
        Recompute(database, OfficePolicies(POLICIES), now=lambda: now, person_days=24).run()
    os._exit(0)


def begin(centre: Centre) -> None:
    """Enter an office of two units."""
    centre.enter_office()
    units = "key,name,parent,zone,from,until\nbidang,Bidang,dinas,Asia/Jakarta,2026-01-01,\n"
    centre.enter("units", units)
    rows = [
        f"{person},Contoh {person},pns,{'bidang' if int(person[1:]) % 3 else 'dinas'},{FIRST}," for person in PEOPLE
    ]
    centre.enter("people", "\n".join(("key,name,employment,unit,from,until", *rows, "")))
    rows = [f"{2000 + number},3602-bkpsdm,{person},2026-01-01," for number, person in enumerate(PEOPLE)]
    centre.enter("enrolments", "\n".join(("pin,site,person,from,until", *rows, "")))
    centre.enter("timetables", NIGHT)


def arrive(centre: Centre, number: int, random: Random) -> None:
    """Let half a day of facts arrive: punches in any order, days late too, of unknown PINs, and registers."""
    on = FIRST + timedelta(days=number // 2)
    hours = (7, 8) if number % 2 == 0 else (12, 15, 16)
    events = []
    for person in range(len(PEOPLE) + 3):  # three PINs belong to no person
        if random.random() < 0.8:
            clock = f"{random.choice(hours):02d}:{random.randrange(60):02d}:{random.randrange(60):02d}"
            day = on - timedelta(days=random.choice((0, 0, 0, 1)))
            events += centre.punches(str(2000 + person), f"{day} {clock}")
    random.shuffle(events)
    centre.receive(*events)
    centre.state(f"door-{number}", f"S{number + 2}")  # another terminal, which nobody has read
    who = random.choice(PEOPLE)
    if number == 1:
        centre.enter("leave", f"person,kind,from,begin,end\n{who},annual,{FIRST},07:00,12:00\n")
        centre.enter("rosters", f"person,{FIRST}\n{random.choice(PEOPLE)},night\n")
    if number == 2:  # one of the unknown PINs, backwards
        centre.enter("enrolments", f"pin,site,person,from,until\n{2000 + len(PEOPLE)},3602-bkpsdm,{who},2026-01-01,\n")
        centre.enter("calendar", f"date,kind,name\n{FIRST},national_holiday,Contoh\n")


def state(database: Database) -> dict[str, Any]:
    """Return all that judging leaves: the last verdict of each day, what is due and awaited, and PINs of no person."""
    with database.reading() as connection:
        last = {(one.person, one.date): one for one in results.current(connection, None, date.min, date.max)}
        found = {day: (one.status, one.inputs, one.content, one.unit) for day, one in last.items()}
        tables = {
            table.name: {tuple(row) for row in connection.execute(select(table))}
            for table in (marks.DUE, marks.AWAITED, recorded.UNATTRIBUTED)
        }
        return {"verdicts": found, **tables}


def check_written(database: Database) -> None:
    """Check that no day has a gap or a double in its revisions, and the outbox a message of each, in their order."""
    with database.reading() as connection:
        assert marks.numbers(connection) == (0, 0)
        key = results.RESULT.c.person, results.RESULT.c.date
        rows = connection.execute(select(*key, func.count(), func.max(results.RESULT.c.revision)).group_by(*key)).all()
        assert rows
        assert [row for row in rows if row[2] != row[3]] == []
        every = set(connection.execute(select(*key, results.RESULT.c.revision)))
        columns = (outbox.OUTBOX.c[name] for name in ("person", "date", "revision", "unit", "id"))
        waiting = connection.execute(select(*columns).order_by(outbox.OUTBOX.c.id)).all()
        days = [row for row in waiting if row.person]
        assert sorted((row.person, row.date, row.revision) for row in days) == sorted(every)
        by_day: dict[tuple[str, str], list[int]] = {}
        for row in days:
            by_day.setdefault((row.person, row.date), []).append(row.revision)
        assert all(numbers == sorted(numbers) for numbers in by_day.values())
        newest = {(row.unit, row.date): row.id for row in waiting if not row.person}
        assert all(newest[row.unit, row.date] > row.id for row in days), "a summary that a later verdict is not in"


@contextmanager
def judges(url: str, now: datetime, many: int) -> Iterator[list[BaseProcess]]:
    """Run so many processes that judge; killed at the end where they still run."""
    context = multiprocessing.get_context("forkserver")  # a fork of this process might inherit another thread's lock
    context.set_forkserver_preload([__name__])
    running: list[BaseProcess] = []

    def start() -> None:
        running.append(context.Process(target=judge, args=(url, now), daemon=True))
        running[-1].start()

    try:
        for _ in range(many):
            start()
        yield running
    finally:
        for process in running:
            process.kill()
            process.join(WAIT_S)


def disturbed(url: str, now: datetime, random: Random) -> None:
    """Judge in three processes, of which one is killed at a random moment again and again, and another one begins."""
    with ExitStack() as stack:
        running = stack.enter_context(judges(url, now, 3))
        for _ in range(KILLS):
            time.sleep(random.random() * 0.08)
            victim = running.pop(random.randrange(len(running)))
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            victim.join(WAIT_S)
            running += stack.enter_context(judges(url, now, 1))
        for process in running:
            process.join(3 * WAIT_S)
        assert [process.exitcode for process in running] == [0] * len(running)


def test_judges_that_are_killed_judge_as_one_that_is_not(tmp_path: Path, postgres: Server) -> None:
    """Each mark once, none forgotten: equal verdicts, due moments and doubts, as one process on a file has them."""
    moments = [datetime(2026, 8, 31, 4, tzinfo=UTC) + timedelta(hours=12 * number) for number in range(ROUNDS)]
    alone = Centre(_folder(tmp_path, "alone"), moments[0])
    begin(alone)
    chance = Random(7)
    for number, now in enumerate(moments):
        alone.now = now
        arrive(alone, number, chance)
        alone.recompute.run()
    expected = state(alone.database)
    alone.close()

    folder = _folder(tmp_path, "many")
    with STORES.on(postgres):
        many = Centre(folder, moments[0])
        begin(many)
        url, chance = address(folder / "centre.db"), Random(7)
        for number, now in enumerate(moments):
            many.now = now
            arrive(many, number, chance)
            disturbed(url, now, Random(number))
        found = state(many.database)
        check_written(many.database)
        many.close()
    assert found == expected


def test_what_another_process_judges_is_left_to_it(tmp_path: Path, postgres: Server) -> None:
    """A mark of a person whom a transaction has locked waits; those of others are handled; afterwards it is, too."""
    with STORES.on(postgres):
        centre = Centre(tmp_path, datetime(2026, 8, 31, 4, tzinfo=UTC))
        begin(centre)
        centre.recompute.run()
        with centre.database.writing() as connection:
            for person in ("p01", "p02"):
                marks.mark(connection, [Mark(f"person:{person}", FIRST, FIRST)], {"kind": "test"}, "")
            marks.mark(connection, [Mark("person:p02", FIRST, FIRST)], {"kind": "other"}, "")
        with centre.database.writing(alone=False, moment=True) as connection:
            [first] = marks.waiting(connection, 1, lock=True)
            assert (first.subject, marks.lock_people(connection, ["p02"])) == ("person:p01", {"p02"})
            assert centre.recompute.batch() == 0, "p01's mark and p02 are taken"
        assert centre.recompute.batch() == 3
        centre.close()


def test_a_day_that_is_judged_beside_what_it_awaits_is_judged_again(tmp_path: Path, postgres: Server) -> None:
    """One process judges it without what another transaction stores then; a second one takes the mark of that."""
    with STORES.on(postgres):
        centre = Centre(tmp_path, datetime(2026, 8, 31, 4, tzinfo=UTC))
        begin(centre)
        centre.recompute.run()
        url = address(tmp_path / "centre.db")
        with centre.database.writing() as connection:
            connection.execute(delete(marks.AWAITED))
        with centre.database.writing(alone=False, moment=True) as judging:
            marks.set_awaited(judging, {("p01", FIRST): True})
            with centre.database.writing(alone=False) as connection:
                marks.mark(connection, [Mark("awaited:S1", FIRST, FIRST)], {"kind": "watermark"}, "")
            other = threading.Thread(target=centre.recompute.batch, daemon=True)
            other.start()
            eventually(lambda: waits(url) or not other.is_alive(), what="the second process to wait, or to end")
        other.join(WAIT_S)
        with centre.database.reading() as connection:
            found = [(one.subject, one.first) for one in marks.waiting(connection, 10)]
        assert found == [("person:p01", FIRST)]
        centre.close()


def test_a_verdict_that_the_server_refuses_costs_itself(tmp_path: Path, postgres: Server) -> None:
    """The others are stored, and the process goes on."""
    with STORES.on(postgres):
        centre = Centre(tmp_path, datetime(2026, 8, 31, 4, tzinfo=UTC))
        begin(centre)
        with centre.database.writing() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.person = 'p01' THEN "
                "RAISE EXCEPTION 'out of range' USING ERRCODE = '22003'; END IF; RETURN NEW; END $$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON result FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        centre.recompute.run()
        with centre.database.reading() as connection:
            waiting, failed = marks.numbers(connection)
        assert (waiting, failed > 0) == (0, True)
        assert centre.history("p01", FIRST.isoformat()) == []
        assert centre.history("p02", FIRST.isoformat())
        centre.close()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
