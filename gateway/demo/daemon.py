"""The gateway's process on the clock of a replayed day: ``python -m gateway.demo.daemon CLOCK CONFIGURATION``.

The clock is passed to the daemon here and nowhere else: no option, file or variable of an office's gateway changes its
time.
"""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from gateway.app import Daemon
from gateway.demo.clock import ReplayClock
from gateway.log import configure_logging
from gateway.pause import Pause
from gateway.settings import load
from gateway.terminal.timing import PAUSES, Timing

RETRY = Pause(0.5, 2.0)
"""After a failed visit: a person watches the demo, and its terminals are back soon."""
LISTEN_SLICE_S = 0.1
"""Longest wait for live events before a requested visit begins: the day has many of them."""


def main(clock_file: Path, configuration: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT; return its exit code."""
    configure_logging()
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=stop.set).start()  # the main thread may hold the event's lock

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    clock = ReplayClock(clock_file)
    pauses = {**PAUSES, "unavailable": RETRY}
    timing = Timing(pauses=pauses, listen_slice_s=LISTEN_SLICE_S, boottime_s=clock.boottime_s)
    return Daemon(load(configuration), clock=clock, timing=timing).run(stop)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
