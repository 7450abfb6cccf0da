"""The faults of a simulated device, which people switch by name."""

import re
from dataclasses import dataclass

from drivers.values import parse_duration


@dataclass
class NamedFaults:
    """Faults that a dataclass below this one has as its fields: a count (int), on or off (bool), or seconds (float).

    A name is typed with hyphens or blanks in place of underscores. The default of a field means that it is off.
    """

    def consume(self, name: str) -> bool:
        """Return whether a counted fault applies now, and count it down."""
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0

    def switch(self, order: str) -> str:
        """Execute ``NAME``, ``NAME=VALUE`` or ``NAME=off``; return the new state. ValueError for an invalid order."""
        typed, equals, value = order.partition("=")
        name = re.sub(r"[ -]", "_", typed.strip())
        known = vars(type(self)())
        if name not in known:
            raise ValueError(f"no fault {typed!r}; there are {', '.join(known).replace('_', '-')}")
        usual = known[name]
        if value in ("off", "0"):
            setattr(self, name, usual)
        elif isinstance(usual, bool):
            setattr(self, name, True)
        elif isinstance(usual, float):
            setattr(self, name, parse_duration(value or "1s"))
        elif value.isdecimal() or not equals:
            setattr(self, name, int(value or 1))
        else:
            raise ValueError(f"{value!r} is no number of times")
        return f"{name.replace('_', '-')} is {getattr(self, name)}"

    def listing(self) -> str:
        """Return all faults; a star stands before those that are on."""
        usual = vars(type(self)())
        return "\n".join(
            f"{'*' if value != usual[name] else ' '} {name.replace('_', '-')}" for name, value in vars(self).items()
        )
