"""Messages of events: the stored bytes, in order, never larger than allowed."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import StoredEvent
from gateway.mqtt.message import BATCH, Array, Message, single


def event(sequence: int, raw: bytes | None = b"\x01\x02", text: str = "") -> StoredEvent:
    """Return an event with a record, or with none."""
    data = {"reason": text} if raw is None else {"raw": raw.hex(), "text": text}
    body = json.dumps({"data": data, "sequence": sequence}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return StoredEvent(sequence, "punch/lobby", body, 0)


def packed(events: list[StoredEvent], room: int) -> list[Message]:
    """Pack events into as few arrays as their order allows; what fits into none is left out."""
    messages = []
    array = Array(room)
    for one in events:
        if array.add(one):
            continue
        if (message := array.message()) is not None:
            messages.append(message)
        array = Array(room)
        array.add(one)
    last = array.message()
    return [*messages, last] if last is not None else messages


@given(st.lists(st.text(max_size=60), max_size=30), st.integers(120, 400))
def test_arrays_hold_the_stored_bytes_in_order_within_the_limit(texts: list[str], room: int) -> None:
    """Whatever the events are: together they are the same, each array is full or the last, none is too large."""
    events = [event(number, text=text) for number, text in enumerate(texts)]
    small = [one for one in events if len(one.body.encode()) + 2 <= room]
    messages = packed(small, room)
    assert [one.sequence for message in messages for one in message.events] == [one.sequence for one in small]
    for message in messages:
        assert message.topic == BATCH
        assert len(message.body) <= room
        assert message.body.decode() == f"[{','.join(one.body for one in message.events)}]"
    for message, following in itertools.pairwise(messages):
        assert len(message.body) + 1 + len(following.events[0].body.encode()) > room


def test_a_single_event_goes_as_it_is_stored() -> None:
    """On its own topic, with its own bytes."""
    one = event(7)
    assert single(one, 10_000) == Message("punch/lobby", (one,), one.body.encode())
    assert single(one, len(one.body)) == Message("punch/lobby", (one,), one.body.encode())


def test_an_event_is_never_altered_to_fit() -> None:
    """One that is larger than allowed is no message: without its record its digest could not be checked."""
    for one in (event(7, None, "x" * 500), event(7, b"\x01" * 500)):
        assert single(one, 300) is None
        array = Array(300)
        assert not array.add(one)
        assert array.message() is None
