"""Judging inside the process of an inbox: real broker, real process."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from central.timesheet.worker import ADVANCE_S, CHECK_S, Worker
from tests import command
from tests.broker import WAIT_S, Broker, eventually
from tests.central.receiving import Sender
from tests.central.store.office import POLICIES, Centre


def test_an_inbox_judges_the_punches_that_it_receives(tmp_path: Path) -> None:
    """The verdict is there without another command; the inbox goes on receiving."""
    folder = tmp_path / "centre"
    folder.mkdir()
    centre = Centre(folder, datetime.now(UTC))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    centre.enter_office()
    centre.enter("rosters", f"person,{yesterday}\na,office\nb,office\n")
    centre.close()
    punches = centre.punches("1001", f"{yesterday} 07:20:00", f"{yesterday} 16:10:00")
    later = centre.punches("1002", f"{yesterday} 07:25:00")

    def judged(person: str, events: list[Any]) -> Any:
        sender.send(*events)  # again, as a gateway does: the first may precede the inbox's subscription
        found = centre.history(person, yesterday)
        return found and json.loads(found[-1].content)["worked"]

    with Broker(tmp_path) as broker, Sender(broker.port) as sender:
        options = (
            "--broker",
            f"mqtt://127.0.0.1:{broker.port}",
            "--db",
            centre.database.address,
            "--policies",
            POLICIES,
        )
        with (tmp_path / "log").open("w") as log:
            process = command.start("central.cli", "inbox", *options, env=os.environ, output=log)
        try:
            eventually(lambda: judged("a", punches))
            eventually(lambda: judged("b", later))
        finally:
            process.terminate()
            code = process.wait(WAIT_S)
        assert code == 0


def test_judge_judges_what_changes_until_it_is_stopped(tmp_path: Path) -> None:
    """A process of its own: what waits when it begins, and what comes later."""
    centre = Centre(tmp_path, datetime.now(UTC))
    centre.enter_office()
    days = [(datetime.now(UTC) - timedelta(days=number)).date().isoformat() for number in (1, 2)]
    centre.enter("rosters", f"person,{days[0]},{days[1]}\na,office,office\n")
    centre.close()
    options = ("--db", tmp_path / "centre.db", "--policies", POLICIES)
    with (tmp_path / "log").open("w") as log:
        process = command.start("central.cli", "judge", *options, env=os.environ, output=log)
    try:
        eventually(lambda: centre.history("a", days[0]))
        centre.punched("1001", f"{days[1]} 07:20:00")
        eventually(lambda: json.loads(centre.history("a", days[1])[-1].content)["worked"])
    finally:
        process.terminate()
        code = process.wait(WAIT_S)
    assert code == 0


class Steps:
    """Counts what a worker requests."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.left = 2

    def begin(self) -> None:
        """Begin."""
        self.done.append("begin")

    def advance(self) -> int:
        """Look at the time."""
        self.done.append("advance")
        return 0

    def batch(self) -> int:
        """Judge, as long as something is left."""
        self.left = max(0, self.left - 1)
        return self.left

    def differing(self, size: int, _random: Random) -> list[Any]:
        """Compare a sample."""
        self.done.append(f"sample of {size > 0}")
        return []


def test_time_is_looked_at_now_and_then_and_a_sample_once_a_day() -> None:
    """Only where nothing else is to do."""
    now_s = 0.0
    steps = Steps()
    worker = Worker(steps, lambda: now_s)  # type: ignore[arg-type]  # the same methods

    assert [worker.step(), worker.step()] == [True, False]
    assert steps.done == ["begin", "advance"]
    now_s = ADVANCE_S
    worker.step()
    assert steps.done == ["begin", "advance", "advance"]
    now_s = CHECK_S
    steps.left = 2
    assert worker.step()
    assert steps.done[3:] == ["advance"]
    worker.step()
    assert steps.done[4:] == ["sample of True"]
