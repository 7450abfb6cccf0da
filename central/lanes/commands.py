"""The commands ``inbox --lanes``, ``lanes show`` and ``lanes set``."""
# ruff: noqa: T201 - a command line prints

import json
import signal
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer

from central.inbox import Broker
from central.lanes.assignment import DOOR, MAX_LANES, lane_of
from central.lanes.lease import holders
from central.lanes.messages import LANES
from central.lanes.worker import Work, Worker
from central.options import AsJson, Db, InLanguage, clock_of
from central.policy.office import OfficePolicies
from central.store import Database, lanes
from central.store.engine import is_url
from central.store.lanes import Plan
from central.texts import Language
from central.timesheet.recompute import Recompute
from central.timesheet.worker import PERSON_DAYS
from central.timesheet.worker import Worker as Judge

app = typer.Typer(no_args_is_help=True, help="Lanes: several inboxes on one PostgreSQL database.")


def receive(
    broker: Broker, url: str, plan: Plan, policies: Path | None, now: Callable[[], datetime], *, synchronous: bool
) -> None:
    """Hold lanes until SIGTERM or Ctrl-C; raises StoreError and PlanDiffersError."""

    def judge(database: Database) -> Callable[[], bool]:
        return Judge(Recompute(database, OfficePolicies(policies), now=now, person_days=PERSON_DAYS)).step

    worker = Worker(url, Work(broker, plan, judge, now, synchronous))

    def stop(number: int, _frame: object) -> None:
        worker.stop()
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log = structlog.get_logger("central")
    log.info("inbox_started", version=version("hadir-gateway"), lanes=plan.lanes, worker=worker.number, root=plan.root)
    worker.run()
    log.info("inbox_stopped")


@app.command()
def show(db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False) -> None:
    """Show the number of lanes, who holds each, and how many sites it has. Jumlah lane dan pemegangnya."""
    with _opened(db) as database, database.reading() as connection:
        plan = lanes.plan_of(connection)
        if plan is None:
            print("null" if as_json else LANES["none"].into(lang))
            return
        held = holders(connection)
        sites = lanes.sites(connection)
        numbers = lanes.open_lanes(connection)
    found = [
        {
            "lane": number,
            "worker": held.get(number),
            "sites": sum(site.owner == number for site in sites.values()),
            "moving": sum(site.owner == number != lane_of(name, plan.lanes) for name, site in sites.items()),
        }
        for number in numbers
    ]
    if as_json:
        print(json.dumps(plan._asdict() | {"lanes": plan.lanes, "held": found}, indent=2))
        return
    print(LANES["plan"].into(lang, lanes=plan.lanes, client_id=plan.client_id, root=plan.root))
    for one in found:
        name = LANES["door" if one["lane"] == DOOR else "lane"].into(lang, number=one["lane"])
        holder = LANES["free" if one["worker"] is None else "held"].into(lang, worker=one["worker"])
        count = LANES["moving" if one["moving"] else "sites"].into(lang, sites=one["sites"], moving=one["moving"])
        print(f"{name:8} {holder:24} {count}")


@app.command("set")
def set_number(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=MAX_LANES, help="How many lanes there are to be.")],
    db: Db,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Change the number of lanes for all workers, while they run: sites move by themselves, and nothing is lost.

    Ubah jumlah lane.
    """
    with _opened(db) as database, database.writing() as connection:
        if lanes.plan_of(connection) is None:
            raise typer.BadParameter(LANES["none_to_set"].into(lang))
        lanes.set_lanes(connection, number, clock_of(context)())
    print(LANES["set"].into(lang, lanes=number))


def _opened(db: str) -> Database:
    if not is_url(db):
        raise typer.BadParameter("lanes need a PostgreSQL database; a file has one inbox.", param_hint="--db")
    return Database(db)
