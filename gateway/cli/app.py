"""The table of all commands, and the program that runs one of them.

The module of a command is imported when the command is called. The table repeats the first sentence of each command, so
that ``hadir --help`` imports none of them; a test compares the two.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from gateway.cli.base import EPILOG, Code, Failure, print_stderr
from gateway.cli.loading import load


class Entry(NamedTuple):
    """One command, or a group of commands with a common first word."""

    module: str
    """Module of this package with an ``app`` that holds the command."""
    panel: str
    """Heading in the list of commands."""
    summary: str


GATEWAY, TERMINALS, TRYING = "The gateway", "Terminals", "Trying it out"

COMMANDS = {
    "init": Entry(
        "init",
        GATEWAY,
        "Make the first configuration: asks, looks for terminals, writes, checks, and calls the doctor.",
    ),
    "check": Entry("check", GATEWAY, "Check the configuration and show every mistake with its line."),
    "schema": Entry("check", GATEWAY, "Print the configuration's JSON Schema, for editors."),
    "run": Entry("run", GATEWAY, "Run the gateway until SIGTERM or Ctrl-C."),
    "reload": Entry(
        "reload",
        GATEWAY,
        "Have the running gateway read its configuration again, and apply changed terminals and receiver.",
    ),
    "status": Entry(
        "status", GATEWAY, "Show the state of the gateway and its terminals, and what a person should look at."
    ),
    "doctor": Entry(
        "doctor", GATEWAY, "Find what is in the way: configuration, disk, clock, each terminal, the broker, the centre."
    ),
    "tail": Entry("tail", GATEWAY, "Show the newest events of the ledger, with masked PINs."),
    "reconcile": Entry(
        "reconcile",
        GATEWAY,
        "Have the running gateway read a terminal's whole log now, and compare it with the ledger.",
    ),
    "replay": Entry("replay", GATEWAY, "Send events again, with the same bytes, or publish withheld history."),
    "verify": Entry(
        "ledger",
        GATEWAY,
        "Check that every event in the ledger is as it was written: chain, numbers, identities, places.",
    ),
    "ledger": Entry("ledger", GATEWAY, "Copy the ledger, and go back to a copy."),
    "export": Entry(
        "courier", GATEWAY, "Write what waits for the centre onto a flash disk, signed; also while the daemon runs."
    ),
    "receipt": Entry("receipt", GATEWAY, "What the centre confirms, brought by hand."),
    "courier": Entry("courier", GATEWAY, "Bring to the centre what a flash disk carries."),
    "import": Entry(
        "files", TERMINALS, "Store the punches of files that a terminal wrote to a flash disk, and publish them."
    ),
    "probe": Entry(
        "terminals", TERMINALS, "Ask who answers at an address: serial, clock, log, and which ways it offers."
    ),
    "discover": Entry(
        "terminals", TERMINALS, "Look for terminals in a network; print lines to paste into the configuration."
    ),
    "read": Entry("terminals", TERMINALS, "Show a terminal's log, with PINs."),
    "demo": Entry("demo", TRYING, "Show everything at work on this computer."),
    "simulate": Entry("simulate", TRYING, "Serve a simulated terminal."),
}
"""Word → command, in the order of the list."""

EXTRAS = {"cryptography": ("bundles need", "encryption"), "iotcore": ("the demo needs", "demo")}
"""Library that not every installation has → what needs it, and the hint of its absence."""


class LazyCommand(TyperCommand):
    """What the list of commands shows of a command that is not imported."""

    def __init__(self, name: str) -> None:
        """Take the entry of the table."""
        self._entry = COMMANDS[name]
        super().__init__(name, short_help=self._entry.summary, rich_markup_mode=None)

    def load(self) -> Any:
        """Import the command and return it; raises Failure where a library is not installed that not all have."""
        try:
            module = load(self._entry.module)
        except ModuleNotFoundError as exc:
            library = (exc.name or "").partition(".")[0]
            if library not in EXTRAS:
                raise
            needed, hint = EXTRAS[library]
            what = f"{needed} the library {library}, which is not installed here"
            raise Failure(Code.NEGATIVE, what, hint) from exc
        return get_group(module.app).commands[self.name or ""]


class Commands(TyperGroup):
    """Group of lazily imported commands; turns exceptions into messages and exit codes."""

    def __init__(self, **attributes: Any) -> None:
        """Add an entry for each command of the table."""
        super().__init__(**attributes)
        self.commands.update({name: LazyCommand(name) for name in COMMANDS})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write the list of commands, by panels."""
        for panel in (GATEWAY, TERMINALS, TRYING):
            with formatter.section(panel):
                formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items() if entry.panel == panel])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        return _reported(lambda: super(Commands, self).invoke(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command; they may print the help."""
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            _abandon_output()
            raise typer.Exit(128 + signal.SIGPIPE) from None


def _reported(command: Callable[[], Any]) -> Any:
    """Run a command; a failure becomes its message and exit code."""
    try:
        return command()
    except Failure as failure:
        _debug(failure.__cause__)
        print_stderr(str(failure))
        raise typer.Exit(failure.code) from None
    except BrokenPipeError:
        # The reader of the output has closed it; the rest is discarded.
        _abandon_output()
        raise typer.Exit(128 + signal.SIGPIPE) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hadir {load('version').VERSION}")  # noqa: T201 - a command line prints
        raise typer.Exit


@app.callback()
def _hadir(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Attendance gateway: from fingerprint terminals over a durable ledger to MQTT.

    Absensi sidik jari: dari mesin ke MQTT, tanpa kehilangan satu catatan pun.
    """


def main() -> None:
    """Run a command and end the process with its exit code. No traceback is printed: it may hold secrets."""
    sys.stdout, sys.stderr = map(_tolerant, (sys.stdout, sys.stderr))
    output = _output()
    try:
        options = load("direct").status_options(sys.argv[2:]) if sys.argv[1:2] == ["status"] else None
        if options is None:
            app(prog_name="hadir")
        else:
            gc.disable()  # it ends before cycles would matter; looking for them is a tenth of its time
            _reported(lambda: load("status").status(**options))
    except typer.Exit as exc:
        sys.exit(exc.exit_code)
    except SystemExit:
        if _output() != output:  # Click prints the help, and has redirected the output after a broken pipe
            sys.exit(128 + signal.SIGPIPE)
        raise
    except KeyboardInterrupt:  # where the command itself did not handle it
        sys.exit(128 + signal.SIGINT)
    except Exception as exc:  # noqa: BLE001 - any unexpected exception
        _debug(exc)
        # The exception's message is left out: it may repeat a secret.
        place = traceback.extract_tb(exc.__traceback__)[-1]
        what = f"internal error: {type(exc).__name__} in {Path(place.filename).name}:{place.lineno}"
        print_stderr(str(Failure(Code.INTERNAL, what, "internal")))
        sys.exit(Code.INTERNAL)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_output()
            sys.exit(128 + signal.SIGPIPE)


def _tolerant(stream: TextIO | None) -> TextIO:
    """Return a stream that accepts any character, also where the stream was closed or its encoding is ASCII."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _debug(exc: BaseException | None) -> None:
    if exc is not None and os.environ.get("HADIR_DEBUG"):
        load("details").print_details(exc)


def _output() -> tuple[int, int] | None:
    """Return device and inode of standard output; None where it is closed or is not a file."""
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _abandon_output() -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
