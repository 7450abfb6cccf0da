"""A worker: one process that holds some of the lanes, each with an inbox in a thread of its own.

The main thread looks at the database twice a second, takes lanes and gives them back, and stops the inboxes of lanes
that it has lost. What an inbox writes after its lane was lost is refused by the database, whatever this thread does.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from central.inbox import Broker, Inbox
from central.lanes.assignment import DOOR, client_id_of, lane_of
from central.lanes.lease import Lease, View, address_of, commit_waits_s, new_worker
from central.lanes.share_out import Step, next_step
from central.lanes.sites import Door, LaneShare
from central.lanes.states import Event, State, following, unlocks
from central.outage import Outage
from central.store import Database, Store, StoreError, StoreLocked, lanes
from central.store.lanes import Fence, FencedDatabase, LaneLost, Plan
from central.store.standby import Standby

LOOK_S = 0.5
"""How often the locks are looked at."""
COMMIT_S = 5.0
"""A commit that waits longer for a synchronous standby is reported, and looked for as often."""
REST_S = 2.0
"""A lane whose inbox has failed is not taken again by this worker for so long."""
MIGRATION_S = 60.0
"""How long another worker may take to bring the database up to date."""

log = structlog.get_logger("lanes")


class PlanDiffersError(Exception):
    """This worker would receive other topics, or under other client ids, than those that share its database."""


class Work(NamedTuple):
    """What all lanes of a worker have in common."""

    broker: Broker
    plan: Plan
    """As the command line states it."""
    judge: Callable[[Database], Callable[[], bool]]
    """Makes what judges between the messages of the door."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    synchronous: bool = False
    """Receipts wait for the synchronous standby."""


@dataclass(slots=True)
class _Held:
    """A lane at this worker."""

    number: int
    state: State = State.IDLE
    inbox: Inbox | None = None
    thread: threading.Thread | None = None
    rest_until_s: float = 0.0
    failure: Exception | None = None
    """A defect that has ended the inbox."""

    @property
    def ended(self) -> bool:
        """Whether its inbox has ended since it was taken, or has not even begun."""
        return self.state is not State.IDLE and (self.thread is None or not self.thread.is_alive())


@dataclass(slots=True)
class Worker:
    """Holds lanes until it is stopped; ``url`` is of a PostgreSQL database."""

    url: str
    work: Work
    number: int = field(default_factory=new_worker)
    _lanes: dict[int, _Held] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _free_since_s: dict[int, float] = field(default_factory=dict)

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe in a signal handler."""
        self._stopped.set()

    def run(self) -> None:
        """Hold lanes until :meth:`stop`; raises StoreError or PlanDiffersError where it cannot begin.

        A database that goes away later is waited for, unless it refuses this worker then.
        """
        try:
            self._run()
        finally:
            self._stopped.set()  # its threads end with it, also where it raises

    def _run(self) -> None:
        with self._opened() as database:
            self._agree(database)
            threading.Thread(target=self._watch_commits, args=(database,), name="commits", daemon=True).start()
            lease: Lease | None
            lease, outage = Lease(database, self.number), Outage()
            outage.over()
            while not self._stopped.is_set():
                try:
                    lease = lease or self._again(database)
                    outage.over()
                    self._hold(lease, database)
                except StoreError as exc:
                    held = self._numbers()
                    self._lose(lease)
                    lease = None
                    self._stopped.wait(outage.wait_s(exc, lanes=held))
            if lease is not None:
                lease.close()
            for lane in self._lanes.values():
                if lane.thread is not None:
                    lane.thread.join()

    def _opened(self) -> Database:
        """Open the database; another worker that starts at the same moment may be making its tables."""
        until_s = time.monotonic() + MIGRATION_S
        while True:
            try:
                return Database(address_of(self.url, self.number), create=True)
            except StoreLocked:
                if time.monotonic() >= until_s or self._stopped.wait(LOOK_S):
                    raise

    def _again(self, database: Database) -> Lease:
        """Connect again; the database may be of another version by now, which is a StoreError."""
        Database(database.address).close()
        return Lease(database, self.number)

    def _agree(self, database: Database) -> None:
        """Make the plan where there is none, else compare this worker's with it."""
        ours = self.work.plan
        with database.writing() as connection:
            plan = lanes.begin_plan(connection, ours, lambda site: lane_of(site, ours.lanes), self.work.now())
        if (plan.root, plan.client_id) != (ours.root, ours.client_id):
            raise PlanDiffersError(
                f"the lanes of this database have root {plan.root} and client id {plan.client_id}; start this worker "
                f"with --root {plan.root} --client-id {plan.client_id}"
            )
        if plan.lanes != ours.lanes:
            log.warning(
                "lanes_differ",
                lanes=plan.lanes,
                given=ours.lanes,
                reason="the number in the database counts; `hadir-central lanes set N` changes it for all workers",
            )

    def _hold(self, lease: Lease, database: Database) -> None:
        """Take and give lanes until the worker is stopped and every inbox has ended; raises StoreError."""
        while True:
            view = lease.look()
            self._reap(lease)
            if self._stopped.is_set():
                for lane in self._lanes.values():
                    self._give(lane)
                if not self._numbers():
                    return
                time.sleep(LOOK_S / 10)
            elif not self._step(lease, database, view):
                self._stopped.wait(LOOK_S)

    def _watch_commits(self, database: Database) -> None:
        """Report, in a thread of its own, that commits wait for a standby: those that wait cannot."""
        held = False
        while not self._stopped.wait(COMMIT_S):
            try:
                with database.reading() as connection:
                    waited_s = commit_waits_s(connection, self.number)
            except StoreError:
                continue  # which the others report
            if waited_s >= COMMIT_S and not held:
                log.warning(
                    "commits_held",
                    waited_s=round(waited_s),
                    reason="the server waits for a synchronous standby that does not answer; nothing is acknowledged "
                    "meanwhile, and nothing is lost: docs/runbooks.md, A lost standby",
                )
            elif not waited_s and held:
                log.info("commits_go_on")
            held = waited_s >= COMMIT_S or (held and waited_s > 0)

    def _step(self, lease: Lease, database: Database, view: View) -> bool:
        """Take a lane or give one; return whether one was taken."""
        now_s = time.monotonic()
        free = [number for number in view.free if self._lane(number).state is State.IDLE]
        free = [number for number in free if self._lane(number).rest_until_s <= now_s]
        self._free_since_s = {number: self._free_since_s.get(number, now_s) for number in free}
        waited_s = max((now_s - since_s for since_s in self._free_since_s.values()), default=0.0)
        step = next_step(self.number, view.held, free, waited_s)
        if step is Step.TAKE:
            number = random.choice(free)  # noqa: S311 - so that workers that see the same try different ones
            fence = lease.take(number, self.work.now())
            if fence is not None:
                self._serve(self._lane(number), fence, database)
                return True
        elif step is Step.GIVE:
            serving = [lane for lane in self._lanes.values() if lane.state is State.SERVING]
            if serving and not any(lane.state is State.STOPPING for lane in self._lanes.values()):
                self._give(max(serving, key=lambda lane: lane.number))
        return False

    def _serve(self, lane: _Held, fence: Fence, database: Database) -> None:
        lane.state, lane.thread = following(lane.state, Event.TAKEN), None
        self._free_since_s.pop(lane.number, None)
        store = Store(FencedDatabase(database, fence), now=self.work.now)
        plan = self.work.plan
        lane.inbox = Inbox(
            self.work.broker,
            store,
            root=plan.root,
            client_id=client_id_of(plan.client_id, lane.number),
            now=self.work.now,
            judge=self.work.judge(store.database) if lane.number == DOOR else lambda: False,
            held=Standby(database).has_everything if self.work.synchronous else lambda: True,
            share=Door(store) if lane.number == DOOR else LaneShare(lane.number, store),
        )
        # A daemon: a defect that ends this process need not wait for the others, which survive a kill.
        lane.thread = threading.Thread(
            target=self._receive, args=(lane, lane.inbox), name=f"lane {lane.number}", daemon=True
        )
        lane.thread.start()
        log.info("lane_taken", lane=lane.number, epoch=fence.epoch)

    def _receive(self, lane: _Held, inbox: Inbox) -> None:
        """Run an inbox to its end, in a thread of its own."""
        try:
            inbox.run()
        except LaneLost as exc:
            log.warning("lane_lost", lane=lane.number, reason=str(exc))
        except StoreError as exc:
            log.warning("lane_failed", lane=lane.number, reason=str(exc))
            lane.rest_until_s = time.monotonic() + REST_S
        except Exception as exc:  # noqa: BLE001 - the main thread raises it
            lane.failure = exc

    def _reap(self, lease: Lease | None) -> None:
        """Take note of inboxes that have ended, and release their locks; a defect of one ends the worker."""
        for lane in self._lanes.values():
            if lane.failure is not None:
                raise lane.failure
            if lane.ended:
                unlock = unlocks(lane.state, Event.ENDED)
                lane.state = following(lane.state, Event.ENDED)
                if unlock and lease is not None:
                    lease.give(lane.number)
                    log.info("lane_given", lane=lane.number)

    def _give(self, lane: _Held) -> None:
        if lane.state is State.SERVING and lane.inbox is not None:
            lane.state = following(lane.state, Event.GIVEN)
            lane.inbox.stop()

    def _lose(self, lease: Lease | None) -> None:
        """Stop everything that the locks of a lost connection allowed."""
        if lease is not None:
            lease.close()
        for lane in self._lanes.values():
            lane.state = following(lane.state, Event.LOST)
            if lane.state is State.LOST and lane.inbox is not None:
                lane.inbox.stop()
        self._reap(None)

    def _lane(self, number: int) -> _Held:
        return self._lanes.setdefault(number, _Held(number))

    def _numbers(self) -> list[int]:
        return sorted(lane.number for lane in self._lanes.values() if lane.state is not State.IDLE)
