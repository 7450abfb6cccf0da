"""Storing what gateways send, against checking the same events one by one and writing their rows one by one."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import process_time
from uuid import uuid5

from benchmarks.figures import TIMES, Figure, Plan, yes_no
from central.event import PUNCH, PUNCH_NAMESPACE
from central.store import Message, Store

EVENTS = 30_000
PEOPLE = 300
TOGETHER = 500
"""Events of one transaction: as many as a broker sends before one is acknowledged."""
RUNS = 3
BEFORE = {"single messages": 0.42, "batches": 0.45}
"""What the store did of the baseline's rate before it worked on rows, with its state in memory; measured by turns."""
AIM = 1.5
"""How many times that rate."""
GATEWAY, STREAM, SERIAL = "3602-bkpsdm/gw-01", "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "CEXA193960001"
START = datetime(2026, 9, 1, 6)  # noqa: DTZ001 - a terminal's wall clock has no zone
_TABLES = """
CREATE TABLE event (key INTEGER PRIMARY KEY, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, id TEXT NOT NULL,
    digest TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (stream, sequence, digest));
CREATE TABLE punch (id TEXT PRIMARY KEY, event INTEGER NOT NULL, terminal TEXT NOT NULL, serial TEXT NOT NULL, pin TEXT,
    local_time TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX punch_local_time ON punch (local_time);
"""
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def run(plan: Plan) -> Iterator[Figure]:
    """Measure a backlog of one gateway, as single messages and as batches."""
    bodies = backlog(plan.size(EVENTS))
    parts = [bodies[at : at + TOGETHER] for at in range(0, len(bodies), TOGETHER)]
    singles = [[Message(f"{GATEWAY}/punch/lobby", body) for body in part] for part in parts]
    for what, arriving in (("single messages", singles), ("batches", as_batches(parts))):
        bare, ours = [], []
        for _ in range(RUNS):  # by turns: other work on the machine spoils both alike
            bare.append(one_by_one(plan.fresh("bare") / "centre.db", parts))
            ours.append(store(plan.fresh("ingest") / "centre.db", arriving, len(bodies)))
        rate, base = len(bodies) / min(ours), len(bodies) / min(bare)
        yield Figure(
            f"store {len(bodies):,} punches of a backlog, {what}",
            baseline=f"{base:,.0f}/s a core, row by row",
            ours=f"{rate:,.0f}/s a core",
            ratio=f"{rate / base:.2f} {TIMES}",
            aim=f"at least {AIM * BEFORE[what]:.2f} {TIMES}, {AIM:g} {TIMES} the store before it worked on rows",
            met=yes_no(rate >= AIM * BEFORE[what] * base),
        )


def as_batches(parts: list[list[bytes]]) -> list[list[Message]]:
    """Return the messages of each transaction, 60 events in each."""
    return [
        [Message(f"{GATEWAY}/batch", b"[" + b",".join(part[at : at + 60]) + b"]") for at in range(0, len(part), 60)]
        for part in parts
    ]


def backlog(count: int, gateway: str = GATEWAY, stream: str = STREAM, serial: str = SERIAL) -> list[bytes]:
    """Return the events of a stream of punches, sealed as the contract says."""
    previous = "sha256:" + sha256(stream.encode()).hexdigest()
    bodies = []
    for number in range(1, count + 1):
        local_time = (START + timedelta(seconds=7 * number)).isoformat()
        pin = str(1000 + number % PEOPLE)
        data = {"terminal": "lobby", "serial": serial, "pin": pin, "local_time": local_time, "occurrence": 1}
        data |= {"state": 0, "verify": 1, "work_code": "0", "suspect": [], "via": "log", "position": number}
        data |= {"timezone": "Asia/Jakarta", "raw": sha256(local_time.encode()).hexdigest()}
        event = {"specversion": "1.0", "type": PUNCH, "source": f"/hadir/{gateway}", "subject": "lobby", "data": data}
        event |= {"id": str(uuid5(PUNCH_NAMESPACE, f"{serial}\n{pin}\n{local_time}\n1")), "stream": stream}
        event |= {"time": f"{local_time}+07:00", "datacontenttype": "application/json", "previous": previous}
        event |= {"sequence": f"{number:020d}", "recordedtime": "2026-09-04T00:30:00.412Z"}
        previous = "sha256:" + sha256((previous + _encode(event)).encode()).hexdigest()
        bodies.append(_encode(event | {"digest": previous}).encode())
    return bodies


def store(path: Path, arriving: list[list[Message]], count: int) -> float:
    """Store messages, a transaction for each list; return the CPU time, without that of making the file."""
    centre = Store(path)
    begun = process_time()
    stored = sum(centre.ingest(part).stored for part in arriving)
    spent = process_time() - begun
    centre.close()
    if stored != count:
        raise RuntimeError(f"{stored} of {count} events were stored")
    return spent


def one_by_one(path: Path, parts: list[list[bytes]]) -> float:
    """Check digest and identity of each event and write its rows within a savepoint; return the CPU time."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_TABLES}")
        begun = process_time()
        for part in parts:
            connection.execute("BEGIN IMMEDIATE")
            for body in part:
                connection.execute("SAVEPOINT one")
                _write(connection, body)
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        return process_time() - begun


def _write(connection: sqlite3.Connection, body: bytes) -> None:
    event = json.loads(body)
    data, rest = event["data"], {key: value for key, value in event.items() if key != "digest"}
    name = "\n".join((data["serial"], data["pin"], data["local_time"], str(data["occurrence"])))
    if "sha256:" + sha256((event["previous"] + _encode(rest)).encode()).hexdigest() != event["digest"]:
        raise RuntimeError("an event of the benchmark is altered")
    if event["id"] != str(uuid5(PUNCH_NAMESPACE, name)):
        raise RuntimeError("a punch of the benchmark has another id")
    key = connection.execute(
        "INSERT INTO event (stream, sequence, id, digest, body) VALUES (1, ?, ?, ?, ?)",
        (int(event["sequence"]), event["id"], event["digest"], _encode(event)),
    ).lastrowid
    connection.execute(
        "INSERT OR IGNORE INTO punch (id, event, terminal, serial, pin, local_time) VALUES (?, ?, ?, ?, ?, ?)",
        (event["id"], key, data["terminal"], data["serial"], data["pin"], data["local_time"]),
    )
