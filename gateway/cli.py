"""The command line: what each command prints, and the exit codes that scripts rely on.

Only what every command needs is imported here, the rest where it is used, so that ``hadir --help`` is quick.
"""
# ruff: noqa: PLC0415, T201 - see above; and printing is what a command line is for

import csv
import json
import os
import re
import select
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from importlib.metadata import version
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from drivers.base import Driver, DriverError, Record, Terminal
    from drivers.zkteco.simulator import Simulator
    from gateway.ledger import Known, LedgerReader, Waiting
    from gateway.settings import Settings, SettingsError

DEFAULT_CONFIG = Path("/etc/hadir/gateway.yaml")
TAIL = 8
"""Records that a probe reads to find out how the log is laid out."""
FOLLOW_S = 0.5
FOLLOW_BATCH = 500


class Code(IntEnum):
    """Exit codes; above 63 they mean what sysexits.h means by them."""

    NEGATIVE = 1
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    INTERNAL = 70
    DISK = 74
    LOCKED = 75
    PROTOCOL = 76
    REFUSED = 77
    CONFIG = 78


EPILOG = """Exit codes: 0 done · 1 a negative result · 2 wrong usage · 3 no daemon runs

69 terminal unreachable · 70 internal error · 74 ledger or disk

75 ledger in use · 76 not a terminal we know · 77 refused · 78 configuration"""

# What to do next, in English and Indonesian, for the failures that people in an office meet.
HINTS = {
    "unavailable": (
        "Check power, network cable and IP address. Some terminals talk to one program only.",
        "Mesin absen tidak menjawab: periksa listrik, kabel jaringan, dan alamat IP.",
    ),
    "name": (
        "Check the spelling, or write the terminal's IP address.",
        "Nama ini tidak ditemukan: periksa ejaannya, atau tulis alamat IP mesin absen.",
    ),
    "refused": (
        "A person must act: see above and the terminal's own menu.",
        "Mesin absen menolak: lihat pesan di atas dan periksa menu mesin.",
    ),
    "key": (
        "Write the key into a file and name it with --comm-key-file, or with comm_key_file in the configuration.",
        "Mesin absen menolak kunci komunikasi (Comm Key): samakan dengan kunci di menu mesin.",
    ),
    "encrypted": (
        "Until then this terminal cannot be read over the network.",
        "Mesin absen meminta komunikasi terenkripsi: matikan di menu mesin, atau pakai mode PUSH.",
    ),
    "panel": (
        "Check the IP address: attendance terminals and door panels use the same port.",
        "Yang menjawab panel akses pintu, bukan mesin absen: periksa alamat IP.",
    ),
    "protocol": (
        "What answers is not a terminal that this version understands. Check the IP address and the port.",
        "Yang menjawab bukan mesin absen yang dikenal: periksa alamat IP dan port.",
    ),
    "no_config": (
        "Create it, or name the right one with --config FILE or HADIR_CONFIG.",
        "Berkas konfigurasi tidak ditemukan: buat dulu, atau tunjukkan dengan --config BERKAS.",
    ),
    "config": (
        "Correct the configuration, then try `hadir check`.",
        "Konfigurasi salah: perbaiki baris di atas, lalu jalankan `hadir check`.",
    ),
    "no_ledger": (
        "Check data_dir in the configuration if the gateway has run before.",
        "Belum ada ledger: jalankan hadir run dulu, atau periksa data_dir di konfigurasi.",
    ),
    "ledger": (
        "The terminals keep what has not been read yet.",
        "Ledger atau disk bermasalah: periksa ruang disk dan izin folder data. Data di mesin absen tetap aman.",
    ),
    "locked": (
        "Only one hadir may use a data_dir at a time.",
        "Hadir sudah berjalan dengan data_dir ini: hentikan dulu, misalnya systemctl stop hadir.",
    ),
    "permission": (
        "Try again as the user that runs the daemon, or with sudo.",
        "Tidak ada izin: jalankan sebagai pengguna daemon, atau dengan sudo.",
    ),
    "output": (
        "Choose another file, or make room on the disk.",
        "Berkas tidak dapat ditulis: pilih berkas lain, atau kosongkan ruang disk.",
    ),
    "not_running": (
        "Start it with `systemctl start hadir`, or `hadir run` in a terminal window.",
        "Daemon hadir tidak berjalan: jalankan dengan systemctl start hadir.",
    ),
    "internal": (
        "This is a mistake in hadir. Run it again with HADIR_DEBUG=1 for the details, and report them.",
        "Kesalahan di dalam hadir: jalankan lagi dengan HADIR_DEBUG=1, lalu laporkan hasilnya.",
    ),
}
# Part of a driver's refusal → what to do about it; any other is "refused".
REFUSALS = {"communication key": "key", "encrypt": "encrypted", "access panel": "panel"}


class Failure(Exception):  # noqa: N818 - named by what the person sees
    """Ends a command: a message, what to do next, an exit code."""

    def __init__(self, code: Code, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join((f"hadir: {self.args[0]}", *(f"  {line}" for line in HINTS[self.hint])))


class _Commands(TyperGroup):
    """Turns what commands raise into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            _debug(failure.__cause__)
            _say(str(failure))
            raise typer.Exit(failure.code) from None
        except BrokenPipeError:
            # Whoever read our output has had enough; the rest goes nowhere.
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
simulate = typer.Typer(no_args_is_help=True, help="Serve a simulated terminal.")

GATEWAY, TERMINALS, TRYING = "The gateway", "Terminals", "Trying it out"


def main() -> None:
    """Run a command and end the process with its exit code; never with a traceback, which may hold secrets."""
    sys.stdout, sys.stderr = map(_robust, (sys.stdout, sys.stderr))
    try:
        app(prog_name="hadir")
    except Exception as exc:  # noqa: BLE001 - whatever was not foreseen
        _debug(exc)
        # Without the exception's own words, which may repeat what must not be seen.
        place = traceback.extract_tb(exc.__traceback__)[-1]
        what = f"internal error: {type(exc).__name__} in {Path(place.filename).name}:{place.lineno}"
        _say(str(Failure(Code.INTERNAL, what, "internal")))
        sys.exit(Code.INTERNAL)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_output()


def _robust(stream: TextIO | None) -> TextIO:
    """Return a stream that takes any character, also where it was closed or knows ASCII only."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _debug(exc: BaseException | None) -> None:
    if exc is None or not os.environ.get("HADIR_DEBUG"):
        return
    traceback.print_exception(exc)
    if capture := getattr(exc, "capture", None):
        _say(f"The last packets:\n{capture}")


def _abandon_output() -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """Write to standard error, which nobody may be reading."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _console(file: TextIO | None = None) -> "Console":
    """Return a Rich console that prints what it is given and, where nobody looks, does not break lines."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    file = file or sys.stdout
    return Plain(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else 250)


# --- options ------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    from drivers.base import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is {exc}.") from None
    if not isinstance(seconds, float) or seconds <= 0:
        raise typer.BadParameter(f"{text!r} is too short; write more than 0s.")
    return seconds


def _offset(text: str | float) -> float:
    if isinstance(text, float):  # the default
        return text
    return (-1.0 if text.startswith("-") else 1.0) * _seconds(text.removeprefix("-").removeprefix("+"))


def _comm_key(path: Path | None) -> Path | None:
    if path is not None:
        try:
            key = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            key = ""
        if not re.fullmatch("[0-9]{1,6}", key):
            raise typer.BadParameter(f"{path} holds no communication key; write a number from 0 to 999999 in it.")
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
    typer.Argument(metavar="ADDRESS|NAME", help="IP address or host name, with :port if it is not 4370; or a name "
                   "from the configuration, whose key and transport are then used."),
]  # fmt: skip
DriverName = Annotated[str, typer.Option("--driver", metavar="NAME", help="The family of terminals.")]
Udp = Annotated[bool, typer.Option("--udp", help="Speak UDP instead of TCP.")]
CommKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=_comm_key, help="A file that holds the terminal's communication key."),
]
Timeout = Annotated[
    float | None,
    typer.Option(parser=_seconds, metavar="DURATION", help="How long to wait for one answer; 10s by default."),
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


# --- the gateway --------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=GATEWAY)
def run(
    config: Config = DEFAULT_CONFIG,
    assume_synchronised: Annotated[
        bool,
        typer.Option("--assume-synchronised", help="Take this machine's clock as right, whatever the system says."),
    ] = False,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C)."""
    settings = _settings(config)
    import structlog

    from gateway.app import Daemon, configure_logging
    from gateway.clock import AssumedClock, SystemClock
    from gateway.ledger import LedgerError, LedgerLocked

    configure_logging()
    log = structlog.get_logger("gateway")
    for line in settings.not_yet():
        log.warning("setting_without_effect", setting=line)
    stop = threading.Event()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        # From a thread: the main one may be inside the event's lock, waiting for it.
        threading.Thread(target=stop.set).start()
        signal.signal(number, signal.SIG_DFL)  # whoever asks twice means it

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        code = Daemon(settings, clock=AssumedClock() if assume_synchronised else SystemClock()).run(stop)
    except LedgerLocked as exc:
        raise Failure(Code.LOCKED, str(exc), "locked") from exc
    except LedgerError as exc:
        raise Failure(Code.DISK, str(exc), "ledger") from exc
    raise typer.Exit(code)


@app.command(rich_help_panel=GATEWAY)
def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The same as --config.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Check the configuration and show every mistake with its line."""
    from gateway.settings import SettingsError, load

    path = file or config
    try:
        settings = load(path)
    except SettingsError as exc:
        if as_json:
            _print_json({"ok": False, "file": str(path), "errors": [p._asdict() for p in exc.problems]})
        raise _misconfigured(exc) from None
    warnings = settings.not_yet()
    terminals = [
        {"name": t.name, "driver": t.driver, "address": getattr(t, "address", None)} for t in settings.terminals
    ]
    summary = {
        "site": settings.site,
        "gateway": settings.gateway,
        "timezone": settings.timezone,
        "broker": settings.mqtt.url,
        "data_dir": str(settings.data_dir),
        "terminals": terminals,
    }
    if as_json:
        _print_json({"ok": True, "file": str(path), **summary, "warnings": warnings})
        return
    print(f"OK: {path}")
    named = [f"{t['name']} ({', '.join(filter(None, (t['driver'], t['address'])))})" for t in terminals]
    _print_fields({**summary, "terminals": f"{len(named)}: {', '.join(named)}"})
    for line in warnings:
        _say(f"warning: {line}")


@app.command(rich_help_panel=GATEWAY)
def schema() -> None:
    """Print the configuration's JSON Schema, for editors."""
    from gateway.settings import json_schema

    _print_json(json_schema())


@app.command(rich_help_panel=GATEWAY)
def status(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show how the gateway and its terminals are."""
    from gateway.control import ask
    from gateway.ledger import FILE_NAME

    settings = _settings(config)
    folder = settings.data_dir
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        pass  # before the first run
    except OSError as exc:
        raise Failure(Code.DISK, f"{folder}: {exc.strerror}", "permission") from exc
    told = ask(folder, "status")
    counts: dict[str, Any] | None = None
    terminals: dict[str, dict[str, Any]] = {}
    if (folder / FILE_NAME).exists():
        try:
            with _ledger(folder) as ledger:
                counts = asdict(ledger.counts())
                terminals = {known.name: _of_ledger(known) for known in ledger.terminals()}
        except Failure:
            if told is None:  # a running daemon has told what matters
                raise
    if told is not None:
        terminals = told["terminals"]
    if as_json:
        _print_json({"running": told is not None, **(told or {}), "terminals": terminals, "ledger": counts})
    else:
        _print_status(settings, told, terminals, counts)
    if told is None:
        raise Failure(Code.NOT_RUNNING, f"the daemon is not running (nobody answers in {folder})", "not_running")


def _of_ledger(known: "Known") -> dict[str, Any]:
    """Return what a terminal's state would tell, as far as the ledger knows it."""
    return {
        "state": "unknown",
        "serial": known.serial,
        "layout": known.layout,
        "clock": None,
        "records": known.in_log,
        "capacity": None,
        "last_punch": known.last_punch,
    }


def _print_status(
    settings: "Settings",
    told: dict[str, Any] | None,
    terminals: dict[str, dict[str, Any]],
    counts: dict[str, Any] | None,
) -> None:
    from zoneinfo import ZoneInfo

    from rich.table import Table

    zone = ZoneInfo(settings.timezone)
    console = _console()
    fields = {"gateway": f"{settings.site}/{settings.gateway}, not running"}
    if told is not None:
        health = told["health"]
        uptime = _span(timedelta(seconds=health["uptime_s"]))
        waiting = f"{_many(health['backlog'])} events wait"
        if health["backlog"]:
            waiting += f", the oldest since {_local(health['oldest_waiting'], zone)}"
        clock = "synchronised" if health["clock_synchronised"] else "NOT synchronised: punches are marked unverified"
        fields = {
            "gateway": f"{settings.site}/{settings.gateway}, hadir {told['version']}, running for {uptime}",
            "broker": f"{settings.mqtt.url}, {told['broker']}; {waiting}",
            "clock": clock,
        }
    if counts is None:
        fields["ledger"] = "none yet" if told is None else "cannot be read by you"
    else:
        parts = [
            f"{_many(counts['sequence'])} events: {_many(counts['sent'])} sent, {_many(counts['waiting'])} waiting"
        ]
        parts += [f"{_many(counts[key])} {key}" for key in ("parked", "withheld", "unconfirmed") if counts[key]]
        fields["ledger"] = ", ".join(parts)
    _print_fields(fields)
    if not terminals:
        return
    print()
    table = Table("terminal", "state", box=None, pad_edge=False, header_style="bold")
    for heading in ("since", "serial", "last punch", "clock", "records"):
        table.add_column(heading, no_wrap=True)
    for name, state in terminals.items():
        colour = {"online": "green", "offline": "red"}.get(state["state"], "")
        table.add_row(
            name,
            f"[{colour}]{state['state']}[/{colour}]" if colour else state["state"],
            _local(state.get("since"), zone)[5:16] or "-",
            state["serial"] or "-",
            (state["last_punch"] or "-").replace("T", " "),
            "-" if state["clock"] is None else _ahead(state["clock"]["offset_ms"], state["clock"]["bound_ms"]),
            _full(state["records"], state["capacity"], short=True),
        )
    console.print(table, markup=True)
    for name, state in terminals.items():
        if state.get("reason"):
            console.print(f"{name}: {state['reason']}", soft_wrap=True)


@app.command(rich_help_panel=GATEWAY)
def tail(
    config: Config = DEFAULT_CONFIG,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many events to begin with.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    pins: Annotated[bool, typer.Option("--pins", help="Show PINs whole.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines; with --pins exactly as they are published.")
    ] = False,
) -> None:
    """Show the newest events of the ledger, with masked PINs."""
    settings = _settings(config)
    with _ledger(settings.data_dir) as ledger, suppress(KeyboardInterrupt):
        last = max(0, ledger.last_sequence() - lines)
        waiting = {event.sequence for event in ledger.pending(last, lines)}
        events = ledger.events(last, lines)
        while True:
            for event in events:
                sent = "" if follow else "waiting" if event.sequence in waiting else "sent"
                print(_as_published(event, pins=pins) if as_json else _event_line(event, sent, pins=pins))
                last = event.sequence
            sys.stdout.flush()
            if not follow:
                return
            if len(events) < FOLLOW_BATCH:
                time.sleep(FOLLOW_S)
            events = ledger.events(last, FOLLOW_BATCH)


def _masked(pin: str) -> str:
    return "***" + (pin[-2:] if len(pin) > 2 else "")


def _as_published(event: "Waiting", *, pins: bool) -> str:
    if pins:
        return event.body
    body = json.loads(event.body)
    data = body["data"]
    if data.get("pin") is not None:
        data["pin"] = _masked(data["pin"])
    if "raw" in data:
        data["raw"] = None  # it holds the PIN too
    return json.dumps(body, ensure_ascii=False)


def _event_line(event: "Waiting", sent: str, *, pins: bool) -> str:
    body = json.loads(event.body)
    data = body["data"]
    kind = body["type"].removeprefix("hadir.").removesuffix(".v1")
    if kind == "punch.recorded":
        kind = "punch"
        person = f"uid:{data['uid']}" if data["pin"] is None else data["pin"] if pins else _masked(data["pin"])
        state, verify = data["state_label"] or data["state"], data["verify_label"] or data["verify"]
        details = f"{person:<8} {state:<9} {verify:<11} {','.join(data['suspect'])}"
    else:
        details = data.get("reason") or data.get("cause") or ""
    moment = (data.get("local_time") or body["time"][:19]).replace("T", " ")
    return f"{event.sequence:>7} {sent:<7} {moment} {body.get('subject') or '-':<10} {kind:<5} {details}".rstrip()


def _settings(path: Path) -> "Settings":
    from gateway.settings import SettingsError, load

    try:
        return load(path)
    except SettingsError as exc:
        raise _misconfigured(exc) from None


def _misconfigured(exc: "SettingsError") -> Failure:
    """Say every mistake, and return what ends the command."""
    for line in exc.lines:
        _say(line)
    count = len(exc.lines)
    what = f"{count} mistake{'s' if count > 1 else ''} in the configuration"
    return Failure(Code.CONFIG, what, "no_config" if "no such file; start" in exc.lines[0] else "config")


@contextmanager
def _ledger(data_dir: Path) -> Iterator["LedgerReader"]:
    """Open the ledger for reading; a daemon may be writing it."""
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


# --- terminals ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A terminal somebody wants to talk to."""

    where: str
    driver: "Driver"
    options: Any
    zone: "ZoneInfo | None"
    """The zone of its clock, where the configuration says so; else this computer's is assumed."""

    @contextmanager
    def conversation(self) -> Iterator["Terminal"]:
        """Talk to it; whatever its driver raises ends the command."""
        from drivers.base import DriverError

        try:
            with self.driver.connect(self.options) as terminal:
                yield terminal
        except DriverError as exc:
            raise self.failure(exc) from exc

    def failure(self, exc: "DriverError") -> Failure:
        """Translate a driver's error."""
        from drivers.base import TerminalRefused, TerminalUnavailable

        message = re.sub(rf"^{re.escape(self.where)}(:[0-9]+)? ", "", str(exc))
        text = f"{self.where}: {message}"
        if isinstance(exc, TerminalUnavailable):
            unknown = isinstance(exc.__cause__, socket.gaierror | UnicodeError)
            return Failure(Code.UNAVAILABLE, text, "name" if unknown else "unavailable")
        if isinstance(exc, TerminalRefused):
            hints = [hint for words, hint in REFUSALS.items() if words in message]
            return Failure(Code.REFUSED, text, hints[0] if hints else "refused")
        return Failure(Code.PROTOCOL, text, "protocol")


def _target(
    address: str, config: Path, driver: str, *, udp: bool, comm_key_file: Path | None, timeout: float | None
) -> Target:
    """Find out who is meant: a terminal of the configuration by its name, or whoever answers at an address."""
    from pydantic import ValidationError

    from drivers import DRIVERS

    given: dict[str, Any] = {"transport": "udp"} if udp else {}
    if timeout is not None:
        given["timeout"] = timeout
    if comm_key_file is not None:
        given["comm_key_file"] = comm_key_file
    if re.fullmatch("[a-z0-9-]+", address) and os.access(config, os.F_OK):
        settings = _settings(config)
        for entry in settings.terminals:
            if entry.name == address:
                where = str(getattr(entry, "address", address))
                return Target(where, DRIVERS[entry.driver], entry.model_copy(update=given), settings.zone(entry))
    if driver not in DRIVERS:
        raise typer.BadParameter(f"no such driver; write {' or '.join(sorted(DRIVERS))}.", param_hint="--driver")
    try:
        options = DRIVERS[driver].options.model_validate({"name": address, "address": address})
    except ValidationError as exc:
        reason = exc.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{reason}.", param_hint="ADDRESS") from None
    return Target(address, DRIVERS[driver], options.model_copy(update=given), None)


@app.command(rich_help_panel=TERMINALS)
def probe(
    address: Address,
    comm_key_file: CommKey = None,
    udp: Udp = False,
    timeout: Timeout = None,
    driver: DriverName = "zkteco",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Ask who answers at an address: serial, clock, log.

    Reads the end of the log only, to see how it is laid out. Nothing changes at the terminal.
    """
    target = _target(address, config, driver, udp=udp, comm_key_file=comm_key_file, timeout=timeout)
    found: dict[str, Any] = {"address": target.where, "driver": target.driver.name}
    failure = None
    try:
        with _busy(f"asking {target.where} …"), target.conversation() as terminal:
            _look(terminal, target, found)
    except Failure as exc:
        failure = exc  # what was learned before is shown all the same
        found["error"] = {"code": exc.code.name.lower(), "exit_code": int(exc.code), "message": str(exc.args[0])}
    if as_json:
        _print_json(found)
    elif "serial" in found:
        _print_probe(found)
    if failure is not None:
        raise failure


def _look(terminal: "Terminal", target: Target, found: dict[str, Any]) -> None:
    """Add what ``terminal`` tells to ``found``, from the smallest question to the largest."""
    from drivers.base import Logged, RawPunch

    found |= asdict(terminal.identify())
    asked = datetime.now().astimezone()
    clock = terminal.read_clock()
    found["clock"] = None
    if clock is not None:
        shown = clock.local_time.replace(tzinfo=target.zone or asked.tzinfo)
        # The terminal shows whole seconds: on average it is half a second further.
        middle = asked + timedelta(seconds=clock.round_trip_s / 2 - 0.5)
        found["clock"] = {
            "local_time": clock.local_time.isoformat(),
            "offset_ms": round((shown - middle) / timedelta(milliseconds=1)),
            "bound_ms": 500 + round(clock.round_trip_s * 500),
        }
    if not isinstance(terminal, Logged):
        return
    sizes = terminal.sizes()
    found |= asdict(sizes)
    reading = terminal.read(max(0, (sizes.records or 0) - TAIL))
    times = [record.local_time.isoformat() for record in reading.records if isinstance(record, RawPunch)]
    found |= {
        "records": reading.total,
        "layout": reading.layout if reading.total else None,
        "by_uid": reading.by_uid if reading.total else None,
        "oldest": times[0] if times and reading.start == 0 else None,
        "newest": times[-1] if times else None,
    }


def _print_probe(found: dict[str, Any]) -> None:
    clock = found.get("clock")
    fields = {key: found[key] or "not told" for key in ("serial", "model", "firmware", "platform")}
    fields["clock"] = "none, or it shows an impossible date"
    if clock is not None:
        offset = _ahead(clock["offset_ms"], clock["bound_ms"])
        offset = {"right": "the same as", "ahead": f"{offset} of"}.get(offset.rpartition(" ")[2], offset)
        fields["clock"] = f"{clock['local_time'].replace('T', ' ')}, {offset} this computer"
        half_hours = abs(clock["offset_ms"]) / 1_800_000
        if half_hours > 0.9 and abs(half_hours - round(half_hours)) < 0.1:
            fields["clock"] += " (or in another time zone)"
    if "records" in found:
        fields["log"] = _full(found["records"], found["capacity"])
    if found.get("layout"):
        fields["log"] += f", layout {found['layout']}"
        fields["log"] += " (names people by an internal number)" if found["by_uid"] else ""
        if found["oldest"]:
            fields["oldest"] = found["oldest"].replace("T", " ")
        fields["newest"] = (found["newest"] or "unreadable").replace("T", " ")
    print(f"{found['address']}: a terminal that speaks {found['driver']}")
    _print_fields(fields)


class Format(StrEnum):
    """How records are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command(rich_help_panel=TERMINALS)
def read(
    address: Address,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="JSON means a line for each record. By default what --output ends in, or table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Write to a file.")
    ] = None,
    start: Annotated[
        int, typer.Option("--from", min=0, metavar="POSITION", help="Leave out records before this position.")
    ] = 0,
    comm_key_file: CommKey = None,
    udp: Udp = False,
    timeout: Timeout = None,
    driver: DriverName = "zkteco",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show a terminal's log, with PINs.

    Nothing is stored in the ledger or sent to the broker, and nothing changes at the terminal.
    """
    from drivers.base import BadRecord, Enrolled, Logged, ProtocolError

    target = _target(address, config, driver, udp=udp, comm_key_file=comm_key_file, timeout=timeout)
    if form is None:
        form = {".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSON}.get(
            output.suffix if output else "", Format.TABLE
        )
    began = time.monotonic()
    pins = {}
    with _busy(f"reading the log of {target.where} …"), target.conversation() as terminal:
        if not isinstance(terminal, Logged):
            raise typer.BadParameter("a terminal of this kind keeps no log.", param_hint="ADDRESS")
        reading = terminal.read(start)
        if reading.by_uid and isinstance(terminal, Enrolled):
            try:
                pins = dict(terminal.pins())
            except ProtocolError as exc:
                _say(f"warning: who is behind the internal numbers could not be read ({exc})")
    took_s = time.monotonic() - began
    records = list(islice(reading.records, max(0, start - reading.start), None))
    first = max(start, reading.start)
    try:
        with output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout) as file:
            numbered = enumerate(_with_bar(records, file), first)
            _write_records(file, form, ({"position": at, **_plain(record, pins)} for at, record in numbered))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise Failure(Code.DISK, f"{output or 'the output'}: {exc.strerror}", "output") from exc
    bad = sum(isinstance(record, BadRecord) for record in records)
    unreadable = f", {_many(bad)} of them unreadable" if bad else ""
    layout = f", layout {reading.layout}" if reading.total else ""
    whole = f"{_many(len(records))} of the {_many(reading.total)} records of {target.where}"
    _say(f"{whole}{layout}{unreadable}; read in {took_s:.1f} s")


def _plain(record: "Record", pins: "Mapping[int, str]") -> dict[str, Any]:
    """Return a record as plain values; ``bad`` says why one cannot be read as a punch."""
    from drivers.base import BadRecord
    from gateway.punch import STATE_LABELS, VERIFY_LABELS

    if isinstance(record, BadRecord):
        return {"bad": record.reason, "raw": record.raw.hex()}
    return {
        "pin": pins.get(record.uid) if record.pin is None and record.uid is not None else record.pin,
        "uid": record.uid,
        "local_time": record.local_time.isoformat(),
        "state": record.state,
        "state_label": STATE_LABELS.get(record.state),
        "verify": record.verify,
        "verify_label": VERIFY_LABELS.get(record.verify),
        "work_code": record.work_code,
        "bad": None,
        "raw": record.raw.hex(),
    }


COLUMNS = (
    "position", "local_time", "pin", "uid", "state", "state_label", "verify", "verify_label", "work_code", "bad", "raw",
)  # fmt: skip


def _write_records(file: TextIO, form: Format, rows: Iterable[dict[str, Any]]) -> None:
    if form is Format.JSON:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    elif form is Format.CSV:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        line = "{:>8}  {:19}  {:<14} {:<14} {:<14} {}"
        print(line.format("position", "local time", "PIN", "state", "verify", "work code"), file=file)
        for row in rows:
            if row["bad"]:
                print(f"{row['position']:>8}  UNREADABLE: {row['bad']}; raw {row['raw']}", file=file)
                continue
            values = (
                row["position"],
                row["local_time"].replace("T", " "),
                f"uid:{row['uid']}" if row["pin"] is None else row["pin"],
                _code(row["state"], row["state_label"]),
                _code(row["verify"], row["verify_label"]),
                row["work_code"] or "",
            )
            print(line.format(*values).rstrip(), file=file)


# --- trying it out ------------------------------------------------------------------------------------------------

app.add_typer(simulate, name="simulate", rich_help_panel=TRYING)


@app.command(rich_help_panel=TRYING)
def demo(
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=_seconds, metavar="DURATION", help="End after this time, such as 20s; else Ctrl-C."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No live table.")] = False,
) -> None:
    """Show everything at work on this computer.

    Three simulated terminals, the gateway, a broker and a subscriber; at the end three numbers that must be equal.
    """
    from gateway.demo import demo as run_demo

    raise typer.Exit(run_demo(for_s, plain=plain))


@simulate.callback()
def _simulate() -> None:
    """Serve a simulated terminal."""


@simulate.command()
def zkteco(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 4370,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for everybody.")] = "127.0.0.1",
    records: Annotated[int, typer.Option(min=0, help="Records in the log to begin with.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same log.")] = 1,
    people: Annotated[int, typer.Option(min=1, help="People enrolled: 1001, 1002 and so on.")] = 50,
    layout: Annotated[str, typer.Option(help="Layout of the records: 40, 49, 16, 8 or 8-ma300.")] = "40",
    comm_key: Annotated[int, typer.Option(min=0, max=999_999, help="Communication key; 0: none.")] = 0,
    serial: Annotated[str, typer.Option(help="Serial number.")] = "SIM0000000001",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "Simulated F18",
    clock_offset: Annotated[
        float,
        typer.Option(parser=_offset, metavar="DURATION", help="How far the clock is off, such as +7m or -30s."),
    ] = 0.0,
    capacity: Annotated[int, typer.Option(min=1, help="Records that fit; then the oldest is overwritten.")] = 100_000,
    event_length: Annotated[int, typer.Option(help="Bytes of a live event: 10, 12, 14, 32, 36, 37 or 52.")] = 32,
    attlog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Take the log from a USB export, attlog.dat."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="The zone its clock shows, such as Asia/Jakarta; this machine's.")
    ] = None,
    punch_every: Annotated[
        float | None, typer.Option(parser=_seconds, metavar="DURATION", help="Somebody punches this often.")
    ] = None,
    one_conversation: Annotated[bool, typer.Option("--one-conversation", help="Serve one client at a time.")] = False,
) -> None:
    """Serve a ZKTeco terminal over TCP and UDP until Ctrl-C.

    Lines typed while it runs are commands: punch 1001, rush 20, clock +7m, status, help.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from drivers.zkteco.simulator import Simulator, build

    try:
        zone = ZoneInfo(timezone) if timezone else None
    except (ZoneInfoNotFoundError, ValueError):
        raise typer.BadParameter(f"there is no time zone {timezone}.", param_hint="--timezone") from None
    try:
        terminal = build(
            now=lambda: datetime.now(zone).replace(tzinfo=None),
            serial=serial,
            layout=layout,
            people=people,
            records=records,
            seed=seed,
            attlog=attlog,
            comm_key=comm_key,
            clock_offset_s=clock_offset,
            capacity=capacity,
            event_length=event_length,
            one_conversation=one_conversation,
        )
    except (ValueError, OSError) as exc:
        raise typer.BadParameter(f"{exc}.") from None
    terminal.model = model
    with _told_to_stop() as stop, ExitStack() as stack:
        try:
            simulator = stack.enter_context(Simulator(terminal, host, port))
        except OSError as exc:
            what = f"{host}:{port} cannot be used ({exc.strerror}); --port 0 chooses a free port."
            raise typer.BadParameter(what, param_hint="--port") from None
        print(
            f"Terminal {serial} with {_many(terminal.count)} records at {simulator.address}, TCP and UDP. "
            f"Try: hadir probe {simulator.address}{' --comm-key-file FILE' if comm_key else ''}",
            flush=True,
        )
        if terminal.unusable_lines:
            _say(f"hadir: {_many(terminal.unusable_lines)} lines of {attlog} are no punches and were left out")
        _converse(simulator, stop, punch_every)


@contextmanager
def _told_to_stop() -> Iterator[socket.socket]:
    """Yield a socket that becomes readable on SIGTERM and Ctrl-C."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def tell(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            theirs.send(b"!")

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    with ours, theirs:
        try:
            yield ours
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _converse(simulator: "Simulator", stop: socket.socket, punch_every: float | None) -> None:
    """Carry out typed lines until told to stop; the end of the input ends nothing."""
    # Not by a thread that reads sys.stdin: it could not be ended.
    watched: list[Any] = [stop] if sys.stdin is None else [stop, sys.stdin.fileno()]
    typed = b""
    if sys.stdin is not None and sys.stdin.isatty():
        print(simulator.control("help"), flush=True)
    next_punch = time.monotonic() + (punch_every or 0)
    while True:
        wait_s = None if punch_every is None else max(0.0, next_punch - time.monotonic())
        ready, _, _ = select.select(watched, (), (), wait_s)
        if stop in ready:
            return
        if not ready and punch_every is not None:
            next_punch += punch_every
            simulator.control("rush 1")
        for descriptor in ready:
            received = os.read(descriptor, 65536)
            if not received:
                watched.remove(descriptor)
            *lines, typed = (typed + received + (b"" if received else b"\n")).split(b"\n")
            for line in lines:
                if line.strip() or received:
                    print(simulator.control(line.decode("utf-8", "replace")), flush=True)


# --- how things are said ------------------------------------------------------------------------------------------


@contextmanager
def _busy(text: str) -> Iterator[None]:
    """Show that something is going on, to a person."""
    if not sys.stderr.isatty():
        yield
        return
    with _console(sys.stderr).status(text):
        yield


def _with_bar(records: "list[Record]", file: TextIO) -> "Iterable[Record]":
    """Iterate with a progress bar, for a person who does not see the records themselves go by."""
    if not (sys.stderr.isatty() and stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
        return records
    from rich.progress import track

    return track(records, "writing", console=_console(sys.stderr), transient=True)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_fields(fields: "Mapping[str, object]") -> None:
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"  {name:<{width}}  {value}")


def _many(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _full(records: int | None, capacity: int | None, *, short: bool = False) -> str:
    percent = f" ({100 * records / capacity:.0f} %)" if capacity and records is not None else ""
    of = f" of {_many(capacity)}" if capacity and not short else ""
    return f"{_many(records)}{of}{'' if short else ' records'}{percent}"


def _code(code: int, label: str | None) -> str:
    return f"{code} {label}" if label else str(code)


def _span(time_span: timedelta) -> str:
    """Return the two largest units of a duration: ``7 min 2 s``."""
    left = round(abs(time_span.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _ahead(offset_ms: int, bound_ms: int) -> str:
    if abs(offset_ms) <= max(bound_ms, 1000):
        return "right"
    return f"{_span(timedelta(milliseconds=offset_ms))} {'ahead' if offset_ms > 0 else 'behind'}"


def _local(utc: str | None, zone: "ZoneInfo") -> str:
    return "-" if utc is None else f"{datetime.fromisoformat(utc).astimezone(zone):%Y-%m-%d %H:%M:%S}"


if __name__ == "__main__":
    main()
