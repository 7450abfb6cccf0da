"""How the tasks that systemd starts by timers ended last: a small file for each, beside the database.

``ExecStopPost=`` of their units runs ``hadir-central ended NAME``: systemd gives it the result in its environment.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from central.files import create_file, create_folder, sync_folder
from central.options import clock_of
from central.store.engine import utc
from central.store.sqlite import explained

TASKS = ("backup", "check", "mail")
"""The units ``hadir-central-NAME.service`` that timers start."""

Tasks = Annotated[
    Path | None, typer.Option("--tasks", metavar="FOLDER", help="Where it is noted how nightly tasks ended.")
]


class Ended(NamedTuple):
    """The last end of a task."""

    at: datetime
    result: str
    """As systemd names it: ``success``, ``exit-code``, ``timeout``, ``oom-kill`` and others."""
    status: str
    """The exit code, or the name of the signal."""

    @property
    def succeeded(self) -> bool:
        """Return whether it did all that it had to do."""
        return self.result == "success"

    def shown(self) -> dict[str, str]:
        """Return result and status."""
        return {"result": self.result, "status": self.status}


def ended(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TASK", help=f"{', '.join(TASKS)}.")],
    tasks: Annotated[Path, typer.Option("--tasks", metavar="FOLDER", help="Where that is noted.")],
) -> None:
    """Note how a task ended, for `status` and the metrics; systemd runs this after each (ExecStopPost=).

    Catat akhir sebuah tugas.
    """
    if name not in TASKS:
        raise typer.BadParameter(f"write one of {', '.join(TASKS)}.", param_hint="TASK")
    found = {
        "at": utc(clock_of(context)()),
        "result": os.environ.get("SERVICE_RESULT", "success"),
        "status": os.environ.get("EXIT_STATUS", "0"),
    }
    file = tasks / f"{name}.json"
    draft = file.with_suffix(".new")
    try:
        create_folder(tasks, 0o750)
        draft.unlink(missing_ok=True)
        create_file(draft, json.dumps(found), 0o640)
        draft.replace(file)
        sync_folder(tasks)
    except OSError as error:
        raise explained(file, error) from error


def read_tasks(folder: Path | None) -> dict[str, Ended]:
    """Return the tasks whose ends are noted; a file that cannot be read is as if it were not there."""
    found: dict[str, Ended] = {}
    if folder is None:
        return found
    for name in TASKS:
        with suppress(OSError, ValueError, LookupError, TypeError):
            noted: Mapping[str, str] = json.loads((folder / f"{name}.json").read_text("utf-8"))
            moment = datetime.fromisoformat(noted["at"])
            moment.timestamp()
            found[name] = Ended(moment.astimezone(), str(noted["result"]), str(noted["status"]))
    return found
