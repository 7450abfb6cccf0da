"""Applies retention in small steps and stops dead in one of them, so that a test can kill it there.

``python apply_retention.py DB SETTINGS NOW STEP``: within step STEP, with all of it deleted and nothing committed. It
prints the number of the step when it is there.
"""

import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from central.rights.retain import Retention
from central.rights.settings import load_settings
from central.store import retention
from central.store.engine import Database


def main(path: Path, settings: Path, now: datetime, step: int) -> None:
    """Delete until killed."""
    add = retention.add

    def stop_at(*given: Any) -> int:
        number = add(*given)
        if number == step:
            print(number, flush=True)  # noqa: T201 - the test waits for it
            threading.Event().wait()
        return number

    retention.add = stop_at  # type: ignore[assignment]  # the one call has these arguments
    with closing(Database(path)) as database:
        Retention(
            database, load_settings(settings), "Arsiparis", "JRA 1/2029", lambda: now, with_open=True, events=2
        ).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3]), int(sys.argv[4]))
