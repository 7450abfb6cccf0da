"""Attacks on a centre: valid events, batches and `info`, each with two mutations, one seed each.

``attack(seed)`` is for a harness that calls it for as long as it likes; AssertionError where a promise breaks.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from central.event import Event, GatewayState, Info, Rejected, TerminalState, event_digest, read_message
from central.report import open_readonly, report, verify
from central.store import Message, Store
from tests.central.sealing import GATEWAY, STREAM, Source, dumped, payload, sealed
from tests.mutation import encode_json, mutate_bytes, mutate_json

EVIDENCE = ("punch/lobby", "quarantine/lobby", "note", "note/lobby", "batch", "info", "state", "terminal/lobby/state")
STATE = {
    "serial": "CEXA193960001",
    "records": 3,
    "complete": {"until": "2026-09-04T00:30:40.010Z", "stream": STREAM, "sequence": f"{3:020d}"},
}

OFFLINE = {"state": "offline", "session": 12, "at": "2026-09-04T00:30:41.000Z"}


def attack(seed: int) -> None:
    """Mutate one message that is valid; read it, and let it arrive between good ones."""
    random = Random(seed)
    topic, message = mutated(random)
    found = list(read_message(f"{GATEWAY}/{topic}", message))
    assert found or not message, "a message that says nothing"
    for one in found:
        check_read(one)
    with tempfile.TemporaryDirectory() as folder:
        _check_stored(Path(folder) / "centre.db", topic, message)


def mutated(random: Random) -> tuple[str, bytes]:
    """Return topic and payload of an attack: a valid message of any kind with two changes, mostly sealed again."""
    source = valid_stream(random)
    match random.randrange(7):
        case 0:
            message = mutate_bytes(random.choice((payload(*source.events), source.info())), random)
        case 1:
            message = encode_json(
                mutate_json(json.loads(source.info({"stream": "x", "sequence": 1, "digest": source.end})), random)
            )
        case 2:
            message = encode_json(mutate_json(source.events, random))
        case 3:
            return "batch", encode_json([_mutated_event(event, random) for event in source.events])
        case 4:
            return "terminal/lobby/state", encode_json(mutate_json(STATE, random))
        case 5:
            return "state", encode_json(mutate_json(OFFLINE, random))
        case _:
            message = encode_json(_mutated_event(random.choice(source.events), random))
    return random.choice(EVIDENCE), message


def valid_stream(random: Random) -> Source:
    """Return a stream with an event of each kind that the centre looks into, from sequence 1."""
    source = Source()
    source.punches(random.randrange(1, 4))
    source.punch(500, pin="uid:7")
    source.note()
    out = {"terminal": "lobby", "serial": "S", "from": "2026-09-04T00:10:00.000Z", "to": "2026-09-04T00:20:00.000Z"}
    source.record("hadir.terminal.found.v1", "found-1", out, "lobby")
    alive = {"last_alive": "2026-09-04T00:10:00.000Z", "resumed": "2026-09-04T00:20:00.000Z", "clean": True}
    source.record("hadir.gateway.resumed.v1", "resumed-1", alive, "gw-01")
    source.record(
        "hadir.record.quarantined.v1",
        "7d444840-9dc0-51d1-b245-5ffdce74fad2",
        {"serial": "S", "raw": "00ff", "size": 2, "sha256": "0" * 64, "occurrence": 1, "reason": "x"},
        "lobby",
    )
    source.forget(*Source("old").punches(2), stream=random.choice((STREAM, "old")))
    return source


def _mutated_event(event: dict[str, Any], random: Random) -> Any:
    """Change two places of an event, and give it, mostly, the digest of what it became: only so it gets far."""
    changed = mutate_json(event, random)
    if random.random() < 0.8 and isinstance(changed, dict) and isinstance(changed.get("previous"), str):
        try:
            return sealed(changed, changed["previous"])
        except (RecursionError, UnicodeEncodeError, ValueError):
            return changed
    return changed


def check_read(found: Event | Info | TerminalState | GatewayState | Rejected) -> None:
    """Assert that what was read is what it states, or is rejected with a reason that can be stored and shown."""
    if isinstance(found, Event):
        content = json.loads(found.body)
        assert dumped(content) == found.body
        assert event_digest(content) == found.digest == content["digest"], "content that its digest does not fit"
        assert content["source"] == f"/hadir/{GATEWAY}"
        assert (content["stream"], int(content["sequence"]), content["id"]) == (found.stream, found.sequence, found.id)
        assert (found.punch is None) or (found.id_mismatch is None)
    elif isinstance(found, Rejected):
        assert found.reason != "failed", f"a mistake of ours: {found.detail}"
        assert found.detail.isprintable()


def _check_stored(path: Path, topic: str, message: bytes) -> None:
    """Assert that it costs itself: what comes around it is stored, receipts are true, a verification agrees."""
    good = Source("good")
    store = Store(path)
    try:
        results = [
            store.ingest([_of(good), Message(f"{GATEWAY}/{topic}", message), _of(good)]),
            store.ingest([Message(f"{GATEWAY}/{topic}", message)]),
        ]
        assert results[0].stored >= 2, "a good event was not stored"
        assert results[1].stored == 0, "the same message was stored twice"
        receipts = {receipt.stream: receipt.held_range for receipt in store.receipts()}
    finally:
        store.close()
    Store(path).close()  # it opens again
    with open_readonly(path) as connection:
        faults = [fault for fault in verify(connection) if not _is_expected(fault.what)]
        assert faults == [], faults
        streams = {stream.stream: stream for stream in report(connection).streams}
        assert streams["good"].upto >= 2
        failed = connection.exec_driver_sql("SELECT detail FROM rejected WHERE reason = 'failed'").fetchall()
        assert failed == [], failed
        connection.exec_driver_sql("SELECT * FROM punches").fetchall()
        connection.exec_driver_sql("SELECT * FROM punch_notes").fetchall()
        for name, held_range in receipts.items():
            held = {
                sequence
                for (sequence,) in connection.exec_driver_sql(
                    "SELECT sequence FROM event JOIN stream ON stream.id = event.stream WHERE name = ? "
                    "UNION SELECT sequence FROM forgotten JOIN stream ON stream.id = forgotten.stream WHERE name = ?",
                    (name, name),
                )
            }
            missing = sum(last - first + 1 for first, last in held_range.missing)
            assert len([sequence for sequence in held if sequence <= held_range.upto]) == held_range.upto - missing


def _of(source: Source) -> Message:
    return Message(f"{GATEWAY}/punch/lobby", payload(source.punch(len(source.events) + 1)))


def _is_expected(what: str) -> bool:
    """Return whether an attack may leave this finding: it changed a link, a place or an id, and that is named."""
    return what.startswith(("previous is not", "a fork:", "a punch whose id is not its own", "its predecessor"))


def run(seeds: range, tell: Callable[[str], None] = print) -> int:
    """Attack with all these seeds; return how many broke a promise, each named with its seed."""
    broken = 0
    for seed in seeds:
        try:
            attack(seed)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the seed is what is wanted
            broken += 1
            tell(f"seed {seed}: {type(exc).__name__}: {str(exc)[:300]}")
    return broken
