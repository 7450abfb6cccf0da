"""Bring verdicts up to date, and die without warning before a statement of this number."""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, event

from central.policy.office import OfficePolicies
from central.store.engine import Database
from central.timesheet.recompute import Recompute


def main(database_address: str, policies: str, now: str, last: str) -> None:
    """Judge, up to statement number ``last``."""
    seen = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_arguments: object) -> None:
        nonlocal seen
        seen += 1
        if seen > int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    database = Database(database_address)
    moment = datetime.fromisoformat(now)
    Recompute(database, OfficePolicies(Path(policies)), now=lambda: moment, person_days=8).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
