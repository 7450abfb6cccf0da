"""How a site moves from one lane to another, so that some session of the broker has its messages at every moment. Pure.

A site has one owner: the lane that writes its receipts and takes its ``info`` and states. Where the number of lanes
changes, its target is another lane, and it moves in steps, each a row that is committed:

1. The target subscribes. Once the broker has granted that, the session is on record.
2. The owner sees it, waits until the broker has its last receipt, and makes the target the owner.
3. The new owner reads what is held, subscribes once more (for the retained messages), and writes receipts.
4. The old owner unsubscribes; it stores what its session still holds. Events are stored once, whoever brings them.

A lane decides on rows as they were a moment ago. So a hand-over is written only where the session of the target is on
record as granted, and before a lane unsubscribes it takes that back, where it is not the owner: of the two, one waits
for the other's commit. After a hand-over it reads the rows again before it decides anything else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from central.lanes.assignment import lane_of


@dataclass(frozen=True, slots=True)
class Site:
    """A site as the database has it."""

    owner: int
    sessions: Mapping[int, bool] = field(default_factory=dict)
    """Lanes whose sessions may have its subscription; true: the broker has granted it."""


class Todo(NamedTuple):
    """What a lane has to do now."""

    subscribe: Sequence[str] = ()
    leave: Sequence[str] = ()
    hand_over: Sequence[tuple[str, int]] = ()
    """Sites with their next owners."""
    adopt: Sequence[str] = ()
    """Sites whose owner this lane has become."""


def todo(lane: int, lanes: int, sites: Mapping[str, Site], granted: Collection[str], adopted: Collection[str]) -> Todo:
    """Return what a lane has to do, of ``lanes`` lanes.

    ``granted``: sites whose subscription the broker has granted on this connection. ``adopted``: sites whose held
    ranges this lane has read as their owner.
    """
    subscribe, leave, hand_over, adopt = [], [], [], []
    for name, site in sites.items():
        target = lane_of(name, lanes)
        if site.owner == lane and name not in adopted:
            adopt.append(name)
        elif site.owner == lane and target != lane and site.sessions.get(target):
            hand_over.append((name, target))
        if lane in (site.owner, target):
            if name not in granted:
                subscribe.append(name)
        elif lane in site.sessions:
            leave.append(name)
    return Todo(subscribe, leave, hand_over, adopt)


def retired(lane: int, lanes: int, sites: Mapping[str, Site]) -> bool:
    """Return whether a lane is one too many and has nothing left: its session may end."""
    return lane > lanes and not any(lane == site.owner or lane in site.sessions for site in sites.values())
