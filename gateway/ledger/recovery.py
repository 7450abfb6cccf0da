"""Recovery of a damaged ledger.

Recovery keeps every event whose digest fits its content, wherever in the file it is found. Other tables are rebuilt.
Lost punches are read again from the terminals' logs, and the damaged file is kept unchanged beside the ledger.
"""

import json
import mmap
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from drivers.base import BadRecord, RawPunch, Via
from gateway import event as event_module
from gateway.alignment import fingerprint
from gateway.ledger import file
from gateway.ledger.file import LedgerError, Mark
from gateway.ledger.reading import decoded
from gateway.ledger.schema import INSERT_PLACE, INSERT_STREAM, TABLES, milliseconds
from gateway.ledger.stream import SALVAGED
from gateway.ledger.transaction import Content
from gateway.ledger_summary import SCHEMA, UNDATED

BATCH = 1000
OPERATIONS = 200_000
"""Number of SQLite virtual machine steps between two progress callbacks."""
SIDES = ("", "-wal", "-shm")
_EVENT_COLUMNS = (
    *("sequence", "id", "topic", "body", "digest", "recorded_ms", "sent_ms", "terminal", "day"),
    *("unplaced", "content"),
)
_SAVE_EVENT = (
    f"INSERT OR IGNORE INTO event ({', '.join(_EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(_EVENT_COLUMNS))})"
)
_BODY = re.compile(rb'\{"data":\{.{1,200000}?"type":"hadir\.[a-z.]{1,60}\.v[0-9]{1,3}"\}', re.DOTALL)
WITHOUT_PLACE: frozenset[Via] = frozenset({"file", "push", "soap", "app"})
"""How records arrive that have no place in a log, and that a reading of the log may contain."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""Exceptions while reading a damaged file; the latter where SQLite's message quotes damaged bytes of it."""

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Salvage:
    """Result of a recovery."""

    damage: str
    aside: Path
    """Where the damaged file is kept unchanged."""
    kept: int
    """Number of recovered events."""


def damage(path: Path, progress: Progress) -> str | None:
    """Return the damage of the ledger's file; None for an intact one, or one that was closed properly.

    Raises LedgerError for the database of another program, which is not changed. ``progress`` is called regularly.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: this is no file; move it away, or choose another data_dir")
    if path.stat().st_size == 0:
        return "the file is empty"
    try:
        with closing(open_read_only(path, progress)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                return None  # a newer schema cannot be checked
            if version == 0:
                names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                if names and "event" not in names:
                    raise LedgerError(f"{path}: this is the database of something else; choose another data_dir")
                return "the file holds no ledger"
            row = connection.execute("SELECT clean FROM gateway").fetchone()
            if row is None:
                return "the file names no owner"
            if row[0]:
                return None
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                return " ".join(verdict.split())
            waiting = "SELECT body FROM event WHERE sent_ms IS NULL AND parked IS NULL"
            if any(not list(_verified(body)) for (body,) in connection.execute(waiting)):
                return "an event that waits for delivery does not fit its digest"
            return None
    except sqlite3.DatabaseError as exc:
        if not _is_damage(exc):
            raise LedgerError(
                f"{path}: {file.sqlite_message(exc)}; look at the disk and the permissions of the data_dir"
            ) from exc
        return file.sqlite_message(exc)
    except UnicodeDecodeError:
        return "text in the file cannot be decoded"


def _is_damage(exc: sqlite3.Error) -> bool:
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # a missing table or column
    )


def open_read_only(path: Path, progress: Progress = lambda: None) -> sqlite3.Connection:
    """Return a connection that cannot change the file; damaged text is read with replacement characters."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=15)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    connection.set_progress_handler(progress, OPERATIONS)
    return connection


def rebuild(path: Path, source: str, mark: Mark | None, what: str, progress: Progress) -> Salvage:
    """Replace a damaged ledger by a new one with everything that could be recovered.

    The process may end at any moment: the next start repeats or finishes the recovery. Raises LedgerError where the
    damaged file belongs to another gateway.
    """
    draft = path.with_name(f"{path.name}.rebuilding")
    file.create(draft, source, stream=False)
    engine = file.engine_for(draft, read_only=False)
    try:
        with engine.connect() as connection, closing(_DamagedFile(path, progress)) as damaged:
            kept = _Recovery(connection, damaged, source).run(mark)
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    finally:
        engine.dispose()
    draft.replace(rebuilt_path(path))
    return Salvage(what, replace_file(path), kept)


def rebuilt_path(path: Path) -> Path:
    """Return the place of a finished new ledger before it replaces the old one."""
    return path.with_name(f"{path.name}.rebuilt")


def unfinished(path: Path) -> bool:
    """Return whether a process ended between building a ledger and renaming it."""
    return rebuilt_path(path).exists()


def replace_file(path: Path, label: str = "damaged") -> Path:
    """Set the ledger's file aside and put the finished new one in its place; return the path of the old one.

    The process may end at any moment, and the next start repeats this. Each file has its new name before any loses the
    old one: renamed one by one, a file and its write-ahead log could end under two names, and the log would be lost to
    whoever opens the file.
    """
    stamp = datetime.now(UTC).strftime(f"{label}-%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.{stamp}")
    count = 1
    while any(aside.with_name(aside.name + side).exists() for side in SIDES):
        count += 1
        aside = path.with_name(f"{path.name}.{stamp}-{count}")
    for side in SIDES:
        _name_twice(path.with_name(path.name + side), aside.with_name(aside.name + side))
    file.sync_folder(path.parent)
    for side in SIDES[1:]:
        path.with_name(path.name + side).unlink(missing_ok=True)
    rebuilt_path(path).replace(path)
    file.sync_folder(path.parent)
    return aside


def _name_twice(path: Path, other: Path) -> None:
    """Give a file, if it exists, a second name; rename it where the file system has no links."""
    try:
        other.hardlink_to(path)
    except FileNotFoundError:
        return
    except OSError:
        with suppress(FileNotFoundError):
            path.rename(other)


class _DamagedFile:
    """Reads what is readable of a damaged file."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self.whole: set[str] = set()
        """Tables of which every row was read."""
        try:
            self._connection: sqlite3.Connection | None = open_read_only(path, progress)
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except _UNREADABLE:
            self._connection = None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def rows(self, table: str, order: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table from its beginning up to damage, then from its end down to damage."""
        last: Any = None
        for direction in ("ASC", "DESC"):
            by = ", ".join(f"{column} {direction}" for column in order.split(", "))
            try:
                if self._connection is None:
                    return
                for row in self._connection.execute(f"SELECT {order}, * FROM {table} ORDER BY {by}"):
                    key = tuple(row[column] for column in order.split(", "))
                    if direction == "DESC" and key == last:
                        return
                    yield dict(row)
                    if direction == "ASC":
                        last = key
            except _UNREADABLE:
                continue
            if direction == "ASC":
                self.whole.add(table)
            return

    def bodies(self) -> Iterator[str]:
        """Yield every byte sequence that looks like an event's body, in the file and its write-ahead log."""
        for side in SIDES[:2]:
            path = self._path.with_name(self._path.name + side)
            if not path.exists() or not path.stat().st_size:
                continue
            with path.open("rb") as handle, closing(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)) as content:
                for count, found in enumerate(_BODY.finditer(content)):
                    if count % BATCH == 0:
                        self._progress()
                    yield found[0].decode("utf-8", "replace")


class _Recovery:
    """Copies the readable content of a damaged file into new tables."""

    def __init__(self, connection: Connection, damaged: _DamagedFile, source: str) -> None:
        self._connection = connection
        self._damaged = damaged
        self._source = source
        self._bases: dict[str, int] = {}
        self._opening_data: dict[str, dict[str, Any]] = {}
        """Data of the first event of each stream."""
        self._terminals: dict[str, dict[str, Any]] = {}
        self._placed: dict[int, bytes] = {}
        """Fingerprints of events' records in the log, by number."""
        self._kept = 0

    def run(self, mark: Mark | None) -> int:
        """Copy everything and return the number of recovered events."""
        sql = self._connection.exec_driver_sql
        sql("BEGIN IMMEDIATE")
        streams = {row["id"]: row for row in self._damaged.rows("stream", "number") if _fits(row, id=str, base=int)}
        numbers_hold = "stream" in self._damaged.whole and bool(streams)
        self._bases = (
            {name: row["base"] for name, row in streams.items()} if numbers_hold else self._streams_from_events()
        )
        for row in self._damaged.rows("terminal", "number"):
            if _fits(row, number=int, name=str, serial=str, generation=int):
                self._terminals[row["name"]] = row
        if numbers_hold:
            for row in self._damaged.rows("place", "terminal, generation, position"):
                if _fits(row, sequence=int, fingerprint=bytes) and len(row["fingerprint"]) == 8:
                    self._placed[row["sequence"]] = row["fingerprint"]
        self._save_events()
        if not self._kept and mark is not None:
            self._bases = {mark.stream: mark.number - mark.sequence}
        self._write_streams(streams)
        self._write_terminals()
        self._save_log_state()
        if numbers_hold:
            self._save_receipts()
            self._save_files()
        self._write_gateway()
        sql("COMMIT")
        return self._kept

    # Events.

    def _streams_from_events(self) -> dict[str, int]:
        """Derive the streams and their order from the events alone."""
        found: dict[str, tuple[str, int]] = {}
        for event in self._events():
            begun, last = found.get(event["stream"], (event["recordedtime"], 0))
            found[event["stream"]] = (min(begun, event["recordedtime"]), max(last, int(event["sequence"])))
        bases, base = {}, 0
        for name in sorted(found, key=found.__getitem__):
            bases[name] = base
            base += found[name][1]
        return bases

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield every verified event with its body; some of them twice."""
        for row in self._damaged.rows("event", "sequence"):
            if isinstance(row.get("body"), str):
                for event in _verified(row["body"]):
                    yield event | {"content": _content(row.get("content"))}
        if "event" not in self._damaged.whole:
            for body in self._damaged.bodies():
                yield from _verified(body)

    def _save_events(self) -> None:
        for row in self._damaged.rows("event", "sequence"):
            if row.get("body") is None and _fits(row, sequence=int, id=bytes, topic=str, digest=str, recorded_ms=int):
                self._save_pruned(row)
        for event in self._events():
            if event["source"] != self._source:
                raise LedgerError(
                    f"the damaged ledger belongs to {event['source']}, the configuration says {self._source}; "
                    "put `site` and `gateway` back, or choose another data_dir"
                )
            if event["stream"] in self._bases:
                self._save_event(event)

    def _save_event(self, event: dict[str, Any]) -> None:
        subject, data = event.get("subject"), event["data"]
        if event["type"] == event_module.STREAM_OPENED:
            self._opening_data[event["stream"]] = data
        record = event["type"] in (event_module.RECORDED, event_module.QUARANTINED)
        day = None
        if record:
            known = event["type"] == event_module.RECORDED
            day = date.fromisoformat(data["local_time"][:10]).toordinal() if known else UNDATED
        sequence = self._bases[event["stream"]] + int(event["sequence"])
        self._insert(
            {
                # Events are sent again: whether they were sent is not proven, and a repetition is harmless.
                "sequence": sequence,
                "id": UUID(event["id"]).bytes,
                "topic": event_module.topic_of(event["type"], subject),
                "body": event["body"],
                "digest": event["digest"],
                "recorded_ms": milliseconds(datetime.fromisoformat(event["recordedtime"])),
                "terminal": self._number(str(subject), data["serial"]) if record else None,
                "day": day,
                # A reading of the log clears the mark; without a recovered place it does so again.
                "unplaced": (record and data.get("via") in WITHOUT_PLACE and sequence not in self._placed) or None,
                # Without it two punches of one second differ by their bodies, but for the identifiers of an app.
                "content": event.get("content"),
            }
        )

    def _save_pruned(self, row: dict[str, Any]) -> None:
        """Keep a row of a pruned event: it cannot be verified, but may be all that is left of the event."""
        if len(row["id"]) == 16 and _DIGEST.fullmatch(row["digest"]):
            sent_ms = row["sent_ms"] if isinstance(row["sent_ms"], int) else row["recorded_ms"]
            unplaced = bool(row.get("unplaced")) or None
            self._insert({**row, "sent_ms": sent_ms, "unplaced": unplaced, "content": _content(row.get("content"))})

    def _insert(self, row: dict[str, Any]) -> None:
        values = tuple(row.get(name) for name in _EVENT_COLUMNS)
        self._kept += self._connection.exec_driver_sql(_SAVE_EVENT, values).rowcount
        if self._kept % BATCH == 0:
            self._connection.exec_driver_sql("COMMIT")
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _number(self, name: str, serial: str) -> int:
        """Return the number of a terminal; one that only events name gets the next number."""
        if name not in self._terminals:
            number = 1 + max((row["number"] for row in self._terminals.values()), default=0)
            self._terminals[name] = {"number": number, "name": name, "serial": serial, "generation": 0}
        return int(self._terminals[name]["number"])

    # The other tables.

    def _write_streams(self, rows: dict[str, dict[str, Any]]) -> None:
        for number, name in enumerate(sorted(self._bases, key=self._bases.__getitem__), 1):
            row, content = rows.get(name, {}), self._opening_data.get(name, {})
            before = content.get("predecessor") or {
                "stream": row.get("predecessor"),
                "sequence": row.get("last_sequence"),
                "digest": row.get("last_digest"),
            }
            self._connection.exec_driver_sql(
                INSERT_STREAM,
                (
                    number,
                    name,
                    self._bases[name],
                    row.get("opened_ms", 0),
                    content.get("reason", row.get("reason")),
                    content.get("lost", row.get("lost", 0)),
                    before["stream"],
                    before["sequence"],
                    before["digest"],
                ),
            )

    def _write_terminals(self) -> None:
        """Write the terminals with a new generation of their logs, to be matched with the saved records by key."""
        for row in self._terminals.values():
            self._connection.execute(
                insert(TABLES["terminal"]),
                {
                    "number": row["number"],
                    "name": row["name"],
                    "serial": row["serial"],
                    "layout": row.get("layout") if isinstance(row.get("layout"), str) else None,
                    "generation": row["generation"] + 2,
                    "length": 0,
                    "shift": 0,
                    "matched_until": None,
                    "cleared": False,
                    "last_punch": row.get("last_punch") if isinstance(row.get("last_punch"), str) else None,
                },
            )

    def _save_log_state(self) -> None:
        """Recover withheld records, unconfirmed live punches, user numbers, and the fingerprints of logged records."""
        terminals = {row["number"]: row for row in self._terminals.values()}
        prints: dict[int, list[tuple[bytes, int | None]]] = {number: [] for number in terminals}
        for row in self._damaged.rows("withheld", "rowid"):
            if _fits(row, id=bytes, record=str) and row.get("terminal") in terminals:
                with suppress(ValueError, KeyError, TypeError):
                    record = decoded(row["record"])
                    day = UNDATED if isinstance(record, BadRecord) else record.local_time.toordinal()
                    prints[row["terminal"]].append((fingerprint(_logged_form(record)), None))
                    place = {"generation": terminals[row["terminal"]]["generation"] + 1, "position": -1}
                    kept = {name: row[name] for name in ("id", "terminal", "record")} | place | {"day": day}
                    self._connection.execute(insert(TABLES["withheld"]).prefix_with("OR IGNORE"), kept)
        rows = self._connection.exec_driver_sql(
            "SELECT sequence, terminal, body FROM event WHERE terminal IS NOT NULL ORDER BY sequence"
        )
        for sequence, number, body in rows:
            print_ = self._placed.get(sequence) or _fingerprint_of(body)
            if print_ is not None and number in prints:
                prints[number].append((print_, sequence))
        for number, found in prints.items():
            generation = terminals[number]["generation"] + 1
            places = [(number, generation, position, *one) for position, one in enumerate(found)]
            if places:
                self._connection.exec_driver_sql(INSERT_PLACE, places)
        for row in self._damaged.rows("unconfirmed", "rowid"):
            if _fits(row, id=bytes, state=int, verify=int, recorded_ms=int) and row.get("terminal") in terminals:
                event = self._connection.exec_driver_sql(
                    "SELECT sequence FROM event WHERE id = ?", (row["id"],)
                ).scalar()
                if event is not None:
                    kept = {name: row.get(name) for name in TABLES["unconfirmed"].columns.keys()}  # noqa: SIM118 - no mapping
                    kept |= {"sequence": event, "reported": bool(row.get("reported"))}
                    self._connection.execute(insert(TABLES["unconfirmed"]).prefix_with("OR IGNORE"), kept)
        for row in self._damaged.rows("binding", "terminal, uid, pin"):
            if _fits(row, uid=int, pin=str, first_ms=int, last_ms=int) and row.get("terminal") in terminals:
                self._connection.execute(insert(TABLES["binding"]).prefix_with("OR IGNORE"), row)

    def _save_receipts(self) -> None:
        """Recover which of the recovered events the centre has confirmed.

        Not more: a number that damage increased must not confirm later events. No event counts as sent by it either.
        """
        delivery = next((row for row in self._damaged.rows("delivery", "id") if _fits(row, upto=int)), None)
        if delivery is None or delivery["stream"] not in self._bases:
            return
        sql = self._connection.exec_driver_sql
        last = sql("SELECT coalesce(max(sequence), 0) FROM event").scalar_one()
        missing = [
            (row["first"], min(row["last"], last))
            for row in self._damaged.rows("missing", "first")
            if _fits(row, first=int, last=int) and 0 < row["first"] <= min(row["last"], last)
        ]
        upto = min(max(delivery["upto"], 0), last) if "missing" in self._damaged.whole else 0
        sql("UPDATE delivery SET stream = ?, upto = ?", (delivery["stream"], upto))
        if missing and upto:
            sql("INSERT INTO missing (first, last) VALUES (?, ?)", missing)

    def _save_files(self) -> None:
        """Recover the imported files, and the contexts of records of a reset clock in them."""
        terminals = {row["number"] for row in self._terminals.values()}
        for table, order, kinds in (
            ("file", "terminal, sha256", {"sha256": str, "name": str, "size": int, "sequence": int, "report": str}),
            ("landmark", "terminal, mark", {"mark": bytes}),
        ):
            for row in self._damaged.rows(table, order):
                if _fits(row, **kinds) and row["terminal"] in terminals:
                    self._connection.execute(insert(TABLES[table]).prefix_with("OR IGNORE"), row)

    def _write_gateway(self) -> None:
        sessions = next(
            (row["sessions"] for row in self._damaged.rows("gateway", "id") if _fits(row, sessions=int)), None
        )
        self._connection.exec_driver_sql(
            "UPDATE gateway SET sessions = ?, clean = 0, broken = ?",
            # Seconds since 1970 exceed the number of sessions of any gateway.
            (int(time.time()) if sessions is None else sessions, SALVAGED),
        )


def _fits(row: dict[str, Any], **kinds: type) -> bool:
    return all(isinstance(row.get(name), kind) for name, kind in kinds.items())


def _content(value: Any) -> str | None:
    """Return a value of column ``content`` that is sound, else None."""
    with suppress(ValueError, TypeError):
        return value if Content(*json.loads(value)).text() == value else None
    return None


def _verified(body: str) -> Iterator[dict[str, Any]]:
    with suppress(ValueError):
        yield event_module.verified(body) | {"body": body}


def _logged_form(record: RawPunch | BadRecord) -> RawPunch | BadRecord:
    """Return a record in its log's form: without the PIN where that was resolved from a user number."""
    by_number = isinstance(record, RawPunch) and record.uid is not None
    return record._replace(pin=None) if by_number and isinstance(record, RawPunch) else record


def _fingerprint_of(body: str | None) -> bytes | None:
    """Return the fingerprint of an event's record; None where the event was pruned or is no punch."""
    if body is None:
        return None
    data = json.loads(body)["data"]
    if "local_time" not in data:
        return None  # an unreadable record is matched by its key
    uid = data.get("uid")
    moment = datetime.fromisoformat(data["local_time"])
    pin = data["pin"] if uid is None else None
    return fingerprint(RawPunch(pin, uid, moment, data["state"], data["verify"], data["work_code"], b""))
