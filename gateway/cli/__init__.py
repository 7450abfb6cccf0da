"""The command line ``hadir``: its commands, their output, and the exit codes that scripts rely on.

``base`` holds what all commands share: exit codes, errors with hints, common options, formatting. Each other module
holds one group of commands. A module imports at its top only what every command needs, and anything heavier inside the
function that uses it, so that ``hadir --help`` is quick.
"""

import signal
import threading

# Ctrl-C while the modules are being imported ends the process by the default action of SIGINT: without a traceback.
_before = signal.getsignal(signal.SIGINT)
_is_main = threading.current_thread() is threading.main_thread()
if _is_main:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Each module registers its commands when it is imported; `hadir --help` lists them in this order.
from gateway.cli import courier, daemon, doctor, files, init, ledger, simulate, terminals  # noqa: E402, F401 - see above
from gateway.cli.base import HINTS, hint_lines, main  # noqa: E402 - see above

if _is_main:
    signal.signal(signal.SIGINT, _before)

__all__ = ["HINTS", "hint_lines", "main"]
