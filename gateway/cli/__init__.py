"""The command line ``hadir``: its commands, their output, and the exit codes that scripts rely on.

``app`` has the table of all commands; it imports the module of a command when the command is called, so that
``hadir --help`` and each command load only what they need. Shared by the commands: ``base`` (exit codes, errors with
hints), ``options``, ``output`` (text and JSON), ``screen`` (tables, progress bars), ``configuration``, ``daemon`` (the
running gateway) and ``ledger_access`` (the daemon, else the ledger, else an error). Every other module is a group of
commands.
"""

from gateway.cli.loading import default_interrupt

with default_interrupt():
    from gateway.cli.app import main
    from gateway.cli.base import HINTS, hint_lines

__all__ = ["HINTS", "hint_lines", "main"]
