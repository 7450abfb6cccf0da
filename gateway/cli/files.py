"""``hadir import``: store the punches of files that a terminal exported to a flash disk."""
# ruff: noqa: T201 - a command line prints

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.attlog.terminal import Ambiguous, ExportFile, survey_export
from drivers.attlog.wire import AmbiguousColumns, NotAnExport
from drivers.base import RawPunch, TerminalUnavailable
from gateway.cli.base import Code, Failure, command_group, print_stderr
from gateway.cli.configuration import load_settings
from gateway.cli.daemon import data_from_daemon
from gateway.cli.ledger_access import ledger_failure, open_ledger, write_ledger
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.cli.progress import progress
from gateway.cli.untrusted import printable
from gateway.clock import SystemClock
from gateway.file_import import (
    DaemonSink,
    DaemonUnreachable,
    ImportReport,
    ImportSink,
    LedgerSink,
    WrongTerminal,
    import_file,
)
from gateway.ledger import FILE_NAME, LedgerError
from gateway.settings import Settings, TerminalSettings

DEFECTS_SHOWN = 5
SAMPLE = 200
"""Punches of a file that are compared with the ledger's punches of other terminals."""


class Third(StrEnum):
    """Meaning of the third of five columns."""

    DEVICE = "device"
    STATE = "state"


class Dates(StrEnum):
    """Order of day and month in dates with slashes."""

    DMY = "dmy"
    MDY = "mdy"


app = command_group()


@app.command(name="import")
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Exports of terminals, such as 1_attlog.dat.")],
    terminal: Annotated[
        str | None,
        typer.Option("--terminal", metavar="NAME", help="Whose they are, where their names bear no serial number."),
    ] = None,
    dates: Annotated[
        Dates | None,
        typer.Option(help="How 04/09/2026 is meant, where a file leaves that open."),
    ] = None,
    columns: Annotated[
        Third | None,
        typer.Option(help="What the third of five columns is, where a file leaves that open."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Store the punches of files that a terminal wrote to a flash disk, and publish them.

    What is known already, from the network or from another file, is not stored again: reading a file twice does no
    harm, and completes what an interruption left. With or without a running gateway; the files stay as they are.
    """
    settings = load_settings(config)
    rows: list[dict[str, Any]] = []
    refused: list[Failure] = []
    for file in files:
        try:
            rows.append(_imported(settings, file, terminal, dates, columns))
        except Failure as failure:
            if failure.code is not Code.NEGATIVE:
                raise
            # A refused file does not keep the other files from being imported.
            rows.append({"file": printable(file), "refused": failure.args[0]})
            refused.append(failure)
        if not as_json and "refused" not in rows[-1]:
            _print(rows[-1])
    if as_json:
        print_json(rows)
    for earlier in refused[:-1]:
        print_stderr(str(earlier))
    if refused:
        raise refused[-1]


def _imported(
    settings: "Settings", file: Path, name: str | None, dates: Dates | None, columns: Third | None
) -> dict[str, Any]:
    shown = printable(file)
    try:
        export = survey_export(file, None if dates is None else dates.value, None if columns is None else columns.value)
        entry = _whose(settings, export, name)
        _refuse_other_terminals(settings, export, entry)
        serial = _serial(settings, export, entry)
        with _sink(settings, entry) as sink:
            report = import_file(sink, export, serial, progress(export.records(), export.lines, export.name))
    except Ambiguous as exc:
        raise Failure(Code.NEGATIVE, f"{shown}: {exc}", "dates") from exc
    except AmbiguousColumns as exc:
        raise Failure(Code.NEGATIVE, f"{shown}: {exc}", "columns") from exc
    except NotAnExport as exc:
        raise Failure(Code.NEGATIVE, f"{shown} was not imported: {exc}", "not_export") from exc
    except WrongTerminal as exc:
        raise Failure(Code.NEGATIVE, f"{shown} was not imported: {exc}", "wrong_terminal") from exc
    except TerminalUnavailable as exc:
        raise Failure(Code.DISK, str(exc), "no_file") from exc
    except DaemonUnreachable as exc:
        raise Failure(Code.LOCKED, str(exc), "incomplete") from exc
    except LedgerError as exc:
        raise ledger_failure(exc) from exc
    return _row(shown, entry, report)


def _row(file: str, entry: "TerminalSettings", report: "ImportReport") -> dict[str, Any]:
    return {"file": file, "terminal": entry.name, "first_time": report.noted, **report.report()}


def _whose(settings: "Settings", export: "ExportFile", name: str | None) -> "TerminalSettings":
    """Return the terminal that wrote a file: named by the option, by the file, or by the person at the keyboard."""
    names = [entry.name for entry in settings.terminals]
    if name is not None:
        if name not in names:
            raise typer.BadParameter(
                f"no terminal is named {name!r} in the configuration; there are {', '.join(names)}.",
                param_hint="--terminal",
            )
        return _confirmed(export, settings.terminals[names.index(name)])
    shown = printable(export.path)
    serial = export.serial or export.name_serial
    if serial is not None:
        known = _known_serials(settings)
        for entry in settings.terminals:
            if serial.casefold() == (entry.serial or known.get(entry.name) or "").casefold():
                return entry
    number = export.name_number or export.number
    numbered = [
        entry
        for entry in settings.terminals
        if (wanted := getattr(entry, "number", None)) is not None and number == str(wanted)
    ]
    if serial is None and len(numbered) == 1 and export.number in (None, number):
        return numbered[0]
    if not sys.stdin.isatty():
        what = "nothing in it tells which terminal it is of"
        if serial is not None:
            what = f"no terminal of the configuration has serial {serial}"
        raise Failure(Code.NEGATIVE, f"{shown}: {what}; name it with --terminal: {', '.join(names)}", "wrong_terminal")
    chosen = typer.prompt(f"{export.name}: which terminal wrote this file ({', '.join(names)})?", err=True)
    return _whose(settings, export, str(chosen))


def _confirmed(export: "ExportFile", entry: "TerminalSettings") -> "TerminalSettings":
    """Return the terminal that a person named; refuse a file whose lines contradict its configured device number.

    The file's name is a weak hint and is not compared. The lines are evidence, and so is ``number:`` in the
    configuration.
    """
    number = getattr(entry, "number", None)
    if number is not None and export.number not in (None, str(number)):
        what = f"its lines are of device number {export.number}, and `number:` of {entry.name} is {number}"
        raise Failure(Code.NEGATIVE, f"{printable(export.path)} was not imported: {what}", "wrong_terminal")
    return entry


def _serial(settings: "Settings", export: "ExportFile", entry: "TerminalSettings") -> str | None:
    """Return the serial number that the ledger compares with the terminal's.

    A serial number inside the file is always compared. One in the file's name is a weak hint: it is used only for a
    terminal whose serial number is not known yet.
    """
    if export.serial is not None or entry.serial or _known_serials(settings).get(entry.name):
        return export.serial
    return export.name_serial


def _known_serials(settings: "Settings") -> dict[str, str]:
    if not (settings.data_dir / FILE_NAME).exists():
        return {}
    with open_ledger(settings.data_dir) as ledger:
        return {known.name: known.serial for known in ledger.terminals()}


def _refuse_other_terminals(settings: "Settings", export: "ExportFile", entry: "TerminalSettings") -> None:
    """Refuse a file whose punches are in the ledger under another terminal and not under this one."""
    if not (settings.data_dir / FILE_NAME).exists():
        return
    with open_ledger(settings.data_dir) as ledger:
        others = {known.serial: known.name for known in ledger.terminals()}
        serial = export.serial or entry.serial or next((s for s, name in others.items() if name == entry.name), None)
        others.pop(serial or "", None)
        if not others:
            return
        sample = list(islice((record for record in export.records() if isinstance(record, RawPunch)), SAMPLE))
        if serial is not None and ledger.held(serial, sample):
            return
        for other, name in others.items():
            if ledger.held(other, sample) * 2 > len(sample):
                what = f"its punches are those of {name}, not of {entry.name}"
                raise Failure(Code.NEGATIVE, f"{printable(export.path)} was not imported: {what}", "wrong_terminal")


@contextmanager
def _sink(settings: "Settings", entry: "TerminalSettings") -> Iterator["ImportSink"]:
    """Yield access to the ledger: through the running daemon, or directly where no daemon runs."""
    folder = settings.data_dir
    if folder.is_dir() and data_from_daemon(folder, "status") is not None:
        yield DaemonSink(folder, entry.name)
        return
    if folder.is_dir() and os.geteuid() == 0 and folder.stat().st_uid != 0:
        # The daemon could not write to files that root creates here.
        raise Failure(Code.DISK, f"{folder} belongs to the user {folder.owner()}, who has to do this", "permission")
    with write_ledger(settings) as ledger:
        yield LedgerSink(ledger, entry, settings.zone(entry), SystemClock())


def _print(row: dict[str, Any]) -> None:
    again = "" if row["first_time"] else " (this file was imported before)"
    print(f"{row['file']} → {row['terminal']}: {grouped(row['lines'])} lines, {grouped(row['punches'])} punches{again}")
    parts = [f"{grouped(row['new'])} new", f"{grouped(row['known'])} known already"]
    parts += [f"{grouped(row['repeated'])} repeated in the file"] if row["repeated"] else []
    parts += [f"{grouped(row['unreadable'])} unreadable, kept with their bytes"] if row["unreadable"] else []
    print(f"  {', '.join(parts)}")
    if row["first"]:
        print(f"  from {row['first'].replace('T', ' ')} to {row['last'].replace('T', ' ')}")
    for defect in row["defects"][:DEFECTS_SHOWN]:
        print(f"  byte {defect['offset']:,}, {grouped(defect['size'])} bytes: {defect['reason']}")
    if row["unreadable"] > DEFECTS_SHOWN:
        print(f"  and {grouped(row['unreadable'] - DEFECTS_SHOWN)} more; --json names the first hundred")
