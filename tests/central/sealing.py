"""Events of a made-up gateway, sealed as the contract states and by no code of ours."""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

STREAM = "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80"
GATEWAY = "3602-bkpsdm/gw-01"

Event = dict[str, Any]


def dumped(value: object) -> str:
    """Write JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def payload(*events: Event) -> bytes:
    """Return what a message carries: an event, or several as a batch."""
    return dumped(events[0] if len(events) == 1 else events).encode()


def batch(*events: Event) -> bytes:
    """Return a batch, also of one event."""
    return dumped(events).encode()


def sealed(event: Event, previous: str) -> Event:
    """Return an event with its place in the chain."""
    rest = {**{key: value for key, value in event.items() if key != "digest"}, "previous": previous}
    return {**rest, "digest": "sha256:" + sha256((previous + dumped(rest)).encode()).hexdigest()}


def punch_id(serial: str, pin: str, local_time: str, occurrence: int = 1) -> str:
    """Return the identity of a punch."""
    namespace = uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
    return str(uuid5(namespace, "\n".join((serial, pin, local_time, str(occurrence)))))


@dataclass
class Source:
    """A gateway that writes one stream."""

    stream: str = STREAM
    gateway: str = GATEWAY
    events: list[Event] = field(default_factory=list)

    @property
    def end(self) -> str:
        """The digest of the newest event, or what stands in for it."""
        return self.events[-1]["digest"] if self.events else "sha256:" + sha256(self.stream.encode()).hexdigest()

    def punches(self, count: int) -> list[Event]:
        """Record so many punches, each another one."""
        return [self.punch(len(self.events) + 1) for _ in range(count)]

    def punch(self, number: int, **changed: Any) -> Event:
        """Record the punch of this number; ``changed`` replaces parts of its data before its id is made."""
        local_time = (
            f"2026-09-{4 + number // 72000:02d}T{number // 3600 % 20:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
        )
        data = {
            "terminal": "lobby",
            "serial": "CEXA193960001",
            "pin": str(1000 + number % 400),
            "local_time": local_time,
            "occurrence": 1,
            "state": 0,
            "verify": 1,
            "suspect": [],
            **changed,
        }
        identity = punch_id(data["serial"], data["pin"], data["local_time"], data["occurrence"])
        return self.record("hadir.punch.recorded.v1", identity, data, "lobby")

    def note(self, kind: str = "hadir.terminal.lost.v1") -> Event:
        """Record an event of another kind."""
        return self.record(kind, f"note-{self.stream}-{len(self.events) + 1}", {"terminal": "lobby"}, "lobby")

    def forget(self, *events: Event, stream: str = STREAM) -> Event:
        """Say that the content of these events has been removed."""
        named = [{"sequence": int(event["sequence"]), "id": event["id"], "digest": event["digest"]} for event in events]
        identity = f"forgotten-{self.stream}-{len(self.events) + 1}"
        return self.record("hadir.body.forgotten.v1", identity, {"stream": stream, "events": named}, "lobby")

    def record(self, kind: str, identity: str, data: object, subject: str) -> Event:
        """Give an event the next place."""
        event = {
            "specversion": "1.0",
            "id": identity,
            "source": f"/hadir/{self.gateway}",
            "type": kind,
            "subject": subject,
            "time": "2026-09-04T07:30:00+07:00",
            "datacontenttype": "application/json",
            "sequence": f"{len(self.events) + 1:020d}",
            "stream": self.stream,
            "recordedtime": "2026-09-04T00:30:00.412Z",
            "data": data,
        }
        self.events.append(sealed(event, self.end))
        return self.events[-1]

    def info(self, predecessor: object = None, assigned: int | None = None, at: str | None = None) -> bytes:
        """Return the payload of its ``info``; without ``at`` that of a gateway from before it was stated."""
        sequence = len(self.events) if assigned is None else assigned
        content = {"stream": self.stream, "sequence": sequence, "predecessor": predecessor}
        return dumped(content if at is None else content | {"at": at}).encode()
