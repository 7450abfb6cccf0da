"""``hadir-central doctor``: every part of a centre looked at once, and what to do about what is in the way."""
# ruff: noqa: T201 - a command line prints

import ctypes
import fcntl
import http.client
import json
import os
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from central.lanes.assignment import DOOR
from central.lanes.lease import holders
from central.mail.settings import MailSettingsError
from central.mail.settings import load_settings as load_mail
from central.operation import copies
from central.operation.broker_check import certificate_in, check_broker, expiry
from central.operation.findings import DOCTOR, FINDINGS, PARTS
from central.operation.steps import Step, failed, passed, warned
from central.options import AsJson, clock_of, settings_path
from central.policy.office import OfficePolicies
from central.registers.problems import printable
from central.rights.settings import RetentionError
from central.rights.settings import load_settings as load_retention
from central.settings import Settings, address_of, load_settings
from central.store import mails
from central.store.condition import size_of
from central.store.engine import Database, StoreError, StoreLocked, is_there, writer_lock
from central.store.lanes import open_lanes, plan_of
from central.store.standby import Replication, replication
from central.store.survey import Survey, survey, units_known
from central.texts import Count, Language, Reason
from central.web.access import Role
from central.web.accounts import AccountsError, read_accounts

ROOM_LEAST, ROOM_WANTED = 200 * 1024 * 1024, 2 * 1024 * 1024 * 1024
"""Bytes that are to be free: below the first nothing goes on for long, below the second a person should look."""
BACKUP_AGE = timedelta(days=2)
PAGES_S = 20.0
LANE_S = 10.0
"""How long a lane may be held by no worker before it is named."""
NAMES = 5
"""Names of a kind that one line shows."""
_MARKS = {"passed": ("✓", "+"), "warned": ("!", "!"), "failed": ("✗", "X")}


def doctor(
    context: typer.Context,
    lang: Annotated[Language | None, typer.Option("--lang", help="Language; else that of the settings.")] = None,
    as_json: AsJson = False,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Exit code 1 only where something is in the way (✗).")
    ] = False,
) -> None:
    """Find what is in the way: database, disk, clock, broker and its access list, registers, evidence, pages, copies.

    Memeriksa semuanya. Changes nothing. Below each ✗ (in the way) and ! (to be mended) stands what to do; exit code 0
    means neither.
    """
    config = settings_path(context)
    settings = load_settings(config)
    language = lang or settings.language
    steps = []
    for step in examine(settings, clock_of(context)().astimezone()):
        steps.append(step)
        if not as_json:
            for line in _lines(step, language):
                print(line, flush=True)
    troubled = [step for step in steps if step.outcome != "passed"]
    if as_json:
        rows = [
            {
                "part": step.part,
                "outcome": step.outcome,
                "finding": step.finding,
                "text": _text(step, language),
                "advice": _advice(step, language),
            }
            for step in steps
        ]
        print(json.dumps({"ok": not troubled, "steps": rows}, indent=2, ensure_ascii=False))
    else:
        counts = {name: sum(step.outcome == name for step in steps) for name in ("failed", "warned")}
        print(_printed("\n" + DOCTOR["counted" if troubled else "well"].into(language, **counts)))
    if any(step.outcome == "failed" or not only_failed for step in troubled):
        raise typer.Exit(1)


def examine(settings: Settings, now: datetime) -> Iterator[Step]:
    """Yield every step; a part that cannot be looked at is named once, and the others follow. ``now`` is local."""
    found = None
    for step in _database(settings, now):
        if isinstance(step, Survey):
            found = step
        else:
            yield step
    yield _receiver(settings.database)
    if isinstance(settings.database, str):
        with suppress(StoreError):  # named above
            yield from _server(settings.database, synchronous=settings.inbox.synchronous)
    yield from _disk(settings)
    yield passed("centre", "clock") if _synchronised() else warned("centre", "clock_free")
    yield _backup(settings, now)
    yield from check_broker(settings.broker)
    yield from _accounts(settings, now)
    yield from _policies(settings, found)
    yield from _mails(settings)
    if found is not None:
        yield from _people(found)
        yield from _evidence(found)
        yield from _results(found)
    yield from _pages(settings)


# --- the centre ---------------------------------------------------------------------------------------------------


def _database(settings: Settings, now: datetime) -> Iterator[Step | Survey]:
    address = settings.database
    if isinstance(address, Path) and not address.is_file():
        yield failed("centre", "no_database", file=address)
        return
    try:
        if isinstance(address, str) and not is_there(address):
            yield failed("centre", "no_database", file=address.partition("?")[0])
            return
        with closing(Database(address, read_only=True)) as database, database.reading() as connection:
            yield passed("centre", "database", file=database.place, size=_Mib(size_of(connection)))
            yield survey(connection, now)
    except StoreError as error:
        unreadable = "bad_database" if isinstance(address, Path) else "bad_server"
        yield failed("centre", "old_database" if "older version" in str(error) else unreadable, reason=Reason(error))


def _receiver(database: Path | str) -> Step:
    """Judge by the lock that a receiver holds, without taking it for more than a moment."""
    if isinstance(database, str):
        try:
            writer_lock(database).release()
        except StoreLocked:
            return passed("centre", "receiver")
        except StoreError as error:
            return failed("centre", "receiver_hidden", reason=Reason(error))
        return failed("centre", "receiver_stopped")
    try:
        lock = os.open(f"{database}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return failed("centre", "receiver_stopped")
    except OSError as error:
        return failed("centre", "receiver_hidden", reason=Reason(error.strerror))
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return passed("centre", "receiver")
    finally:
        os.close(lock)
    return failed("centre", "receiver_stopped")


def _server(database: str, *, synchronous: bool) -> Iterator[Step]:
    """Look at what only a database on a server has: its standby, and lanes. ``synchronous``: receipts wait for it."""
    with closing(Database(database, read_only=True)) as opened:
        with opened.reading() as connection:
            found = replication(connection)
        if found.wanted or synchronous:
            yield _standby(found)
        if (free := _free_lanes(opened)) is not None:
            names = [str(number) if number != DOOR else f"{number} (door)" for number in free]
            yield failed("centre", "lanes_free", lanes=_listed(names)) if free else passed("centre", "lanes_held")


def _standby(found: Replication) -> Step:
    if found.synchronous:
        return passed("centre", "standby_synchronous", names=_listed(found.synchronous))
    if found.hidden:
        return warned("centre", "standby_hidden")
    if found.wanted:
        return failed("centre", "standby_missing", wanted=found.wanted)
    return failed("centre", "standby_unset")


def _free_lanes(database: Database) -> list[int] | None:
    """Return the lanes that no worker holds; None where there are none, or no worker runs, which is named before.

    A lane whose worker has just ended is taken by another one within seconds.
    """
    until_s = time.monotonic() + LANE_S
    while True:
        with database.reading() as connection:
            if plan_of(connection) is None:
                return None
            held = holders(connection)
            free = sorted(open_lanes(connection).keys() - held.keys())
        if not free or time.monotonic() >= until_s:
            return free if held else None
        time.sleep(0.5)


def _disk(settings: Settings) -> Iterator[Step]:
    for folder in dict.fromkeys((settings.data, settings.backups)):
        if folder.is_dir():
            free = shutil.disk_usage(folder).free
            judge = failed if free < ROOM_LEAST else warned if free < ROOM_WANTED else passed
            yield judge("centre", "room" if judge is passed else "little_room", folder=folder, free=_Mib(free))


def _backup(settings: Settings, now: datetime) -> Step:
    if isinstance(settings.database, str):
        return passed("centre", "copies_at_server")
    folder = settings.backups
    try:
        newest = next(reversed(copies.in_order(folder, now)), None)
    except OSError as error:
        return warned("centre", "copies_hidden", folder=folder, reason=Reason(error.strerror))
    if newest is None:
        return warned("centre", "no_copy", folder=folder)
    made = copies.made_at(newest)
    if made is None:
        return warned("centre", "no_copy", folder=folder)
    age = now - made
    judge = passed if abs(age) < BACKUP_AGE else warned  # of a time ahead: there is no other
    return judge(
        "centre", "copy" if judge is passed else "old_copy", copy=newest.name, hours=Count(age.total_seconds() // 3600)
    )


def _synchronised() -> bool:
    """Return whether the kernel's clock follows a time source (adjtimex(2)); False where that is not known."""
    request = ctypes.create_string_buffer(512)  # modes = 0: read only
    try:
        state: int = ctypes.CDLL(None).adjtimex(request)
    except (OSError, AttributeError):
        return False
    return 0 <= state < 5  # 5 is TIME_ERROR


# --- the office ---------------------------------------------------------------------------------------------------


def _accounts(settings: Settings, now: datetime) -> Iterator[Step]:
    try:
        accounts = read_accounts(settings.account_file)
    except AccountsError as error:
        yield failed("office", "bad_accounts", reason=Reason(error))
        return
    if not any(one.role is Role.BKD and one.password for one in accounts.values()):
        yield failed("office", "no_bkd", file=settings.account_file)
    with suppress(StoreError), closing(Database(settings.database, read_only=True)) as database:
        with database.reading() as connection:
            units = units_known(connection, now.date())
        strange = sorted({unit for one in accounts.values() for unit in one.units} - units)
        if strange:
            yield warned("office", "strange_units", units=_listed(strange))
    yield passed("office", "accounts", count=Count(len(accounts)))


def _policies(settings: Settings, found: Survey | None) -> Iterator[Step]:
    folder = settings.policies
    if folder is not None and not folder.is_dir():
        yield failed("office", "no_policies", folder=folder)
        folder = None
    policies = OfficePolicies(folder)
    known = set(policies)
    for reason in policies.problems.values():
        yield failed("office", "bad_policy", reason=Reason(reason))
    used = found.policies if found is not None else ()
    if unknown := [name for name in used if name not in known]:
        yield failed("office", "unknown_policies", names=_listed(unknown))
    elif found is not None and found.people and not used:
        yield warned("office", "no_policy")
    else:
        yield passed("office", "policies", names=_listed(used) or "-")


def _mails(settings: Settings) -> Iterator[Step]:
    try:
        load_retention(settings.retention)
    except RetentionError as error:
        yield failed("office", "bad_retention", reason=error)
    if settings.mail is None:
        return
    try:
        enabled = load_mail(settings.mail).enabled
    except MailSettingsError as error:
        yield failed("office", "bad_mail", reason=error)
        return
    if not enabled:
        yield passed("office", "mails_off")
        return
    with suppress(StoreError), closing(Database(settings.database, read_only=True)) as database:
        with database.reading() as connection:
            found = mails.counts(connection)
        if found.failing or found.refused:
            values = {name: Count(getattr(found, name)) for name in ("failing", "waiting", "refused")}
            yield warned("office", "mails_failing", **values, failure=Reason(found.last_failure or "-"))
        else:
            yield passed("office", "mails", sent=Count(found.sent), waiting=Count(found.waiting))


def _people(found: Survey) -> Iterator[Step]:
    if not found.people:
        yield warned("office", "no_people")
        return
    if found.without_unit:
        yield warned("office", "without_unit", count=Count(found.without_unit))
    if found.marks:
        yield passed("office", "judging", marks=Count(found.marks))
    elif found.without_plan:
        yield warned("office", "without_plan", count=Count(found.without_plan))
    yield passed("office", "people", count=Count(found.people))


def _evidence(found: Survey) -> Iterator[Step]:
    if found.months:
        yield warned("evidence", "months", names=_listed(found.months))
    if not found.gateways:
        yield warned("evidence", "no_gateways")
        return
    yield passed("evidence", "gateways", count=Count(found.gateways))
    if found.away:
        yield warned("evidence", "away", names=_listed(found.away))
    if found.out_of_contact:
        yield warned("evidence", "out_of_contact", names=_listed(found.out_of_contact))
    if found.gone:
        yield warned("evidence", "gone", count=Count(found.gone))
    if found.missing:
        yield warned("evidence", "missing", count=Count(found.missing))
    if found.unread:
        yield warned("evidence", "unread", names=_listed(found.unread))
    if found.findings:
        yield warned("evidence", "findings", count=Count(found.findings))
    if found.rejected:
        yield warned("evidence", "rejected", count=Count(found.rejected))


def _results(found: Survey) -> Iterator[Step]:
    if found.failed:
        yield failed("evidence", "marks_failed", count=Count(found.failed))
    if found.refused:
        yield warned("evidence", "refused", count=Count(found.refused))
    if found.waiting:
        yield passed("evidence", "waiting", count=Count(found.waiting))


# --- the pages ----------------------------------------------------------------------------------------------------


def _pages(settings: Settings) -> Iterator[Step]:
    pages = settings.pages
    if pages.cert_file is not None and pages.key_file is not None:
        try:
            yield expiry("pages", "certificate", certificate_in(str(pages.cert_file), str(pages.key_file)))
        except (OSError, ssl.SSLError, TypeError, KeyError) as error:
            reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
            yield failed("pages", "bad_certificate", file=pages.cert_file, reason=Reason(reason))
    host, port = address_of(pages.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - the address is looked up, not opened
    try:
        status = _status(host, port, tls=pages.cert_file is not None)
    except OSError as error:
        yield failed("pages", "pages_silent", listen=pages.listen, reason=Reason(error.strerror or error))
        return
    except http.client.HTTPException as error:
        yield failed("pages", "pages_strange", listen=pages.listen, reason=Reason(type(error).__name__))
        return
    if status == http.client.OK:
        yield passed("pages", "pages", listen=pages.listen)
    else:
        yield failed("pages", "pages_ill", listen=pages.listen, status=status)


def _status(host: str, port: int, *, tls: bool) -> int:
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is this computer; only a status is read
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=PAGES_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=PAGES_S)
    with closing(connection):
        connection.request("GET", "/healthz", headers={"Host": f"127.0.0.1:{port}"})
        return connection.getresponse().status


# --- printing -----------------------------------------------------------------------------------------------------


def _text(step: Step, language: Language) -> str:
    return printable(FINDINGS[step.finding][0].into(language, **step.values))


def _advice(step: Step, language: Language) -> str | None:
    advice = FINDINGS[step.finding][1]
    return None if advice is None or step.outcome == "passed" else printable(advice.into(language, **step.values))


def _lines(step: Step, language: Language) -> Iterator[str]:
    mark, plain = _MARKS[step.outcome]
    part = PARTS[step.part].into(language)
    yield _printed(f"{mark} {part:<8} {_text(step, language)}", plain)
    if (advice := _advice(step, language)) is not None:
        yield _printed(f"    → {advice}")


def _printed(text: str, mark: str = "") -> str:
    """Return a line as the output can print it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        text = (mark + text[1:] if mark else text).replace("→", "->").replace("✗", "X").replace("✓", "+")
        return text.encode("ascii", "backslashreplace").decode()
    return text


def _listed(names: "list[str] | tuple[str, ...]") -> str:
    return ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")


class _Mib(int):
    """A size in MiB."""

    def into(self, language: Language) -> str:
        """Return it in a language."""
        return f"{Count(round(self / 1024 / 1024)).into(language)} MiB"
