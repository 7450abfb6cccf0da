"""The command line: what each command prints, and the exit codes that scripts rely on.

``base`` is what every command is made of; the other modules hold the commands, as ``hadir --help`` groups them. Only
what every command needs is imported when they are, the rest where it is used, so that the help is quick.
"""

import signal
import threading

# Ctrl-C in the first second, while all this is imported, ends the process as it ends any other: without a traceback.
_before = signal.getsignal(signal.SIGINT)
_is_main = threading.current_thread() is threading.main_thread()
if _is_main:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Their commands register themselves, in this order.
from gateway.cli import courier, daemon, doctor, files, init, ledger, simulate, terminals  # noqa: E402, F401 - see above
from gateway.cli.base import HINTS, main  # noqa: E402 - see above

if _is_main:
    signal.signal(signal.SIGINT, _before)

__all__ = ["HINTS", "main"]
