"""How another machine with this gateway's name is detected."""

import pytest

from gateway.mqtt.failure import BrokerUnavailable
from gateway.mqtt.takeover import SHORT_SESSIONS_MAX, Takeover, session_taken_over

OURS, BEFORE, THEIRS = "ours", "before", "theirs"
UNEXPLAINED = BrokerUnavailable("broke", unexplained=True)
EXPLAINED = BrokerUnavailable("shutting down")


@pytest.mark.parametrize(
    ("ends", "repeated"),
    [
        ([(UNEXPLAINED, 1.0)] * (SHORT_SESSIONS_MAX - 1), False),
        ([(UNEXPLAINED, 1.0)] * SHORT_SESSIONS_MAX, True),
        ([(UNEXPLAINED, 300.1)] * SHORT_SESSIONS_MAX, False),
        ([(UNEXPLAINED, 1.0)] * 2 + [(EXPLAINED, 1.0)] + [(UNEXPLAINED, 1.0)] * 2, False),
        ([(session_taken_over(), 1.0)] * 5, False),
    ],
    ids=["two", "three", "long", "interrupted", "explained"],
)
def test_short_sessions_in_a_row_have_a_common_cause(
    ends: list[tuple[BrokerUnavailable, float]], repeated: bool
) -> None:
    """Only those that end soon and without a reason count."""
    takeover = Takeover(300.0, 3600.0)
    reasons = [takeover.session_ended(reason, lived_s) for reason, lived_s in ends]
    assert all(reason is given for reason, (given, _) in zip(reasons[:-1], ends[:-1], strict=True))
    assert ("again and again" in str(reasons[-1])) is repeated
    assert (reasons[-1].pause, reasons[-1].alarm) == ("taken_over", "client_id_taken") or not repeated


def seen(end: BrokerUnavailable | None, *looks: tuple[str, bool, float]) -> list[str | None]:
    """Return the judgement of each retained ``info``: its stream, whether it is an earlier one of ours, and when."""
    takeover = Takeover(300.0, 3600.0)
    takeover.accepted_stream = OURS
    if end is not None:
        takeover.session_ended(end, 1.0)
    return [takeover.other_stream(stream, BEFORE, now, superseded=own) for stream, own, now in looks]


@pytest.mark.parametrize(
    ("end", "looks", "judgements"),
    [
        (None, [(OURS, False, 0.0), (BEFORE, False, 0.0)], [None, None]),
        (None, [(THEIRS, False, 0.0)], ["unknown"]),
        (None, [(THEIRS, True, 0.0), (THEIRS, True, 3599.0)], [None, "copy"]),
        (None, [(THEIRS, True, 0.0), (THEIRS, True, 3600.0)], [None, None]),
        (session_taken_over(), [(THEIRS, True, 0.0)], ["copy"]),
        (UNEXPLAINED, [(THEIRS, True, 0.0)], [None]),
    ],
    ids=["own", "unknown", "twice", "twice, but rarely", "taken over", "unexplained"],
)
def test_the_retained_stream_proves_another_machine(
    end: BrokerUnavailable | None, looks: list[tuple[str, bool, float]], judgements: list[str | None]
) -> None:
    """An earlier stream of this ledger proves a copy if it is seen twice, or once behind a takeover."""
    assert seen(end, *looks) == judgements


def test_before_this_process_has_published_a_stream_proves_nothing() -> None:
    """It may be what an earlier run of this gateway left."""
    assert Takeover(300.0, 3600.0).other_stream(THEIRS, BEFORE, 0.0, superseded=False) is None


def test_short_sessions_do_not_count_as_a_takeover() -> None:
    """Their explanation names the same cause, but it is a guess."""
    takeover = Takeover(300.0, 3600.0)
    takeover.accepted_stream = OURS
    for _ in range(SHORT_SESSIONS_MAX):
        takeover.session_ended(UNEXPLAINED, 1.0)
    assert takeover.other_stream(THEIRS, BEFORE, 0.0, superseded=True) is None
