"""Recovery of a damaged ledger, backups and their restoration.

Recovery keeps every event whose digest fits its content, wherever in the file it is found. Other tables are rebuilt.
Lost punches are read again from the terminals' logs, and the damaged file is kept unchanged beside the ledger.
"""

import errno
import json
import mmap
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import Connection, insert
from sqlalchemy.exc import DBAPIError

from drivers.base import BadRecord, RawPunch
from drivers.safe_files import FileRefused, Folder
from gateway import event as event_module
from gateway.alignment import fingerprint
from gateway.ledger import file
from gateway.ledger.delivery import ALTERED
from gateway.ledger.file import LedgerAltered, LedgerError, Mark
from gateway.ledger.reading import decoded
from gateway.ledger.schema import INSERT_PLACE, INSERT_STREAM, SCHEMA, TABLES, UNDATED, migrate, milliseconds
from gateway.ledger.stream import RESTORED, SALVAGED

BATCH = 1000
OPERATIONS = 200_000
"""Number of SQLite virtual machine steps between two progress callbacks."""
SIDES = ("", "-wal", "-shm")
BACKUPS_KEPT = 3
"""Number of backups kept, the newest ones."""
ALTERED_COPY = "altered.db"
"""Name of the newest copy with an event whose body does not fit its digest."""
BACKUP_PAGES = 256
BACKUP_PAUSE_S = 0.02
"""Pause between two steps of a backup, which leaves the disk to other work."""
_EVENT_COLUMNS = ("sequence", "id", "topic", "body", "digest", "recorded_ms", "sent_ms", "terminal", "day", "unplaced")
_SAVE_EVENT = (
    f"INSERT OR IGNORE INTO event ({', '.join(_EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(_EVENT_COLUMNS))})"
)
DRAFT_AGE_MAX_S = 24 * 3600.0
"""An older unfinished copy was left by a process that ended."""
_DRAFT = re.compile(r"\.[0-9a-f]{24}\.part(-journal|-wal|-shm)?")
_COPY = re.compile(r"ledger-.*\.db")
_BODY = re.compile(rb'\{"data":\{.{1,200000}?"type":"hadir\.[a-z.]{1,60}\.v[0-9]{1,3}"\}', re.DOTALL)
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
        with closing(_opened(path, progress)) as connection:
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
                return "the file does not say whose it is"
            if row[0]:
                return None
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                return " ".join(verdict.split())
            waiting = "SELECT body FROM event WHERE sent_ms IS NULL AND parked IS NULL"
            if any(not list(_verified(body)) for (body,) in connection.execute(waiting)):
                return "an event that is still to be sent is not what was written"
            return None
    except sqlite3.DatabaseError as exc:
        if not _is_damage(exc):
            raise LedgerError(
                f"{path}: {file.sqlite_message(exc)}; look at the disk and the permissions of the data_dir"
            ) from exc
        return file.sqlite_message(exc)
    except UnicodeDecodeError:
        return "the file's own words are not text any more"


def _is_damage(exc: sqlite3.Error) -> bool:
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # a missing table or column
    )


def _opened(path: Path, progress: Progress = lambda: None) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=15)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    connection.set_progress_handler(progress, OPERATIONS)
    return connection


# --- a damaged file ------------------------------------------------------------------------------------------------


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
    draft.replace(_rebuilt(path))
    return Salvage(what, replace_file(path), kept)


def _rebuilt(path: Path) -> Path:
    return path.with_name(f"{path.name}.rebuilt")


def unfinished(path: Path) -> bool:
    """Return whether a process ended between building a ledger and renaming it."""
    return _rebuilt(path).exists()


def replace_file(path: Path, label: str = "damaged") -> Path:
    """Rename the ledger's file and put the finished new one in its place; return the path of the old one."""
    stamp = datetime.now(UTC).strftime(f"{label}-%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.{stamp}")
    count = 1
    while any(aside.with_name(aside.name + side).exists() for side in SIDES):
        count += 1
        aside = path.with_name(f"{path.name}.{stamp}-{count}")
    for side in SIDES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(aside.with_name(aside.name + side))
    _rebuilt(path).replace(path)
    file.sync_folder(path.parent)
    return aside


class _DamagedFile:
    """Reads what is readable of a damaged file."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self.whole: set[str] = set()
        """Tables of which every row was read."""
        try:
            self._connection: sqlite3.Connection | None = _opened(path, progress)
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except _UNREADABLE:
            self._connection = None

    def close(self) -> None:
        """Let go of the file."""
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
                yield from _verified(row["body"])
        if "event" not in self._damaged.whole:
            for body in self._damaged.bodies():
                yield from _verified(body)

    def _save_events(self) -> None:
        for row in self._damaged.rows("event", "sequence"):
            if row.get("body") is None and _fits(row, sequence=int, id=bytes, topic=str, digest=str, recorded_ms=int):
                self._save_forgotten(row)
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
                "unplaced": (record and data.get("via") == "file" and sequence not in self._placed) or None,
            }
        )

    def _save_forgotten(self, row: dict[str, Any]) -> None:
        """Keep a row of a pruned event: it cannot be verified, but may be all that is left of the event."""
        if len(row["id"]) == 16 and _DIGEST.fullmatch(row["digest"]):
            sent_ms = row["sent_ms"] if isinstance(row["sent_ms"], int) else row["recorded_ms"]
            self._insert({**row, "sent_ms": sent_ms, "unplaced": bool(row.get("unplaced")) or None})

    def _insert(self, row: dict[str, Any]) -> None:
        values = tuple(row.get(name) for name in _EVENT_COLUMNS)
        self._kept += self._connection.exec_driver_sql(_SAVE_EVENT, values).rowcount
        if self._kept % BATCH == 0:
            self._connection.exec_driver_sql("COMMIT")
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _number(self, name: str, serial: str) -> int:
        """Return the number of a terminal that an event tells of."""
        if name not in self._terminals:
            number = 1 + max((row["number"] for row in self._terminals.values()), default=0)
            self._terminals[name] = {"number": number, "name": name, "serial": serial, "generation": 0}
        return int(self._terminals[name]["number"])

    # Everything else.

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
        """Write the terminals with a new generation of their logs: those are laid against what is saved, by key."""
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
        return None  # it is still known by its key
    uid = data.get("uid")
    moment = datetime.fromisoformat(data["local_time"])
    pin = data["pin"] if uid is None else None
    return fingerprint(RawPunch(pin, uid, moment, data["state"], data["verify"], data["work_code"], b""))


# --- copies --------------------------------------------------------------------------------------------------------


def backup(path: Path, folder: Path, *, free_floor: int = 0, kept: int = BACKUPS_KEPT) -> Path:
    """Copy the ledger atomically into ``folder``, also while a daemon writes it, and keep only the newest copies.

    Raises LedgerError where the copy fails, or would leave less than ``free_floor`` bytes on the disk.
    """
    if not path.exists():
        raise LedgerError(f"{path}: there is no ledger here yet; `hadir run` creates it")
    try:
        if os.geteuid() == 0 and path.parent.stat().st_uid != 0:
            check_files(path)  # otherwise the folder's owner could obtain a copy of any file by a link
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with Folder(folder) as place:
            if place.free() - free_floor < path.stat().st_size:
                what = f"a backup of {path.stat().st_size:,} bytes has no room there"
                raise LedgerError(f"{folder}: {what}; make room on it")
            name = datetime.now(UTC).strftime("ledger-%Y%m%dT%H%M%SZ.db")
            place.check_place(name)
            with closing(_opened(path)) as source, _copied(source, place) as draft:
                altered = _altered_in(folder / draft)
                place.rename(draft, ALTERED_COPY if altered else name)
            place.sync()
            if altered:
                raise LedgerAltered(
                    f"{folder}: in the ledger {len(altered)} events are not what was written, the first is "
                    f"{altered[0]}; the copy is kept as {ALTERED_COPY}, and the copies before it stay. Keep data_dir "
                    "as it is, look at the disk, run `hadir verify`",
                    altered,
                )
            for old in _copies(place)[:-kept]:
                place.remove(old)
    except (OSError, sqlite3.Error) as exc:
        raise LedgerError(
            f"{folder}: no backup could be made there ({_reason(exc)}); look at the disk and the permissions"
        ) from exc
    return folder / name


def check_files(path: Path) -> None:
    """Raise FileRefused where a database, or one of SQLite's files beside it, is a link or no regular file."""
    with Folder(path.parent) as folder:
        for side in SIDES:
            folder.check_place(path.name + side)


@contextmanager
def _copied(source: sqlite3.Connection, folder: Folder) -> Iterator[str]:
    """Copy a ledger into a new file of a folder, forced to the disk; yield its unpredictable name.

    The file is removed at the end, unless it was renamed.
    """
    for leftover in folder.names():
        if (
            _DRAFT.fullmatch(leftover)
            and (found := folder.look(leftover))
            and found.st_mtime < time.time() - DRAFT_AGE_MAX_S
        ):
            folder.remove(leftover)
    name = f".{token_hex(12)}.part"
    with folder.create(name, file.MODE) as made:
        try:
            with closing(sqlite3.connect(folder.path / name)) as target:
                # One read transaction throughout: otherwise every commit of the daemon would restart the copy.
                source.execute("BEGIN")
                source.execute("SELECT count(*) FROM gateway").fetchone()
                source.backup(
                    target, pages=BACKUP_PAGES, sleep=BACKUP_PAUSE_S, progress=lambda *_: time.sleep(BACKUP_PAUSE_S)
                )
                source.execute("ROLLBACK")
                target.execute("PRAGMA journal_mode = DELETE")
            # Created by root for the daemon's user: it gets the owner of the folder.
            folder.give(made)
            os.fchmod(made.fileno(), file.MODE)
            os.fsync(made.fileno())
            check_same(folder, name, made)
            yield name
        finally:
            folder.remove(name)


def check_same(folder: Folder, name: str, made: BinaryIO) -> None:
    """Raise FileRefused where SQLite, which opens by name, may have written another file than the created one."""
    found = folder.look(name)
    if found is None or not os.path.samestat(found, os.fstat(made.fileno())):
        raise FileRefused(errno.EINVAL, "exchanged while it was written", name)


def _copies(folder: Folder) -> list[str]:
    """Return the copies in a folder, the oldest first; only regular files."""
    names = [name for name in folder.names() if _COPY.fullmatch(name)]
    return [name for name in names if (seen := folder.look(name)) and stat.S_ISREG(seen.st_mode)]


def _altered_in(copy: Path) -> list[int]:
    """Return the numbers of events in a copy whose bodies do not fit their digests, without those set aside."""
    with closing(_opened(copy)) as connection:
        rows = connection.execute(
            f"SELECT sequence, body, digest FROM event WHERE body IS NOT NULL AND parked IS NOT {ALTERED} "
            "ORDER BY sequence"
        )
        return [row["sequence"] for row in rows if not event_module.is_intact(str(row["body"]), str(row["digest"]))]


def _reason(exc: BaseException) -> str:
    """Return why a copy failed, without text that may repeat its content."""
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return file.sqlite_message(exc.orig if isinstance(exc, DBAPIError) else exc)


def newest_backup(folder: Path) -> Path | None:
    """Return the newest backup in ``folder``, None without one."""
    try:
        with Folder(folder) as place:
            return max((folder / name for name in _copies(place)), default=None)
    except OSError:
        return None


def restore(path: Path, copy: Path, source: str) -> Path | None:
    """Replace the ledger by a backup; the next start opens a new stream.

    Returns the path of the replaced file; None where there was none. Raises LedgerLocked where a daemon runs, and
    LedgerError, with nothing changed, where the copy is damaged, of another gateway or of a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with closing(file.lock(path.with_name(file.LOCK_NAME))), Folder(path.parent) as folder:
            check_files(copy)
            # The file is opened once, so that the checked content is the copied one.
            with closing(_opened(copy)) as connection:
                _check(connection, copy, source)
                with _copied(connection, folder) as draft, folder.open(draft) as made:
                    _make_ready(folder.path / draft)
                    os.fsync(made.fileno())
                    check_same(folder, draft, made)
                    there_was = path.exists()
                    folder.rename(draft, _rebuilt(path).name)
            aside = replace_file(path, "replaced")
    except (OSError, sqlite3.Error, DBAPIError) as exc:
        raise LedgerError(f"{copy}: it cannot be restored ({_reason(exc)}); choose another backup") from exc
    return aside if there_was else None


def _make_ready(draft: Path) -> None:
    engine = file.engine_for(draft, read_only=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        migrate(connection)
        connection.exec_driver_sql("UPDATE gateway SET broken = ?", (RESTORED,))
    engine.dispose()


def _check(connection: sqlite3.Connection, copy: Path, source: str) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 < version <= SCHEMA:
        raise LedgerError(f"{copy}: this is no ledger that this version of hadir knows; choose another backup")
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise LedgerError(f"{copy}: the backup is damaged ({' '.join(verdict.split())}); choose another one")
    owner = connection.execute("SELECT source FROM gateway").fetchone()[0]
    if owner != source:
        raise LedgerError(f"{copy}: the backup belongs to {owner}, the configuration says {source}")
