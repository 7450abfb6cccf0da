"""Databases as older versions of the centre left them: their tables word for word, filled as they filled them."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.central.sealing import GATEWAY, STREAM, Event, payload

VERSION_1 = """
CREATE TABLE gateway (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    stream INTEGER REFERENCES stream,
    informed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    gateway INTEGER NOT NULL REFERENCES gateway,
    name TEXT NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0,
    assigned INTEGER NOT NULL DEFAULT 0,
    found TEXT NOT NULL,
    predecessor TEXT, predecessor_sequence INTEGER, predecessor_digest TEXT,
    UNIQUE (gateway, name)
);
CREATE TABLE gap (
    stream INTEGER NOT NULL REFERENCES stream,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;
CREATE TABLE event (
    key INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    previous TEXT NOT NULL,
    type TEXT NOT NULL,
    received TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (stream, sequence, digest)
);
CREATE TABLE punch (
    id TEXT PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES event,
    terminal TEXT NOT NULL, serial TEXT NOT NULL, pin TEXT, uid INTEGER, local_time TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX punch_local_time ON punch (local_time);
CREATE TABLE finding (
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    expected TEXT NOT NULL,
    found TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (stream, sequence, kind)
) WITHOUT ROWID;
CREATE TABLE rejected (
    topic TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    gateway TEXT,
    reason TEXT NOT NULL, detail TEXT NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL,
    times INTEGER NOT NULL DEFAULT 1, first TEXT NOT NULL, last TEXT NOT NULL,
    PRIMARY KEY (topic, sha256)
);
CREATE VIEW punches AS SELECT
    event.key,
    gateway.name AS gateway, punch.terminal, punch.serial, punch.pin, punch.uid, punch.local_time,
    json_extract(event.body, '$.time') AS time,
    json_extract(event.body, '$.data.state') AS state,
    json_extract(event.body, '$.data.verify') AS verify,
    json_extract(event.body, '$.data.suspect') AS suspect,
    punch.id, stream.name AS stream, event.sequence, event.received, event.body
FROM punch JOIN event ON event.key = punch.event JOIN stream ON stream.id = event.stream
    JOIN gateway ON gateway.id = stream.gateway;
"""
ADDED_IN_2 = """
CREATE TABLE forgotten (
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES event,
    PRIMARY KEY (stream, sequence, digest, id)
) WITHOUT ROWID;
CREATE VIEW gone AS SELECT * FROM forgotten WHERE NOT EXISTS (
    SELECT 1 FROM event
    WHERE event.stream = forgotten.stream AND event.sequence = forgotten.sequence AND event.digest = forgotten.digest);
"""
AT = "2026-09-04T00:31:00.000Z"


def write(path: Path, version: int, arrived: Iterable[tuple[str, Event]], gaps: Iterable[tuple[int, int]] = ()) -> None:
    """Write a database of version 1 or 2 that holds one stream for each gateway.

    ``arrived``: gateway and event, in this order; each event has a place. ``gaps`` are those of the first gateway.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1 + (ADDED_IN_2 if version == 2 else ""))
        connection.execute(f"PRAGMA user_version = {version}")
        streams: dict[str, int] = {}
        for gateway, event in arrived:
            if gateway not in streams:
                key = streams[gateway] = len(streams) + 1
                connection.execute("INSERT INTO gateway (id, name) VALUES (?, ?)", (key, gateway))
                connection.execute(
                    "INSERT INTO stream (id, gateway, name, found) VALUES (?, ?, ?, ?)", (key, key, event["stream"], AT)
                )
                connection.execute("UPDATE gateway SET stream = ? WHERE id = ?", (key, key))
            _store(connection, streams[gateway], event)
        if streams:
            connection.executemany("INSERT INTO gap VALUES (1, ?, ?)", gaps)
        connection.execute("UPDATE stream SET seen = (SELECT max(sequence) FROM event WHERE stream = stream.id)")


def of_one_gateway(*events: Event) -> list[tuple[str, Event]]:
    """Let the usual gateway have sent these."""
    assert {event["stream"] for event in events} == {STREAM}
    return [(GATEWAY, event) for event in events]


def without_raw(event: Event) -> Event:
    """Return an event as older gateways shortened it, digest of the whole: older centres believed that digest."""
    return {**event, "data": {**event["data"], "raw": None, "raw_sha256": "0" * 64}}


def _store(connection: sqlite3.Connection, stream: int, event: Event) -> None:
    cursor = connection.execute(
        "INSERT INTO event (stream, sequence, id, digest, previous, type, received, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(stream, int(event["sequence"]), event["id"], event["digest"], event["previous"], event["type"], AT),
            payload(event).decode(),
        ),
    )
    data: dict[str, Any] = event["data"]
    if event["type"] == "hadir.punch.recorded.v1":
        connection.execute(
            "INSERT OR IGNORE INTO punch (id, event, terminal, serial, pin, uid, local_time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(event["id"], cursor.lastrowid, data["terminal"], data["serial"], data["pin"], data.get("uid")),
                data["local_time"],
            ),
        )
