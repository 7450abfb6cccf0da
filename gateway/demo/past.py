"""What the people of the script did in the weeks before their day: invented, and the same each time. Pure."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from random import Random
from typing import NamedTuple

from gateway.demo.script import Key, Part

LATE, EARLY, ABSENT, FORGOTTEN = 0.06, 0.03, 0.01, 0.01
"""Shares of the days on which a person is late, leaves early, is away, or punches once only."""


class Punch(NamedTuple):
    """A punch, in the terminal's time."""

    moment: datetime
    terminal: str
    person: str
    state: int


def past(script: Iterable[Part], first: date, last: date, away: Collection[Key]) -> list[Punch]:
    """Return the punches of Monday to Friday, in the order of time, of those whose part is a day's; none on leave."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    parts = [part for part in script if part.date > last]
    found = [
        punch
        for part in parts
        for on in days
        if on.weekday() < 5 and (part.person, on) not in away
        for punch in _day(part, on)
    ]
    return sorted(found)


def _day(part: Part, on: date) -> Iterator[Punch]:
    chance = Random(f"{part.person} {on.toordinal() - part.date.toordinal()}")  # noqa: S311 - an office, not a secret
    if chance.random() < ABSENT:
        return
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001 - a wall clock has no zone
    late, early = chance.random() < LATE, chance.random() < EARLY
    arrives = timedelta(minutes=450 + chance.triangular(1, 60, 5) if late else 450 - chance.triangular(0, 50, 15))
    leaves = timedelta(minutes=960 - chance.triangular(1, 45, 5) if early else 960 + chance.triangular(0, 30, 4))
    for state, after in enumerate((arrives, leaves)):
        if state == 0 or chance.random() >= FORGOTTEN:
            yield Punch(midnight + timedelta(seconds=int(after.total_seconds())), part.terminal, part.person, state)
