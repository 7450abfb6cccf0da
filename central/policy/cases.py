"""Case files: worked examples of a policy, read strictly; a broken case costs itself only."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args
from zoneinfo import ZoneInfoNotFoundError

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from central.policy.dated import read_date
from central.policy.document import MAX_VALUES, DocumentError, Node, Place, compose, convert, place_of, read_text
from central.policy.model import Suspect, read_time
from central.timesheet.clock import Zone, midnight, zone_named
from central.timesheet.model import Doubt, LeaveDay, LeaveInterval, Order, PlanDay, Punch, Slot, Span

T = TypeVar("T")

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?"
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_PLACES = ("outage", "gap", "unread", "unattributed")
_CASE = {"name", "policy", "zone", "days", "punches", "leave", "orders", "doubts", "read_until", "now", "expect"}
_SLOT_FIELDS = {
    *("status", "demanded", "punch", "punches", "due", "late_min", "early_min", "missing"),
    *("class", "cut", "cut_rp", "excused", "excused_min"),
}
_DAY_FIELDS = {
    *("status", "kind", "work_date", "absent", "worked", "class", "cut", "cut_rp", "planned_min", "present_min"),
    *("counted_min", "before_min", "overtime_min", "slots", "excused", "unclaimed", "repeats", "conditions"),
}
_TOTAL_FIELDS = {
    *("days", "shifts", "absent_days", "planned_min", "late_min", "early_min", "missing", "cut", "cut_rp"),
    *("excused", "counted", "open_days", "provisional_days", "presence"),
}
_DISCIPLINE_FIELDS = {
    *("days", "absent_days", "minutes", "rest_min", "longest_run", "consecutive_on", "level"),
}


class Moment(NamedTuple):
    """A time that was written: as an instant, and as the digits of its wall clock."""

    instant: int
    local: int


@dataclass(frozen=True, slots=True)
class Case:
    """A worked example: the facts, and what is expected of them."""

    name: str
    place: Place
    policy: Node
    folder: Path
    span: Span
    expect: Node


class BrokenCaseError(DocumentError):
    """A case that cannot be read, with its name where it has one."""

    def __init__(self, place: Place, message: str, name: str | None) -> None:
        super().__init__(place, message)
        self.name = name


def read_cases(path: Path) -> list[Case | BrokenCaseError]:
    """Return the cases of a file in their order, a broken one as its error.

    Raises :class:`DocumentError` where the file as a whole cannot be read.
    """
    file = str(path)
    root = compose(read_text(path), file)
    entries = _entries(root, file)
    found: list[Case | BrokenCaseError] = []
    values = 0
    for entry in entries.value:
        try:
            node = convert(entry, file)
            values += node.size
            if values <= MAX_VALUES:
                found.append(read_case(node, path.parent))
                continue
            error = DocumentError(node.place, "too large from here on; aliases repeat too much, or divide the file")
        except DocumentError as broken:
            error = broken
        found.append(BrokenCaseError(error.place, error.message, _name_of(entry)))
        if values > MAX_VALUES:
            break
    return found


def _entries(root: Any, file: str) -> SequenceNode:
    if isinstance(root, MappingNode):
        keys = [key.value if isinstance(key, ScalarNode) else None for key, _ in root.value]
        if keys == ["cases"] and isinstance(root.value[0][1], SequenceNode) and root.value[0][1].value:
            return root.value[0][1]
        at = root.value[0][0] if root.value else root
        raise DocumentError(place_of(at, file), "not a case file; write cases: and below it a list of cases")
    place = Place(file, 1, 1) if root is None else place_of(root, file)
    raise DocumentError(place, "not a case file; write cases: and below it a list of cases")


def _name_of(entry: Any) -> str | None:
    if isinstance(entry, MappingNode):
        for key, value in entry.value:
            if isinstance(key, ScalarNode) and key.value == "name" and isinstance(value, ScalarNode):
                return str(value.value)
    return None


def read_case(node: Node, folder: Path) -> Case:
    """Return one case; raises :class:`DocumentError` at the first thing that is wrong with it."""
    _keys(node, _CASE, ("name", "policy", "expect"))
    expect = node.value["expect"]
    _check_expectations(expect)
    zone_node = node.get("zone")
    if zone_node is None and expect.get("refused") is None:
        raise DocumentError(node.place, "zone is missing; write that of the plan, such as Asia/Jakarta")
    zone = _zone(zone_node) if zone_node is not None else zone_named("UTC")
    now, read_until = (
        None if (part := node.get(key)) is None or part.value is None else _moment(part, zone).instant
        for key in ("now", "read_until")
    )
    span = Span(
        days=_days(node, zone),
        punches=_list(node, "punches", lambda item: _punch(item, zone)),
        leave=_list(node, "leave", lambda item: _leave(item, zone)),
        orders=_list(node, "orders", lambda item: _order(item, zone)),
        doubts=_list(node, "doubts", lambda item: _doubt(item, zone)),
        read_until=read_until,
        now=now,
    )
    return Case(_text(node.value["name"]), node.place, node.value["policy"], folder, span, expect)


# --- parts of a case ----------------------------------------------------------------------------------------------


def _days(node: Node, zone: Zone) -> tuple[PlanDay, ...]:
    days = _list(node, "days", lambda item: _day(item, zone))
    seen: set[date] = set()
    for index, day in enumerate(days):
        if day.date in seen:
            raise DocumentError(
                node.value["days"].value[index].place, f"{day.date} stands twice; a case has each date once"
            )
        seen.add(day.date)
    return days


def _day(node: Node, zone: Zone) -> PlanDay:
    _keys(node, {"date", "kind", "break_min", "shifts", "slots"}, ("date",))
    slots = _list(node, "slots", _slot)
    names = [slot.name for slot in slots]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise DocumentError(node.value["slots"].value[index].place, f"slot {name} stands twice; give each its name")
    kind = node.get("kind")
    return PlanDay(
        date=_date(node.value["date"]),
        zone=zone,
        slots=slots,
        kind="workday" if kind is None else _choice(kind, ("workday", "off", "holiday")),
        break_min=_number(node, "break_min", 0),
        shifts=_number(node, "shifts", 1),
    )


def _slot(node: Node) -> Slot:
    _keys(node, {"name", "kind", "due", "window"}, ("name", "kind", "window"))
    window = node.value["window"]
    if not isinstance(window.value, list) or len(window.value) != 2:
        raise DocumentError(window.place, 'not a window; write two times, such as ["05:45", "11:30"]')
    start, end = (_clock(item) for item in window.value)
    due = node.get("due")
    return Slot(
        name=_text(node.value["name"]),
        kind=_text(node.value["kind"]),
        start=start,
        end=end,
        due=None if due is None or due.value is None else _clock(due),
    )


def _punch(node: Node, zone: Zone) -> Punch:
    if not isinstance(node.value, dict):
        at = _moment(node, zone)
        return Punch(at.instant, at.local)
    known = {"at", "zone", "terminal", "state", "suspect", "offset_ms", "sequence", "between", "id", "stream"}
    _keys(node, known, ("at",))
    own = node.get("zone")
    zone = zone if own is None or own.value is None else _zone(own)
    at = _moment(node.value["at"], zone)
    between = _pair(node.get("between"), zone)
    state = node.get("state")
    states = () if state is None or state.value is None else tuple(_whole(item) for item in _as_list(state))
    suspect = node.get("suspect")
    suspects = [] if suspect is None or suspect.value is None else _as_list(suspect)
    offset = node.get("offset_ms")
    sequence = node.get("sequence")
    return Punch(
        instant=at.instant,
        local=at.local,
        terminal=_optional_text(node, "terminal") or "",
        sequence=None if sequence is None or sequence.value is None else _whole(sequence),
        states=tuple(sorted(set(states))),
        suspect=tuple(sorted({_choice(item, get_args(Suspect)) for item in suspects})),
        offset_ms=None if offset is None or offset.value is None else _whole(offset),
        between=None if between is None else (between[0].instant, between[1].instant),
        between_local=None if between is None else (between[0].local, between[1].local),
        id=_optional_text(node, "id"),
        stream=_optional_text(node, "stream"),
    )


def _pair(node: Node | None, zone: Zone) -> tuple[Moment, Moment] | None:
    if node is None or node.value is None:
        return None
    if not isinstance(node.value, list) or len(node.value) != 2:
        raise DocumentError(node.place, "not two times; write [EARLIEST, LATEST]")
    return _moment(node.value[0], zone), _moment(node.value[1], zone)


def _leave(node: Node, zone: Zone) -> LeaveInterval | LeaveDay:
    if node.get("date") is None:
        _keys(node, {"from", "to", "kind"}, ("from", "to", "kind"))
        start, end = (_moment(node.value[key], zone).instant for key in ("from", "to"))
        return LeaveInterval(start, end, _text(node.value["kind"]))
    _keys(node, {"date", "slot", "kind"}, ("date", "kind"))
    return LeaveDay(_date(node.value["date"]), _text(node.value["kind"]), _optional_text(node, "slot"))


def _order(node: Node, zone: Zone) -> Order:
    _keys(node, {"from", "to"}, ("from", "to"))
    return Order(_moment(node.value["from"], zone).instant, _moment(node.value["to"], zone).instant)


def _doubt(node: Node, zone: Zone) -> Doubt:
    _keys(node, {"from", "to", "terminal", "why"}, ("from", "to"))
    start, end = (_moment(node.value[key], zone).instant for key in ("from", "to"))
    why = node.get("why")
    return Doubt(start, end, "outage" if why is None else _choice(why, _PLACES), _optional_text(node, "terminal"))


# --- values -------------------------------------------------------------------------------------------------------


def _keys(node: Node, known: set[str], needed: Sequence[str] = ()) -> None:
    if not isinstance(node.value, dict):
        raise DocumentError(node.place, f"has no keys; write {', '.join(sorted(known))}")
    for key in node.value:
        if key not in known:
            raise DocumentError(
                node.keys.get(key, node.place), f"{key!a} is unknown here; write {', '.join(sorted(known))}"
            )
    for key in needed:
        if key not in node.value:
            raise DocumentError(node.place, f"{key} is missing")


def _list(node: Node, key: str, read: Callable[[Node], T]) -> tuple[T, ...]:
    part = node.get(key)
    if part is None or part.value is None:
        return ()
    if not isinstance(part.value, list):
        raise DocumentError(part.place, f"{key} is not a list; write each entry after a dash")
    return tuple(read(item) for item in part.value)


def _as_list(node: Node) -> list[Node]:
    return node.value if isinstance(node.value, list) else [node]


def _text(node: Node) -> str:
    if not isinstance(node.value, str) or not node.value:
        raise DocumentError(node.place, "not text; write a name, a number in quotes")
    return node.value


def _optional_text(node: Node, key: str) -> str | None:
    part = node.get(key)
    return None if part is None or part.value is None else _text(part)


def _choice(node: Node, choices: Sequence[str]) -> Any:
    if not isinstance(node.value, str) or node.value not in choices:
        raise DocumentError(node.place, f"not one of the choices; write {', '.join(choices)}")
    return node.value


def _whole(node: Node) -> int:
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        raise DocumentError(node.place, "not a whole number; write digits without quotes")
    return node.value


def _number(node: Node, key: str, default: int) -> int:
    part = node.get(key)
    if part is None or part.value is None:
        return default
    if not 0 <= _whole(part) <= 100_000:
        raise DocumentError(part.place, "out of range; write a number from 0 to 100000")
    return _whole(part)


def _date(node: Node) -> date:
    found = read_date(node.value)
    if found is None:
        raise DocumentError(node.place, "not a date; write YYYY-MM-DD")
    return found


def _clock(node: Node) -> int:
    try:
        return read_time(node.value)
    except ValueError as error:
        raise DocumentError(node.place, str(error)) from None


def _zone(node: Node) -> Zone:
    name = node.value
    try:
        if isinstance(name, str):
            return zone_named(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):  # zoneinfo raises any of these, by the kind of nonsense
        pass
    raise DocumentError(node.place, "not the name of a time zone; write one such as Asia/Jakarta")


def _moment(node: Node, zone: Zone) -> Moment:
    match = _TIME.fullmatch(node.value) if isinstance(node.value, str) else None
    day = None if match is None else read_date(match[1])
    if match is None or day is None or int(match[2]) > 24 or int(match[3]) > 59 or int(match[4] or 0) > 59:
        raise DocumentError(node.place, 'not a time; write "YYYY-MM-DD HH:MM:SS"')
    local = midnight(day) + int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4] or 0)
    offset = match[5]
    if offset is None:
        return Moment(zone.instant(local), local)
    if offset == "Z":
        return Moment(local, local)
    digits = offset[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return Moment(local + (seconds if offset[0] == "-" else -seconds), local)


# --- what is expected ---------------------------------------------------------------------------------------------


def _check_expectations(expect: Node) -> None:
    """Refuse expectations that nothing can meet because no result has such a field."""
    if not isinstance(expect.value, dict) or not expect.value:
        raise DocumentError(expect.place, "expects nothing; name at least one date or sum")
    if "refused" in expect.value:
        if len(expect.value) > 1:
            raise DocumentError(expect.place, "refused stands alone")
        _text(expect.value["refused"])
        return
    for key, node in expect.value.items():
        at = expect.keys.get(key, expect.place)
        if read_date(key) is not None:
            _check_fields(node, _DAY_FIELDS)
            slots = node.value.get("slots")
            for slot in slots.value.values() if slots is not None and isinstance(slots.value, dict) else ():
                _check_fields(slot, _SLOT_FIELDS)
        elif key == "total":
            _check_fields(node, _TOTAL_FIELDS)
        elif key == "totals":
            if not isinstance(node.value, dict) or any(read_date(first) is None for first in node.value):
                raise DocumentError(node.place, "write the totals by the first day of their period")
            for period in node.value.values():
                _check_fields(period, _TOTAL_FIELDS)
        elif key == "discipline":
            _check_fields(node, _DISCIPLINE_FIELDS)
        elif key not in ("unclaimed", "unplaced"):
            raise DocumentError(
                at, f"{key!a} is unknown here; write a date, total, totals, discipline, unclaimed, unplaced"
            )


def _check_fields(node: Node, known: set[str]) -> None:
    _keys(node, known)
