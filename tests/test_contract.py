import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from drivers.base import BadRecord, RawPunch
from gateway import event as events
from gateway.event import ClockEvidence, Draft, ReadingContext, encode, utc_text
from tests import contract
from tests.broker import WAIT_S

DOCS = contract.FILE.parent
STREAM = "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80"
SOURCE = "/hadir/3602-bkpsdm/gw-01"
START = datetime(2026, 9, 4, 0, 30, tzinfo=UTC)
local = datetime.fromisoformat
"""A terminal's wall clock: no zone."""


# ---------------------------------------------------------------- the document


def test_every_message_has_examples_that_fit_its_schema_and_their_topic() -> None:
    """Each message has at least one example, true to its closed schema; reserved ones lack only a topic of theirs."""
    found = set()
    for channel, key, payload in contract.examples():
        text = contract.canonical(payload)
        contract.check(contract.topic_for(channel, payload), text, strict=contract.is_published(channel))
        assert contract.validator(key).is_valid(payload), (key, text)
        found.add(key)
    assert found == set(contract.document()["components"]["messages"])


def test_schemas_mean_the_same_in_draft_07_and_2020_12() -> None:
    """Readers of either draft accept the same examples and refuse the same broken ones."""
    for _, key, payload in contract.examples():
        schema = contract.validator(key, strict=False).schema
        for validator in (Draft7Validator(schema), Draft202012Validator(schema)):
            validator.check_schema(schema)
            assert validator.is_valid(payload)
            for name in schema.get("required", []):
                assert not validator.is_valid({field: value for field, value in payload.items() if field != name})


def test_no_schema_admits_a_fraction() -> None:
    """Every value has a stated type, and none of them is number."""

    def walk(schema: Any, path: str) -> None:
        kinds = schema.get("type", [])
        assert "number" not in ([kinds] if isinstance(kinds, str) else kinds), path
        typed = {"type", "const", "oneOf", "allOf", "properties", "required", "$ref"} & schema.keys()
        assert typed, f"{path} says nothing of its type"
        for name, part in schema.get("properties", {}).items():
            walk(part, f"{path}.{name}")
        for word in ("oneOf", "allOf", "anyOf"):
            for part in schema.get(word, []):
                walk(part, f"{path}.{word}")
        if "items" in schema:
            walk(schema["items"], f"{path}[]")

    for name, schema in contract.document()["components"]["schemas"].items():
        walk(schema, name)


def test_what_is_retained_is_what_describes_a_present_state() -> None:
    """State, info, health, terminal states and receipts are retained; evidence, alarms and requests never."""
    topics = {
        "punch/lobby": False,
        "quarantine/lobby": False,
        "note/lobby": False,
        "note": False,
        "alarm": False,
        "batch": False,
        "tally/lobby": False,
        "cmd/poll": False,
        "state": True,
        "info": True,
        "health": True,
        "terminal/lobby/state": True,
        "receipt": True,
        "result/v1/dinas/day": False,
        "result/v1/dinas/summary": True,
        "result/v1/dinas/period": False,
    }
    assert {topic: contract.is_retained(topic) for topic in topics} == topics


def test_the_will_is_the_offline_state() -> None:
    """The will that the document states is retained on the state topic, with QoS 1, and has the documented form."""
    binding = contract.document()["servers"]["broker"]["bindings"]["mqtt"]
    will = binding["lastWill"]
    prefix = SOURCE[1:].replace("hadir/", "hadir/v1/")
    assert (will["topic"], will["qos"], will["retain"]) == (f"{prefix}/state", 1, True)
    assert (binding["cleanSession"], binding["sessionExpiryInterval"]) == (True, 0)
    contract.check("state", will["message"])


def test_code_and_document_know_the_same_event_types_labels_and_topics() -> None:
    """Every numbered type of the code is documented on the topic the code chooses, and no other is."""
    types = {value for name, value in vars(events).items() if name.isupper() and str(value).startswith("hadir.")}
    documented = {
        name: channel
        for channel in contract.document()["channels"]
        for name in contract.messages_of(channel)
        if name.startswith("hadir.") and not contract.is_of_the_centre(channel)
    }
    assert documented.keys() == types
    for name, channel in documented.items():
        assert contract.channel_of(events.topic_of(name, None if channel == "note" else "lobby")) == channel
    codes = contract.document()["components"]["schemas"]["codes"]["properties"]
    assert set(codes["state_label"]["x-known"]) == {*events.STATE_LABELS.values(), None}
    assert set(codes["verify_label"]["x-known"]) == {*events.VERIFY_LABELS.values(), None}


def test_the_page_for_people_names_everything_and_its_example_is_true() -> None:
    """contract.md names each topic, event type and alarm; its worked example is the machine-readable one."""
    page = (DOCS / "contract.md").read_text(encoding="utf-8")
    for channel in contract.document()["channels"].values():
        topic = contract.below(channel["address"])
        if topic.startswith("result/"):
            topic = contract.RESULT + topic
        assert f"`{topic.replace('{', '<').replace('}', '>').replace('<command>', '<name>')}`" in page
    for channel in ("punch", "quarantine", "terminalNote", "note", "resultDay", "resultSummary"):
        for name in contract.messages_of(channel):
            assert f"`{name}`" in page
    schemas = contract.document()["components"]["schemas"]
    suspicions = schemas["punchRecorded"]["properties"]["data"]["properties"]["suspect"]["items"]["x-known"]
    for word in [*schemas["alarm"]["properties"]["alarm"]["x-known"], *suspicions]:
        assert f"`{word}`" in page
    shown, receipt = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    payloads = [payload for _, _, payload in contract.examples()]
    assert shown in payloads
    assert receipt in payloads
    assert str(events.NAMESPACE) in page
    assert f"UUID('{shown['id']}')" in page


def test_the_helper_refuses_what_is_not_documented() -> None:
    """An unknown field at any depth, an unknown value, a fraction, a wrong topic or digest: each has its message."""
    event = next(payload for _, key, payload in contract.examples() if key == "punchRecorded")
    text = contract.canonical(event)

    def fails(topic: str, payload: str, why: str) -> None:
        with pytest.raises(AssertionError, match=why):
            contract.check(topic, payload)

    fails("punch/lobby", text.replace('"bound_ms"', '"extra":1,"bound_ms"'), "not allowed")
    fails("punch/lobby", text.replace('"occurrence"', '"extra":1,"occurrence"'), "not allowed")
    fails("punch/lobby", text.replace('"source"', '"extra":1,"source"'), "not allowed")
    fails("punch/lobby", text.replace('"via":"log"', '"via":"udp"'), "not one of")
    fails("punch/lobby", text.replace('"occurrence":1', '"occurrence":1.0'), "integers only")
    fails("punch/lobby", text.replace('"position"', '"pin":"1002","position"'), "a key stands twice")
    fails("punch/lobby", text.replace('"position":5120', '"position":5121'), "digest")
    fails("punch/lobby", json.dumps(event), "canonical")
    fails("punch/back-door", text, "subject")
    fails("note/lobby", text, "no message")
    fails("Punch/lobby", text, "no such topic")
    fails("tally/lobby", "{}", "is a required")
    fails("batch", "[]", "no events")
    fails("batch", f"[{text}, {text}]", "canonical")
    altered = text.replace('"position":5120', '"position":1')
    fails("batch", f"[{altered}]", "digest")
    fails("state", '{"state":"online","session":1}', "'at' is a required")
    contract.check("batch", f"[{text},{text}]")
    contract.check("state", '{"state":"offline","session":1,"later":2}', strict=False)


# ---------------------------------------------------------------- whatever the code emits

terminals = st.sampled_from(["lobby", "gate-2"])
serials = st.sampled_from(["CEXA193960001", "5094211900017"])
characters = st.characters(min_codepoint=33, max_codepoint=126)
pins = st.one_of(st.from_regex(r"[0-9]{1,18}", fullmatch=True), st.text(characters, min_size=1, max_size=24))
wall_clock = st.datetimes(local("2000-01-01"), local("2133-12-31")).map(lambda t: t.replace(microsecond=0))
moments = st.datetimes(local("2024-01-01"), local("2030-01-01"), timezones=st.just(UTC))
count = st.integers(0, 10**6)
positions = st.none() | st.integers(0, 10**6)
offsets = st.integers(-(10**11), 10**11)


@st.composite
def punches(draw: st.DrawFn) -> RawPunch:
    """Draw what a driver might read."""
    uid = draw(st.none() | st.integers(0, 65535))
    pin = draw(pins) if uid is None else draw(st.none() | pins)
    work_code = draw(st.none() | st.from_regex(r"[0-9]{1,8}", fullmatch=True))
    code = st.none() | st.integers(0, 255)
    return RawPunch(pin, uid, draw(wall_clock), draw(code), draw(code), work_code, draw(st.binary(max_size=64)))


@st.composite
def witnesses(draw: st.DrawFn) -> ReadingContext:
    """Draw the circumstances of a reading."""
    zones = ["Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura", "UTC", "America/St_Johns", "Australia/Lord_Howe"]
    return ReadingContext(
        draw(terminals),
        draw(serials),
        ZoneInfo(draw(st.sampled_from(zones))),
        draw(st.sampled_from(["log", "live", "file", "serial"])),
        draw(moments),
        draw(st.booleans()),
        draw(st.none() | st.builds(ClockEvidence, offsets, st.integers(0, 10**6), moments)),
        draw(st.booleans()),
        timedelta(seconds=draw(st.integers(1, 3600))),
        host_time=draw(st.booleans()),
    )


# Longer than 60 lines: a table of the notes.
@st.composite
def notes(draw: st.DrawFn) -> Draft:
    """Draw a note as the gateway's parts write them."""
    utc = moments.map(utc_text)
    about = {"terminal": draw(terminals), "serial": draw(serials)}
    reading = st.fixed_dictionaries({"offset_ms": offsets, "bound_ms": st.integers(0, 10**6), "measured": utc})
    causes = st.sampled_from(["unavailable", "refused", "protocol"])
    what = st.sampled_from(
        ["serial", "log_cleared", "log_shrunk", "log_wrapped", "log_differs", "user_number", "capacity"]
    )
    digests = st.binary(max_size=9).map(lambda data: "sha256:" + sha256(data).hexdigest())
    kinds: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        events.TERMINAL_LOST: st.fixed_dictionaries(
            {"serial": st.none() | serials, "from": utc, "cause": causes, "reason": st.text()}
        ),
        events.TERMINAL_FOUND: st.fixed_dictionaries({"from": utc, "to": utc, "cause": causes}),
        events.TERMINAL_CHANGED: st.fixed_dictionaries(
            {"what": what},
            optional={
                "records_before": count,
                "records_after": count,
                "serial_before": serials,
                "serial_after": serials,
                "missed": count,
                "invented": count,
                "reordered": count,
                "uid": st.integers(0, 65535),
                "pin_before": pins,
                "pin_after": pins,
                "threshold": st.sampled_from([80, 90, 95]),
                "records": count,
                "capacity": count,
                "fills": st.none() | st.dates(date(2024, 1, 1), date(2099, 12, 31)).map(date.isoformat),
            },
        ),
        events.CLOCK_STEPPED: st.fixed_dictionaries({"before": reading, "after": reading}),
        events.FILE_IMPORTED: st.fixed_dictionaries(
            {"name": st.text(), "sha256": st.binary().map(lambda data: sha256(data).hexdigest())}
            | dict.fromkeys(("first", "last"), st.none() | wall_clock.map(datetime.isoformat))
            | dict.fromkeys(
                ("size", "lines", "punches", "unreadable", "new", "quarantined", "known", "repeated"), count
            )
        ),
        events.CLOCK_SET: st.fixed_dictionaries({"before": reading, "after": reading}),
        events.CLOCK_SYNCHRONISED: st.fixed_dictionaries(
            {
                "synchronised": utc,
                "correction_ms": offsets,
                "first_sequence": st.integers(1, 10**6),
                "last_sequence": st.integers(1, 10**6),
            }
        ),
        events.BODY_FORGOTTEN: st.fixed_dictionaries(
            {
                "stream": st.uuids().map(str),
                "events": st.lists(
                    st.fixed_dictionaries(
                        {"sequence": st.integers(1, 10**9), "id": st.uuids().map(str), "digest": digests}
                    ),
                    min_size=1,
                    max_size=3,
                ),
            }
        ),
        events.HISTORY_WITHHELD: st.fixed_dictionaries({"records": count, "start": st.just("2026-09-01")}),
        events.GATEWAY_RESUMED: st.fixed_dictionaries(
            {"last_alive": st.none() | utc, "resumed": utc, "clean": st.booleans()}
        ),
        events.STREAM_OPENED: st.fixed_dictionaries(
            {
                "reason": st.sampled_from(["another_file", "salvaged"]),
                "lost": count,
                "predecessor": st.none()
                | st.fixed_dictionaries({"stream": st.uuids().map(str), "sequence": count, "digest": digests}),
            }
        ),
    }
    kind = draw(st.sampled_from(sorted(kinds)))
    data = draw(kinds[kind])
    about_gateway = (
        events.GATEWAY_RESUMED,
        events.STREAM_OPENED,
        events.CLOCK_SYNCHRONISED,
        events.BODY_FORGOTTEN,
    )
    subject = None if kind in about_gateway else about["terminal"]
    moment = draw(moments).astimezone(ZoneInfo(draw(st.sampled_from(["UTC", "Asia/Jakarta"]))))
    return events.note_draft(kind, subject, moment, {**about, **data} if subject else data, salt=f"{STREAM}\n1")


occurrences = st.integers(1, 99)
drafts = st.one_of(
    st.builds(events.punch_draft, punches(), witnesses(), occurrence=occurrences, position=positions),
    st.builds(
        events.quarantine_draft,
        st.builds(
            lambda raw, stable, reason, whole: BadRecord(raw, stable, reason, *whole),
            st.binary(max_size=1500),
            st.binary(max_size=64),
            st.text(min_size=1),
            st.just((None, None)) | st.tuples(count, st.binary().map(lambda data: sha256(data).hexdigest())),
        ),
        witnesses(),
        occurrence=occurrences,
        position=positions,
    ),
    st.builds(events.confirmed_draft, punches(), witnesses(), punch_event=st.uuids(), position=positions),
    st.builds(events.unconfirmed_draft, witnesses(), punch_event=st.uuids()),
    notes(),
)


@settings(max_examples=400)
@given(draft=drafts, sequence=st.integers(1, 10**19), recorded=moments)
def test_every_event_the_code_can_make_is_as_documented(draft: Draft, sequence: int, recorded: datetime) -> None:
    """No undocumented field or value, no fraction, canonical bytes, on the topic that the document gives it."""
    body, digest = encode(
        draft,
        source=SOURCE,
        stream=STREAM,
        sequence=sequence,
        recorded=recorded,
        previous=events.first_previous(STREAM),
    )
    contract.check(events.topic_of(draft.type, draft.subject), body)
    event = json.loads(body)
    assert body == json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert (event["digest"], event["id"], event["sequence"]) == (digest, str(draft.id), str(sequence).zfill(20))


# ---------------------------------------------------------------- identity

IDENTITIES = [  # computed from the contract's words with uuid.uuid5 alone, not with this project's code
    ("CEXA193960001", "1001", None, "2026-09-04T07:29:59", 1, "27f13449-e835-5880-8093-8da5699f003c"),
    ("CEXA193960001", "1001", None, "2026-09-04T07:29:59", 2, "8daa7125-8ce4-53c4-a5b1-4b7ce0b0378c"),
    ("CEXA193960001", "01001", None, "2026-09-04T07:29:59", 1, "9efed7c7-0943-5167-bff4-2819ecff7aa6"),
    ("5094211900017", None, 5, "2000-01-01T00:04:12", 1, "fcbe35d1-676b-5230-8787-70d096ffac42"),
]


def context(serial: str = "CEXA193960001") -> ReadingContext:
    """Return the usual circumstances."""
    return ReadingContext(
        "lobby", serial, ZoneInfo("Asia/Jakarta"), "log", START, True, None, False, timedelta(minutes=1)
    )


@pytest.mark.parametrize(("serial", "pin", "uid", "local_time", "occurrence", "expected"), IDENTITIES)
def test_identity_is_what_it_always_was(
    serial: str, pin: str | None, uid: int | None, local_time: str, occurrence: int, expected: str
) -> None:
    """These ids are in centres' databases: no version of the gateway may ever compute others."""
    punch = RawPunch(pin, uid, local(local_time), 0, 1, None, b"")
    draft = events.punch_draft(punch, context(serial), occurrence=occurrence, position=None)
    assert draft.id == UUID(expected)


def test_identity_of_an_unreadable_record_is_what_it_always_was() -> None:
    """It comes from the bytes without index fields, whatever the index was."""
    for index in (b"\x07", b"\x08"):
        bad = BadRecord(index + b"\0\1\2", b"\0\1\2", "no PIN")
        draft = events.quarantine_draft(bad, context(), occurrence=1, position=None)
        assert draft.id == UUID("1ecdd2e8-cd35-534d-8d33-9bb4f26b6bbb")


def test_digests_are_what_they_always_were() -> None:
    """The first link hangs on the stream's name; each digest covers the text, here written out by hand."""
    first = events.first_previous(STREAM)
    assert first == "sha256:af76e54b36dc840d7bd5d51a911a3f4ca96de18dbd96b04ca93dfce8bb3ecd66"
    data = {"last_alive": None, "resumed": "2026-09-04T00:30:00.000Z", "clean": True}
    draft = Draft(UUID(int=1), events.GATEWAY_RESUMED, None, "2026-09-04T00:30:00Z", contract.canonical(data))
    body, digest = encode(draft, source=SOURCE, stream=STREAM, sequence=1, recorded=START, previous=first)
    by_hand = (
        '{"data":{"clean":true,"last_alive":null,"resumed":"2026-09-04T00:30:00.000Z"},'
        '"datacontenttype":"application/json","id":"00000000-0000-0000-0000-000000000001",'
        f'"previous":"{first}","recordedtime":"2026-09-04T00:30:00.000Z","sequence":"00000000000000000001",'
        f'"source":"/hadir/3602-bkpsdm/gw-01","specversion":"1.0","stream":"{STREAM}",'
        '"time":"2026-09-04T00:30:00Z","type":"hadir.gateway.resumed.v1"}'
    )
    assert digest == "sha256:" + sha256((first + by_hand).encode()).hexdigest()
    assert digest == "sha256:4cc673af4329354314d99e640bf469a79b94b4127e71edaf03080ceb0ba380bf"
    assert body == by_hand.replace('"id":', f'"digest":"{digest}","id":', 1)


@given(punch=punches(), one=witnesses(), other=witnesses(), occurrence=occurrences, raw=st.binary(max_size=64))
def test_the_same_punch_has_the_same_id_on_every_path(
    punch: RawPunch, one: ReadingContext, other: ReadingContext, occurrence: int, raw: bytes
) -> None:
    """Log or live, TCP or UDP, other bytes and codes, another gateway with another clock: the id stays."""
    by_log = events.punch_draft(punch, one, occurrence=occurrence, position=12)
    again = punch._replace(raw=raw, state=punch.verify, verify=punch.state, work_code=None)
    by_other = events.punch_draft(again, replace(other, serial=one.serial), occurrence=occurrence, position=None)
    assert by_log.id == by_other.id


@given(punch=punches(), other_pin=pins, seconds=st.integers(1, 10**6), one=occurrences, two=occurrences)
def test_another_punch_has_another_id(punch: RawPunch, other_pin: str, seconds: int, one: int, two: int) -> None:
    """Another second, person, occurrence or serial number: another id."""

    def identity(punch: RawPunch, occurrence: int = 1, serial: str = "CEXA193960001") -> UUID:
        return events.punch_draft(punch, context(serial), occurrence=occurrence, position=None).id

    first = identity(punch)
    assert identity(punch._replace(local_time=punch.local_time - timedelta(seconds=seconds))) != first
    assert (identity(punch._replace(pin=other_pin)) == first) == (other_pin == punch.pin)
    assert (identity(punch, one) == identity(punch, two)) == (one == two)
    assert identity(punch, serial="CEXA193960002") != first


@given(punch=punches(), seen_by=witnesses())
def test_the_terminals_digits_are_never_touched(punch: RawPunch, seen_by: ReadingContext) -> None:
    """Local time, PIN, codes and bytes leave as they came, however wrong the clock; time only adds an offset."""
    draft = events.punch_draft(punch, seen_by, occurrence=1, position=None)
    data = json.loads(draft.data)
    assert data["local_time"] == punch.local_time.strftime("%Y-%m-%dT%H:%M:%S")
    assert draft.time.startswith(data["local_time"])
    assert [data[key] for key in ("pin", "state", "verify", "work_code")] == [
        punch.pin,
        punch.state,
        punch.verify,
        punch.work_code,
    ]
    assert bytes.fromhex(data["raw"]) == punch.raw


# ---------------------------------------------------------------- a stranger's check


def some_drafts(count: int) -> Iterator[Draft]:
    """Yield punches with and without PIN, a quarantine and notes, some with characters that split lines elsewhere."""
    for number in range(count):
        moment = local("2026-09-04T07:00:00") + timedelta(seconds=number // 3)
        match number % 7:
            case 3:
                record = BadRecord(b"\x07" * (number * 9), b"\x07", "31 February \u2028 \x85 \u00e9")
                yield events.quarantine_draft(record, context(), occurrence=number, position=number)
            case 4:
                data = {"last_alive": None, "resumed": utc_text(START), "clean": False}
                yield events.note_draft(events.GATEWAY_RESUMED, None, START, data, salt=str(number))
            case 5:
                yield events.unconfirmed_draft(context(), punch_event=UUID(int=number))
            case _:
                pin = None if number % 7 == 6 else str(1000 + number)
                punch = RawPunch(pin, number if pin is None else None, moment, 0, 1, "0", b"\x01")
                yield events.punch_draft(punch, context(), occurrence=1, position=number)


def chain(drafts: Iterator[Draft], stream: str = STREAM) -> list[str]:
    """Seal drafts one after the other, from sequence 1."""
    previous, bodies = events.first_previous(stream), []
    for sequence, draft in enumerate(drafts, 1):
        body, previous = encode(
            draft, source=SOURCE, stream=stream, sequence=sequence, recorded=START, previous=previous
        )
        bodies.append(body)
    return bodies


def verify(lines: list[str], *files: Path) -> tuple[int, str]:
    """Run docs/verify_events.py where it cannot see our code; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", DOCS / "verify_events.py", *files],
        input="".join(line + "\n" for line in lines).encode(),
        capture_output=True,
        check=False,
        timeout=WAIT_S,
    )
    assert not done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode()


def test_the_published_script_accepts_what_the_code_writes(tmp_path: Path) -> None:
    """Hundreds of events of all kinds: from standard input, from a file, behind topics, repeated, in a batch."""
    bodies = chain(some_drafts(420))
    good = "OK: 420 events, 0 of them duplicates, 1 streams\n"
    assert verify(bodies) == (0, good)
    (tmp_path / "events.log").write_text("\n".join(bodies), encoding="utf-8")
    assert verify([], tmp_path / "events.log") == (0, good)
    topics = "hadir/v1/3602-bkpsdm/gw-01"
    spoken = [f"{topics}/punch/lobby {body}" for body in bodies]
    state = [f'{topics}/state {{"state":"online"}}', f"{topics}/receipt (null)", ""]
    assert verify(state + spoken) == (0, good)
    repeated = bodies[:100] + bodies[60:100] + bodies[80:]
    assert verify(repeated) == (0, "OK: 480 events, 60 of them duplicates, 1 streams\n")
    batch = f"{topics}/batch [{','.join(bodies[10:])}]"
    assert verify([*bodies[:10], batch]) == (0, good)


@pytest.mark.parametrize("raw", [None, "00ff"])
def test_the_published_script_checks_an_event_with_a_raw_sha256(raw: str | None) -> None:
    """Such a field, beside `raw` or instead of it, does not excuse content that the digest does not fit."""
    bodies = chain(some_drafts(9))
    altered = json.loads(bodies[7])
    altered["data"] |= {"raw": raw, "raw_sha256": "0" * 64}
    code, output = verify([*bodies[:7], contract.canonical(altered), *bodies[8:]])
    assert code == 1
    assert "the digest does not fit the content" in output


@pytest.mark.parametrize(
    "bad", ["[" * 5000 + "]" * 5000, '"\\ud800"', '{"specversion": "1.0"}', '{"specversion": "1.0", "x": 1e9}']
)
def test_the_published_script_continues_after_an_unreadable_line(bad: str) -> None:
    """One line, or one element of a batch, costs itself."""
    bodies = chain(some_drafts(9))
    spoiled = json.loads(bodies[4])
    spoiled["data"]["note"] = "\ud800"
    code, output = verify(
        [*bodies[:2], f"hadir/v1/a/b/batch [{bad}]", *bodies[2:4], json.dumps([spoiled]), *bodies[4:]]
    )
    assert code == 1
    *faults, summary = output.splitlines()
    assert {fault.partition(":")[0] for fault in faults} in ({"line 3", "line 6"}, {"line 6"})
    assert summary.endswith("0 of them duplicates, 1 streams")


def test_the_published_script_accepts_the_documented_examples() -> None:
    """The examples of numbered events in the document are one chain from sequence 1, and the start of another."""
    found = [
        payload
        for channel, _, payload in contract.examples()
        if channel != "batch" and "stream" in payload and "specversion" in payload
    ]
    found.sort(key=lambda event: str(event["sequence"]))
    code, output = verify([contract.canonical(event) for event in found])
    assert (code, output) == (0, f"OK: {len(found)} events, 0 of them duplicates, 2 streams\n")
    assert output.strip() in (DOCS / "contract.md").read_text(encoding="utf-8")


def test_the_published_script_names_what_it_takes_on_trust() -> None:
    """From the middle of a stream all can be checked but the first link; several streams do not disturb each other."""
    other = "0d5b7f4c-1f0e-4b61-a2c8-73b1a4f0e9d2"
    one, two = chain(some_drafts(9)), chain(some_drafts(9), other)
    mixed = [body for pair in zip(one, two, strict=True) for body in pair]
    code, output = verify(mixed[4:])
    assert code == 0
    assert output.startswith("OK: 14 events, 0 of them duplicates, 2 streams; ")
    assert f"{STREAM} from 3, {other} from 3" in output


def changed(body: str, change: Callable[[dict[str, Any]], None], *, seal_again: bool) -> str:
    """Return an event after ``change``, with a digest that fits again if so wanted."""
    event = json.loads(body)
    change(event)
    if seal_again:
        del event["digest"]
        event["digest"] = "sha256:" + sha256((event["previous"] + contract.canonical(event)).encode()).hexdigest()
    return contract.canonical(event)


def tampered() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield kinds of damage, the damaged lines, and what must be reported of them."""
    good = chain(some_drafts(24))
    assert json.loads(good[14])["type"] == events.RECORDED

    def with_line(body: str) -> list[str]:
        return [*good[:14], body, *good[15:]]

    def field(event: dict[str, Any]) -> None:
        event["data"]["state"] = 1

    def second(event: dict[str, Any]) -> None:
        event["data"]["local_time"] = "2026-09-04T07:00:00"

    def identity(event: dict[str, Any]) -> None:
        event["id"] = str(uuid5(NAMESPACE_URL, "another"))

    def digest(event: dict[str, Any]) -> None:
        event["digest"] = events.first_previous("another")

    def sequence(event: dict[str, Any]) -> None:
        event["sequence"] = "fifteen"

    def previous(event: dict[str, Any]) -> None:
        del event["previous"]

    place = f"sequence 15 of stream {STREAM}: "
    content = f"line 15: {place}the digest does not fit the content"
    link = f"line 16: sequence 16 of stream {STREAM}: previous is not the digest of the event before"
    stranger = f"line 15: {place}the id is not that of this punch"
    gap = f"line 16: sequence 16 of stream {STREAM}: comes after sequence 14"

    yield "a field was altered", with_line(changed(good[14], field, seal_again=False)), [content]
    yield "and sealed again", with_line(changed(good[14], field, seal_again=True)), [link]
    yield "the second was altered", with_line(changed(good[14], second, seal_again=True)), [stranger, link]
    yield "the id was changed", with_line(changed(good[14], identity, seal_again=False)), [content, stranger]
    yield "and sealed again", with_line(changed(good[14], identity, seal_again=True)), [stranger, link]
    yield "the digest was changed", with_line(changed(good[14], digest, seal_again=False)), [content, link]
    yield "a line was removed", [*good[:14], *good[15:]], [gap.replace("line 16", "line 15")]
    swapped = [f"line 15: sequence 16 of stream {STREAM}: comes after sequence 14"]
    swapped += [f"line 16: {place}comes after sequence 16"]
    swapped += [f"line 17: sequence 17 of stream {STREAM}: comes after sequence 15"]
    yield "two lines were exchanged", [*good[:14], good[15], good[14], *good[16:]], swapped
    fork = changed(good[14], field, seal_again=True)
    fork_output = [f"line 25: {place}another event has this place"]
    yield "two events in one place", [*good, fork], fork_output
    first = f"line 1: sequence 1 of stream {STREAM}: previous is not the digest of the event before"
    begun = changed(good[0], lambda event: event.update(previous=good[3][-80:]), seal_again=True)
    yield "another beginning", [begun], [first]
    unreadable = "line 15: cannot be read as an event: "
    yield "no sequence", with_line(changed(good[14], sequence, seal_again=True)), [unreadable, gap]
    yield "no previous", with_line(changed(good[14], previous, seal_again=False)), [unreadable, gap]
    yield "half a line", with_line(good[14][:200]), [unreadable, gap]


@pytest.mark.parametrize(
    ("lines", "output"), [pytest.param(lines, output, id=name) for name, lines, output in tampered()]
)
def test_the_published_script_names_every_damage(lines: list[str], output: list[str]) -> None:
    """Each kind of damage is reported once, with its line, and makes the exit code 1."""
    code, printed = verify(lines)
    *faults, summary = printed.splitlines()
    assert code == 1
    assert len(faults) == len(output)
    assert all(fault.startswith(expected) for fault, expected in zip(faults, output, strict=True)), printed
    assert summary.startswith(f"{len(output)} faults in ")


def test_the_published_script_rejects_an_empty_input() -> None:
    """Without a single event there is nothing to be satisfied with."""
    assert verify(['hadir/v1/a/b/state {"state":"online"}']) == (1, "no events\n")


def test_ten_lines_are_enough_for_identity_and_digest() -> None:
    """The short script, too, finds every event right, and an altered one wrong."""

    def run(lines: list[str]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-I", DOCS / "ten_lines.py"],
            input="".join(line + "\n" for line in lines).encode(),
            capture_output=True,
            check=True,
            timeout=WAIT_S,
        )
        return [line.split()[1] for line in done.stdout.decode().splitlines()]

    good = chain(some_drafts(40))
    altered = changed(good[3], lambda event: event["data"].update(serial="ANOTHER"), seal_again=False)

    assert run(good) == ["right"] * len(good)
    assert run([altered]) == ["WRONG"]
    assert run([f"[{','.join([*good, altered])}]"]) == ["right"] * len(good) + ["WRONG"]
