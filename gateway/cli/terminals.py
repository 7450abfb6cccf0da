"""Commands that connect to a terminal directly, without the daemon: probe, discover, read.

They change nothing at a terminal and store nothing in the ledger.
"""
# ruff: noqa: T201 - a command line prints

import csv
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Annotated, Any, TextIO
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError
from rich.table import Table

from drivers import DRIVERS, no_such_driver
from drivers.base import (
    BadRecord,
    ClockReading,
    Delivering,
    DiscoveredTerminal,
    Driver,
    DriverError,
    Enrolled,
    Labels,
    Logged,
    ProtocolError,
    RawPunch,
    Reason,
    Record,
    Search,
    Sizes,
    Terminal,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
    marked_new,
)
from drivers.soap.terminal import SoapOptions
from drivers.values import STRICT
from drivers.zkteco.terminal import ZktecoOptions
from gateway.cli.base import Code, Failure, command_group, hint_lines, print_stderr
from gateway.cli.configuration import load_settings
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import (
    code_text,
    duration_text,
    fullness,
    grouped,
    offset_text,
    open_private,
    print_fields,
    print_json,
)
from gateway.cli.progress import progress, spinner, with_progress_bar
from gateway.cli.screen import rich_console
from gateway.cli.terminal_options import Address, CommKey, DriverName, Timeout, Udp, duration
from gateway.cli.ways import ways_of
from gateway.event import LABELS
from gateway.settings import Settings, load
from gateway.settings_text import SettingsError

TAIL = 8
"""Records that a probe reads to detect the layout of the log."""
NEW_AT_MOST = 250
"""New records that a probe reads, to show the newest one, where the end of the log cannot be read otherwise."""
FRESH = timedelta(minutes=2)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Target:
    """A terminal that a command connects to."""

    where: str
    driver: "Driver"
    options: Any
    zone: "ZoneInfo | None"
    """The zone of its clock, from the configuration; None: this computer's zone is assumed."""

    @contextmanager
    def session(self) -> Iterator["Terminal"]:
        """Connect to the terminal; a DriverError ends the command."""
        try:
            with self.driver.connect(self.options) as terminal:
                yield terminal
        except DriverError as exc:
            raise self.failure(exc) from exc

    def failure(self, exc: "DriverError") -> Failure:
        """Return the failure for an exception of the driver."""
        return failure_of(self.where, self.driver, exc)


def failure_of(where: str, driver: "Driver", exc: "DriverError") -> Failure:
    """Return the failure for an exception that a driver raised at an address."""
    message = re.sub(rf"^{re.escape(where)}(:[0-9]+)?:? ", "", str(exc))
    text = f"{where}: {message}"
    if isinstance(exc, TerminalUnavailable) and driver.attach is not None:
        return Failure(Code.UNAVAILABLE, text, "calls")
    if isinstance(exc, TerminalUnavailable) and driver.via == "serial":
        return Failure(Code.UNAVAILABLE, text, "port" if exc.reason is Reason.PORT_PERMISSION else "line")
    if isinstance(exc, TerminalUnavailable):
        return Failure(Code.UNAVAILABLE, text, "name" if exc.reason is Reason.NAME_UNKNOWN else "unavailable")
    if isinstance(exc, TerminalRefused):
        hints: dict[Reason | None, str] = {
            Reason.KEY_FILE: "key",
            Reason.KEY_REFUSED: "key",
            Reason.ENCRYPTED: "encrypted",
            Reason.ACCESS_PANEL: "panel",
        }
        return Failure(Code.REFUSED, text, hints.get(exc.reason, "refused"))
    return Failure(Code.PROTOCOL, text, "protocol")


def _target(
    address: str, config: Path, driver: str, *, udp: bool, comm_key_file: Path | None, timeout: float | None
) -> Target:
    """Return the terminal that the argument names: one of the configuration, or one at an address."""
    given: dict[str, Any] = {"transport": "udp"} if udp else {}
    if timeout is not None:
        given["timeout"] = timeout
    if comm_key_file is not None:
        given["comm_key_file"] = comm_key_file
    if re.fullmatch("[a-z0-9-]+", address) and os.access(config, os.F_OK):
        settings = load_settings(config)
        for entry in settings.terminals:
            if entry.name == address:
                where = str(getattr(entry, "address", getattr(entry, "port", address)))
                return Target(where, DRIVERS[entry.driver], entry.model_copy(update=given), settings.zone(entry))
    if driver not in DRIVERS:
        raise typer.BadParameter(f"{no_such_driver(driver)}.", param_hint="--driver")
    try:
        at = DRIVERS[driver].at
        given_address = {"name": address, "address": address}
        options = at(address) if at else DRIVERS[driver].options.model_validate(given_address, context={STRICT: True})
    except ValidationError as exc:
        reason = exc.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{reason}.", param_hint="ADDRESS") from None
    return Target(address, DRIVERS[driver], options.model_copy(update=given), None)


app = command_group()


@app.command()
def probe(
    address: Address,
    comm_key_file: CommKey = None,
    udp: Udp = False,
    timeout: Timeout = None,
    driver: DriverName = "zkteco",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Ask who answers at an address: serial, clock, log, and which ways it offers.

    Reads the end of the log only, to see how it is laid out. Of a ZKTeco or Solution terminal it tries port 4370 over
    TCP and UDP and the web service, each for seconds, and whether it calls the gateway that runs here. Nothing changes
    at the terminal. Ends with an error where the terminal does not answer the driver and offers no other way.
    """
    target = _target(address, config, driver, udp=udp, comm_key_file=comm_key_file, timeout=timeout)
    found: dict[str, Any] = {"address": target.where, "driver": target.driver.name}
    failure, cause = None, None
    try:
        with spinner(f"asking {target.where} …"), target.session() as terminal:
            _inspect(terminal, target, found)
    except Failure as exc:
        failure, cause = exc, exc.__cause__  # what was read before the failure is shown all the same
        found["error"] = _plain_failure(exc)
    if isinstance(target.options, ZktecoOptions | SoapOptions):
        with spinner(f"asking {target.where} …"):
            settings = _settings_or_none(config)
            met = cause if isinstance(cause, DriverError) else None
            found["ways"] = [way._asdict() for way in ways_of(target.options, found.get("serial"), met, settings)]
    ways = found.get("ways", [])
    if as_json:
        print_json(found)
    else:
        if "serial" in found:
            _print_probe(found)
        _print_ways(target.where, ways)
    if failure is not None and not (failure.code is Code.UNAVAILABLE and any(way["offered"] for way in ways)):
        raise failure


def _settings_or_none(config: Path) -> Settings | None:
    """Return the configuration of the gateway here; None where there is none to be read."""
    try:
        return load(config)
    except SettingsError:
        return None


def _print_ways(where: str, ways: list[dict[str, Any]]) -> None:
    if ways:
        print(f"Ways to read {where}:")
        marks = {True: "yes", False: "no", None: "?"}
        print_fields({way["name"]: f"{marks[way['offered']]}: {way['detail']}" for way in ways})


def _plain_failure(failure: Failure) -> dict[str, Any]:
    return {"code": failure.code.name.lower(), "exit_code": int(failure.code), "message": str(failure.args[0])}


def _inspect(terminal: "Terminal", target: Target, found: dict[str, Any]) -> None:
    """Add the terminal's properties to ``found``, from the smallest request to the largest."""
    found |= asdict(terminal.identify())
    requested = datetime.now().astimezone()
    clock = terminal.read_clock()
    found["clock"] = _plain_clock(requested, clock, target.zone)
    if not isinstance(terminal, Logged):
        return
    sizes = terminal.sizes()
    found |= asdict(sizes)
    if not isinstance(terminal, Delivering):
        reading = terminal.read(max(0, (sizes.records or 0) - TAIL))
        records = list(reading.records)
    elif 0 < (sizes.new or 0) <= NEW_AT_MOST:
        with marked_new(terminal) as marked:
            if marked is None:
                return
            reading, records = marked, list(marked.records)
    else:
        return  # reading the end of its log would mean to read all of it over a slow line
    times = [record.local_time.isoformat() for record in records if isinstance(record, RawPunch)]
    found |= {
        "records": reading.total,
        "layout": reading.layout if reading.total else None,
        "by_uid": reading.by_uid if reading.total else None,
        "oldest": times[0] if times and reading.start == 0 else None,
        "newest": times[-1] if times else None,
    }
    if times and clock is not None and hasattr(target.options, "epoch"):
        found["days_off"] = _days_off(datetime.fromisoformat(times[-1]) - clock.local_time)


def _days_off(ahead: timedelta) -> int:
    """Return by how many days a terminal's records seem to be ahead of its own clock: 1, -1, or 0 for no suspicion.

    ``ahead`` is how far its newest record is ahead. No record is made in the future; a record of a moment ago that is
    dated a whole day back is detected by a probe right after a test punch.
    """
    if FRESH < ahead <= DAY + FRESH:
        return 1
    return -1 if abs(ahead + DAY) <= FRESH else 0


def _plain_clock(requested: datetime, clock: "ClockReading | None", zone: "ZoneInfo | None") -> dict[str, Any] | None:
    if clock is None:
        return None
    shown = clock.local_time.replace(tzinfo=zone or requested.astimezone().tzinfo)
    # The terminal shows whole seconds: on average its clock is half a second further.
    middle = requested + timedelta(seconds=clock.round_trip_s / 2 - 0.5)
    return {
        "local_time": clock.local_time.isoformat(),
        "offset_ms": round((shown - middle) / timedelta(milliseconds=1)),
        "bound_ms": 500 + round(clock.round_trip_s * 500),
    }


def _print_probe(found: dict[str, Any]) -> None:
    clock = found.get("clock")
    fields = {key: found[key] or "not reported" for key in ("serial", "model", "firmware", "platform")}
    fields["clock"] = "none, or it shows an impossible date"
    if clock is not None:
        offset = offset_text(clock["offset_ms"], clock["bound_ms"])
        offset = {"right": "the same as", "ahead": f"{offset} of"}.get(offset.rpartition(" ")[2], offset)
        fields["clock"] = f"{clock['local_time'].replace('T', ' ')}, {offset} this computer"
        half_hours = abs(clock["offset_ms"]) / 1_800_000
        if half_hours > 0.9 and abs(half_hours - round(half_hours)) < 0.1:
            fields["clock"] += " (or in another time zone)"
    if "records" in found:
        fields["log"] = fullness(found["records"], found["capacity"])
        if found.get("new") is not None:
            fields["log"] += f", {grouped(found['new'])} of them new"
    if found.get("layout"):
        fields["log"] += f", layout {found['layout']}"
        fields["log"] += " (names people by an internal number)" if found["by_uid"] else ""
        if found["oldest"]:
            fields["oldest"] = found["oldest"].replace("T", " ")
        fields["newest"] = (found["newest"] or "unreadable").replace("T", " ")
        if days := found.get("days_off"):
            fields["newest"] += (
                f": a day {'ahead of' if days > 0 else 'behind'} the terminal's own clock? Check `epoch`"
            )
    print(f"{found['address']}: a terminal of driver {found['driver']}")
    print_fields(fields)


# --- discover -----------------------------------------------------------------------------------------------------

Look = Callable[[Search], Generator[DiscoveredTerminal | None, None, None]]
"""Searches for terminals; see :class:`drivers.base.Driver`."""
FEW = 1024
"""Addresses that are searched without --yes, at most."""
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8")))

# Hint of a failure → remark on the device that answers.
REMARKS = {
    "key": "needs its communication key",
    "encrypted": "secure firmware, encrypted",
    "panel": "door access panel",
    "unavailable": "breaks off, perhaps busy with another program",
    "protocol": "not a terminal we know",
    "refused": "refuses",
}


@app.command()
def discover(
    networks: Annotated[
        list[str], typer.Argument(metavar="CIDR", help="Networks such as 192.168.1.0/24, or single addresses.")
    ],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, show_default=False, help="Where terminals listen; 4370 by default.")
    ] = None,
    comm_key_file: CommKey = None,
    rate: Annotated[int, typer.Option(min=1, max=200, help="Attempts in one second, at most.")] = 50,
    timeout: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="DURATION", help="How long an address may stay silent; 1s by default."),
    ] = None,
    driver: DriverName = "zkteco",
    yes: Annotated[
        bool, typer.Option("--yes", help="Search large networks, and networks that are not private.")
    ] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print only lines for the configuration.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for terminals in a network; print lines to paste into the configuration.

    Each address is tried over TCP, then UDP, at most 32 at a time. Serial, clock and count are read from a
    device that answers; nothing changes at a terminal. Ctrl-C or SIGTERM ends the search with what was found.
    """
    if as_yaml and as_json:
        raise typer.BadParameter("choose one of the two.", param_hint="--yaml, --json")
    look = _searchable(driver)
    spans = spans_of(networks)
    total = sum(size_of(span) for span in spans)
    if not yes:
        _stay_polite(spans, total, rate)
    search = Search(
        (str(host) for span in spans for host in span.hosts()),
        port=port,
        comm_key_file=comm_key_file and comm_key_file.resolve(),
        rate=rate,
        timeout_s=timeout or 1.0,
    )
    found = _run_search(look, search, total)
    failures = _failures_of(driver, found.findings)
    rows = rows_of(driver, found.findings, failures)
    if as_json:
        tried = {"tried": found.tried, "asked": found.tried}  # the second is its former name
        print_json({"addresses": total, **tried, "found": rows})
    elif as_yaml:
        print("".join(entries_of(rows)), end="")
    else:
        print_rows(rows)
    if not as_json:
        _print_failures(failures.values())
    if found.error is not None:
        raise found.error
    if found.tried < total:
        print_stderr(f"hadir: stopped; {grouped(found.tried)} of {grouped(total)} addresses were asked")
        raise typer.Exit(128 + (found.stopped_by or signal.SIGINT))
    if not any(row["name"] or row["remark"] == REMARKS["encrypted"] for row in rows):
        raise Failure(
            Code.NEGATIVE, f"no terminal answers in {', '.join(networks)}; addresses asked: {total:,}", "no_terminal"
        )


@dataclass(slots=True)
class _SearchResult:
    """What a search for terminals came to."""

    findings: list[DiscoveredTerminal] = field(default_factory=list)
    tried: int = 0
    """Addresses whose result is known."""
    error: Failure | None = None
    """Why the search ended; what was found before is shown all the same."""
    stopped_by: int | None = None
    """The signal that ended it."""


def _run_search(look: Look, search: Search, total: int) -> _SearchResult:
    """Search with a progress bar until the end or a signal."""
    found = _SearchResult()
    stopped_by: list[int] = []
    try:
        with closing(look(search)) as results, _stopping(search.stop) as stopped_by:
            for finding in progress(results, total, f"asking {grouped(total)} addresses"):
                found.tried += 1
                if finding is not None:
                    found.findings.append(finding)
    except TerminalUnavailable as exc:
        found.error = Failure(Code.UNAVAILABLE, str(exc), "no_route")
    if stopped_by:
        found.stopped_by = stopped_by[0]
    return found


def _searchable(driver: str) -> Look:
    """Return the function that searches for terminals of a driver; BadParameter for a driver without one."""
    look = DRIVERS[driver].discover if driver in DRIVERS else None
    if look is None:
        searchable = " or ".join(sorted(name for name, known in DRIVERS.items() if known.discover))
        raise typer.BadParameter(
            f"terminals of this kind cannot be looked for; write {searchable}.", param_hint="--driver"
        )
    return look


def _failures_of(driver: str, findings: list[DiscoveredTerminal]) -> dict[str, Failure]:
    """Return what went wrong at the addresses that answered, by address."""
    return {
        finding.host: failure_of(finding.host, DRIVERS[driver], finding.error) for finding in findings if finding.error
    }


def _print_failures(failures: Collection[Failure]) -> None:
    """Print what went wrong at the addresses that answered, with each hint once."""
    for hint in dict.fromkeys(failure.hint for failure in failures):
        errors = [str(failure.args[0]) for failure in failures if failure.hint == hint]
        print_stderr("\n".join((*errors, *(f"  {line}" for line in hint_lines(hint)))))


@contextmanager
def _stopping(stop: "Event") -> Iterator[list[int]]:
    """Set ``stop`` at the first Ctrl-C or SIGTERM inside the block; yield a list that then holds the signal.

    A second signal has the effect that it had before the block.
    """

    def request_stop(number: int, _frame: object) -> None:
        signal.signal(number, before[number])
        received.append(number)
        stop.set()

    received: list[int] = []
    before = {int(number): signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def spans_of(networks: list[str]) -> list[IPv4Network]:
    """Return the networks that the arguments name, without overlaps; BadParameter for anything else."""
    spans = []
    for text in networks:
        try:
            spans.append(IPv4Network(text, strict=False))
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is no IPv4 network; write one such as 192.168.1.0/24, or an address.", param_hint="CIDR"
            ) from None
    spans = list(dict.fromkeys(spans))
    # Two networks overlap only where one lies within the other.
    return [span for span in spans if not any(span != other and span.subnet_of(other) for other in spans)]


def size_of(span: IPv4Network) -> int:
    """Return the number of host addresses of a network."""
    return span.num_addresses if span.prefixlen > 30 else span.num_addresses - 2


def _stay_polite(spans: list[IPv4Network], total: int, rate: int) -> None:
    for span in spans:
        if not any(span.subnet_of(private) for private in PRIVATE):
            raise Failure(
                Code.USAGE, f"{span} is not a private network: its terminals, if any, are not yours", "public"
            )
    if total > FEW:
        least = duration_text(timedelta(seconds=total / rate))
        raise Failure(Code.USAGE, f"{grouped(total)} addresses: asking them all takes {least} at least", "large")


def rows_of(driver: str, findings: "list[DiscoveredTerminal]", failures: dict[str, Failure]) -> list[dict[str, Any]]:
    """Return the devices found as plain values, by address; ``name`` is set where the gateway could read the device."""
    rows = []
    for finding in sorted(findings, key=lambda finding: tuple(map(int, finding.host.split(".")))):
        failure = failures.get(finding.host)
        rows.append(
            {
                "name": None,
                "driver": driver,
                **finding.entry,
                **asdict(finding.info or TerminalInfo("", None, None)),
                "clock": _plain_clock(finding.clock_read_at, finding.clock, None) if finding.clock_read_at else None,
                **asdict(finding.sizes or Sizes(None, None)),
                "remark": REMARKS[failure.hint] if failure else None,
                "error": _plain_failure(failure) if failure else None,
            }
        )
    readable = [row for row in rows if row["serial"] or row["remark"] in (None, REMARKS["key"])]
    for row, name in zip(readable, _names(readable), strict=True):
        row["name"] = name
    return rows


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Return a unique name for each row: its model and the shortest end of its address that makes the names differ."""
    names: list[str] = []
    for octets in range(1, 5):
        names = [
            f"{_slug(row['model'])}-{'-'.join(row['address'].partition(':')[0].split('.')[-octets:])}" for row in rows
        ]
        if len(set(names)) == len(names):
            break
    return names


def _slug(model: str | None) -> str:
    return re.sub("[^a-z0-9]+", "-", (model or "").lower()).strip("-") or "terminal"


def entries_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the entries as lines of the configuration, indented as below ``terminals:``."""
    serials: dict[str, str] = {}
    for row in rows:
        if row["name"] is None:
            yield f"  # {row['address']}: {row['remark']}\n"
            continue
        lines = [f"- {key}: {row[key]}" if key == "name" else f"  {key}: {row[key]}" for key in ENTRY if row.get(key)]
        if "comm_key_file" in row:
            lines.append(f"  comm_key_file: {json.dumps(row['comm_key_file'])}")
        if "secret_file" in row:
            lines.append(f"  secret_file: {json.dumps(row['secret_file'])}")
        if re.fullmatch("[!-~]+", row["serial"]):
            lines.append(f"  serial: {json.dumps(row['serial'])}")
        if row["remark"] == REMARKS["key"]:
            lines.append("  # comm_key_file: a file with its communication key, a number, and nothing else")
        elif row["remark"]:
            lines[0] += f"  # {row['remark']}"
        other = serials.setdefault(row["serial"], row["address"]) if row["serial"] else row["address"]
        if other != row["address"]:
            yield f"  # the serial of {other}: one terminal with two addresses, or two with one number\n"
            lines = [f"# {line}" for line in lines]
        yield from (f"  {line}\n" for line in lines)


ENTRY = ("name", "driver", "address", "transport")
"""Keys of a terminal's entry, in this order."""


def print_rows(rows: list[dict[str, Any]], *, entries: bool = True) -> None:
    """Print the devices found as a table and, with ``entries``, as lines for the configuration."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("address", "serial", "model", "firmware", "clock", "log", ""):
        table.add_column(heading, no_wrap=heading in ("address", "serial"))
    for row in rows:
        clock = row["clock"]
        table.add_row(
            row["address"] + (" UDP" if row.get("transport") == "udp" else ""),
            row["serial"] or "-",
            row["model"] or "-",
            row["firmware"] or "-",
            "-" if clock is None else offset_text(clock["offset_ms"], clock["bound_ms"]),
            "-" if row["records"] is None else fullness(row["records"], row["capacity"]).replace(" records", ""),
            row["remark"] or "",
        )
    console = rich_console()
    console.print(table)
    if entries and any(row["name"] for row in rows):
        lines = "".join(entries_of(rows))
        print(f"\nFor the configuration, under terminals:\n\n{lines}", end="")


class Format(StrEnum):
    """Output format of records."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
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
    target = _target(address, config, driver, udp=udp, comm_key_file=comm_key_file, timeout=timeout)
    if form is None:
        form = {".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSON}.get(
            output.suffix if output else "", Format.TABLE
        )
    began = time.monotonic()
    pins = {}
    with spinner(f"reading the log of {target.where} …"), target.session() as terminal:
        if not isinstance(terminal, Logged):
            raise typer.BadParameter("a terminal of this kind keeps no log.", param_hint="ADDRESS")
        reading = terminal.read(start)
        records = list(islice(reading.records, max(0, start - reading.start), None))
        if reading.by_uid and isinstance(terminal, Enrolled):
            try:
                pins = dict(terminal.pins())
            except ProtocolError as exc:
                print_stderr(f"warning: who is behind the internal numbers could not be read ({exc})")
    took_s = time.monotonic() - began
    first = max(start, reading.start)
    labels = target.driver.labels or LABELS
    try:
        with open_private(output, "w") if output else nullcontext(sys.stdout) as file:
            numbered = enumerate(with_progress_bar(records, file), first)
            _write_records(file, form, ({"position": at, **_plain(record, pins, labels)} for at, record in numbered))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise Failure(Code.DISK, f"{output or 'the output'}: {exc.strerror}", "output") from exc
    bad = sum(isinstance(record, BadRecord) for record in records)
    unreadable = f", {grouped(bad)} of them unreadable" if bad else ""
    layout = f", layout {reading.layout}" if reading.total else ""
    whole = f"{grouped(len(records))} of the {grouped(reading.total)} records of {target.where}"
    print_stderr(f"{whole}{layout}{unreadable}; read in {took_s:.1f} s")


def _plain(record: "Record", pins: "Mapping[int, str]", labels: "Labels") -> dict[str, Any]:
    """Return a record as plain values; ``bad`` is the reason why it cannot be decoded as a punch, else None."""
    if isinstance(record, BadRecord):
        return {"bad": record.reason, "raw": record.raw.hex()}
    return {
        "pin": pins.get(record.uid) if record.pin is None and record.uid is not None else record.pin,
        "uid": record.uid,
        "local_time": record.local_time.isoformat(),
        "state": record.state,
        "state_label": labels.state.get(record.state),
        "verify": record.verify,
        "verify_label": labels.verify.get(record.verify),
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
                code_text(row["state"], row["state_label"]),
                code_text(row["verify"], row["verify_label"]),
                row["work_code"] or "",
            )
            print(line.format(*values).rstrip(), file=file)
