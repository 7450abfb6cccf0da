"""Brings a database up to date and stops dead at one place of that, so that a test can kill it there.

``python migrating.py DB first|last``: within the first migration, or behind the last one and before the commit. It
prints the word when it is there.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from alembic import command

from central.store import Database


def main(path: Path, place: str) -> None:
    """Migrate until killed."""
    migrate = command.upgrade

    def stop_behind(config: Any, _revision: str) -> None:
        migrate(config, "0001" if place == "first" else "head")
        print(place, flush=True)  # noqa: T201 - the test waits for it
        threading.Event().wait()

    command.upgrade = stop_behind  # type: ignore[assignment]  # the one call has these two arguments
    Database(path, create=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
