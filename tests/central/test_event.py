import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.event import (
    MAX_BYTES,
    MAX_EVENT_BYTES,
    Event,
    GatewayState,
    Info,
    Rejected,
    TerminalState,
    gateway_of,
    read_message,
)
from tests import contract
from tests.central.mutated import attack, check_read, mutated, valid_stream
from tests.central.sealing import GATEWAY, Source, batch, dumped, payload, sealed
from tests.mutation import encode_json, mutate_json

PUNCHES = f"{GATEWAY}/punch/lobby"
BATCH = f"{GATEWAY}/batch"


def only(topic: str, message: bytes) -> Event | Info | TerminalState | GatewayState | Rejected:
    """Return the one thing that a message states."""
    (output,) = read_message(topic, message)
    return output


def reason(topic: str, message: bytes) -> str:
    """Return why a message is rejected."""
    output = only(topic, message)
    assert isinstance(output, Rejected)
    return output.reason


def test_a_punch_is_read_with_its_place_and_its_identity() -> None:
    """What is kept of an event is canonical and complete."""
    event = Source().punch(1, pin="0042")

    output = only(PUNCHES, payload(event))

    assert isinstance(output, Event)
    assert (output.sequence, output.stream, output.digest) == (1, event["stream"], event["digest"])
    assert output.punch is not None
    assert (output.punch.pin, output.punch.uid, output.punch.serial) == ("0042", None, "CEXA193960001")
    assert output.body == dumped(event)


def test_every_example_of_the_contract_is_taken() -> None:
    """The document and this reader agree about every numbered event, about info, and about batches."""
    taken = set()
    for channel, key, example in contract.examples():
        topic = contract.topic_for(channel, example)
        if gateway_of(f"{GATEWAY}/{topic}") is not None:
            for output in read_message(f"{GATEWAY}/{topic}", json.dumps(example).encode()):
                assert not isinstance(output, Rejected), (topic, output)
                assert not isinstance(output, Event) or output.id_mismatch is None
            taken.add(key)

    assert {
        "punchRecorded",
        "recordQuarantined",
        "gatewayResumed",
        "terminalLost",
        "batch",
        "info",
        "terminalState",
    } <= taken


def test_white_space_and_the_order_of_keys_do_not_matter() -> None:
    """A digest is that of the content, however it is written; what is kept is written one way."""
    event = Source().punch(1)
    written = json.dumps(dict(reversed(event.items())), indent=2).encode()

    output = only(PUNCHES, written)

    assert isinstance(output, Event)
    assert output.body == dumped(event)


def test_an_unknown_type_is_an_event_without_a_punch() -> None:
    """Types that a later version adds fill their place like any other."""
    output = only(f"{GATEWAY}/note", payload(Source().note("hadir.something.else.v1")))

    assert isinstance(output, Event)
    assert (output.punch, output.id_mismatch) == (None, None)


def test_a_person_without_a_pin_is_named_by_uid() -> None:
    """The identity of such a punch holds `uid:` and the number."""
    source = Source()
    source.punch(1, pin="uid:5")
    event = source.events.pop()
    event["data"].update(pin=None, uid=5)

    output = only(PUNCHES, payload(sealed(event, event["previous"])))

    assert isinstance(output, Event)
    assert output.punch is not None
    assert (output.punch.pin, output.punch.uid) == (None, 5)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"terminal": "lobby"},
        {"terminal": "lobby", "serial": "S", "local_time": "2026-09-04T07:30:00", "pin": 7, "occurrence": 1},
        {"terminal": "lobby", "serial": "S", "local_time": "2026-09-04T07:30:00", "pin": None, "occurrence": 1},
        {"terminal": "lobby", "serial": "S", "local_time": "2026-09-04T07:30:00", "pin": "7", "occurrence": True},
        {"terminal": "lobby", "serial": "S", "local_time": "2026-09-04T07:30:00", "pin": "7", "occurrence": 1},
    ],
)
def test_a_punch_with_a_mismatched_id_is_stored_as_event_only(data: object) -> None:
    """It is an event, but must not displace the punch whose id it bears."""
    event = Source().record("hadir.punch.recorded.v1", "27f13449-e835-5880-8093-8da5699f003c", data, "lobby")

    output = only(PUNCHES, payload(event))

    assert isinstance(output, Event)
    assert output.punch is None
    assert output.id_mismatch


@pytest.mark.parametrize("raw", [None, "00ff"])
@pytest.mark.parametrize("changed", [{}, {"pin": "1002"}, {"state": 1}])
def test_a_raw_sha256_does_not_change_what_is_checked(raw: str | None, changed: dict[str, Any]) -> None:
    """Beside ``raw`` or instead of it: an event whose content is not the one that was digested is altered."""
    event = Source().punch(1, raw="00ff")
    event["data"] |= {"raw": raw, "raw_sha256": "0" * 64, **changed}

    assert reason(PUNCHES, payload(event)) == "altered"
    assert reason(BATCH, batch(event)) == "altered"


def test_a_record_of_unknown_bytes_is_an_event_like_any_other() -> None:
    """What counts is the digest: null where it was digested as null is not altered."""
    event = Source().punch(1, raw=None, raw_sha256="0" * 64)

    assert isinstance(only(PUNCHES, payload(event)), Event)


def nested(depth: int) -> Any:
    """Return so many arrays in each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


HOSTILE = {
    "surrogate in data": lambda event: event["data"].update(raw=None, raw_sha256="x", note="\ud800"),
    "surrogate in serial": lambda event: event["data"].update(serial="\ud800"),
    "surrogate in pin": lambda event: event["data"].update(pin="\ud800"),
    "surrogate as key": lambda event: event["data"].update({"\ud800": 1}),
    "surrogate at the top": lambda event: event.update(note="\ud800"),
    "surrogate as key at the top": lambda event: event.update({"\ud800": 1}),
    "nested 33 deep": lambda event: event["data"].update(note=nested(31)),
    "nested 990 deep": lambda event: event["data"].update(raw=None, raw_sha256="x", note=nested(990)),
    "nested 100,000 deep": lambda event: event["data"].update(note=nested(100_000)),
}
"""Ways in which one message once ended the inbox at every start (C1, S2)."""


def hostile(kind: str, event: dict[str, Any]) -> bytes:
    """Return an event that was spoiled in one of these ways, as a sender would write it."""
    HOSTILE[kind](event)
    return encode_json(event)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_once_ended_the_inbox_is_rejected_alone(kind: str) -> None:
    """As a message of its own; in a batch its siblings are read, and its own bytes are kept."""
    source = Source()
    first, spoiled, last = source.punches(3)
    bad = hostile(kind, spoiled)

    assert reason(PUNCHES, bad) in ("not_an_event", "not_json")
    good, rejected, also_good = read_message(BATCH, b"[" + payload(first) + b", " + bad + b"," + payload(last) + b"]")

    assert isinstance(good, Event)
    assert isinstance(also_good, Event)
    assert isinstance(rejected, Rejected)
    assert rejected.payload == bad


def test_an_event_may_be_nested_as_deep_as_the_limit() -> None:
    """The limit is the same wherever it is read from."""
    source = Source()

    assert isinstance(only(PUNCHES, payload(source.punch(1, note=nested(30)))), Event)


def test_a_source_that_is_not_the_topics_gateway_is_rejected() -> None:
    """A gateway publishes its own events only; which root the topics have does not matter."""
    event = Source(gateway="3602-bkpsdm/gw-02").punch(1)

    rejected = only(PUNCHES, payload(event))

    assert isinstance(rejected, Rejected)
    assert rejected.reason == "source_mismatch"
    assert isinstance(only("3602-bkpsdm/gw-02/punch/lobby", payload(event)), Event)


@pytest.mark.parametrize(
    ("bad", "read_behind"),
    [
        (b"1.5", True),
        (b'{"a": NaN}', True),
        (b"9" * 5000, True),
        (b'"\xff"', True),
        (b'{"a": "]}"', False),
        (b'{"a": "]}\\""}', True),
        (b"[[[", False),
    ],
)
@pytest.mark.parametrize("padding", [0, MAX_EVENT_BYTES])
def test_an_element_that_is_no_json_costs_only_itself(bad: bytes, read_behind: bool, padding: int) -> None:
    """Its siblings are read, in short batches and in long ones; behind it, if it is known where it ends."""
    source = Source()
    first, last = source.punches(2)

    found = list(read_message(BATCH, b"[" + payload(first) + b"," + bad + b"," + b" " * padding + payload(last) + b"]"))

    assert [output.sequence for output in found if isinstance(output, Event)] == ([1, 2] if read_behind else [1])
    assert any(isinstance(output, Rejected) for output in found)


def test_an_event_that_is_too_large_is_not_taken_apart() -> None:
    """Alone and in a batch, whose other elements are read."""
    source = Source()
    large = source.punch(1, note="x" * MAX_EVENT_BYTES)

    assert reason(PUNCHES, payload(large)) == "too_large"
    rejected, event = read_message(BATCH, batch(large, source.punch(2)))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "too_large"
    assert isinstance(event, Event)


@pytest.mark.parametrize(
    "unclosed", [b'"' + b'\\"' * 2_000_000, b'"' + b"\\" * 4_000_001, b'"' * 4_000_001, b'{"' * 2_000_000]
)
def test_strings_that_are_not_closed_are_read_once(unclosed: bytes) -> None:
    """A batch is read in a time that grows with its size; with its square it would take days."""
    good = payload(Source().punch(1))

    found = list(read_message(BATCH, b"[" + good + b"," + unclosed))

    assert [isinstance(one, Event) for one in found] == [True, *[False] * (len(found) - 1)]
    assert len(found) > 1


def test_an_altered_event_is_reported_with_its_place() -> None:
    """Content and digest must fit; what is said of it repeats nothing of a person."""
    event = Source().punch(1, pin="1001")
    event["data"]["pin"] = "1002"

    output = only(PUNCHES, payload(event))

    assert isinstance(output, Rejected)
    assert output.reason == "altered"
    assert "sequence 1 of stream" in output.detail
    assert "1002" not in output.detail


def test_elements_of_a_batch_are_judged_one_by_one() -> None:
    """One bad element costs only itself, and itself is kept."""
    source = Source()
    first, second = source.punches(2)

    good, bad, also_good = read_message(BATCH, batch(first, {"specversion": "2.0"}, second))

    assert isinstance(good, Event)
    assert isinstance(also_good, Event)
    assert isinstance(bad, Rejected)
    assert bad.reason == "not_an_event"
    assert json.loads(bad.payload) == {"specversion": "2.0"}
    assert [output.sequence for output in (good, also_good)] == [1, 2]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"a": 1.5}',
        b'{"a": NaN}',
        b'{"a": 1e5}',
        b"1" * 5000,
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_json_of_integers_is_rejected(message: bytes) -> None:
    """Garbage never raises."""
    assert reason(PUNCHES, message) == "not_json"
    assert reason(f"{GATEWAY}/info", message) == "not_json"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("specversion", "0.3"),
        ("id", ""),
        ("id", 7),
        ("id", "a b"),
        ("stream", None),
        ("stream", "x" * 201),
        ("type", ["hadir.punch.recorded.v1"]),
        ("sequence", 1),
        ("sequence", "1"),
        ("sequence", "0" * 20),
        ("sequence", "9" * 20),
        ("sequence", "\u0660" * 19 + "\u0661"),
        ("previous", "sha256:"),
        ("digest", "md5:00"),
        ("subject", "\ud800"),
    ],
)
def test_an_envelope_of_another_shape_is_no_event(key: str, value: Any) -> None:
    """Missing or of the wrong type, range or alphabet."""
    event = {**Source().punch(1), key: value}

    assert reason(PUNCHES, json.dumps(event).encode()) == "not_an_event"
    assert reason(BATCH, json.dumps([event]).encode()) == "not_an_event"


@pytest.mark.parametrize("message", ["[]", "[[]]", "7", "null", '"text"', "{}"])
def test_json_that_is_no_event(message: str) -> None:
    """Neither an object nor an array of objects."""
    assert reason(BATCH, message.encode()) == "not_an_event"


def test_what_is_too_long_is_not_taken_apart() -> None:
    """A bound for the work that one message can make."""
    assert reason(BATCH, b" " * MAX_BYTES + payload(Source().punch(1))) == "too_large"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "office",
        "office/gw-01",
        "office/gw-01/punch",
        "office/gw-01/punch/LOBBY",
        "Office/gw-01/note",
        "a/b/note/c/d",
    ],
)
def test_topics_of_no_gateway(topic: str) -> None:
    """Evidence comes on the contract's topics only."""
    assert reason(topic, payload(Source().punch(1))) == "topic"
    assert gateway_of(topic) is None


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"stream": 7, "sequence": 1},
        {"stream": "s", "sequence": "1"},
        {"stream": "s", "sequence": True},
        {"stream": "s", "sequence": -1},
        {"stream": "s", "sequence": 2**63},
        {"stream": "s", "sequence": 1, "predecessor": "r"},
        {"stream": "s", "sequence": 1, "predecessor": {"stream": "r", "sequence": 1, "digest": "sha256:0"}},
    ],
)
def test_info_of_another_shape(content: object) -> None:
    """It states nothing then."""
    assert reason(f"{GATEWAY}/info", json.dumps(content).encode()) == "not_info"


@given(st.integers(0, 2**32))
def test_no_mutation_of_a_valid_message_raises(seed: int) -> None:
    """Two changes at a time, most of them sealed again so that they get far: what is read is read rightly."""
    topic, message = mutated(Random(seed))

    found = list(read_message(f"{GATEWAY}/{topic}", message))

    assert found or not message
    for one in found:
        check_read(one)


@given(st.integers(0, 2**32))
def test_no_change_of_an_event_goes_unnoticed(seed: int) -> None:
    """Whatever is changed, in one place or in two: every field is covered by the digest, at any depth."""
    random = Random(seed)
    event = random.choice(valid_stream(random).events)
    changed = mutate_json(event, random, random.choice((1, 2)))
    message = encode_json(changed)

    found = [
        output
        for output in (*read_message(PUNCHES, message), *read_message(BATCH, b"[" + message + b"]"))
        if isinstance(output, Event)
    ]

    assert all(output.body == dumped(event) for output in found), "another content under the digest of this one"
    if isinstance(changed, dict):  # an array may hold the unchanged event
        assert len(found) == (2 if message == encode_json(event) else 0)


@pytest.mark.parametrize("seed", range(12))
def test_an_attack_costs_the_centre_one_message(seed: int) -> None:
    """As `make torture` does it for a minute, with other seeds."""
    attack(seed)
