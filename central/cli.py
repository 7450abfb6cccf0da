"""The command ``hadir-central``: what each command prints, and the exit codes that scripts rely on."""
# ruff: noqa: T201 - a command line prints

import json
import os
import signal
import stat
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from enum import IntEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from typer.core import TyperGroup

from central import report as reports
from central.closing import commands as closing_commands
from central.inbox import Broker, Inbox
from central.lanes import commands as lane_commands
from central.lanes.assignment import MAX_LANES
from central.lanes.worker import PlanDiffersError
from central.log import configure_logging
from central.mail import commands as mail_commands
from central.operation import commands as operation_commands
from central.operation import copy_commands, partition_commands
from central.operation.doctor import doctor
from central.operation.status import status
from central.operation.tasks import ended
from central.operation.transfer_command import transfer
from central.options import AsJson, Db, InLanguage, Now, Policies, clock_of, defaults_from, settings_path, system_now
from central.policy import commands as policy_commands
from central.policy.office import OfficePolicies
from central.registers import commands as register_commands
from central.registers.import_command import import_file
from central.registers.show_command import show
from central.reports import commands as report_commands
from central.reports.messages import message
from central.requests import commands as request_commands
from central.results import commands as export_commands
from central.rights import commands as rights_commands
from central.secret import SecretError, read_secret
from central.settings import BROKER_URL, DEFAULT, VARIABLE, SettingsError, check_root, check_url
from central.sheets import commands as sheet_commands
from central.store import Database, Store, StoreError, StoreLocked, marks, ownership, retention
from central.store.engine import is_there, is_url, utc
from central.store.lanes import Plan
from central.store.portable import run
from central.store.standby import Standby
from central.texts import Language, Text, _
from central.timesheet.recompute import Recompute
from central.timesheet.worker import PERSON_DAYS, Worker
from central.web import commands as web_commands


class Code(IntEnum):
    """Exit codes; above 63 they mean what sysexits.h means by them."""

    NEGATIVE = 1
    INTERNAL = 70
    DISK = 74
    LOCKED = 75
    CONFIG = 78


EPILOG = """Exit codes: 0 done · 1 a check found something · 2 wrong usage · 3 no inbox is connected (status)

70 internal error · 74 database or disk · 75 database in use by another inbox · 78 settings"""

HINTS: dict[str, Text] = {
    "database": _(
        "Check the name, free space, and the rights to the file and its folder: SQLite writes files beside it."
    ),
    "server": _(
        "Check that the server runs, the address, and the role with its password and rights; see docs/centre.md, "
        "PostgreSQL."
    ),
    "inbox": _(
        "Check the name, free space and rights. What was not acknowledged stays with the broker and the gateways."
    ),
    "no_database": _("Check --db; `hadir-central inbox` and `import` create the file when they first run."),
    "locked": _("Only one inbox may write into a database: stop the other, or name another file with --db."),
    "lanes": _(
        "All workers of one database have the same --root and --client-id: `hadir-central lanes show` names them."
    ),
    "settings": _(
        "Mend the line that is named, then `hadir-central check`; `hadir-central init` writes the first settings."
    ),
    "internal": _(
        "This is a mistake in hadir-central. Run it again with HADIR_DEBUG=1 for the details, and report them."
    ),
}
"""What to do next."""


def hint_lines(hint: str) -> tuple[str, str]:
    """Return a hint in English and in Indonesian: whoever reads an error may know one of them only."""
    text = HINTS[hint]
    return text.into(Language.ENGLISH), text.into(Language.INDONESIAN)


SHOWN = 5
"""Ranges and places of a kind that `report` prints for people."""


class Failure(Exception):  # noqa: N818 - named by what the person sees
    """Ends a command with an exit code, a message and what to do next."""

    def __init__(self, code: Code, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join((f"hadir-central: {self.args[0]}", *(f"  {line}" for line in hint_lines(self.hint))))


class _Commands(TyperGroup):
    """Converts exceptions of commands into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            _debug(failure.__cause__)
            _print_error(str(failure))
            raise typer.Exit(failure.code) from None
        except StoreError as error:
            _debug(error)
            locked = isinstance(error, StoreLocked)
            hint = "locked" if locked else "server" if is_url(str(error)) else "database"  # its message begins with it
            refusal = Failure(Code.LOCKED if locked else Code.DISK, str(error), hint)
            _print_error(str(refusal))
            raise typer.Exit(refusal.code) from None
        except SettingsError as error:
            # Both: the language that the file names is not known where the file cannot be used.
            lines = dict.fromkeys((*error.into(Language.ENGLISH), *error.into(Language.INDONESIAN)))
            _print_error(str(Failure(Code.CONFIG, "\n".join(lines), "settings")))
            raise typer.Exit(Code.CONFIG) from None
        except BrokenPipeError:
            # The reader of the output has closed the pipe; the rest is discarded.
            _discard_output()
            raise typer.Exit(128 + signal.SIGPIPE) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
app.command()(operation_commands.init)
app.command()(operation_commands.check)
app.command()(doctor)
app.command()(status)
app.command(hidden=True)(ended)
app.command()(copy_commands.backup)
app.command()(copy_commands.restore)
app.command()(transfer)
app.add_typer(partition_commands.app, name="partitions")
app.add_typer(policy_commands.app, name="policy")
app.command("import")(import_file)
app.command()(show)
app.command()(report_commands.why)
app.command()(report_commands.days)
app.command()(report_commands.recompute)
app.command()(report_commands.judge)
app.command()(report_commands.rebuild)
app.command()(report_commands.doubts)
app.command()(report_commands.pins)
app.add_typer(register_commands.app, name="registers")
app.add_typer(register_commands.calendar, name="calendar")
app.add_typer(export_commands.app, name="export")
app.add_typer(web_commands.app, name="account")
app.add_typer(web_commands.access, name="access")
app.command()(web_commands.serve)
app.add_typer(closing_commands.app, name="period")
app.add_typer(sheet_commands.app, name="sheet")
app.add_typer(request_commands.app, name="request")
app.add_typer(mail_commands.app, name="mail")
app.add_typer(lane_commands.app, name="lanes")
app.add_typer(rights_commands.hold, name="hold")
app.add_typer(rights_commands.app, name="retention")
app.add_typer(rights_commands.person, name="person")


def main(arguments: Sequence[str] | None = None, now: Now = system_now) -> None:
    """Run a command and end the process with its exit code; without a traceback, which may contain secrets.

    ``arguments`` are by default those of the process; ``now`` is the clock of whatever the command stores and judges.
    """
    try:
        app(arguments, prog_name="hadir-central", obj=now)
    except Exception as exc:  # noqa: BLE001 - any unexpected exception becomes a message and an exit code
        _debug(exc)
        place = traceback.extract_tb(exc.__traceback__)[-1]
        what = f"internal error: {type(exc).__name__} in {Path(place.filename).name}:{place.lineno}"
        _print_error(str(Failure(Code.INTERNAL, what, "internal")))
        sys.exit(Code.INTERNAL)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()


def _debug(exc: BaseException | None) -> None:
    if exc is not None and os.environ.get("HADIR_DEBUG"):
        traceback.print_exception(exc)


def _discard_output() -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(text: str) -> None:
    """Write to standard error; a closed pipe is ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


# --- options ------------------------------------------------------------------------------------------------------


def _check_root(root: str) -> str:
    try:
        return check_root(root)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hadir-central {version('hadir-gateway')}")
        raise typer.Exit


def _file(text: str) -> Any:
    return typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help=text)


@app.callback()
def _central(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help=f"The settings, for options that are left out; else ${VARIABLE}, else {DEFAULT}.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Receive what Hadir gateways publish, keep it, and write receipts: the reference centre.

    Penerima di pusat: menyimpan kiriman gateway absensi dan mengirim tanda terima.
    """
    path = settings_path(context)
    if config is not None or VARIABLE in os.environ or path.exists():
        context.default_map = dict(defaults_from(path, context.command))


# --- commands -----------------------------------------------------------------------------------------------------


# Longer than 60 lines: half of them declare the options.
@app.command()
def inbox(
    context: typer.Context,
    broker: Annotated[str, typer.Option(metavar="URL", help="mqtt://host:1883, or mqtts://host:8883 for TLS.")],
    db: Db,
    root: Annotated[
        str, typer.Option(callback=_check_root, metavar="TOPIC", help="The beginning of the gateways' topics.")
    ] = "hadir",
    client_id: Annotated[
        str, typer.Option(metavar="NAME", help="The broker keeps messages for this client id while it is away.")
    ] = "hadir-central",
    username: Annotated[str | None, typer.Option(metavar="NAME", help="The user name at the broker.")] = None,
    password_file: Annotated[Path | None, _file("A file that holds the password.")] = None,
    ca_file: Annotated[Path | None, _file("Trusted authorities, instead of the system's (PEM).")] = None,
    cert_file: Annotated[Path | None, _file("The client's certificate (PEM).")] = None,
    key_file: Annotated[Path | None, _file("The client's key (PEM).")] = None,
    policies: Policies = None,
    lanes: Annotated[
        int | None,
        typer.Option(
            "--lanes",
            min=1,
            max=MAX_LANES,
            help="Share the sites with other workers of the same database (PostgreSQL), in so many lanes.",
        ),
    ] = None,
    synchronous: Annotated[
        bool | None,
        typer.Option(
            "--synchronous/--asynchronous", help="Send receipts only for what a synchronous standby has (PostgreSQL)."
        ),
    ] = None,
) -> None:
    """Receive, store, acknowledge, write receipts, and judge what has changed, until SIGTERM or Ctrl-C."""
    address = _broker(broker, username, password_file, ca_file, cert_file, key_file)
    if lanes is not None and not is_url(db):
        raise typer.BadParameter(
            "a file has one inbox; lanes need a PostgreSQL database (--db postgresql://ROLE@HOST/DATABASE).",
            param_hint="--lanes",
        )
    if synchronous and not is_url(db):
        raise typer.BadParameter("a file has no standby; leave it out.", param_hint="--synchronous")
    configure_logging()
    log, now = structlog.get_logger("central"), clock_of(context)
    try:
        if lanes is not None:
            lane_commands.receive(
                address, db, Plan(lanes, root, client_id), policies, now, synchronous=bool(synchronous)
            )
            return
        store = Store(db, now=now)
        try:
            worker = Worker(Recompute(store.database, OfficePolicies(policies), now=now, person_days=PERSON_DAYS))
            held = Standby(store.database).has_everything if synchronous else lambda: True
            receiver = Inbox(address, store, root=root, client_id=client_id, now=now, judge=worker.step, held=held)

            def stop(number: int, _frame: object) -> None:
                receiver.stop()
                signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            log.info("inbox_started", version=version("hadir-gateway"), db=str(db), root=root, client_id=client_id)
            receiver.run()
        finally:
            store.close()
    except StoreLocked as exc:
        raise Failure(Code.LOCKED, str(exc), "locked") from exc
    except StoreError as exc:
        raise Failure(Code.DISK, str(exc), "inbox") from exc
    except PlanDiffersError as exc:
        raise Failure(Code.CONFIG, str(exc), "lanes") from exc
    log.info("inbox_stopped")


def _broker(
    url: str,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
) -> Broker:
    try:
        match = BROKER_URL.fullmatch(check_url(url))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--broker") from None
    assert match is not None, "check_url has matched it"  # noqa: S101 - for the type checker
    tls = match[1] == "mqtts"
    if not tls and (ca_file or cert_file or key_file):
        raise typer.BadParameter("files for TLS have no effect with mqtt://; write mqtts://.", param_hint="--broker")
    if (cert_file is None) != (key_file is None):
        raise typer.BadParameter("a certificate needs its key, and a key its certificate.", param_hint="--cert-file")
    if password_file is not None and username is None:
        raise typer.BadParameter("a password has no effect without --username.", param_hint="--password-file")
    files = {"--password-file": password_file, "--key-file": key_file, "--ca-file": ca_file, "--cert-file": cert_file}
    for option, file in files.items():
        if file is None:
            continue
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe would block at every connection
            raise typer.BadParameter(f"{file} is not a regular file", param_hint=option)
        if mode & stat.S_IROTH and option in ("--password-file", "--key-file"):
            raise typer.BadParameter(f"everybody here can read it; run: chmod 600 {file}", param_hint=option)
    if password_file is not None:
        try:
            read_secret(password_file)
        except (OSError, SecretError) as exc:
            raise typer.BadParameter(f"{password_file}: {exc}", param_hint="--password-file") from exc
    port = int(match[3] or (8883 if tls else 1883))
    return Broker(match[2].strip("[]"), port, tls, username, password_file, ca_file, cert_file, key_file)


@app.command()
def report(db: Db, lang: InLanguage = Language.ENGLISH, as_json: AsJson = False) -> None:
    """Show the events held of each gateway and stream, and the missing ones; also while an inbox runs.

    Event yang tersimpan dan yang kurang, per gateway.
    """
    try:
        with reports.open_readonly(db) as connection:
            result = reports.report(connection)
    except StoreError as exc:
        raise _unreadable(db, exc) from exc
    if as_json:
        print(json.dumps(asdict(result), indent=2))
        return
    if not result.streams:
        print(message("report_nothing", lang))
    for stream in result.streams:
        _print_stream(stream, lang)
    for kind in result.rejected:
        counted = message("report_counted", lang, count=kind.only_counted) if kind.only_counted else ""
        gateway = kind.gateway or message("report_no_gateway", lang)
        _show(message("report_rejected", lang, count=kind.messages, gateway=gateway, reason=kind.reason) + counted)


@app.command()
def verify(db: Db) -> None:
    """Verify every stored event: content, digest, identity, chain; exit code 1 if a fault is found.

    What cannot be verified is named and counted: content that gateways have removed or retention has deleted, and the
    first `previous` after missing events.
    """
    faults = 0
    try:
        with reports.open_readonly(db) as connection:
            for fault in reports.verify(connection):
                faults += 1
                _show(f"{fault.gateway} stream {fault.stream} sequence {fault.sequence}: {fault.what}")
            events = run(connection, "SELECT count(*) FROM event").scalar_one()
            streams = reports.report(connection).streams
            deletions = retention.deletions(connection, "events")
    except StoreError as exc:
        raise _unreadable(db, exc) from exc
    for stream in streams:
        for line in _unverifiable(stream):
            _show(f"{stream.gateway} stream {stream.stream}: {line}")
    bodies, links = sum(_count(stream.gone) for stream in streams), sum(len(one.first_previous) for one in streams)
    for one in deletions:
        _show(f"deletion {one.number} of {one.at}: {one.rows} bodies, by {one.by}, {one.paper}; digests are held")
    deleted = sum(one.rows for one in deletions)
    trust = f"; on trust: {bodies} pruned bodies, {links} first `previous`" if bodies or links or deleted else ""
    trust += f", {deleted} bodies that retention deleted" if deleted else ""
    print(f"{'WRONG' if faults else 'OK'}: {events} events, {faults} faults{trust}")
    if faults:
        raise typer.Exit(Code.NEGATIVE)


def _unverifiable(stream: reports.StreamReport) -> list[str]:
    lines = []
    if stream.gone:
        lines.append(_pruned(stream))
    if stream.first_previous:
        places = _first_few([str(place) for place in stream.first_previous])
        lines.append(
            f"{len(stream.first_previous)} times `previous` taken on trust, the event before is missing: {places}"
        )
    if stream.unproven:
        lines.append(_unproven(stream))
    return lines


serial = typer.Typer(no_args_is_help=True, help="The gateway that owns a terminal's punches, by date.")
app.add_typer(serial, name="serial")


@serial.command("list")
def serial_list(db: Db, as_json: AsJson = False) -> None:
    """Show every serial number, its owners by date, and its punches by gateway."""
    try:
        with reports.open_readonly(db) as connection:
            serials = ownership.serials(connection)
    except StoreError as exc:
        raise _unreadable(db, exc) from exc
    if as_json:
        lines = [
            {"serial": one.serial, "owners": [line._asdict() for line in one.owners], "punches": one.punches}
            for one in serials
        ]
        print(json.dumps(lines, indent=2))
        return
    for one in serials:
        _show(one.serial)
        for line in one.owners:
            why = f"decided by {line.decided_by}, {line.paper}" if line.decided_by else "sent its first punch"
            _show(f"  {f'from {line.since}' if line.since else 'always':15} {line.gateway}, {why}")
        for gateway, punches in one.punches.items():
            _show(f"  punches         {punches} by {gateway}")


@serial.command("assign")
def serial_assign(
    context: typer.Context,
    number: Annotated[str, typer.Argument(metavar="SERIAL", help="As `serial list` shows it.")],
    gateway: Annotated[str, typer.Argument(metavar="SITE/GATEWAY", help="The gateway that owns its punches.")],
    db: Db,
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="The first local date, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides this.")],
    paper: Annotated[str, typer.Option("--paper", metavar="TEXT", help="The document: number and date.")],
) -> None:
    """Decide which gateway owns a terminal's punches from a date on; also while an inbox runs.

    Decisions are added, never replaced: of those with one date the last entered counts. A decision rejects nothing;
    where two gateways send one punch with different content, the owner's punch counts.
    """
    try:
        with Database(db) as database, database.writing() as connection:
            entered = utc(clock_of(context)())
            changed = ownership.assign(connection, number, gateway, since, by, paper, entered)
            marks.mark_assigned(connection, number, date.fromisoformat(since), changed, entered)
    except ownership.WrongDecisionError as exc:
        raise typer.BadParameter(f"{exc}.") from exc
    except StoreError as exc:
        raise _unreadable(db, exc) from exc
    _show(f"{number} belongs to {gateway} from {since} on; {len(changed)} punches count otherwise than before")


def _unreadable(db: str, exc: StoreError) -> Failure:
    return Failure(Code.DISK, str(exc), "server" if is_url(db) else "database" if is_there(db) else "no_database")


def _show(text: str) -> None:
    """Print a line with control characters escaped: text of the database must not control the terminal."""
    print("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))


def _print_stream(stream: reports.StreamReport, lang: Language) -> None:
    def line(label: str, text: str) -> None:
        _show(f"  {message(f'report_{label}', lang):10}{text}")

    ended = "" if stream.current else message("report_ended", lang)
    _show(f"{stream.gateway} stream {stream.stream}{ended}")
    missing = {"count": _count(stream.missing), "places": _ranges(stream.missing)}
    lacking = message("report_missing", lang, **missing) if stream.missing else message("report_complete", lang)
    line("held", message("report_upto", lang, upto=stream.upto, missing=lacking))
    if stream.unproven:
        line("unproven", _unproven(stream, lang))
    if stream.gone:
        line("gone", _pruned(stream, lang))
    line("events", message("report_punches", lang, events=stream.events, punches=stream.punches))
    line("chain", _chain(stream.chain, lang))
    if stream.predecessor is not None:
        before = stream.predecessor
        state = message(f"report_{before.state}", lang)
        beyond = message("report_beyond", lang, count=before.held_beyond) if before.held_beyond else ""
        of_before = {"stream": before.stream, "sequence": before.sequence, "state": state}
        line("follows", message("report_after", lang, **of_before) + beyond)
    findings = {"forks": stream.forks, "misnamed": stream.misidentified, "claimed": stream.claimed_twice}
    for label, places in findings.items():
        if places:
            at = _first_few([str(place) for place in places])
            line(label, message("report_places", lang, count=len(places), places=at))
    if stream.quotas:
        line("refused", message("report_quotas", lang, quotas=", ".join(stream.quotas)))


def _unproven(stream: reports.StreamReport, lang: Language = Language.ENGLISH) -> str:
    places = {"count": _count(stream.unproven), "places": _ranges(stream.unproven)}
    return message("report_unproven_why", lang, **places)


def _pruned(stream: reports.StreamReport, lang: Language = Language.ENGLISH) -> str:
    return message("report_gone_why", lang, count=_count(stream.gone), places=_ranges(stream.gone))


def _count(ranges: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _ranges(ranges: list[tuple[int, int]]) -> str:
    return _first_few([str(first) if first == last else f"{first}-{last}" for first, last in ranges])


def _chain(chain: reports.Chain, lang: Language) -> str:
    if chain.state == "empty":
        return message("report_empty", lang)
    verified = message("report_verified", lang, first=chain.first, last=chain.last)
    if chain.last < chain.first:
        verified = message("report_unverified", lang)
    if chain.state == "joined":
        verified += message("report_joined", lang)
    if chain.first_break is not None:
        place = chain.first_break
        found = {"place": place.sequence, "expected": place.expected, "found": place.found}
        verified += message("report_broken", lang, count=chain.breaks, **found)
    return verified


def _first_few(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")


if __name__ == "__main__":
    main()
