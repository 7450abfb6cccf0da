"""The first import of a full log: terminal to ledger by the driver, against the same events through an ORM session."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, ClassVar
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
from gateway.ledger import opened

CPU_US, MEMORY_MB = 60, 120
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
    results: dict[str, list[dict[str, float]]] = {"ours": [], "orm": []}
    with Simulator(SimulatedTerminal(users=made.users, log=made.log, capacity=count)) as simulator:
        for _ in range(RUNS):
            for way, measured in results.items():
                measured.append(in_own_process("first_import", way, simulator.address, plan.fresh(way)))
    if any(result["stored"] != count for measured in results.values() for result in measured):
        raise RuntimeError("not every record was stored")

    def middle(way: str, key: str) -> float:
        return median(result[key] for result in results[way])

    cpu, orm_cpu = (middle(way, "cpu_s") * 1e6 / count for way in ("ours", "orm"))
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
            # The office's people may punch twice within a second: those are told apart by position here.
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


def _read(terminal: ZktecoTerminal, way: str, folder: Path) -> dict[str, float]:
    who = context(terminal.serial())
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
