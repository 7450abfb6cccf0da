"""What of the database a person should look at: counts and names for ``hadir-central doctor``. Read-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from central.store import partitions
from central.store.engine import utc
from central.store.portable import json_field, run

UNREAD_DAYS = 2
"""A terminal whose log is not known further than so many days ago is named."""
FORGOTTEN_DAYS = 30
"""A terminal that no state has named for so long is out of use, and not looked at any more."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found; names are of gateways, terminals, units and policies, never of people."""

    gateways: int
    away: tuple[str, ...]
    """Gateways that are offline."""
    out_of_contact: tuple[str, ...]
    """Other gateways that have not shown that they run since the centre last had no connection to the broker."""
    gone: int
    """Events whose content is neither here nor at their gateway any more."""
    missing: int
    """Events that current streams lack."""
    unread: tuple[str, ...]
    """Terminals, as ``site/gateway name``, whose logs are behind."""
    rejected: int
    findings: int
    """Forks, broken links and the like."""
    waiting: int
    """Messages about results that the broker has not acknowledged."""
    refused: int
    """Of them, those that are set aside."""
    marks: int
    """Marks of days that wait to be judged."""
    failed: int
    """Marks that are set aside, because judging them failed."""
    people: int
    without_unit: int
    without_plan: int
    """People employed yesterday, of whom yesterday is judged neither as duty nor as a day off."""
    months: tuple[str, ...]
    """Months of punches on a server that lack a partition of their own."""
    policies: tuple[str, ...]
    """Names that assignments of today give."""


def survey(connection: Connection, now: datetime) -> Survey:
    """Look at one moment of the database; dates are those of ``now``'s zone."""
    today = now.date()
    day = (today - timedelta(days=1)).isoformat()

    def count(statement: str, **values: Any) -> int:
        return int(run(connection, statement, **values).scalar_one() or 0)

    def names(statement: str, **values: Any) -> tuple[str, ...]:
        return tuple(sorted(run(connection, statement, **values).scalars()))

    policy = json_field(connection, "content", 0, "policy")
    employed = (
        f"SELECT subject, {json_field(connection, 'content', 0, 'unit')} AS unit FROM statements "  # noqa: S608 - our words
        "WHERE kind = 'people' AND valid_from <= :day AND coalesce(valid_until, :day) >= :day"
    )
    return Survey(
        gateways=count("SELECT count(*) FROM gateway"),
        away=names(
            "SELECT name FROM gateway WHERE id IN (SELECT gateway FROM offline WHERE online IS NULL) ORDER BY name"
        ),
        out_of_contact=names(
            "SELECT name FROM gateway "
            "WHERE id IN (SELECT gateway FROM away WHERE ended IS NULL AND marked IS NOT NULL) "
            "AND id NOT IN (SELECT gateway FROM offline WHERE online IS NULL) ORDER BY name"
        ),
        gone=count("SELECT count(*) FROM (SELECT DISTINCT stream, sequence FROM gone) AS places"),
        missing=count("SELECT sum(gap.last - gap.first + 1) FROM gap JOIN gateway ON gateway.stream = gap.stream"),
        unread=_unread(connection, now),
        rejected=count("SELECT coalesce((SELECT sum(times) FROM rejected), 0)"),
        findings=count("SELECT count(*) FROM finding"),
        waiting=count("SELECT count(*) FROM outbox WHERE refused IS NULL"),
        refused=count("SELECT count(*) FROM outbox WHERE refused IS NOT NULL"),
        marks=count("SELECT count(*) FROM affected WHERE failed IS NULL"),
        failed=count("SELECT count(*) FROM affected WHERE failed IS NOT NULL"),
        people=count(f"SELECT count(*) FROM ({employed}) AS e", day=day),  # noqa: S608 - a constant
        without_unit=count(f"SELECT count(*) FROM ({employed}) AS e WHERE unit IS NULL", day=day),  # noqa: S608
        without_plan=count(
            f"SELECT count(*) FROM ({employed}) AS e WHERE NOT EXISTS (SELECT 1 FROM days "  # noqa: S608
            "WHERE days.person = substr(subject, 8) AND days.date = :day AND days.status <> 'none')",
            day=day,
        ),
        months=tuple(partitions.missing(connection, today)),
        policies=names(
            f"SELECT DISTINCT {policy} FROM statements WHERE kind = 'assignments' "  # noqa: S608 - our words
            "AND valid_from <= :day AND coalesce(valid_until, :day) >= :day "
            f"AND {policy} IS NOT NULL",
            day=today.isoformat(),
        ),
    )


def _unread(connection: Connection, now: datetime) -> tuple[str, ...]:
    """Return the terminals with a log that is not known as far as it should be."""
    rows: Sequence[Any] = run(
        connection,
        "SELECT gateway.name, terminal.name, max(watermark.until), max(watermark.received) "
        "FROM terminal JOIN gateway ON gateway.id = terminal.gateway "
        "LEFT JOIN watermark ON watermark.terminal = terminal.id AND watermark.counted IS NOT NULL "
        "WHERE terminal.log IS NOT NULL GROUP BY terminal.id, gateway.name ORDER BY gateway.name, terminal.name",
    ).all()
    recent = utc(now - timedelta(days=FORGOTTEN_DAYS))
    behind = (now - timedelta(days=UNREAD_DAYS)).timestamp()
    return tuple(
        f"{gateway} {name}"
        for gateway, name, until, received in rows
        if (until is None or until < behind) and (received is None or received >= recent)
    )


def units_known(connection: Connection, on: date) -> frozenset[str]:
    """Return the keys of the units of a date."""
    found = run(
        connection,
        "SELECT DISTINCT substr(subject, 6) FROM statements WHERE kind = 'units' "
        "AND valid_from <= :day AND coalesce(valid_until, :day) >= :day",
        day=on.isoformat(),
    )
    return frozenset(found.scalars())
