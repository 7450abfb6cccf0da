"""When events of a topic are held back, and when one of them is sent as a probe."""

import pytest

from gateway.mqtt.blocked_topics import BlockedTopics
from gateway.mqtt.message import BATCH
from gateway.mqtt.session import NO_MATCHING_SUBSCRIBERS, NOT_AUTHORISED

LOBBY = "punch/lobby"


def blocked(topic: str = LOBBY, code: int = NO_MATCHING_SUBSCRIBERS) -> BlockedTopics:
    """Return topics of which one was refused at time 0; its highest event is 7, its back-off 5 to 20 seconds."""
    topics = BlockedTopics(5.0, 20.0)
    assert topics.refused(topic, code, 7, 0.0)
    return topics


def test_a_refused_topic_holds_its_events_and_no_others() -> None:
    """Until it is released."""
    topics = blocked()
    assert topics.holds(LOBBY, 7, 1.0)
    assert not topics.holds("punch/gate", 7, 1.0)
    assert topics.accepted(LOBBY)
    assert not topics.holds(LOBBY, 7, 1.0)
    assert not topics.accepted(LOBBY)


def test_probes_double_their_interval_up_to_a_limit() -> None:
    """Each refused probe doubles it; a refusal of what was sent before the topic was blocked does not."""
    topics, now, delays = blocked(), 0.0, []
    topics.refused(LOBBY, NO_MATCHING_SUBSCRIBERS, 7, 1.0)
    for _ in range(4):
        (due,) = topics.next_due()
        assert list(topics.due(due - 0.1)) == []
        assert list(topics.due(due)) == [LOBBY]
        delays.append(due - now)
        now = due
        topics.sent_probe(LOBBY)
        assert list(topics.due(due + 100)) == []
        assert topics.next_due() == []
        assert not topics.refused(LOBBY, NO_MATCHING_SUBSCRIBERS, 7, now)
    assert delays == [5.0, 10.0, 20.0, 20.0]


def test_a_later_event_makes_the_probe_due() -> None:
    """One that was considered before does not."""
    topics = blocked()
    topics.holds(LOBBY, 7, 1.0)
    assert topics.next_due() == [5.0]
    topics.holds(LOBBY, 8, 1.0)
    assert topics.next_due() == [1.0]


def test_a_probe_that_is_impossible_is_postponed() -> None:
    """By the present interval, which it does not lengthen."""
    topics = blocked()
    topics.sent_probe(LOBBY)
    assert topics.is_probing(LOBBY)
    topics.postpone(LOBBY, 6.0)
    assert (topics.is_probing(LOBBY), topics.next_due()) == (False, [11.0])


@pytest.mark.parametrize(("code", "due"), [(NO_MATCHING_SUBSCRIBERS, 2.0), (NOT_AUTHORISED, 5.0)])
def test_a_new_connection_probes_what_had_no_subscriber(code: int, due: float) -> None:
    """A refusal keeps its back-off; a probe that was in flight was lost with the connection."""
    topics = blocked(code=code)
    topics.sent_probe(LOBBY)
    topics.reconnected(2.0)
    assert topics.next_due() == [due]


def test_another_reason_is_news() -> None:
    """The same one is not."""
    topics = blocked()
    assert not topics.refused(LOBBY, NO_MATCHING_SUBSCRIBERS, 7, 1.0)
    assert topics.refused(LOBBY, NOT_AUTHORISED, 7, 1.0)
    assert topics.codes() == {LOBBY: NOT_AUTHORISED}


def test_arrays_are_probed_by_the_next_array() -> None:
    """No event is sent for it: the window sends an array when one may be sent."""
    topics = blocked(BATCH)
    assert BlockedTopics(5.0, 20.0).allow_array(0.0)
    assert [topics.allow_array(now) for now in (4.9, 5.0)] == [False, True]
    topics.sent_probe(BATCH)
    assert not topics.allow_array(100.0)
    assert list(topics.due(100.0)) == []
    assert topics.next_due() == []
    assert topics.codes() == {BATCH: NO_MATCHING_SUBSCRIBERS}
