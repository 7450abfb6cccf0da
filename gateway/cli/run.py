"""``hadir run``: the daemon, in the foreground."""

import faulthandler
import signal
import sys
import threading
from functools import partial
from types import FrameType
from typing import Annotated

import typer

from drivers import UNUSABLE
from gateway.app import Daemon
from gateway.cli.base import Code, Failure, command_group
from gateway.cli.configuration import load_settings
from gateway.cli.options import DEFAULT_CONFIG, Config
from gateway.clock import AssumedClock, SystemClock
from gateway.ledger import LedgerError, LedgerLocked
from gateway.log import configure_logging, get_logger
from gateway.settings import load

app = command_group()


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    assume_synchronised: Annotated[
        bool,
        typer.Option("--assume-synchronised", help="Take this machine's clock as right, whatever the system says."),
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    # SIGHUP is held back until the daemon can reload; before that, its default action would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    settings = load_settings(config)
    configure_logging()
    faulthandler.enable()  # a watchdog's SIGABRT then logs where every thread hung, without values of variables
    log = get_logger("gateway")
    for unusable in UNUSABLE:
        log.warning("driver_refused", **unusable._asdict())
    stop = threading.Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        # From a thread: the main thread may hold the event's lock while it waits for the event.
        threading.Thread(target=stop.set).start()
        signal.signal(number, signal.SIG_DFL)  # the second signal ends the process at once

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    clock = AssumedClock() if assume_synchronised else SystemClock()
    try:
        daemon = Daemon(settings, load=partial(load, config), clock=clock)

        def reload(_number: int, _frame: FrameType | None) -> None:
            threading.Thread(target=daemon.reload_in_background, name="reload").start()  # from a thread: as above

        # On a terminal window, SIGHUP means that the window was closed.
        signal.signal(signal.SIGHUP, request_stop if sys.stderr.isatty() else reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        code = daemon.run(stop)
    except LedgerLocked as exc:
        raise Failure(Code.LOCKED, str(exc), "locked") from exc
    except LedgerError as exc:
        raise Failure(Code.DISK, str(exc), "ledger") from exc
    raise typer.Exit(code)
