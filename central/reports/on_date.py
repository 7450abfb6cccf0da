"""The stored verdicts on one date of a unit's people, read from the database."""

import json
from datetime import date
from typing import Any

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.reports.days import Judged
from central.store import results, retention
from central.store.engine import chunks
from central.store.registers import Registers
from central.timesheet.facts import Facts


def judged_on(connection: Connection, unit: str | None, on: date, policies: OfficePolicies) -> list[Judged]:
    """Return the stored verdicts of all who are employed in a unit, or anywhere, on a date."""
    registers = Registers(connection)
    units = None if unit is None else sorted(f"unit:{key}" for key in registers.with_units_below(unit, on, on))
    rows = registers.rows("people", units, on, on, by="subject" if units is None else "other")
    people = {row.record.key: row.record for row in rows}
    stored = {one.person: one for part in chunks(sorted(people)) for one in results.current(connection, part, on, on)}
    facts = None
    settled = retention.settled_until(connection)
    is_settled = settled is not None and on <= settled
    found = []
    for key, record in people.items():
        why: str | None = None
        content: dict[str, Any] | None = None
        if key in stored:
            content = json.loads(stored[key].content)
            if content is not None and stored[key].status == "none":
                why, content = content["why"], None
        else:
            facts = facts or Facts(connection, policies, sorted(people), on, on)
            planned = facts.days(key).on(on)
            why = planned if isinstance(planned, str) else "settled" if is_settled else None
        found.append(Judged(key, record.name, record.unit, content, why))
    return found
