"""Who may see and do what: roles, actions, and units as subtrees of a tree that changes with time. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum


class Role(StrEnum):
    """What an account is for."""

    OPERATOR = "operator"
    SUPERIOR = "superior"
    BKD = "bkd"
    AUDITOR = "auditor"
    PERSON = "person"


class Action(StrEnum):
    """What an account can do with the days of people."""

    SEE = "see"
    """Days of people, with their reasons, and the figures of units."""
    REQUEST = "request"
    """Enter a leave, a correction, an excuse, an order or a decision, which counts once it is approved."""
    NOTE = "note"
    """Write a superior's note on a day."""
    ANSWER = "answer"
    """Write a person's answer on an own day."""
    ENTER = "enter"
    """Enter what counts at once, on a paper."""
    APPROVE = "approve"
    """Approve or refuse a request."""
    CLOSE = "close"
    """Close a period."""
    POLICIES = "policies"
    """Choose which policy applies."""
    ACCESS_LOG = "access_log"
    """See who looked at whose data."""


A = Action
ACTIONS: Mapping[Role, frozenset[Action]] = {
    Role.OPERATOR: frozenset({A.SEE, A.REQUEST}),
    Role.SUPERIOR: frozenset({A.SEE, A.REQUEST, A.NOTE, A.APPROVE}),
    Role.BKD: frozenset({A.SEE, A.REQUEST, A.NOTE, A.ENTER, A.APPROVE, A.CLOSE, A.POLICIES}),
    Role.AUDITOR: frozenset({A.SEE, A.ACCESS_LOG}),
    Role.PERSON: frozenset({A.SEE, A.REQUEST, A.ANSWER}),
}
"""What each role does within its scope."""
ALL_UNITS = frozenset({Role.BKD, Role.AUDITOR})
"""Roles whose scope is everything."""
WITH_UNITS = frozenset({Role.OPERATOR, Role.SUPERIOR})
"""Roles whose scope is the subtrees of their units."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: an account as a request has it."""

    account: str
    role: Role
    units: frozenset[str] = frozenset()
    """The units whose subtrees are the scope of operators and superiors."""
    person: str | None = None
    """The key of the person whose account it is."""

    def may(self, action: Action) -> bool:
        """Return whether the role has an action at all."""
        return action in ACTIONS[self.role]

    def is_own(self, person: str, requested_by: str | None = None) -> bool:
        """Return whether a matter is the viewer's own: about that person, or requested by that account."""
        return (self.person is not None and person == self.person) or requested_by == self.account

    def may_approve(self, person: str, requested_by: str) -> bool:
        """Return whether the role approves requests and this one is not the viewer's own.

        An account that names no person approves nothing: whose own request it is could not be known.
        """
        return self.may(Action.APPROVE) and self.person is not None and not self.is_own(person, requested_by)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it was from one date to another, both included, or without end."""

    key: str
    name: str
    parent: str | None
    zone: str | None
    since: date
    until: date | None

    def is_valid(self, on: date) -> bool:
        """Return whether it is this on a date."""
        return self.since <= on and (self.until is None or on <= self.until)


@dataclass(slots=True)
class Tree:
    """All units with their dates; a circle of units is followed once."""

    versions: tuple[Unit, ...]
    _on: dict[date, dict[str, Unit]] = field(default_factory=dict)
    _below: dict[tuple[frozenset[str], date], frozenset[str]] = field(default_factory=dict)

    def on(self, day: date) -> Mapping[str, Unit]:
        """Return the units of a date by key, in the order of their names."""
        found = self._on.get(day)
        if found is None:
            valid = sorted((one for one in self.versions if one.is_valid(day)), key=lambda one: (one.name, one.key))
            found = self._on[day] = {one.key: one for one in valid}
        return found

    def below(self, roots: frozenset[str], day: date) -> frozenset[str]:
        """Return the keys of units of a date and of all units below them; a root that is no unit then is left out."""
        found = self._below.get((roots, day))
        if found is None:
            found = self._below[roots, day] = self._walk(roots, day)
        return found

    def _walk(self, roots: Iterable[str], day: date) -> frozenset[str]:
        units = self.on(day)
        children: dict[str | None, list[str]] = {}
        for unit in units.values():
            children.setdefault(unit.parent, []).append(unit.key)
        found, waiting = set[str](), [key for key in roots if key in units]
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += children.get(key, ())
        return frozenset(found)

    def zone(self, key: str | None, day: date) -> str | None:
        """Return the zone of a unit: its own, or that of the nearest unit above; None where none has one."""
        units, seen = self.on(day), set[str]()
        while key is not None and key not in seen and key in units:
            if units[key].zone is not None:
                return units[key].zone
            seen.add(key)
            key = units[key].parent
        return None


@dataclass(frozen=True, slots=True)
class Scope:
    """What a viewer's role extends to, on each date by the tree of that date."""

    viewer: Viewer
    tree: Tree

    def units(self, day: date) -> frozenset[str]:
        """Return the keys of the units whose people the viewer sees on a date."""
        if self.viewer.role in ALL_UNITS:
            return frozenset(self.tree.on(day))
        if self.viewer.role in WITH_UNITS:
            return self.tree.below(self.viewer.units, day)
        return frozenset()

    def roots(self, day: date) -> list[Unit]:
        """Return the units of the scope on a date whose unit above is not in it, in the order of their names."""
        seen, units = self.units(day), self.tree.on(day)
        return [unit for key, unit in units.items() if key in seen and unit.parent not in seen]

    def holds(self, unit: str | None, person: str, day: date) -> bool:
        """Return whether the viewer sees a person who is in a unit, or in none, on a date."""
        if self.viewer.role is Role.PERSON:
            return person == self.viewer.person
        if self.viewer.role in ALL_UNITS:
            return True
        return unit is not None and unit in self.units(day)
