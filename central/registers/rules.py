"""What the rows of a file must fulfil together: nothing overlaps, nothing stands twice, no version has a hole. Pure.

Every mistake stands at the later of two lines and names the place of the other. Lines that are entered already take
part; a mistake never stands at one of them, but at the file's line that contradicts it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from central.registers.kinds import DAY_KINDS
from central.texts import Listed
from central.words import COLUMNS, VALUES, word_of


class Line(NamedTuple):
    """A record with the place of its row."""

    place: str
    record: Any
    at: Callable[[str], str]
    """Return the place of one of its columns."""
    stored: bool = False
    """Whether it is entered already; ``place`` is empty then, and ``at`` returns what it states."""


class Clash(NamedTuple):
    """A mistake of several rows."""

    place: str
    code: str
    values: dict[str, str]


Rule = Callable[[Sequence[Line]], Iterator[Clash]]


def check(kind: str, lines: Sequence[Line], refused: Sequence[Mapping[str, Any]] = ()) -> Iterator[Clash]:
    """Find the mistakes that no single row shows.

    ``refused``: the fields of rows that have a mistake of their own. What may be missing only because of them is none.
    """
    for rule in _RULES[kind]:
        if rule is not _whole_cycles:
            yield from rule(lines)
        elif all("schedule" in row for row in refused):
            incomplete = {row["schedule"] for row in refused}
            yield from rule([line for line in lines if line.record.schedule not in incomplete])


def _clash(line: Line, column: str, code: str, other: Line, **values: str) -> Iterator[Clash]:
    """Yield a mistake of two lines, at the one that is in the file."""
    if line.stored:
        line, other = other, line
    if not line.stored:
        if other.stored:
            yield Clash(line.at(column), "contradicts_stored", {"other": other.at(column)})
        else:
            yield Clash(line.at(column), code, {"other": other.place, **values})


def _grouped(lines: Iterable[Line], key: Callable[[Any], Hashable]) -> list[list[Line]]:
    """Return lines by key; those without one, and those without company, are left out."""
    groups: dict[Hashable, list[Line]] = defaultdict(list)
    for line in lines:
        found = key(line.record)
        if found is not None:
            groups[found].append(line)
    return [group for group in groups.values() if len(group) > 1]


def _apart(key: Callable[[Any], Hashable], code: str) -> Rule:
    """Return the rule that validities under one key do not overlap."""
    return _spans_apart(key, lambda record: (record.since, record.until or date.max), code, "from")


def _spans_apart(
    key: Callable[[Any], Hashable], span: Callable[[Any], tuple[Any, Any]], code: str, column: str
) -> Rule:
    """Return the rule that spans, both ends included, do not overlap under one key."""

    def rule(lines: Sequence[Line]) -> Iterator[Clash]:
        for group in _grouped(lines, key):
            ordered = sorted(group, key=lambda line: span(line.record))
            longest = ordered[0]
            for line in ordered[1:]:
                if span(line.record)[0] <= span(longest.record)[1]:
                    yield from _clash(line, column, code, longest)
                if span(line.record)[1] > span(longest.record)[1]:
                    longest = line

    return rule


def _once(key: Callable[[Any], Hashable], code: str, column: str) -> Rule:
    """Return the rule that a key stands once."""

    def rule(lines: Sequence[Line]) -> Iterator[Clash]:
        first: dict[Hashable, Line] = {}
        for line in lines:
            found = key(line.record)
            if found in first:
                yield from _clash(line, column, code, first[found])
            else:
                first[found] = line

    return rule


def _tree(lines: Sequence[Line]) -> Iterator[Clash]:
    """Find units that are above themselves on a date."""
    suspects = _in_circles(lines)
    reported: set[str] = set()
    for day in sorted({line.record.since for line in suspects}):
        valid = {
            line.record.key: line
            for line in suspects
            if line.record.since <= day and (line.record.until is None or day <= line.record.until)
        }
        for unit in valid:
            circle = _circle(unit, valid)
            if circle and reported.isdisjoint(one.record.key for one in circle):
                reported |= {one.record.key for one in circle}
                at = next((one for one in circle if not one.stored), None)
                if at is not None:
                    yield Clash(at.at("parent"), "unit_above_itself", {"unit": at.record.key})


def _circle(unit: str, valid: dict[str, Line]) -> list[Line]:
    """Return the lines from a unit upwards until it comes again; empty where it does not."""
    path: dict[str, Line] = {}
    above: str | None = unit
    while above is not None and above in valid and above not in path:
        path[above] = valid[above]
        above = valid[above].record.parent
    return list(path.values()) if above == unit else []


def _in_circles(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of units that may be above themselves, whatever the dates."""
    edges = {(line.record.key, line.record.parent) for line in lines if line.record.parent is not None}
    edges = _without_ends(edges)
    edges = {(key, parent) for parent, key in _without_ends({(parent, key) for key, parent in edges})}
    return [line for line in lines if (line.record.key, line.record.parent) in edges]


def _without_ends(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges that remain when nodes from which none leads on are taken away, again and again."""
    before: dict[str, list[str]] = defaultdict(list)
    left = Counter(start for start, _ in edges)
    for start, end in edges:
        before[end].append(start)
    ends = [end for end in before if end not in left]
    while ends:
        for start in before[ends.pop()]:
            left[start] -= 1
            if not left[start]:
                ends.append(start)
    return {(start, end) for start, end in edges if left[start] and left[end]}


def _same_day_values(lines: Sequence[Line]) -> Iterator[Clash]:
    """Find versions of a timetable whose rows differ in what holds for the whole day."""
    for group in _grouped(lines, lambda record: (record.timetable, record.since)):
        for line in group[1:]:
            for field, column in (("break_min", "break min"), ("shifts", "shifts")):
                if getattr(line.record, field) != getattr(group[0].record, field):
                    yield Clash(
                        line.at(column),
                        "differs_in_version",
                        {"column": word_of(COLUMNS, column), "other": group[0].place},
                    )


def _whole_cycles(lines: Sequence[Line]) -> Iterator[Clash]:
    """Find versions of schedules that lack a day, or mix days of the week with days of a cycle."""
    versions: dict[tuple[str, date], list[Line]] = defaultdict(list)
    for line in lines:
        versions[line.record.schedule, line.record.since].append(line)
    for version in versions.values():
        first = version[0]
        other = next((line for line in version if line.record.day[0] != first.record.day[0]), None)
        if other is not None:
            yield Clash(other.at("day"), "week_and_cycle", {"other": first.place})
            continue
        days = {line.record.day[1] for line in version}
        week = first.record.day[0] == "week"
        missing = sorted(set(range(7) if week else range(1, max(days) + 1)) - days)
        if missing:
            names = [VALUES[_WEEK[number]] if week else str(number) for number in missing]
            yield Clash(first.place, "schedule_lacks_days", {"schedule": first.record.schedule, "days": _some(names)})
        follows = first.record.calendar
        for line in version[1:]:
            if line.record.calendar != follows:
                yield Clash(
                    line.at("calendar"), "differs_in_version", {"column": COLUMNS["calendar"], "other": first.place}
                )


_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _some(names: list[str]) -> str:
    return Listed([*names[:7], *(["…"] if len(names) > 7 else [])])


def _one_day_kind(lines: Sequence[Line]) -> Iterator[Clash]:
    """Find dates that are a holiday and off for the same scope."""
    known: dict[tuple[str, date], Line] = {}
    for line in lines:
        entry = line.record
        if DAY_KINDS[entry.kind] is None:
            continue
        for number in range(((entry.until or entry.date) - entry.date).days + 1):
            day = entry.date + timedelta(days=number)
            other = known.setdefault((entry.scope, day), line)
            if DAY_KINDS[other.record.kind] != DAY_KINDS[entry.kind]:
                yield from _clash(line, "kind", "two_day_kinds", other, date=day.isoformat())
                break


_RULES: dict[str, tuple[Rule, ...]] = {
    "people": (_apart(lambda one: one.key, "person_overlaps"),),
    "units": (_apart(lambda one: one.key, "unit_overlaps"), _tree),
    "enrolments": (_apart(lambda one: (one.terminal, one.site, one.pin), "enrolment_overlaps"),),
    "timetables": (
        _once(lambda one: (one.timetable, one.since, one.slot), "slot_twice", "slot"),
        _same_day_values,
    ),
    "schedules": (_once(lambda one: (one.schedule, one.since, one.day), "schedule_day_twice", "day"), _whole_cycles),
    "rosters": (_once(lambda one: (one.person, one.date), "roster_overlaps", "timetable"),),
    "assignments": (
        _apart(lambda one: (one.person, one.unit) if one.schedule else None, "schedule_overlaps"),
        _apart(lambda one: (one.person, one.unit) if one.policy else None, "policy_overlaps"),
    ),
    "calendar": (
        _once(lambda one: (one.date, one.until, one.kind, one.scope, one.name), "row_twice", "date"),
        _one_day_kind,
        _spans_apart(
            lambda one: one.scope if one.kind == "ramadan" else None,
            lambda one: (one.date, one.until or one.date),
            "ramadan_overlaps",
            "date",
        ),
    ),
    "leave": (_once(lambda one: (one.person, one.kind, one.since, one.begin, one.slot), "leave_twice", "person"),),
    "orders": (
        _spans_apart(
            lambda one: one.person,
            lambda one: (
                one.date.toordinal() * 86_400 + one.begin,
                one.date.toordinal() * 86_400 + one.end - 1,
            ),
            "order_overlaps",
            "begin",
        ),
    ),
    "corrections": (_once(lambda one: (one.person, one.date, one.time), "row_twice", "time"),),
    "decisions": (
        _once(
            lambda one: (one.decision, one.person, one.terminal, one.pin, one.suspect, one.since),
            "decision_twice",
            "decision",
        ),
    ),
    "presence": (_once(lambda one: (one.person, one.date, one.time, one.source), "row_twice", "time"),),
}
