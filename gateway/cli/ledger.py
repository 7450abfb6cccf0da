"""Commands on the ledger's file: verify it, back it up, restore it."""
# ruff: noqa: T201 - a command line prints

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from gateway.cli.base import Code, Failure, command_group, hint_lines, print_stderr
from gateway.cli.configuration import load_settings
from gateway.cli.ledger_access import ledger_failure, open_ledger
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.cli.progress import spinner
from gateway.cli.screen import rich_console
from gateway.control import Failed, NotRunning, ask
from gateway.ledger import FILE_NAME, Ledger, LedgerError, LedgerLocked, LedgerReader, backup, newest_backup, restore
from gateway.ledger.verify import Verdict

app = command_group()


@app.command()
def verify(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check that every event in the ledger is as it was written: chain, numbers, identities, places."""
    settings = load_settings(config)
    bar = Progress(console=rich_console(sys.stderr), transient=True, disable=not sys.stderr.isatty())
    with open_ledger(settings.data_dir) as ledger, bar:
        task = bar.add_task("events")
        verdict = ledger.verify(lambda done, of: bar.update(task, completed=done, total=of))
        breach = verdict.breach
        # The running daemon marks these events as altered and does not send them. Where no daemon runs, the next backup
        # or transmission detects them.
        for found in verdict.breaches:
            number = (ledger.base_of(found.stream) or 0) + found.sequence
            answer = ask(settings.data_dir, "altered", sequence=number)
            if isinstance(answer, NotRunning) or (isinstance(answer, Failed) and not answer.is_refusal):
                break
    if as_json:
        breaches = [found._asdict() for found in verdict.breaches]
        first = breach._asdict() if breach else None
        print_json({**asdict(verdict), "ok": breach is None, "breach": first, "breaches": breaches})
    else:
        counts = f"{grouped(verdict.events)} events in {verdict.streams} stream{'s' * (verdict.streams != 1)}"
        counts += f", {grouped(verdict.punches)} of them punches"
        for name in ("forgotten", "lost"):
            if number := getattr(verdict, name):
                counts += f", {grouped(number)} {name}"
        print(f"OK: {counts}" if breach is None else f"{_places(verdict)} not as written, in {counts}")
    if breach is not None:
        _explain_breaches(verdict)
        raise typer.Exit(Code.NEGATIVE)


def _places(verdict: "Verdict") -> str:
    return f"{grouped(verdict.breach_count)} place{'s' * (verdict.breach_count != 1)}"


def _explain_breaches(verdict: "Verdict") -> None:
    """Print where a ledger is not as it was written, and what to do."""
    for breach in verdict.breaches:
        print_stderr(f"hadir: sequence {breach.sequence} of stream {breach.stream}: {breach.what}")
    if more := verdict.breach_count - len(verdict.breaches):
        print_stderr(f"hadir: and {grouped(more)} more")
    for line in hint_lines("altered"):
        print_stderr(f"  {line}")


ledger_app = command_group("Copy the ledger, and go back to a copy.")
app.add_typer(ledger_app, name="ledger")


@ledger_app.command("backup")
def back_up(
    config: Config = DEFAULT_CONFIG,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to; data_dir/backups by default.")
    ] = None,
) -> None:
    """Copy the ledger now, also while the daemon runs; the folder keeps the three newest copies."""
    settings = load_settings(config)
    try:
        with spinner("copying"):
            copy = backup(settings.data_dir / FILE_NAME, to or settings.backups)
    except PermissionError as exc:
        raise Failure(Code.DISK, f"{settings.data_dir}: {exc.strerror}", "permission") from exc
    except LedgerError as exc:
        hint = "ledger" if (settings.data_dir / FILE_NAME).exists() else "no_ledger"
        raise ledger_failure(exc, hint) from exc
    print(f"OK: {copy} ({grouped(copy.stat().st_size)} bytes)")


@ledger_app.command("restore")
def restore_backup(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The copy; by default the newest in data_dir/backups.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Replace the ledger by a copy while the daemon is stopped; newer punches are read from the terminals again.

    The present ledger is set aside, not deleted. The restored ledger begins a new stream, so that the centre can tell
    its sequence numbers from those that were used before. A copy with altered events is restored too, as evidence; then
    they are listed as `verify` lists them, and the exit code is 1.
    """
    settings = load_settings(config)
    try:
        copy = file or newest_backup(settings.backups)
    except PermissionError as exc:
        raise Failure(Code.DISK, f"{settings.backups}: {exc.strerror}", "permission") from exc
    if copy is None:
        raise Failure(Code.DISK, f"{settings.backups}: there is no backup", "no_backup")
    try:
        with spinner("restoring"):
            aside = restore(settings.data_dir / FILE_NAME, copy, settings.source)
            # Before it is opened for writing, which may set aside what is not as written. The mark is another ledger's.
            with closing(LedgerReader(settings.data_dir)) as reader:
                verdict = reader.verify(chain_end=False)
            ledger = Ledger(settings.data_dir, settings.source)
            present = ledger.streams()[-1]
            ledger.close()
    except LedgerLocked as exc:
        raise Failure(Code.LOCKED, str(exc), "locked") from exc
    except LedgerError as exc:
        raise ledger_failure(exc, "no_backup") from exc
    print(f"{'OK' if verdict.breach is None else 'restored'}: {copy} is the ledger now")
    print(f"  stream {present.id}, behind sequence {present.last_sequence} of {present.predecessor}")
    if aside is not None:
        print(f"  the ledger before is kept as {aside}")
    if verdict.breach is not None:
        print(f"  {_places(verdict)} not as written, in {grouped(verdict.events)} events")
        if (salvage := ledger.salvage) is not None:
            print(f"  {grouped(salvage.kept)} events were saved of it; it is kept as it was as {salvage.aside}")
        _explain_breaches(verdict)
        raise typer.Exit(Code.NEGATIVE)
