"""Counts, terminals and daily tallies of a ledger as plain data, for `hadir status`."""

from dataclasses import asdict
from datetime import date
from typing import Any

from gateway.ledger.reader import LedgerReader
from gateway.ledger.schema import KnownTerminal


def summary(ledger: LedgerReader, days: int, since: date) -> dict[str, Any]:
    """Return ``counts``, ``terminals`` as far as the ledger knows them, and ``tallies`` of each terminal.

    Tallies are those of the newest ``days`` days, none before ``since``.
    """
    terminals = {known.name: _terminal(known) for known in ledger.terminals()}
    tallies = {name: _tally(ledger, name, days, since) for name in terminals} if days else {}
    return {"counts": asdict(ledger.counts()), "terminals": terminals, "tallies": tallies}


def _tally(ledger: LedgerReader, name: str, days: int, since: date) -> list[dict[str, Any]]:
    """Return the counts of a terminal's newest days, after those of its records without a readable date, if any."""
    tally = ledger.tally(name, since)
    undated, dated = [day for day in tally if day.day is None], [day for day in tally if day.day is not None]
    return [{**asdict(day), "day": day.day and day.day.isoformat()} for day in (*undated, *dated[-days:])]


def _terminal(known: KnownTerminal) -> dict[str, Any]:
    return {
        "state": "unknown",
        "serial": known.serial,
        "layout": known.layout,
        "clock": None,
        "records": known.in_log,
        "capacity": None,
        "last_punch": known.last_punch,
    }
