"""What is known of a person's date, read from the database: as it is stored, or as it was known at a moment."""

import json
from datetime import date, datetime

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.reports.why import Explained
from central.store import marks, results, retention
from central.store.engine import utc
from central.store.registers import Registers
from central.timesheet.facts import judge_now
from central.timesheet.model import ENGINE


def explained(
    connection: Connection, person: str, on: date, policies: OfficePolicies, known_at: datetime | None, now: datetime
) -> Explained:
    """Return what is known of a day: the stored verdict; as known at a moment, it is judged by what was known then.

    Texts of policies and versions of the judgement are not kept: where another one was in force then, the verdict that
    was stored then is what was known. So it is for dates that are never judged again, because evidence was deleted.
    """
    moment = None if known_at is None else utc(known_at)
    registers = Registers(connection, known_at)
    rows = registers.rows("people", [f"person:{person}"])
    history = results.history(connection, person, on, moment)
    judged = None
    settled = retention.settled_until(connection)
    is_settled = settled is not None and on <= settled
    if not is_settled and (known_at is not None or not history):
        judged = judge_now(connection, policies, person, on, int(now.timestamp()), known_at)
    replaced = None if judged is None or known_at is None else _replaced(connection, policies, judged.policy, moment)
    if judged is not None and (replaced is None or not history):
        content = None if judged.result is None else json.loads(judged.content)
        status, reason = judged.status, judged.why
    else:
        counts = known_at is None or replaced is not None or is_settled
        last = history[-1] if history and counts else None
        stored = None if last is None else json.loads(last.content)
        content = None if last is None or last.status == "none" else stored
        status = "none" if last is None else last.status
        reason = ("settled" if is_settled and not history else None) if stored is None else stored.get("why")
    return Explained(
        person=person,
        name=rows[-1].record.name if rows else person,
        date=on,
        content=content,
        status=status,
        why=reason,
        history=history,
        zone=zone_of(registers.rows("units")),
        known_at=moment,
        replaced=replaced,
        waiting=0 if known_at is not None else marks.numbers(connection)[0],
    )


def _replaced(connection: Connection, policies: OfficePolicies, policy: str | None, moment: str | None) -> str | None:
    """Return what a verdict rested on at a moment and does not rest on today: ``policy`` or ``engine``; else None."""
    then = marks.judged_by(connection, moment)
    if then.get("engine", str(ENGINE)) != str(ENGINE):
        return "engine"
    digest = None if policy is None else then.get(f"policy:{policy}")
    return "policy" if policy is not None and digest not in (None, policies.digest(policy) or "none") else None
