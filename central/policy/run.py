"""Running cases: judge their facts under their policy and compare what comes out with what is expected."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from central.policy.cases import Case
from central.policy.dated import read_date
from central.policy.document import DocumentError, Node, Place
from central.policy.load import Library, Policy, PolicyError
from central.timesheet.discipline import discipline
from central.timesheet.judge import judge
from central.timesheet.model import Span
from central.timesheet.outcome import counts_of_days
from central.timesheet.render import day_json, discipline_json, punch_json, total_json
from central.timesheet.totals import by_period, total

_HOUR_MINUTE = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2} )?[0-9]{2}:[0-9]{2}")
_TIMES = {"punch", "due", "unclaimed", "repeats", "unplaced"}
_WHOLE = {"excused"}
"""Maps that are compared as a whole."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a result is not what was expected: the path in the case, both values, and the line of the policy."""

    place: Place
    path: str
    expected: Any
    found: Any
    because: str | None = None

    def __str__(self) -> str:
        because = f", by {self.because}" if self.because else ""
        return f"{self.place}: {self.path}: expected {_shown(self.expected)}, got {_shown(self.found)}{because}"


@dataclass(slots=True)
class Outcome:
    """What became of a case."""

    case: Case
    results: dict[str, Any] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    error: str | None = None
    """Why the case cannot be judged, such as a policy that is not loaded."""

    @property
    def passed(self) -> bool:
        """Return whether everything is as expected."""
        return not self.differences and self.error is None


def run_case(case: Case, library: Library) -> Outcome:
    """Judge a case and compare."""
    outcome = Outcome(case)
    refused = case.expect.get("refused")
    try:
        policy = library.load(case.policy, case.folder)
    except DocumentError as error:
        outcome.error = f"{error}"
        return outcome
    except PolicyError as error:
        nodes = sorted({problem.node for problem in error.problems})
        outcome.results = {"refused": nodes, "problems": [str(problem) for problem in error.problems]}
        if refused is None:
            outcome.error = "; ".join(str(problem) for problem in error.problems)
        elif refused.value not in nodes:
            outcome.differences.append(Difference(refused.place, "refused", refused.value, ", ".join(nodes)))
        return outcome
    if refused is not None:
        outcome.differences.append(Difference(refused.place, "refused", refused.value, "loaded"))
        return outcome
    outcome.results = results_of(case.span, policy)
    outcome.differences = list(_compare(case.expect, outcome.results, policy))
    return outcome


def results_of(span: Span, policy: Policy) -> dict[str, Any]:
    """Return all that a case may expect of facts under a policy, as JSON."""
    judged = judge(span, policy.on)
    results: dict[str, Any] = {day.date.isoformat(): day_json(day) for day in judged.days}
    days = counts_of_days(judged.days)
    periods = by_period(days, policy.versions[0].rules.begins_on)
    totals = {first: total_json(total((first, last), within, policy.on)) for (first, last), within in periods.items()}
    if not totals:
        nothing = total((date.min, date.min), (), policy.on)
        results["total"] = total_json(nothing)
    else:
        results["total"] = totals[max(totals)]
    results["totals"] = {first.isoformat(): found for first, found in totals.items()}
    results["discipline"] = discipline_json(discipline(days, policy.on))
    results["unclaimed"] = [punch_json(punch) for punch in judged.unclaimed]
    results["unplaced"] = [punch_json(punch) for punch in judged.unplaced]
    return results


def _compare(expect: Node, results: Mapping[str, Any], policy: Policy) -> Iterable[Difference]:
    for key, node in expect.value.items():
        if key not in results:
            place = expect.keys.get(key, expect.place)
            yield Difference(place, key, "a planned date", "no plan of that date")
            continue
        reasons = _reasons(results, key)
        for difference in _differences(node, results[key], (key,), key):
            yield Difference(
                difference.place,
                difference.path,
                difference.expected,
                difference.found,
                _because(difference.path, reasons, policy, _date_of(key, results)),
            )


def _differences(expected: Node, found: Any, path: tuple[str, ...], key: str) -> Iterable[Difference]:
    """Compare only what is named, also in maps inside maps; lists and excused days as a whole."""
    if isinstance(expected.value, dict) and isinstance(found, Mapping) and not (key in _WHOLE and len(path) > 1):
        for name, node in expected.value.items():
            if name not in found:
                place = expected.keys.get(name, expected.place)
                yield Difference(place, ".".join((*path, name)), node.plain(), "nothing of that name")
            else:
                value = found[name]
                if name == "punch" and isinstance(node.value, str) and " " in node.value:
                    value = f"{found.get('punch_date')} {value}"
                yield from _differences(node, value, (*path, name), name)
        return
    if not _equal(_normal(expected.plain(), key), found):
        yield Difference(expected.place, ".".join(path), expected.plain(), found)


def _normal(value: Any, key: str) -> Any:
    """Write times with seconds where the results have them."""
    if isinstance(value, list):
        return [_normal(item, key) for item in value]
    if key in _TIMES and isinstance(value, str) and _HOUR_MINUTE.fullmatch(value):
        return f"{value}:00"
    return value


def _equal(expected: Any, found: Any) -> bool:
    return type(expected) is type(found) and bool(expected == found)


def _reasons(results: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    part = results[key]
    return part["reasons"] if isinstance(part, dict) and "reasons" in part else []


def _date_of(key: str, results: Mapping[str, Any]) -> date:
    on = read_date(results[key].get("work_date")) if isinstance(results[key], dict) else None
    return on or read_date(key) or date.max


def _because(path: str, reasons: list[dict[str, Any]], policy: Policy, on: date) -> str | None:
    """Return the line of the policy behind a value: the last reason of that slot, or of the whole."""
    parts = path.split(".")
    slot = parts[2] if len(parts) > 2 and parts[1] == "slots" else None
    named = [reason for reason in reasons if reason.get("policy") and isinstance(reason["policy"], dict)]
    chosen = [reason for reason in named if reason.get("slot") == slot] or ([] if slot else named)
    if not chosen:
        return None
    ref = chosen[-1]["policy"]
    decree = ref["decree"] or ""
    article = f", {ref['article']}" if ref["article"] else ""
    return f"{policy.place_of(ref['node'], on)} {ref['node']} ({decree}{article})"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
