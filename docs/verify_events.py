"""Check recorded Hadir events without Hadir's code: identities, digests, the chain. Only Python's standard library.

mosquitto_sub -V 5 -v -q 1 -t 'hadir/v1/#' > events.log          one event per line; a topic before it does no harm
python3 verify_events.py events.log                              or from standard input; exit code 1: something is wrong
"""

import fileinput
import json
import re
import sys
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

PUNCHES = uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def hashed(text: str) -> str:
    """Write a SHA-256 as the events do."""
    return "sha256:" + sha256(text.encode()).hexdigest()


def punch_id(data: dict[str, Any]) -> str:
    """Derive a punch's id from the punch itself."""
    person = data["pin"] if data["pin"] is not None else f"uid:{data['uid']}"
    return str(uuid5(PUNCHES, f"{data['serial']}\n{person}\n{data['local_time']}\n{data['occurrence']}"))


def faults(event: dict[str, Any], last: dict[str, tuple[int, str]], seen: dict[tuple[str, int], str]) -> list[str]:
    """Say what is wrong with an event, knowing its predecessors; ``last`` and ``seen`` then know it too."""
    found = []
    rest = {key: value for key, value in event.items() if key != "digest"}
    digest = hashed(event["previous"] + json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    stream, sequence = event["stream"], int(event["sequence"])
    place = f"sequence {sequence} of stream {stream}"
    if digest != event["digest"]:
        found.append(f"{place}: the digest does not fit the content")
    if event["type"] == "hadir.punch.recorded.v1" and punch_id(event["data"]) != event["id"]:
        found.append(f"{place}: the id is not that of this punch")
    if (stream, sequence) in seen:
        return found if seen[stream, sequence] == digest else [*found, f"{place}: another event has this place"]
    before, previous = last.get(stream, (sequence - 1, event["previous"] if sequence > 1 else hashed(stream)))
    if sequence != before + 1:
        found.append(f"{place}: comes after sequence {before}")
    elif event["previous"] != previous:
        found.append(f"{place}: previous is not the digest of the event before")
    last[stream], seen[stream, sequence] = (sequence, event["digest"]), digest
    return found


def check(message: Any, last: dict[str, tuple[int, str]], seen: dict[tuple[str, int], str]) -> tuple[int, list[str]]:
    """Return how many events a message holds, and what is wrong with them; an unreadable one costs only itself."""
    events, found = 0, []
    for event in message if isinstance(message, list) else [message]:  # a batch is a list of events
        try:
            if "specversion" in event:  # all else is no numbered event: state, health, ...
                found += faults(event, last, seen)
                events += 1
        except UNREADABLE as error:
            found.append(f"cannot be read as an event: {error!r}")
    return events, found


def main() -> int:
    """Read everything, print every fault with its line, and one line at the end."""
    last: dict[str, tuple[int, str]] = {}
    seen: dict[tuple[str, int], str] = {}
    events = wrong = 0
    with fileinput.input(mode="rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                payload = re.search(rb"[\[{].*", line)
                count, found = check(json.loads(payload[0]) if payload else {}, last, seen)
            except UNREADABLE as error:
                count, found = 0, [f"cannot be read as an event: {error!r}"]
            events += count
            wrong += len(found)
            for fault in found:
                print(f"line {number}: {fault if fault.isprintable() else ascii(fault)}")
    joined = [f"{stream} from {first}" for stream in last if (first := min(s for t, s in seen if t == stream)) > 1]
    trust = f"; what was before is taken on trust: {', '.join(joined)}" if joined else ""
    counts = f"{events} events, {events - len(seen)} of them duplicates, {len(last)} streams{trust}"
    print(f"{wrong} faults in {counts}" if wrong else f"OK: {counts}" if events else "no events")
    return 1 if wrong or not events else 0


if __name__ == "__main__":
    sys.exit(main())
