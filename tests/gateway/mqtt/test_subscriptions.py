"""What is subscribed to, and what is omitted for a while."""

from gateway.mqtt.subscriptions import Subscriptions


def test_a_subscription_that_ends_connections_is_suspended() -> None:
    """The broker ended two connections before it answered: the third one omits it, for an hour."""
    subscriptions = Subscriptions(60.0, 3600.0)
    for mid in (1, 2):
        assert subscriptions.allowed(["info", "receipt"], 0.0) == (["info", "receipt"], [])
        subscriptions.requested(10 * mid, ["info"])
        subscriptions.requested(10 * mid + 1, ["receipt"])
        subscriptions.answered(10 * mid, [1])
        assert subscriptions.unanswered == ["receipt"]
        subscriptions.connection_ended()
    assert subscriptions.unanswered == []
    assert subscriptions.allowed(["info", "receipt"], 0.0) == (["info"], ["receipt"])
    assert subscriptions.allowed(["info", "receipt"], 3599.0) == (["info"], [])
    assert subscriptions.allowed(["info", "receipt"], 3600.0) == (["info", "receipt"], [])


def test_an_answer_ends_the_row_of_unanswered_requests() -> None:
    """A refusal is an answer."""
    subscriptions = Subscriptions(60.0, 3600.0)
    for mid in range(10):
        subscriptions.requested(mid, ["receipt"])
        if mid % 2:
            subscriptions.answered(mid, [0x87])
        subscriptions.connection_ended()
        assert subscriptions.allowed(["receipt"], 0.0) == (["receipt"], [])


def test_refused_topics_are_requested_again_and_reported_when_granted() -> None:
    """All of them together, after the interval."""
    subscriptions = Subscriptions(60.0, 3600.0)
    subscriptions.requested(1, ["receipt", "cmd/+"])
    assert subscriptions.answered(1, [0x87, 1]) == ([], [("receipt", 0x87)])
    subscriptions.refused.add("receipt")
    subscriptions.repeat("receipt", 10.0)
    assert (subscriptions.repeat_at, subscriptions.take_due(69.0)) == (70.0, [])
    assert subscriptions.take_due(70.0) == ["receipt"]
    assert (subscriptions.repeat_at, subscriptions.take_due(70.0)) == (None, [])
    subscriptions.requested(2, ["receipt"])
    assert subscriptions.answered(2, [1]) == (["receipt"], [])
    assert subscriptions.refused == set()


def test_an_unknown_answer_changes_nothing() -> None:
    """A SUBACK for no request of this connection."""
    subscriptions = Subscriptions(60.0, 3600.0)
    subscriptions.requested(1, ["receipt"])
    subscriptions.connection_ended()
    assert subscriptions.answered(1, [0x87]) == ([], [])


def test_suspended_topics_are_omitted_for_a_while() -> None:
    """Whatever their answers were."""
    subscriptions = Subscriptions(60.0, 3600.0)
    subscriptions.suspend(["info", "receipt"], 5.0)
    assert subscriptions.allowed(["info", "receipt", "cmd/+"], 3604.0) == (["cmd/+"], [])
