"""Messages of events: the stored bytes, in order, never larger than allowed."""

import itertools
import json
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import Waiting
from gateway.parcel import BATCH, Array, Parcel, single


def event(sequence: int, raw: bytes | None = b"\x01\x02", text: str = "") -> Waiting:
    """Return an event with a record, or with none."""
    data = {"reason": text} if raw is None else {"raw": raw.hex(), "text": text}
    body = json.dumps({"data": data, "sequence": sequence}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Waiting(sequence, "punch/lobby", body, 0)


def packed(events: list[Waiting], room: int) -> list[Parcel]:
    """Pack events into as few arrays as their order allows; what fits into none is left out."""
    parcels = []
    array = Array(room)
    for one in events:
        if array.take(one):
            continue
        if (parcel := array.parcel()) is not None:
            parcels.append(parcel)
        array = Array(room)
        array.take(one)
    last = array.parcel()
    return [*parcels, last] if last is not None else parcels


@given(st.lists(st.text(max_size=60), max_size=30), st.integers(120, 400))
def test_arrays_hold_the_stored_bytes_in_order_within_the_limit(texts: list[str], room: int) -> None:
    """Whatever the events are: together they are the same, each array is full or the last, none is too large."""
    events = [event(number, text=text) for number, text in enumerate(texts)]
    small = [one for one in events if len(one.body.encode()) + 2 <= room]
    parcels = packed(small, room)
    assert [one.sequence for parcel in parcels for one in parcel.events] == [one.sequence for one in small]
    for parcel in parcels:
        assert parcel.topic == BATCH
        assert len(parcel.body) <= room
        assert parcel.body.decode() == f"[{','.join(one.body for one in parcel.events)}]"
    for parcel, following in itertools.pairwise(parcels):
        assert len(parcel.body) + 1 + len(following.events[0].body.encode()) > room


def test_a_single_event_goes_as_it_is_stored() -> None:
    """On its own topic, with its own bytes."""
    one = event(7)
    assert single(one, 10_000) == Parcel("punch/lobby", (one,), one.body.encode())
    assert single(one, len(one.body)) == Parcel("punch/lobby", (one,), one.body.encode())


def test_an_event_that_is_too_large_goes_without_its_record() -> None:
    """The hash of the record stands in for it; nothing else changes, and the stored event does not."""
    raw = bytes(range(256))
    one = event(7, raw, "halo é")
    before = one.body
    parcel = single(one, 300)
    assert parcel is not None
    assert len(parcel.body) <= 300
    whole, sent = json.loads(before), json.loads(parcel.body)
    assert sent["data"].pop("raw_sha256") == sha256(raw).hexdigest()
    assert sent["data"]["raw"] is None
    whole["data"]["raw"] = None
    assert sent == whole
    assert one.body == before
    assert parcel.body.decode() == json.dumps(
        json.loads(parcel.body), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def test_an_event_that_cannot_be_made_small_enough_is_no_message() -> None:
    """Neither one without a record, nor one whose rest is too large."""
    assert single(event(7, None, "x" * 500), 300) is None
    assert single(event(7, b"\x01" * 100, "x" * 500), 300) is None
    array = Array(300)
    assert not array.take(event(7, None, "x" * 500))
    assert array.parcel() is None


def test_only_the_first_event_of_an_array_is_made_smaller() -> None:
    """One that merely does not fit in beside others begins the next array, whole."""
    array = Array(700)
    assert array.take(event(1, bytes(100)))
    assert not array.take(event(2, bytes(300)))
    following = Array(700)
    assert following.take(event(2, bytes(300)))
    parcel = following.parcel()
    assert parcel is not None
    assert b"raw_sha256" not in parcel.body
