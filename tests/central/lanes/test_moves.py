"""The steps in which sites move, one by one, and in any order that several lanes take them."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from central.lanes.assignment import lane_of
from central.lanes.moves import Site, Todo, retired, todo

SITES = tuple(f"site-{number}" for number in range(2))


def test_a_new_site_is_adopted_and_subscribed_by_its_owner() -> None:
    """Others have nothing to do with it."""
    owner = lane_of("a", 2)
    sites = {"a": Site(owner)}

    assert todo(owner, 2, sites, (), ()) == Todo(subscribe=["a"], leave=[], hand_over=[], adopt=["a"])
    assert todo(owner, 2, sites, {"a"}, {"a"}) == Todo([], [], [], [])
    assert todo(3 - owner, 2, sites, (), ()) == Todo([], [], [], [])


def test_a_site_moves_only_when_the_next_session_has_it() -> None:
    """Step by step, as the module states them."""
    target = lane_of("a", 2)
    owner = 3 - target
    before = {"a": Site(owner, {owner: True})}
    requested = {"a": Site(owner, {owner: True, target: False})}
    ready = {"a": Site(owner, {owner: True, target: True})}
    moved = {"a": Site(target, {owner: True, target: True})}

    assert todo(target, 2, before, (), ()) == Todo(["a"], [], [], [])
    assert todo(owner, 2, requested, {"a"}, {"a"}) == Todo([], [], [], [])
    assert todo(owner, 2, ready, {"a"}, {"a"}) == Todo([], [], [("a", target)], [])
    assert todo(target, 2, moved, {"a"}, ()) == Todo([], [], [], ["a"])
    assert todo(owner, 2, moved, {"a"}, {"a"}) == Todo([], ["a"], [], [])


def test_an_owner_hands_over_only_what_it_has_read() -> None:
    """A lane that another worker has taken over adopts first: what it hands over is then what it has confirmed."""
    target = lane_of("a", 2)
    ready = {"a": Site(3 - target, {3 - target: True, target: True})}

    assert todo(3 - target, 2, ready, {"a"}, ()).hand_over == []


def test_a_lane_that_is_one_too_many_ends_when_nothing_is_left() -> None:
    """Its session would keep messages that no worker takes."""
    assert not retired(3, 2, {"a": Site(3)})
    assert not retired(3, 2, {"a": Site(1, {3: True})})
    assert retired(3, 2, {"a": Site(1, {1: True})})
    assert not retired(2, 2, {})


@dataclass
class Lane:
    """A lane with what it knows of its connection."""

    number: int
    seen: dict[str, Site]
    """The rows as they were when it last looked."""
    seen_lanes: int
    granted: set[str] = field(default_factory=set)
    adopted: set[str] = field(default_factory=set)


@dataclass
class Model:
    """The rows and the broker's sessions, and lanes that see the rows as they were some time ago."""

    lanes: int = 2
    sites: dict[str, Site] = field(default_factory=dict)
    sessions: set[tuple[int, str]] = field(default_factory=set)
    """What the broker really has."""
    running: dict[int, Lane] = field(default_factory=dict)

    def set_session(self, lane: int, name: str, granted: bool | None) -> None:
        """Write or delete the row of a session."""
        sessions = dict(self.sites[name].sessions)
        if granted is None:
            sessions.pop(lane, None)
        else:
            sessions[lane] = granted
        self.sites[name] = replace(self.sites[name], sessions=sessions)

    def look(self, number: int) -> None:
        """Let a lane read the rows."""
        lane = self.running.setdefault(number, Lane(number, {}, self.lanes))
        lane.seen, lane.seen_lanes = dict(self.sites), self.lanes

    def step(self, number: int, stop_after: int) -> bool:
        """Let a lane do what it has to, as far as it comes before it is killed; return whether it did anything."""
        if number not in self.running:
            self.look(number)
        lane = self.running[number]
        work = todo(number, lane.seen_lanes, lane.seen, lane.granted, lane.adopted)
        steps: list[tuple[str, str, int]] = [("adopt", name, 0) for name in work.adopt]
        steps += [(kind, name, 0) for name in work.subscribe for kind in ("row", "subscribe", "granted")]
        steps += [("hand_over", name, to) for name, to in work.hand_over]
        steps += [(kind, name, 0) for name in work.leave for kind in ("closing", "leave", "left")]
        kept: set[str] = set()
        for kind, name, to in steps[:stop_after]:
            if name not in kept and not self.do(lane, kind, name, to):
                kept.add(name)
        if len(steps) > stop_after:
            del self.running[number]  # killed; another worker has it now
        return bool(steps)

    def do(self, lane: Lane, kind: str, name: str, to: int) -> bool:
        """One step, which is atomic; a kill may come between two. Return whether the steps behind it are to be done."""
        number, site = lane.number, self.sites[name]
        if kind == "adopt":
            lane.adopted.add(name)
            lane.granted.discard(name)
        elif kind == "row":
            self.set_session(number, name, granted=site.sessions.get(number, False))
        elif kind == "subscribe":
            self.sessions.add((number, name))
        elif kind == "granted":
            lane.granted.add(name)
            self.set_session(number, name, granted=True)
        elif kind == "hand_over":
            if site.owner == number and site.sessions.get(to):
                self.sites[name] = lane.seen[name] = replace(site, owner=to)  # it reads again what it has written
                lane.adopted.discard(name)
        elif kind == "closing":
            if site.owner == number:
                return False
            self.set_session(number, name, granted=False)
        elif kind == "leave":
            self.sessions.discard((number, name))
            lane.granted.discard(name)
        else:
            self.set_session(number, name, granted=None)
        return True


def test_a_lane_that_decides_on_old_rows_leaves_no_site_without_a_session() -> None:
    """It is about to unsubscribe, and meanwhile the number of lanes has changed again and the site is its own."""
    (name,) = SITES[:1]
    model = Model(lanes=2, sites={name: Site(lane_of(name, 2))})

    def run(*lanes: int) -> None:
        for lane in lanes:
            model.look(lane)
            model.step(lane, 1000)

    assert (lane_of(name, 1), lane_of(name, 2)) == (1, 2)
    run(2, 2)
    model.lanes = 1
    run(1, 2, 1)
    model.look(2)
    model.lanes = 2
    run(1)
    assert model.sites[name].owner == 2
    model.step(2, 1000)
    run(1, 2)

    assert model.sessions == {(2, name)}


LANES = 3
ACTIONS = st.one_of(
    st.tuples(st.just("set"), st.integers(1, LANES), st.just(0)),
    st.tuples(st.just("look"), st.integers(1, LANES), st.just(0)),
    st.tuples(st.just("step"), st.integers(1, LANES), st.integers(0, 8) | st.just(1000)),
)


@settings(max_examples=100)
@given(st.lists(ACTIONS, min_size=10, max_size=80))
def test_at_every_moment_some_session_has_a_site_and_one_lane_owns_it(actions: list[tuple[str, int, int]]) -> None:
    """Whatever order lanes take their steps in, wherever one is killed, however old the rows are that it has read."""
    model = Model()
    for name in SITES:
        model.sites[name] = Site(lane_of(name, model.lanes))
    subscribed: set[str] = set()  # since an owner's session has had it
    for kind, number, stop_after in actions:
        if kind == "set":
            model.lanes = number
        elif kind == "look":
            model.look(number)
        else:
            model.step(number, stop_after)
        subscribed |= {name for lane, name in model.sessions if lane == model.sites[name].owner}
        assert subscribed <= {name for _, name in model.sessions}
        for one, lane in model.running.items():
            assert all(model.sites[name].owner == one for name in lane.adopted)
        for one, name in model.sessions:
            assert one in model.sites[name].sessions, "a session that is on no record would never end"
    busy = True
    while busy:
        for number in range(1, LANES + 1):
            model.look(number)
        busy = any([model.step(number, 1000) for number in range(1, LANES + 1)])  # noqa: C419 - each takes its steps
    for name in SITES:
        target = lane_of(name, model.lanes)
        assert model.sites[name] == Site(target, {target: True})
        assert {lane for lane, site in model.sessions if site == name} == {target}
    assert all(retired(number, model.lanes, model.sites) for number in range(model.lanes + 1, LANES + 1))
