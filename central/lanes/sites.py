"""The share of a lane: which sites its session has, which it owns, and the steps in which they move (``moves``)."""

import time
from collections.abc import Callable

import structlog

from central.event import gateway_of
from central.inbox.share import TOPICS, Change, Subscription
from central.lanes.assignment import DOOR, lane_of
from central.lanes.moves import Site, retired, todo
from central.store import Store, StoreError
from central.store import lanes as rows

LOOK_S = 1.0
"""How often the rows are read: so long a site may wait for its next step."""
DRAINED_S = 5.0
"""A session that is to end is empty when nothing has arrived for so long."""
INFO = "info"
_SITE_TOPICS = tuple(topic for topic in TOPICS if topic != INFO)

log = structlog.get_logger("lanes")


class LaneShare:
    """The share of one lane, for its inbox; the store's database refuses what is written after the lane was lost."""

    publishes_results = False
    one_of_many = True

    def __init__(self, lane: int, store: Store, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._lane = lane
        self._store = store
        self._monotonic_s = monotonic_s
        self._lanes = 0
        self._sites: dict[str, Site] = {}
        self._granted: set[str] = set()
        """Sites whose subscription the broker has granted on this connection."""
        self._adopted: set[str] = set()
        self._leaving: dict[str, int] = {}
        """Sites that are about to be handed over, with their next owners: no receipt of theirs is written any more."""
        self._look_at_s = 0.0

    def connected(self) -> None:
        """Nothing is granted on this connection yet."""
        self._granted.clear()
        self._look_at_s = 0.0

    def change(self) -> Change:
        """Look at the rows where that is due; note what is to be subscribed and left, and return it."""
        now_s = self._monotonic_s()
        if now_s < self._look_at_s:
            return Change()
        self._look_at_s = now_s + LOOK_S
        self._look()
        work = todo(self._lane, self._lanes, self._sites, self._granted, self._adopted)
        if work.adopt:
            self._store.adopt(work.adopt)
            self._adopted |= set(work.adopt)
            self._granted -= set(work.adopt)  # subscribed once more, for what the broker retains
            work = todo(self._lane, self._lanes, self._sites, self._granted, self._adopted)
        self._leaving = dict(work.hand_over)
        leave: list[str] = []
        if work.subscribe or work.leave:
            with self._store.database.writing(alone=False) as connection:
                rows.begin_sessions(connection, self._lane, work.subscribe)
                leave = rows.close_sessions(connection, self._lane, work.leave)
        return Change([_all_of(site) for site in work.subscribe], [_all_of(site) for site in leave])

    def subscribed(self, subscription: Subscription) -> None:
        """Take note of it; the row is written by :meth:`settle`."""
        self._granted.add(_site_of(subscription))

    def left(self, subscription: Subscription) -> None:
        """Take note of it, and write it down."""
        site = _site_of(subscription)
        self._granted.discard(site)
        with self._store.database.writing(alone=False) as connection:
            rows.end_sessions(connection, self._lane, [site])

    def stores(self, topic: str) -> bool:
        """Return whether a message is stored here: all events, and of the sites that it owns everything else."""
        gateway = gateway_of(topic)
        if gateway is None or not _is_state(topic.removeprefix(f"{gateway}/")):
            return True
        return gateway.partition("/")[0] in self._adopted

    def confirms(self, gateway: str) -> bool:
        """Return whether receipts to a gateway are written here."""
        site = gateway.partition("/")[0]
        return site in self._adopted and site not in self._leaving

    def settle(self, in_flight: frozenset[str], idle_s: float) -> bool:
        """Write down what was granted, hand sites over, and return whether this lane is one too many and empty."""
        granted = [site for site in self._granted if not self._row(site).sessions.get(self._lane)]
        waiting = {gateway.partition("/")[0] for gateway in in_flight}
        over = {site: to for site, to in self._leaving.items() if site not in waiting}
        if granted or over:
            with self._store.database.writing(alone=False) as connection:
                rows.grant_sessions(connection, self._lane, granted)
                for site, to in over.items():
                    rows.hand_over(connection, site, self._lane, to)
            self._adopted -= set(over)
            self._leaving = {}
            self._look()
        if idle_s < DRAINED_S or not retired(self._lane, self._lanes, self._sites):
            return False
        with self._store.database.writing(alone=False) as connection:
            rows.close_lane(connection, self._lane)
        return True

    def _row(self, site: str) -> Site:
        return self._sites.get(site) or Site(DOOR)

    def _look(self) -> None:
        with self._store.database.reading() as connection:
            plan = rows.plan_of(connection)
            found = rows.sites(connection)
        if plan is None:
            raise StoreError("the lanes of this database have been removed while this worker ran")
        self._lanes = plan.lanes
        self._sites = {site: Site(row.owner, row.sessions) for site, row in found.items()}


class Door:
    """The share of the door: it finds sites by their ``info``, and stores what the session of the only inbox holds."""

    publishes_results = True
    one_of_many = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[str] = set()
        self._found: set[str] = set()
        self._subscribed = self._left = False

    def connected(self) -> None:
        """Subscribe anew."""
        self._subscribed = self._left = False

    def change(self) -> Change:
        """Give sites that were found an owner; subscribe to ``info``, and leave all else that an only inbox had."""
        if self._found:
            with self._store.database.writing() as connection:
                plan = rows.plan_of(connection)
                known = rows.sites(connection)
                new = sorted(self._found - known.keys())[: max(0, rows.MAX_SITES - len(known))]
                for site in new:
                    rows.add_site(connection, site, lane_of(site, 1 if plan is None else plan.lanes))
            for site in new:
                log.info("site_found", site=site)
            self._known = known.keys() | self._found
            self._found = set()
        every = Subscription("+/+/", (INFO,)), Subscription("+/+/", _SITE_TOPICS)
        return Change(every[: not self._subscribed], every[1:] if not self._left else ())

    def subscribed(self, subscription: Subscription) -> None:  # noqa: ARG002 - there is one
        """Take note of it."""
        self._subscribed = True

    def left(self, subscription: Subscription) -> None:  # noqa: ARG002 - there is one
        """Take note of it."""
        self._left = True

    def stores(self, topic: str) -> bool:
        """Return whether a message is stored: events, which the session may hold from the time before lanes."""
        gateway = gateway_of(topic)
        if gateway is None:
            return True
        site = gateway.partition("/")[0]
        if site not in self._known:
            self._found.add(site)
        return not _is_state(topic.removeprefix(f"{gateway}/"))

    def confirms(self, gateway: str) -> bool:  # noqa: ARG002 - none
        """Return False: it owns no site."""
        return False

    def settle(self, in_flight: frozenset[str], idle_s: float) -> bool:  # noqa: ARG002 - it always stays
        """Return False: the door stays."""
        return False


def _all_of(site: str) -> Subscription:
    return Subscription(f"{site}/+/")


def _site_of(subscription: Subscription) -> str:
    return subscription.prefix.partition("/")[0]


def _is_state(topic: str) -> bool:
    """Return whether a topic, without its gateway, is retained: the broker keeps its last message for the owner."""
    return topic in (INFO, "state") or topic.startswith("terminal/")
