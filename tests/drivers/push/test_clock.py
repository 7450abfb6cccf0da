"""The estimate of a terminal's clock: right within its bound, and none from punches that waited."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from drivers.base import RawPunch, Record
from drivers.push import clock as module
from drivers.push.clock import LiveClock

ZONE = ZoneInfo("Asia/Jakarta")
BEGIN = datetime(2026, 11, 30, 0, 0, tzinfo=UTC)


def punch(number: int, moment: datetime) -> RawPunch:
    """Return a punch at a moment of the terminal's clock, cut to the second."""
    shown = moment.astimezone(ZONE).replace(tzinfo=None, microsecond=0)
    return RawPunch(str(number), None, shown, 0, 1, None, f"{number} {shown}".encode())


def follow(clock: LiveClock, events: list[tuple[float, float, float]]) -> None:
    """Let punches arrive: seconds since the begin of each, the terminal's offset, and the delay of its upload."""
    for number, (second, offset_s, delay_s) in enumerate(events):
        clock.contact(second + delay_s - 15, second + delay_s)
        made = BEGIN + timedelta(seconds=second + offset_s)
        clock.punches([punch(number, made)], BEGIN + timedelta(seconds=second + delay_s), second + delay_s)


def offsets(clock: LiveClock, now_s: float) -> tuple[float, float]:
    """Return the least and greatest offset that the estimate allows, as the gateway computes it."""
    reading = clock.reading(now_s)
    assert reading is not None
    middle = BEGIN + timedelta(seconds=now_s - reading.age_s + reading.round_trip_s / 2)
    offset_s = (reading.local_time.replace(tzinfo=ZONE) + timedelta(milliseconds=500) - middle).total_seconds()
    bound_s = 0.5 + reading.round_trip_s / 2
    return offset_s - bound_s, offset_s + bound_s


@given(
    st.floats(-100_000, 100_000),
    st.lists(st.tuples(st.floats(30, 600), st.floats(0, 15)), min_size=3, max_size=8),
)
def test_the_true_offset_lies_within_the_bound(offset_s: float, gaps: list[tuple[float, float]]) -> None:
    """As long as one of the punches was sent within the assumed delay."""
    clock = LiveClock(ZONE)
    second = 0.0
    events = []
    for gap_s, delay_s in gaps:
        second += gap_s
        events.append((second, offset_s, delay_s))
    follow(clock, events)
    least, most = offsets(clock, second + 60)
    assert least - 1e-6 <= offset_s <= most + 1e-6
    assert most - least <= module.DELAY_S + 1.001


def test_few_punches_are_no_estimate() -> None:
    """Two may both have waited."""
    clock = LiveClock(ZONE)
    follow(clock, [(0, 0, 1), (100, 0, 1)])
    assert clock.reading(110) is None


def test_punches_that_waited_are_no_estimate() -> None:
    """After an outage they arrive together, in one upload or in several."""
    clock = LiveClock(ZONE)
    waiting: list[Record] = [punch(number, BEGIN + timedelta(minutes=number)) for number in range(6)]
    clock.punches(waiting, BEGIN + timedelta(hours=5), 18_000)
    for second, record in enumerate(waiting[:4]):
        clock.punches([record], BEGIN + timedelta(hours=5, seconds=second), 18_000 + second)
    assert clock.reading(18_100) is None


def test_a_gap_in_the_contact_begins_anew() -> None:
    """What is sent after it may have waited."""
    clock = LiveClock(ZONE)
    follow(clock, [(0, 0, 1), (100, 0, 1)])
    clock.contact(101, 101 + module.CONTACT_GAP_S + 1)
    clock.punches([punch(9, BEGIN)], BEGIN + timedelta(seconds=170), 170)
    assert clock.reading(171) is None


def test_the_same_punch_again_is_no_further_one() -> None:
    """A terminal that did not receive the answer sends it again."""
    clock = LiveClock(ZONE)
    for second in range(0, 100, 20):
        clock.punches([punch(1, BEGIN)], BEGIN + timedelta(seconds=second % 20), second)
    assert clock.reading(100) is None


def test_a_clock_that_was_set_back() -> None:
    """Three punches of the new time replace the estimate; until then the old one ages."""
    clock = LiveClock(ZONE)
    follow(clock, [(0, 0, 1), (100, 0, 1), (200, 0, 1)])
    follow(clock, [(300, -3600, 1), (400, -3600, 1)])
    before = clock.reading(401)
    assert before is not None
    assert before.age_s == 200
    follow(clock, [(500, -3600, 1)])
    least, most = offsets(clock, 501)
    assert least <= -3600 <= most


def test_an_old_estimate_is_none() -> None:
    """A day later the clock may show anything."""
    clock = LiveClock(ZONE)
    follow(clock, [(0, 0, 1), (100, 0, 1), (200, 0, 1)])
    assert clock.reading(200 + module.AGE_S - 10) is not None
    assert clock.reading(202 + module.AGE_S) is None


def test_impossible_times_are_no_samples() -> None:
    """The year 9999 would not fit into a date."""
    clock = LiveClock(ZONE)
    for second in (0, 100, 200):
        record = punch(second, BEGIN)._replace(local_time=datetime.fromisoformat("9999-12-31T23:59:59"))
        clock.punches([record], BEGIN + timedelta(seconds=second), second)
    assert clock.reading(201) is None
