"""The command line: what each command prints, and the exit codes that scripts rely on.

``base`` is what every command is made of; the other modules hold the commands, as ``hadir --help`` groups them. Only
what every command needs is imported when they are, the rest where it is used, so that the help is quick.
"""

# Their commands register themselves, in this order.
from gateway.cli import courier, daemon, doctor, files, init, ledger, terminals, trying  # noqa: F401 - see above
from gateway.cli.base import HINTS, main

__all__ = ["HINTS", "main"]
