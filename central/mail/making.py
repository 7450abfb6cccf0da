"""The texts of mails: counts of a unit's date for its superiors, alarms for operators. No person is named."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from central.mail.messages import COUNTS, message
from central.mail.settings import Settings
from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.reports.days import COUNTED, Judged, states
from central.reports.on_date import judged_on
from central.store import closings, offline, recorded, terminals
from central.store.mails import New
from central.store.registers import Registers
from central.store.terminals import FOREVER
from central.texts import Count
from central.timesheet.affected import read_of
from central.timesheet.clock import DAY_S, midnight
from central.web.access import Role
from central.web.accounts import Account

WAITS = timedelta(hours=2)
"""So long after its time a digest waits for changes that are not judged yet; then it goes, and says so."""
LAST = time(23)
"""A digest waits until then at most: on the next day it would be that of another date."""
_NOTHING_PLANNED = ("no_plan", "not_employed", "settled")
"""Why a date has no verdict where none is lacking; else judging does not run, or an assignment is missing."""
MAX_NAME = 80
"""Characters of a unit's name in a mail."""


class _Place(NamedTuple):
    """Where people of an operator's units are enrolled."""

    people: tuple[str, ...]
    """Their keys."""
    units: frozenset[str]
    sites: frozenset[str]
    serials: frozenset[str]
    gateways: tuple[str, ...]
    terminals: frozenset[tuple[str, str]]
    """Gateway and name."""


def mails_due(
    connection: Connection, accounts: Iterable[Account], policies: OfficePolicies, settings: Settings, now: datetime
) -> Iterator[New]:
    """Yield the mails that accounts are due now: digests of yesterday, and the alarms of today."""
    judged: dict[tuple[str, date], list[Judged]] = {}
    for account in accounts:
        if account.mail is None:
            continue
        if account.role is Role.SUPERIOR:
            yield from _digests(connection, account, policies, settings, now, judged)
        elif account.role is Role.OPERATOR:
            yield from _alarms(connection, account, settings, now)


def address_of(accounts: Mapping[str, Account], kind: str, account: str, subject_of: str) -> str | None:
    """Return where a mail goes that was made before: None where its account is not due it any more. Pure."""
    found = accounts.get(account)
    if found is None:
        return None
    due = found.role is Role.OPERATOR if kind == "alarm" else found.role is Role.SUPERIOR and subject_of in found.units
    return found.mail if due else None


# --- digests ------------------------------------------------------------------------------------------------------


def _digests(
    connection: Connection,
    account: Account,
    policies: OfficePolicies,
    settings: Settings,
    now: datetime,
    judged: dict[tuple[str, date], list[Judged]],
) -> Iterator[New]:
    registers = Registers(connection)
    for unit in account.units:
        local = now.astimezone(_zone(registers, unit))
        since = datetime.combine(local.date(), time.fromisoformat(settings.digest_from), local.tzinfo)
        if local < since:
            continue
        on = local.date() - timedelta(days=1)
        rows = registers.rows("units", [f"unit:{unit}"], on, on)
        if not rows:
            continue
        if (unit, on) not in judged:
            judged[unit, on] = judged_on(connection, unit, on, policies)
        if _is_of_no_duty(judged[unit, on]):
            continue
        waiting, _ = closings.marks_touching(connection, on, on, [one.person for one in judged[unit, on]])
        unjudged = any(one.content is None and one.why is None for one in judged[unit, on])
        if (waiting or unjudged) and local < min(since + WAITS, datetime.combine(local.date(), LAST, local.tzinfo)):
            continue  # the next run makes it
        link = f"{settings.pages}/today/{quote(unit, safe='/')}?{urlencode({'date': on.isoformat()})}"
        name = rows[-1].record.name
        yield digest(account, unit, name, on, judged[unit, on], link, settings.least_people, waiting=waiting)


def _is_of_no_duty(days: Collection[Judged]) -> bool:
    """Return whether nobody was to be there on a date.

    A lacking assignment makes a digest only of a date without any verdict: others may have shown that it was a day off.
    """
    others = [one for one in days if not _has_no_duty(one)]
    lacking = all(one.content is None and one.why is not None for one in others)
    return not others or (lacking and any(one.content is not None for one in days))


def _has_no_duty(one: Judged) -> bool:
    """Return whether a person had no duty on a date: a verdict says so, or nothing was planned."""
    return states(one) <= {"no_duty"} if one.content is not None else one.why in _NOTHING_PLANNED


def digest(
    account: Account,
    unit: str,
    name: str,
    on: date,
    days: Sequence[Judged],
    link: str,
    least_people: int,
    *,
    waiting: int = 0,
) -> New:
    """Return the digest of a unit's date for an account: how many people are what, and where to look. Pure.

    ``waiting``: changes that may concern the date and are not judged yet.
    """
    language = account.language
    shown = one_line(name)
    found = Counter(state for one in days for state in states(one))
    if len(days) < least_people:
        lines = [message("digest_few", language, unit=shown, date=on.isoformat(), least=least_people)]
    else:
        lines = [message("digest_head", language, unit=shown, date=on.isoformat(), people=Count(len(days))), ""]
        lines += [f"{found[state]:6}  {COUNTS[state].into(language)}" for state in COUNTED if found[state]]
    if all(one.content is None for one in days):
        lines += ["", message("digest_none", language)]
    if waiting:
        lines += ["", message("digest_waiting", language, count=Count(waiting))]
    lines += [
        "",
        message("digest_more", language, link=link),
        "",
        message("digest_foot", language, account=account.name),
    ]
    subject = message("digest_subject", language, unit=shown, date=on.isoformat())
    return New("digest", account.name, unit, on.isoformat(), account.mail or "", subject, "\n".join(lines) + "\n")


def _zone(registers: Registers, unit: str) -> ZoneInfo | None:
    """Return the zone of a unit, or of the nearest one above it that has one; else the office's."""
    found: str | None = unit
    for _ in range(100):
        rows = registers.rows("units", [f"unit:{found}"]) if found is not None else []
        if not rows:
            break
        if rows[-1].record.zone is not None:
            return ZoneInfo(rows[-1].record.zone)
        found = rows[-1].record.parent
    office = zone_of(registers.rows("units"))
    return office if isinstance(office, ZoneInfo) else None


# --- alarms -------------------------------------------------------------------------------------------------------


def _alarms(connection: Connection, account: Account, settings: Settings, now: datetime) -> Iterator[New]:
    registers = Registers(connection)
    for unit in account.units[:1]:
        on = now.astimezone(_zone(registers, unit)).date()
        counts = alarms_of(connection, account.units, now, on)
        yield from alarms(account, on, counts, f"{settings.pages}/evidence")


def alarms(account: Account, on: date, counts: Mapping[str, int], link: str) -> Iterator[New]:
    """Yield a mail for each alarm that counts anything: at most one of each in a day. Pure."""
    language = account.language
    for code, count in counts.items():
        if count:
            what = message(f"alarm_{code}", language, count=Count(count))
            lines = [f"{what}.", "", message("alarm_more", language, link=link), ""]
            lines += [message("alarm_foot", language, account=account.name)]
            subject, text = message("alarm_subject", language, what=what), "\n".join(lines) + "\n"
            yield New("alarm", account.name, code, on.isoformat(), account.mail or "", subject, text)


def alarms_of(connection: Connection, units: Collection[str], now: datetime, on: date) -> dict[str, int]:
    """Return how many gateways and terminals are away at which people of units are enrolled, and the like."""
    place, second = _place_of(connection, units, on), int(now.timestamp())
    begin = midnight(on) - 7 * DAY_S
    out = {
        (one.gateway, one.terminal)
        for one in terminals.incidents(connection, place.gateways, begin, second + DAY_S)
        if one.kind in ("lost", "found") and one.end >= FOREVER and (one.gateway, one.terminal) in place.terminals
    }
    _, aside = closings.marks_touching(connection, date.min, date.max, place.people)
    yesterday = on - timedelta(days=1)
    unknown = recorded.unattributed(connection, place.sites, yesterday, yesterday)
    return {
        "offline": len({one.gateway for one in offline.offline(connection, place.gateways, second)}),
        "out": len(out),
        "pins": len({(one.serial, one.pin) for one in unknown}),
        "failed": sum(_may_concern(subject, place) for subject, *_ in aside),
    }


def _may_concern(subject: str, place: _Place) -> bool:
    """Return whether a change may concern people of a place; what is about no place of its own may concern all."""
    reading = read_of(subject)
    if reading is not None:
        return reading.site in place.sites
    kind, _, key = subject.partition(":")
    key = key.partition(" ")[0]
    match kind:
        case "unit":
            return key in place.units
        case "site":
            return key in place.sites
        case "terminal" | "awaited":
            return key in place.serials
        case _:
            return True


def _place_of(connection: Connection, units: Collection[str], on: date) -> _Place:
    registers = Registers(connection)
    below = {f"unit:{key}" for unit in units for key in registers.with_units_below(unit, on, on)}
    people = registers.rows("people", sorted(below), on, on, by="other")
    keys = [f"person:{row.record.key}" for row in people]
    enrolments = [row.record for row in registers.rows("enrolments", keys, on, on)]
    sites = {one.site for one in enrolments if one.site is not None}
    serials = {one.terminal for one in enrolments if one.terminal is not None}
    devices = terminals.devices(connection, recorded.gateways_at(connection, sites), serials)
    names = dict.fromkeys((*recorded.gateways_at(connection, sites), *(one.gateway for one in devices)))
    sites |= {one.gateway.partition("/")[0] for one in devices}
    return _Place(
        people=tuple(row.record.key for row in people),
        units=frozenset(one.removeprefix("unit:") for one in below),
        sites=frozenset(sites),
        serials=frozenset(serials.union(one.serial for one in devices)),
        gateways=tuple(names),
        terminals=frozenset((one.gateway, one.name) for one in devices),
    )


def one_line(name: str) -> str:
    """Return a name as one line of bounded length, without anything that a header or a mail program could act on."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return plain if len(plain) <= MAX_NAME else f"{plain[: MAX_NAME - 1]}…"
