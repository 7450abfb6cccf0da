"""Who may see and do what: roles, actions, subtrees that change with time."""

from datetime import date

import pytest

from central.web.access import ACTIONS, Action, Role, Scope, Tree, Unit, Viewer

JAN, JUN, JUL, DEC = date(2026, 1, 1), date(2026, 6, 30), date(2026, 7, 1), date(2026, 12, 1)


def unit(key: str, parent: str | None, since: date = JAN, until: date | None = None, zone: str | None = None) -> Unit:
    """Return a unit whose name is its key."""
    return Unit(key, key, parent, zone, since, until)


TREE = Tree(
    (
        unit("office", None, zone="Asia/Jakarta"),
        unit("health", "office"),
        unit("clinic", "health", until=JUN),
        unit("clinic", "school", since=JUL, zone="Asia/Jayapura"),
        unit("school", "office"),
    )
)
TABLE = {
    Role.OPERATOR: {Action.SEE, Action.REQUEST},
    Role.SUPERIOR: {Action.SEE, Action.REQUEST, Action.NOTE, Action.APPROVE},
    Role.BKD: {
        Action.SEE,
        Action.REQUEST,
        Action.NOTE,
        Action.ENTER,
        Action.APPROVE,
        Action.CLOSE,
        Action.POLICIES,
    },
    Role.AUDITOR: {Action.SEE, Action.ACCESS_LOG},
    Role.PERSON: {Action.SEE, Action.REQUEST, Action.ANSWER},
}
"""The table of docs/centre-pages.md, written a second time."""


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_each_role_has_the_actions_of_the_table(role: Role, action: Action) -> None:
    """And no other."""
    assert Viewer("x", role).may(action) == (action in TABLE[role])
    assert ACTIONS.keys() == TABLE.keys()


@pytest.mark.parametrize(
    ("role", "units", "on", "seen"),
    [
        (Role.SUPERIOR, {"health"}, JUN, {"health", "clinic"}),
        (Role.SUPERIOR, {"health"}, JUL, {"health"}),
        (Role.SUPERIOR, {"school"}, JUN, {"school"}),
        (Role.OPERATOR, {"school"}, JUL, {"school", "clinic"}),
        (Role.OPERATOR, {"clinic", "health"}, JUN, {"clinic", "health"}),
        (Role.OPERATOR, {"nowhere"}, JUN, set()),
        (Role.BKD, set(), JUN, {"office", "health", "clinic", "school"}),
        (Role.AUDITOR, set(), JUL, {"office", "health", "clinic", "school"}),
        (Role.PERSON, set(), JUN, set()),
        (Role.SUPERIOR, {"office"}, date(2025, 1, 1), set()),
    ],
)
def test_the_scope_is_the_subtree_of_the_date(role: Role, units: set[str], on: date, seen: set[str]) -> None:
    """A unit that moved is seen where it was on the date."""
    assert Scope(Viewer("x", role, frozenset(units)), TREE).units(on) == seen


@pytest.mark.parametrize(
    ("viewer", "unit", "person", "holds"),
    [
        (Viewer("x", Role.SUPERIOR, frozenset({"health"})), "clinic", "a", True),
        (Viewer("x", Role.SUPERIOR, frozenset({"health"})), "school", "a", False),
        (Viewer("x", Role.SUPERIOR, frozenset({"health"}), "a"), "school", "a", False),
        (Viewer("x", Role.OPERATOR, frozenset({"health"})), None, "a", False),
        (Viewer("x", Role.BKD), None, "a", True),
        (Viewer("x", Role.AUDITOR), "school", "a", True),
        (Viewer("x", Role.PERSON, person="a"), "school", "a", True),
        (Viewer("x", Role.PERSON, person="a"), "school", "b", False),
    ],
)
def test_people_are_seen_in_the_units_of_the_scope(viewer: Viewer, unit: str | None, person: str, holds: bool) -> None:
    """A person without a unit is seen by those who see everything; an own day needs the role *person*."""
    assert Scope(viewer, TREE).holds(unit, person, JUN) == holds


def test_no_account_approves_an_own_request() -> None:
    """Neither about the own person, nor by the own account, nor by a second account of the same person."""
    chief = Viewer("chief", Role.SUPERIOR, frozenset({"health"}), "p1")
    second = Viewer("chief2", Role.BKD, person="p1")
    assert chief.may_approve("p2", "clerk")
    assert not chief.may_approve("p1", "clerk")
    assert not chief.may_approve("p2", "chief")
    assert not second.may_approve("p1", "chief")
    assert not Viewer("nameless", Role.BKD).may_approve("p2", "clerk")
    assert not Viewer("clerk", Role.OPERATOR, frozenset({"health"}), "p3").may_approve("p2", "chief")


def test_roots_are_units_whose_unit_above_is_foreign() -> None:
    """A unit below another one of the scope is no root."""
    viewer = Viewer("x", Role.OPERATOR, frozenset({"clinic", "health"}))
    assert [one.key for one in Scope(viewer, TREE).roots(JUN)] == ["health"]
    assert [one.key for one in Scope(viewer, TREE).roots(JUL)] == ["clinic", "health"]


def test_the_zone_is_that_of_the_nearest_unit_above() -> None:
    """A unit's own counts first."""
    assert TREE.zone("clinic", JUN) == "Asia/Jakarta"
    assert TREE.zone("clinic", JUL) == "Asia/Jayapura"
    assert TREE.zone("nowhere", JUL) is None


def test_a_circle_of_units_ends() -> None:
    """The register refuses one; a scope would else never be found."""
    circle = Tree((unit("a", "b"), unit("b", "a")))
    assert circle.below(frozenset({"a"}), JAN) == {"a", "b"}
    assert circle.zone("a", JAN) is None
