"""Shared parts of all commands: exit codes, errors with hints, common options, formatting of output."""
# ruff: noqa: PLC0415, T201 - heavy imports stand where they are used, see the package; and a command line prints

import json
import os
import signal
import stat
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from enum import IntEnum
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeVar

import typer
from typer.core import TyperGroup

from gateway.texts import Language, _

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from drivers.base import Record
    from gateway.ledger import LedgerReader
    from gateway.settings import Settings, SettingsError

T = TypeVar("T")

DEFAULT_CONFIG = Path("/etc/hadir/gateway.yaml")


class Code(IntEnum):
    """Exit codes. Those above 63 have the meanings of sysexits.h."""

    NEGATIVE = 1
    USAGE = 2
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    INTERNAL = 70
    DISK = 74
    LOCKED = 75
    PROTOCOL = 76
    REFUSED = 77
    CONFIG = 78


EPILOG = """Exit codes: 0 done · 1 a negative result · 2 wrong usage · 3 no daemon runs

69 terminal or broker unreachable · 70 internal error · 74 ledger or disk

75 ledger in use · 76 not a terminal we know · 77 refused · 78 configuration"""

# Hint → what to do next, in English and Indonesian.
HINTS = {
    "unavailable": _("Check power, network cable and IP address. Some terminals talk to one program only."),
    "line": _(
        "Check the cable and the port, and speed and device number in the terminal's menu. One program uses a port."
    ),
    "port": _("Let this user use serial ports: usermod -a -G dialout USER, then log in again."),
    "name": _("Check the spelling, or write the terminal's IP address."),
    "refused": _("A person must act: see above and the terminal's own menu."),
    "key": _("Write the key into a file and name it with --comm-key-file, or with comm_key_file in the configuration."),
    "encrypted": _("Until then this terminal cannot be read over the network."),
    "panel": _("Check the IP address: attendance terminals and door panels use the same port."),
    "protocol": _("What answers is not a terminal that this version understands. Check the IP address and the port."),
    "no_terminal": _(
        "Compare with the address in a terminal's own menu (Comm. > Ethernet): this computer must be in its network."
    ),
    "large": _("Name the terminals' own networks, such as 192.168.1.0/24, or add --yes."),
    "public": _("Check the spelling; only with the consent of whoever owns these addresses, add --yes."),
    "no_route": _("Check this computer's own cable, address and gateway."),
    "no_config": _("Make one with `sudo hadir init`, or name the right one with --config FILE or HADIR_CONFIG."),
    "config": _("Correct the configuration, then try `hadir check`."),
    "no_ledger": _("Check data_dir in the configuration if the gateway has run before."),
    "ledger": _("The terminals keep what has not been read yet."),
    "no_backup": _("Name another copy; they are made every night in data_dir/backups, and by `hadir ledger backup`."),
    "altered": _("Keep a copy of the whole data_dir as it is, and find out who had access to it."),
    "locked": _("Only one hadir may use a data_dir at a time."),
    "busy": _("Try again in a minute; see `hadir status` and the log."),
    "permission": _("Try again as the user that runs the daemon, or with sudo."),
    "no_file": _("Check the name of the file, and whether the flash disk is in its place."),
    "not_export": _(
        "Import the attendance log only, such as 1_attlog.dat, as the terminal wrote it, not a copy of a spreadsheet."
    ),
    "dates": _("Look at a date in it that you know, then say --dates dmy (day first) or --dates mdy (month first)."),
    "columns": _("Compare a line with the terminal's own screen, then say --columns device or --columns state."),
    "wrong_terminal": _(
        "Name the terminal that wrote the file with --terminal; it must be in the configuration, with its serial."
    ),
    "incomplete": _(
        "What was stored is safe. Look at `hadir status`, then run the command again: it goes on where this ended."
    ),
    "output": _("Choose another file, or make room on the disk."),
    "stick": _("Make room on the flash disk, or unlock it; then run the command again, it goes on where this ended."),
    "bundle": _("Nothing was sent. Ask for a new export; if this one was damaged on purpose, keep the flash disk."),
    "unfinished": _(
        "Nothing was sent. Run `hadir export` again at that gateway with the same flash disk: it completes the bundle."
    ),
    "encryption": _("Install it with pip install 'hadir-gateway[courier]'; for 32-bit ARM there is none ready-made."),
    "demo": _("Install it with pip install 'hadir-gateway[demo]', or run `make demo` in a clone of the project."),
    "broker": _("Check address, network and cable, then run the command again: what has arrived is not sent twice."),
    "broker_refused": _("Whoever runs the broker must allow it, or start the inbox; then run the command again."),
    "unconfirmed": _("Keep the flash disk. See whether the centre's inbox runs, then run the same command again."),
    "receipt": _("Nothing was changed. Take the receipt.json that `hadir courier send` wrote for this gateway."),
    "not_running": _("Start it with `systemctl start hadir`, or `hadir run` in a terminal window."),
    "other_version": _(
        "The running gateway is of another version than this command: restart it with `systemctl restart hadir`."
    ),
    "internal": _("This is a mistake in hadir. Run it again with HADIR_DEBUG=1 for the details, and report them."),
}


def hint_lines(hint: str) -> tuple[str, str]:
    """Return a hint in English and in Indonesian: whoever reads an error may know one of them only."""
    text = HINTS[hint]
    return text.into(Language.ENGLISH), text.into(Language.INDONESIAN)


class Failure(Exception):  # noqa: N818 - a command that failed, not always an error of the program
    """Ends a command with an exit code, a message, and a hint (a key of :data:`HINTS`)."""

    def __init__(self, code: Code, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join((f"hadir: {self.args[0]}", *(f"  {line}" for line in hint_lines(self.hint))))


_CONTROL_FAILURES = {
    "failed": (Code.INTERNAL, "incomplete"),
    "unknown_command": (Code.LOCKED, "other_version"),
    "timed_out": (Code.LOCKED, "busy"),
    "ledger_failed": (Code.DISK, "ledger"),
    "disk_full": (Code.DISK, "ledger"),
    "not_permitted": (Code.DISK, "permission"),
}
"""Error code of the control socket → exit code and hint."""


class _Commands(TyperGroup):
    """Group of commands that turns exceptions into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            _debug(failure.__cause__)
            print_stderr(str(failure))
            raise typer.Exit(failure.code) from None
        except BrokenPipeError:
            # The reader of the output has closed it; the rest is discarded.
            _abandon_output()
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except Exception as exc:
            control = sys.modules.get("gateway.control")  # most commands do not import it
            if control is None or not isinstance(exc, control.Unanswered):
                raise
            _debug(exc)
            code, hint = _CONTROL_FAILURES[exc.code]
            print_stderr(str(Failure(code, str(exc), hint)))
            raise typer.Exit(code) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:  # while the help is printed
            _abandon_output()
            raise typer.Exit(128 + signal.SIGPIPE) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)

GATEWAY, TERMINALS, TRYING = "The gateway", "Terminals", "Trying it out"


def main() -> None:
    """Run a command and end the process with its exit code. No traceback is printed: it may hold secrets."""
    sys.stdout, sys.stderr = map(_tolerant, (sys.stdout, sys.stderr))
    output = _output()
    try:
        app(prog_name="hadir")
    except SystemExit:
        if _output() != output:  # Rich prints the help, and has redirected the output after a broken pipe
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
    if exc is None or not os.environ.get("HADIR_DEBUG"):
        return
    from gateway.trace import as_text

    print_stderr(as_text(exc))
    if capture := getattr(exc, "capture", None):
        print_stderr(f"The last packets:\n{capture}")


def open_private(path: Path, mode: Literal["w", "x"]) -> TextIO:
    """Open a text file for writing; a new file is readable by its owner only.

    With mode ``x`` an existing path raises FileExistsError.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    return open(path, mode, encoding="utf-8", newline="", opener=opener)


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


def print_stderr(text: str) -> None:
    """Print a line to standard error; an error there (a closed pipe) is ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def rich_console(file: TextIO | None = None) -> "Console":
    """Return a Rich console without markup and highlighting; it breaks lines only on a terminal."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    file = file or sys.stdout
    return Plain(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else 250)


# --- options ------------------------------------------------------------------------------------------------------


def duration(text: str) -> float:
    """Return the seconds of a duration such as ``20s`` or ``5m``; BadParameter where it is not a positive duration."""
    from drivers.values import MAX_DURATION_S, parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is {exc}.") from None
    if not isinstance(seconds, float) or seconds <= 0:
        raise typer.BadParameter(f"{text!r} is too short; write more than 0s.")
    if seconds > MAX_DURATION_S:
        raise typer.BadParameter(f"{text!r} is too long; write 366d or less.")
    return seconds


def printable(text: object) -> str:
    """Return an untrusted text with unprintable characters replaced; see :func:`drivers.safe_files.printable`."""
    from drivers import safe_files

    return safe_files.printable(str(text))


def signed_duration(text: str | float) -> float:
    """Return the seconds of a signed duration such as ``+7m`` or ``-30s``."""
    if isinstance(text, float):  # the default
        return text
    return (-1.0 if text.startswith("-") else 1.0) * duration(text.removeprefix("-").removeprefix("+"))


def _comm_key(path: Path | None) -> Path | None:
    if path is not None:
        from drivers.textfile import TextFileError, read_comm_key

        try:
            read_comm_key(path)
        except OSError as exc:
            raise typer.BadParameter(f"{path} cannot be read ({exc.strerror}).") from None
        except TextFileError as exc:
            raise typer.BadParameter(f"{path}: {exc}.") from None
    return path


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hadir {version('hadir-gateway')}")
        raise typer.Exit


Config = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", envvar="HADIR_CONFIG", help="The configuration."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Address = Annotated[
    str,
    typer.Argument(metavar="ADDRESS|NAME", help="IP address or host name, with :port if it is not 4370; for --driver "
                   "anviz a serial port such as /dev/ttyUSB0, or tcp://host; or a name from the configuration, whose "
                   "options are then used."),
]  # fmt: skip
DriverName = Annotated[str, typer.Option("--driver", metavar="NAME", help="The family of terminals.")]
Udp = Annotated[bool, typer.Option("--udp", help="Speak UDP instead of TCP.")]
CommKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=_comm_key, help="A file that holds the terminal's communication key."),
]
Timeout = Annotated[
    float | None,
    typer.Option(parser=duration, metavar="DURATION", help="How long to wait for one answer; 10s by default."),
]


@app.callback()
def _hadir(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Attendance gateway: from fingerprint terminals over a durable ledger to MQTT.

    Absensi sidik jari: dari mesin ke MQTT, tanpa kehilangan satu catatan pun.
    """


# --- configuration and ledger --------------------------------------------------------------------------------------


def load_settings(path: Path) -> "Settings":
    """Load the configuration as the daemon does; print every mistake and end the command if there is one."""
    from gateway.settings import SettingsError, load

    try:
        return load(path)
    except SettingsError as exc:
        raise misconfigured(exc) from None


def misconfigured(exc: "SettingsError") -> Failure:
    """Print every mistake of the configuration, and return the failure that ends the command."""
    for line in exc.lines:
        print_stderr(line)
    count = len(exc.lines)
    what = f"{count} mistake{'s' if count > 1 else ''} in the configuration"
    return Failure(Code.CONFIG, what, "no_config" if exc.missing else "config")


@contextmanager
def open_ledger(data_dir: Path) -> Iterator["LedgerReader"]:
    """Open the ledger for reading; a daemon may be writing to it at the same time."""
    from gateway.ledger import FILE_NAME, LedgerError, LedgerReader

    try:
        hint = "ledger" if (data_dir / FILE_NAME).exists() else "no_ledger"
        ledger = LedgerReader(data_dir)
        try:
            yield ledger
        finally:
            ledger.close()
    except PermissionError as exc:
        raise Failure(Code.DISK, f"{data_dir}: {exc.strerror}", "permission") from exc
    except LedgerError as exc:
        raise Failure(Code.DISK, str(exc), hint) from exc


# --- output -------------------------------------------------------------------------------------------------------


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show a spinner while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with rich_console(sys.stderr).status(text):
        yield


def with_progress_bar(records: "list[Record]", file: TextIO) -> "Iterable[Record]":
    """Iterate with a progress bar if the records go to a file; on a screen the records themselves show the progress."""
    return progress(records, len(records), "writing") if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else records


def progress(items: Iterable[T], total: int, text: str) -> Iterable[T]:
    """Iterate; show a progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.progress import track

    return track(items, text, total, console=rich_console(sys.stderr), transient=True)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_fields(fields: "Mapping[str, object]") -> None:
    """Print names and values, one pair per line, values aligned."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"  {name:<{width}}  {value}")


def grouped(number: int | None) -> str:
    """Return a count with thousands separators; ``?`` for None."""
    return "?" if number is None else f"{number:,}"


def fullness(records: int | None, capacity: int | None, *, short: bool = False) -> str:
    """Return how full a log is: ``1,204 of 100,000 records (1 %)``."""
    percent = f" ({100 * records / capacity:.0f} %)" if capacity and records is not None else ""
    of = f" of {grouped(capacity)}" if capacity and not short else ""
    return f"{grouped(records)}{of}{'' if short else ' records'}{percent}"


def code_text(code: int, label: str | None) -> str:
    """Return a raw code followed by its label, if it has one."""
    return f"{code} {label}" if label else str(code)


def duration_text(time_span: timedelta) -> str:
    """Return the two largest units of a duration: ``7 min 2 s``."""
    left = round(abs(time_span.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def offset_text(offset_ms: int, bound_ms: int) -> str:
    """Return a clock's offset in words: ``7 min 2 s ahead``, or ``right`` where it is within the measurement error."""
    if abs(offset_ms) <= max(bound_ms, 1000):
        return "right"
    return f"{duration_text(timedelta(milliseconds=offset_ms))} {'ahead' if offset_ms > 0 else 'behind'}"


def local_text(utc: str | None, zone: "ZoneInfo") -> str:
    """Return a UTC timestamp (ISO 8601) in local time; ``-`` for None."""
    return "-" if utc is None else f"{datetime.fromisoformat(utc).astimezone(zone):%Y-%m-%d %H:%M:%S}"
