"""The published delivery counts of a terminal's last days."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.event import utc_text
from gateway.ledger import DayCounts, Ledger

TALLY_DAYS = 31


def tally(
    terminal: str, ledger: Ledger, now: datetime, zone: ZoneInfo, reconciliation: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the message of ``tally/<name>``: counts of the last days, and the result of the last full reading."""
    since = now.astimezone(zone).date() - timedelta(days=TALLY_DAYS - 1)
    return {
        "terminal": terminal,
        "at": utc_text(now),
        "reconciliation": reconciliation,
        "days": [_counts(day) for day in ledger.tally(terminal, since)],
    }


def _counts(day: DayCounts) -> dict[str, Any]:
    return {
        "day": day.day.isoformat() if day.day else None,
        "in_log": day.in_log or 0,
        "in_ledger": day.in_ledger,
        "withheld": day.withheld,
        "sent": day.sent,
        "confirmed": day.confirmed,
    }
