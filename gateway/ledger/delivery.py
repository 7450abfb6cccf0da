"""What the centre says it holds, and what is sent again: receipts, ranges that are missing, replays.

A receipt covers everything up to a sequence except some ranges, and is stored as it comes: one mark and those ranges,
never a note for each event. What is to be sent again merely waits again; no byte of it changes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby, islice
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway import punch
from gateway.ledger.file import UNDATED
from gateway.ledger.transaction import Transaction

RANGES_MOST = 500
"""Ranges that one receipt may list."""
RECEIPT_BYTES = 64 * 1024
"""More than the longest receipt needs."""
AGAIN_MS = 60_000
"""An event that the centre misses is sent again at most this often."""
STEP = 5000
"""Events that one transaction makes wait again, so that live punches need not wait behind a replay."""
TOLD_IN_ONE = 50
TOLD_AT_ONCE = 1000
"""Forgotten events that one numbered event names, and that are named at one time."""

_Sequence = Annotated[int, Field(ge=1, lt=2**63)]
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"


class Receipt(BaseModel):
    """What the centre holds durably of one stream: all of 1 to ``upto``, except the ranges ``missing``."""

    model_config = ConfigDict(frozen=True, strict=True)

    stream: str
    upto: Annotated[int, Field(ge=0, lt=2**63)]
    missing: Annotated[tuple[tuple[_Sequence, _Sequence], ...], Field(max_length=RANGES_MOST)]
    at: Annotated[str, Field(pattern=_MOMENT)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if str(UUID(self.stream)) != self.stream:
            raise ValueError("the stream's name is not written as the gateway writes it")
        end = 0
        for first, last in self.missing:
            if not end < first <= last <= self.upto:
                raise ValueError("the missing ranges are not in order, or lie beyond upto")
            end = last
        return self


def receipt_from(payload: bytes) -> Receipt:
    """Read a receipt; raises ValueError, which says what is wrong without repeating any of it."""
    if len(payload) > RECEIPT_BYTES:
        raise ValueError(f"longer than {RECEIPT_BYTES} bytes")
    try:
        return Receipt.model_validate_json(payload)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


class Again(NamedTuple):
    """What was asked for again."""

    events: int
    """Events that wait again."""
    forgotten: int
    """Events whose bodies are gone."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Events to be sent again: those that fit all that is said here."""

    first: int = 1
    last: int = 2**63 - 1
    """By their numbers in the ledger."""
    terminal: str | None = None
    """Records of this terminal only."""
    days: tuple[date, date] | None = None
    """Records of these days, by the terminal's clock, only; those without a readable date are of no day."""

    def condition(self) -> tuple[str, dict[str, object]]:
        """Return the condition on ``event``, and its values."""
        parts = ["sequence BETWEEN :first AND :last"]
        named: dict[str, object] = {"first": self.first, "last": self.last}
        if self.terminal is not None:
            parts.append("terminal = (SELECT number FROM terminal WHERE name = :terminal)")
            named["terminal"] = self.terminal
        if self.days is not None:
            parts.append(f"day BETWEEN :from AND :to AND day <> {UNDATED}")
            named |= {"from": self.days[0].toordinal(), "to": self.days[1].toordinal()}
        return " AND ".join(parts), named


def choose(transaction: Transaction, confirm: str) -> None:
    """Store whose word counts for delivered."""
    transaction.connection.exec_driver_sql("UPDATE delivery SET confirm = ?", (confirm,))


def note_receipt(transaction: Transaction, receipt: Receipt) -> int | None:
    """Store what a receipt for the present stream says.

    Returns the number of the first event that it says something new of; None where nothing of it is news.

    ``upto`` only rises; ``missing`` overrides what was confirmed. What is covered for the first time counts as sent:
    the receipt may have overtaken the broker's acknowledgement. Raises ValueError where it covers more than was ever
    assigned.
    """
    connection, base = transaction.connection, transaction.head.base
    if base + receipt.upto > transaction.head.sequence:
        raise ValueError(f"covers more than the {transaction.head.sequence - base} events of the stream")
    row = connection.exec_driver_sql("SELECT stream, upto FROM delivery").one()
    upto_before = int(row.upto)
    if row.stream != receipt.stream and upto_before < base:
        # The rest of the stream before will never be confirmed.
        connection.exec_driver_sql("INSERT INTO missing (first, last) VALUES (?, ?)", (upto_before + 1, base))
        upto_before = base
    spoken_of = base + receipt.upto
    upto = max(upto_before, spoken_of)
    before = [
        (int(first), int(last))
        for first, last in connection.exec_driver_sql(
            "SELECT first, last FROM missing WHERE last > ? ORDER BY first", (base,)
        )
    ]
    missing = [(base + first, base + last) for first, last in receipt.missing]
    missing += [(max(first, spoken_of + 1), last) for first, last in before if last > spoken_of]
    if (row.stream, row.upto, before) == (receipt.stream, upto, missing):
        return None
    connection.exec_driver_sql("DELETE FROM missing WHERE last > ?", (base,))
    if missing:
        connection.exec_driver_sql("INSERT INTO missing (first, last) VALUES (?, ?)", missing)
    confirms = upto > upto_before or missing != before
    connection.exec_driver_sql(
        "UPDATE delivery SET stream = ?, upto = ?, confirmed_ms = CASE WHEN ? THEN ? ELSE confirmed_ms END",
        (receipt.stream, upto, confirms, transaction.now_ms),
    )
    for first, last in (*before, (upto_before + 1, upto)):
        for index, waits in (("waiting", "sent_ms IS NULL AND parked IS NULL"), ("parked", "parked IS NOT NULL")):
            connection.exec_driver_sql(
                f"UPDATE event INDEXED BY {index} SET sent_ms = ?, parked = NULL WHERE {waits} "
                "AND sequence BETWEEN ? AND ? AND coalesce((SELECT last FROM missing WHERE first <= event.sequence "
                "ORDER BY first DESC LIMIT 1), 0) < event.sequence",
                (transaction.now_ms, first, last),
            )
    return min([upto_before + 1, *(first for first, _ in before), *(first for first, _ in missing)])


def owe_missing(transaction: Transaction) -> Again:
    """Let what the centre misses wait again, unless it waits, or was taken by the broker less than a minute ago.

    At most ``STEP`` events at a time. Of those whose bodies are gone a numbered event says so, once.
    """
    now_ms = transaction.now_ms
    ranges = transaction.connection.exec_driver_sql(
        "SELECT first, last FROM missing WHERE last > ? ORDER BY first", (transaction.head.base,)
    ).all()
    old = {"recent": now_ms - AGAIN_MS, "now": now_ms}
    events = forgotten = 0
    for first, last in ranges:
        selection = Selection(first, last)
        if events < STEP:
            condition, values = selection.condition()
            condition += " AND NOT (sent_ms > :recent AND sent_ms <= :now)"
            events += len(_wait_again(transaction, condition, values | old, STEP - events))
        if forgotten < TOLD_AT_ONCE:
            forgotten += tell_forgotten(transaction, selection, TOLD_AT_ONCE - forgotten)
    return Again(events, forgotten)


def wait_again(transaction: Transaction, selection: Selection) -> list[int]:
    """Let up to ``STEP`` chosen events wait again, also those the broker refused for good; return their numbers."""
    condition, values = selection.condition()
    return _wait_again(transaction, f"{condition} AND (sent_ms IS NOT NULL OR parked IS NOT NULL)", values, STEP)


def _wait_again(transaction: Transaction, condition: str, values: dict[str, object], limit: int) -> list[int]:
    connection = transaction.connection
    chosen = [
        row.sequence
        for row in connection.exec_driver_sql(
            f"SELECT sequence FROM event WHERE {condition} AND body IS NOT NULL ORDER BY sequence LIMIT :limit",
            values | {"limit": limit},
        )
    ]
    if chosen:
        connection.exec_driver_sql(
            "UPDATE event SET sent_ms = NULL, parked = NULL WHERE sequence = ?", [(number,) for number in chosen]
        )
        connection.exec_driver_sql("UPDATE delivery SET again_upto = max(again_upto, ?)", (chosen[-1],))
    return chosen


def count_forgotten(transaction: Transaction, selection: Selection) -> int:
    """Return how many of the chosen events have no body any more."""
    condition, values = selection.condition()
    return int(
        transaction.connection.exec_driver_sql(
            f"SELECT count(*) FROM event WHERE {condition} AND body IS NULL", values
        ).scalar_one()
    )


def tell_forgotten(transaction: Transaction, selection: Selection, limit: int = TOLD_AT_ONCE) -> int:
    """Say of up to ``limit`` chosen events that their bodies are gone, of none twice; return of how many."""
    connection = transaction.connection
    condition, values = selection.condition()
    rows = connection.exec_driver_sql(
        "SELECT sequence, id, digest, "
        "(SELECT number FROM stream WHERE base < event.sequence ORDER BY base DESC LIMIT 1) AS stream "
        f"FROM event WHERE {condition} AND body IS NULL "
        "AND sequence NOT IN (SELECT sequence FROM forgotten) ORDER BY sequence LIMIT :limit",
        values | {"limit": limit},
    ).all()
    streams = {row.number: row for row in connection.exec_driver_sql("SELECT number, id, base FROM stream")}
    for number, of_stream in groupby(rows, lambda row: row.stream):
        stream = streams[number]
        for some in _batched(of_stream, TOLD_IN_ONE):
            events = [
                {"sequence": row.sequence - stream.base, "id": str(UUID(bytes=row.id)), "digest": row.digest}
                for row in some
            ]
            transaction.note(punch.BODY_FORGOTTEN, None, transaction.now, {"stream": stream.id, "events": events})
    if rows:
        connection.exec_driver_sql("INSERT INTO forgotten (sequence) VALUES (?)", [(row.sequence,) for row in rows])
    return len(rows)


def _batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut ``rows`` into lists of ``size``, the last of what remains."""
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some
