"""The clock of a replayed day: moved by one process, read by others, of two programs."""

from datetime import datetime, timedelta
from pathlib import Path

from central.replay import ReplayClock as CentralClock
from gateway.demo.clock import ReplayClock, ReplayedTime
from gateway.demo.office import ZONE

MORNING = datetime(2026, 9, 2, 7, 30, 0, 1000, tzinfo=ZONE)


def test_everybody_reads_the_same_time(tmp_path: Path) -> None:
    """The gateway's processes and the centre's, which has a reader of its own; it stands until it is moved."""
    written = ReplayedTime(tmp_path / "clock", MORNING)
    gateway, centre = ReplayClock(tmp_path / "clock"), CentralClock(tmp_path / "clock")

    for moment in (MORNING, MORNING + timedelta(hours=3)):
        written.move_to(moment)
        assert written.now() == gateway.now() == centre.now() == moment
    assert written.local(ZONE) == (MORNING + timedelta(hours=3)).replace(tzinfo=None)
    assert gateway.synchronised()


def test_it_never_runs_backwards(tmp_path: Path) -> None:
    """A moment that is past moves nothing: evidence is never recorded before what was recorded earlier."""
    clock = ReplayedTime(tmp_path / "clock", MORNING)

    clock.move_to(MORNING - timedelta(seconds=1))

    assert clock.now() == MORNING


def test_no_terminal_seems_to_jump_when_it_is_moved(tmp_path: Path) -> None:
    """The seconds that a terminal's clock is compared with pass as the clock does."""
    clock = ReplayedTime(tmp_path / "clock", MORNING)
    before = clock.boottime_s()

    clock.move_to(MORNING + timedelta(hours=9))

    assert clock.boottime_s() - before == 9 * 3600
