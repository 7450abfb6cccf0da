"""Commands that talk to a terminal, without the daemon and without leaving a trace."""
# ruff: noqa: PLC0415, T201 - heavy imports stand where they are used, see the package; and a command line prints

import csv
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from gateway.cli.base import (
    DEFAULT_CONFIG,
    REFUSALS,
    TERMINALS,
    Address,
    AsJson,
    Code,
    CommKey,
    Config,
    DriverName,
    Failure,
    Timeout,
    Udp,
    ahead_text,
    app,
    busy,
    code_text,
    fullness,
    load_settings,
    many,
    print_fields,
    print_json,
    say,
    with_bar,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from drivers.base import Driver, DriverError, Record, Terminal

TAIL = 8
"""Records that a probe reads to find out how the log is laid out."""


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
        settings = load_settings(config)
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
        with busy(f"asking {target.where} …"), target.conversation() as terminal:
            _look(terminal, target, found)
    except Failure as exc:
        failure = exc  # what was learned before is shown all the same
        found["error"] = {"code": exc.code.name.lower(), "exit_code": int(exc.code), "message": str(exc.args[0])}
    if as_json:
        print_json(found)
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
        offset = ahead_text(clock["offset_ms"], clock["bound_ms"])
        offset = {"right": "the same as", "ahead": f"{offset} of"}.get(offset.rpartition(" ")[2], offset)
        fields["clock"] = f"{clock['local_time'].replace('T', ' ')}, {offset} this computer"
        half_hours = abs(clock["offset_ms"]) / 1_800_000
        if half_hours > 0.9 and abs(half_hours - round(half_hours)) < 0.1:
            fields["clock"] += " (or in another time zone)"
    if "records" in found:
        fields["log"] = fullness(found["records"], found["capacity"])
    if found.get("layout"):
        fields["log"] += f", layout {found['layout']}"
        fields["log"] += " (names people by an internal number)" if found["by_uid"] else ""
        if found["oldest"]:
            fields["oldest"] = found["oldest"].replace("T", " ")
        fields["newest"] = (found["newest"] or "unreadable").replace("T", " ")
    print(f"{found['address']}: a terminal that speaks {found['driver']}")
    print_fields(fields)


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
    with busy(f"reading the log of {target.where} …"), target.conversation() as terminal:
        if not isinstance(terminal, Logged):
            raise typer.BadParameter("a terminal of this kind keeps no log.", param_hint="ADDRESS")
        reading = terminal.read(start)
        records = list(islice(reading.records, max(0, start - reading.start), None))
        if reading.by_uid and isinstance(terminal, Enrolled):
            try:
                pins = dict(terminal.pins())
            except ProtocolError as exc:
                say(f"warning: who is behind the internal numbers could not be read ({exc})")
    took_s = time.monotonic() - began
    first = max(start, reading.start)
    try:
        with output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout) as file:
            numbered = enumerate(with_bar(records, file), first)
            _write_records(file, form, ({"position": at, **_plain(record, pins)} for at, record in numbered))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise Failure(Code.DISK, f"{output or 'the output'}: {exc.strerror}", "output") from exc
    bad = sum(isinstance(record, BadRecord) for record in records)
    unreadable = f", {many(bad)} of them unreadable" if bad else ""
    layout = f", layout {reading.layout}" if reading.total else ""
    whole = f"{many(len(records))} of the {many(reading.total)} records of {target.where}"
    say(f"{whole}{layout}{unreadable}; read in {took_s:.1f} s")


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
                code_text(row["state"], row["state_label"]),
                code_text(row["verify"], row["verify_label"]),
                row["work_code"] or "",
            )
            print(line.format(*values).rstrip(), file=file)
