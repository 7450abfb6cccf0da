"""The first import of a full log: terminal to ledger by the driver, against an ORM session and against the limit.

The limit does only what no program can leave out: a UUID of version 5 and a SHA-256 for each event, and the same rows
by ``sqlite3.executemany`` with the same fsyncs. Everything else, the decoding of the log among it, is done before.

The aim of 1.5 times the limit cannot be met in Python. Of about 31 µs a punch, where the limit takes 11, the rows and
their commit take 10, asking which identities are known 2, the draft of the event with its clocks 3.7, its envelope and
digest 2.5, its identity 2, its fingerprint 1.2, reading and decoding the log 3, and the rest is the loop over slices,
SQLAlchemy and the lists of rows. With only one UUID, one SHA-256, one fingerprint and the bare text of the JSON beside
the database it would still take about 20.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, ClassVar
from uuid import uuid5
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy import LargeBinary
from sqlmodel import Field, Session, SQLModel

from benchmarks.figures import Figure, Plan, times, yes_no
from benchmarks.rig import GATEWAY, LOG, SITE, ZONE, in_own_process, memory_kib, office, quiet
from drivers.base import RawPunch, Reading
from drivers.zkteco import DRIVER
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from drivers.zkteco.terminal import ZktecoOptions, ZktecoTerminal
from gateway import event
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import FILE_NAME, SLICE, Ledger, opened
from gateway.ledger.schema import INSERT_EVENT, INSERT_PLACE

CPU_US, MEMORY_MB, LIMIT_RATIO = 60, 120, 1.5
RUNS = 3
SOURCE = f"/hadir/{SITE}/{GATEWAY}"


class OrmEvent(SQLModel, table=True):
    """The baseline's row: the same columns as ours."""

    __tablename__: ClassVar[Any] = "orm_event"
    sequence: int = Field(primary_key=True)
    id: bytes = Field(sa_type=LargeBinary, unique=True)
    topic: str
    body: str
    digest: str
    recorded_ms: int
    sent_ms: int | None = None


def context(serial: str) -> ReadingContext:
    """Return who reads, with nothing suspect."""
    now = datetime.now(UTC)
    clock = ClockEvidence(0, 505, now)
    return ReadingContext("lobby", serial, ZoneInfo(ZONE), "log", now, True, clock, False, timedelta(seconds=60))


def run(plan: Plan) -> Iterator[Figure]:
    """Measure imports, each in a process of its own."""
    count = plan.size(LOG)
    made = office(count)
    results: dict[str, list[dict[str, float]]] = {"ours": [], "orm": [], "limit": []}
    with Simulator(SimulatedTerminal(users=made.users, log=made.log, capacity=count)) as simulator:
        for _ in range(RUNS):
            for way, measured in results.items():
                measured.append(in_own_process("first_import", way, simulator.address, plan.fresh(way)))
    if any(result["stored"] != count for measured in results.values() for result in measured):
        raise RuntimeError("not every record was stored")

    def middle(way: str, key: str) -> float:
        return median(result[key] for result in results[way])

    cpu, orm_cpu, limit_cpu = (middle(way, "cpu_s") * 1e6 / count for way in ("ours", "orm", "limit"))
    wall, orm_wall = (middle(way, "wall_s") for way in ("ours", "orm"))
    peak, orm_peak = (middle(way, "peak_kib") * 1024 / 1e6 for way in ("ours", "orm"))
    what = f"first import of {count:,} records"
    yield Figure(
        f"{what}, CPU per punch",
        f"ORM session {orm_cpu:.0f} µs",
        f"{cpu:.1f} µs",
        times(orm_cpu / cpu),
        f"≤ {CPU_US} µs",
        yes_no(cpu <= CPU_US),
    )
    yield Figure(
        f"{what}, CPU per punch against the limit",
        f"sqlite3, UUID and SHA-256 alone {limit_cpu:.1f} µs",
        f"{cpu:.1f} µs",
        times(limit_cpu / cpu),
        f"at most {LIMIT_RATIO} times the limit",
        yes_no(cpu <= LIMIT_RATIO * limit_cpu),
    )
    yield Figure(f"{what}, wall", f"ORM session {orm_wall:.1f} s", f"{wall:.1f} s", times(orm_wall / wall))
    yield Figure(
        f"{what}, peak memory of the process",
        f"ORM session {orm_peak:.0f} MB",
        f"{peak:.0f} MB",
        f"{peak / orm_peak:.2f}",
        f"≤ {MEMORY_MB} MB",
        yes_no(peak <= MEMORY_MB),
    )


def _ours(reading: Reading, who: ReadingContext, folder: Path) -> int:
    with opened(folder, SOURCE) as ledger:
        ledger.pin_serial(who.terminal, who.serial)
        return ledger.record_reading(who, reading).new


def _orm(reading: Reading, who: ReadingContext, folder: Path) -> int:
    """Store the same events as anybody would: an object a row, a commit every 500. No positions, no occurrences."""
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / 'orm.db'}")

    @sqlalchemy.event.listens_for(engine, "connect")
    def as_safe_as_ours(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables["orm_event"]])
    previous, recorded, sequence = event.first_previous("bench"), who.now, 0
    with Session(engine) as session:
        for sequence, record in enumerate(reading.records, 1):
            if not isinstance(record, RawPunch):
                raise TypeError("the invented office makes no bad records")
            # The office's people may punch twice within a second: those are distinguished by position here.
            draft = event.punch_draft(record, who, occurrence=sequence, position=sequence)
            body, previous = event.encode(
                draft, source=SOURCE, stream="bench", sequence=sequence, recorded=recorded, previous=previous
            )
            topic = event.topic_of(draft.type, draft.subject)
            row = OrmEvent(sequence=sequence, id=draft.id.bytes, topic=topic, body=body, digest=previous, recorded_ms=0)
            session.add(row)
            if sequence % 500 == 0:
                session.commit()
        session.commit()
    return sequence


def _limit(reading: Reading, who: ReadingContext, folder: Path) -> dict[str, float]:
    """Store rows that were made before, and return what that alone costs."""
    with opened(folder / "made", SOURCE) as ledger:
        ledger.pin_serial(who.terminal, who.serial)
        ledger.record_reading(who, reading)
    with closing(sqlite3.connect(folder / "made" / FILE_NAME)) as made:
        events = made.execute(
            "SELECT sequence, id, topic, body, digest, recorded_ms, terminal, day FROM event ORDER BY sequence"
        ).fetchall()
        places = made.execute("SELECT * FROM place ORDER BY position").fetchall()
    Ledger(folder / "empty", SOURCE).close()
    with closing(sqlite3.connect(folder / "empty" / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 8000")
        began, cpu_began = time.monotonic(), time.process_time()
        for first in range(0, len(events), SLICE):
            rows = events[first : first + SLICE]
            for row in rows:
                uuid5(event.NAMESPACE, row[2])
                sha256(row[3].encode()).hexdigest()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT_EVENT, rows)
            connection.executemany(INSERT_PLACE, places[first : first + SLICE])
            connection.execute("COMMIT")
        cpu_s, wall_s = time.process_time() - cpu_began, time.monotonic() - began
    return {"stored": len(events), "cpu_s": cpu_s, "wall_s": wall_s, "peak_kib": memory_kib()[1]}


def _read(terminal: ZktecoTerminal, way: str, folder: Path) -> dict[str, float]:
    who = context(terminal.serial())
    if way == "limit":
        return _limit(terminal.read(), who, folder)
    began, cpu_began = time.monotonic(), time.process_time()
    reading = terminal.read()
    stored = (_ours if way == "ours" else _orm)(reading, who, folder)
    cpu_s, wall_s = time.process_time() - cpu_began, time.monotonic() - began
    return {"stored": stored, "cpu_s": cpu_s, "wall_s": wall_s, "peak_kib": memory_kib()[1]}


def main() -> None:
    """Import once and print what it cost; the process that does it has nothing else to do."""
    quiet()
    way, address, folder = sys.argv[1:]
    with DRIVER.connect(ZktecoOptions(name="lobby", address=address)) as terminal:
        assert isinstance(terminal, ZktecoTerminal)
        print(json.dumps(_read(terminal, way, Path(folder))))


if __name__ == "__main__":
    main()
