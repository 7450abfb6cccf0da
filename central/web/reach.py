"""Which terminals and sites a viewer has to do with: those at which people of the scope are enrolled."""

from dataclasses import dataclass
from datetime import date

from central.registers.kinds import Enrolment
from central.store import recorded, terminals
from central.store.terminals import Device
from central.web.access import ALL_UNITS
from central.web.page import Look


@dataclass(frozen=True, slots=True)
class Reach:
    """The devices of a scope between two dates."""

    people: frozenset[str] | None
    """Who is enrolled; None: everybody."""
    devices: tuple[Device, ...]
    gateways: tuple[str, ...]
    """``site/gateway``: those of the devices."""

    def has(self, gateway: str, terminal: str | None, serial: str | None) -> bool:
        """Return whether something of a gateway, at a terminal or at none, concerns the scope."""
        if self.people is None or (terminal is None and serial is None):
            return gateway in self.gateways
        return any(
            (one.serial == serial if serial is not None else (one.gateway, one.name) == (gateway, terminal))
            for one in self.devices
        )


def reach(look: Look, first: date, last: date) -> Reach:
    """Return the reach of the viewer between two dates."""
    if look.viewer.role in ALL_UNITS:
        names = recorded.gateways_known(look.connection)
        return Reach(None, tuple(terminals.devices(look.connection, names, [])), tuple(names))
    people = people_of(look, first, last)
    enrolments = _enrolments(look, people, first, last)
    names = recorded.gateways_at(look.connection, {one.site for one in enrolments if one.site is not None})
    serials = {one.terminal for one in enrolments if one.terminal is not None}
    found = tuple(terminals.devices(look.connection, names, serials))
    return Reach(people, found, tuple(dict.fromkeys((*names, *(one.gateway for one in found)))))


def people_of(look: Look, first: date, last: date) -> frozenset[str]:
    """Return the people whom the viewer sees at the end of some dates, or at their begin."""
    units = look.scope.units(first) | look.scope.units(last)
    rows = look.registers.rows("people", [f"unit:{key}" for key in sorted(units)], first, last, by="other")
    seen = look.scope
    return frozenset(
        row.record.key
        for row in rows
        if any(
            seen.holds(row.record.unit, row.record.key, on)
            for on in (max(first, row.since), min(last, row.until or last))
        )
    )


def shared_places(look: Look, first: date, last: date) -> frozenset[str]:
    """Return the places, ``terminal:SERIAL`` or ``site:S``, at which people of other units are enrolled too."""
    people = people_of(look, first, last)
    rows = look.registers.rows("enrolments", None, first, last)
    return frozenset(_place(row.record) for row in rows if row.record.person not in people)


def _enrolments(look: Look, people: frozenset[str], first: date, last: date) -> list[Enrolment]:
    rows = look.registers.rows("enrolments", [f"person:{key}" for key in sorted(people)], first, last)
    return [row.record for row in rows]


def _place(enrolment: Enrolment) -> str:
    return f"site:{enrolment.site}" if enrolment.terminal is None else f"terminal:{enrolment.terminal}"
