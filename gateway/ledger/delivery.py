"""Receipts of the centre and resending: confirmed ranges, missing ranges, replays.

A receipt covers everything up to a sequence except some ranges, and is stored in that form, not per event. An event to
be sent again is marked as waiting; its bytes never change.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from itertools import groupby, islice
from typing import Annotated, Any, NamedTuple, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway import event
from gateway.ledger.stream import ROLLED_BACK
from gateway.ledger.transaction import Transaction
from gateway.ledger_summary import ALTERED, UNDATED

RANGES_MAX = 500
"""Maximum number of ranges in one receipt."""
RECEIPT_BYTES = 64 * 1024
"""Upper bound of a valid receipt's size."""
RESEND_INTERVAL_MS = 60_000
"""Minimum interval between two resends of a missing event."""
STEP = 5000
"""Events that one transaction marks for resending, so that live punches do not wait behind a replay."""
ROLLBACK_MS = 3_600_000
"""A claim about the present stream opens a new stream at most once in this time: a claim can be forged."""
PRUNED_PER_NOTE = 50
PRUNED_PER_CALL = 1000
"""Pruned events listed in one note, and listed by one call."""

INFO_BYTES = 128 * 1024
"""Upper bound of the ``info`` of a gateway with hundreds of terminals."""

_Sequence = Annotated[int, Field(ge=1, lt=2**63)]
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"


class StreamName(BaseModel):
    """Base of every message about a stream of this ledger: the stream's name in canonical form."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    stream: Annotated[str, Field(max_length=36)]

    @field_validator("stream")
    @classmethod
    def _canonical(cls, name: str) -> str:
        if str(UUID(name)) != name:
            raise ValueError("the stream's name is not written as the gateway writes it")
        return name


_Message = TypeVar("_Message", bound=StreamName)


class Receipt(StreamName):
    """The events of one stream that the centre has stored: 1 to ``upto``, except the ranges ``missing``."""

    upto: Annotated[int, Field(ge=0, lt=2**63)]
    missing: Annotated[tuple[tuple[_Sequence, _Sequence], ...], Field(max_length=RANGES_MAX)]
    at: Annotated[str, Field(pattern=_MOMENT)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        end = 0
        for first, last in self.missing:
            if not end < first <= last <= self.upto:
                raise ValueError("the missing ranges are not in order, or lie beyond upto")
            end = last
        return self


class RetainedInfo(StreamName):
    """The used fields of a retained ``info`` of this gateway."""

    sequence: Annotated[int, Field(ge=0, lt=2**63)]


def receipt_from(payload: bytes) -> Receipt:
    """Decode a receipt; raises ValueError with a reason that repeats none of its content."""
    return _read(Receipt, payload, RECEIPT_BYTES)


def info_from(payload: bytes) -> RetainedInfo:
    """Decode a retained ``info``; raises ValueError with a reason that repeats none of its content."""
    return _read(RetainedInfo, payload, INFO_BYTES)


def _read(kind: type[_Message], payload: bytes, most: int) -> _Message:
    if len(payload) > most:
        raise ValueError(f"longer than {most} bytes")
    try:
        return kind.model_validate_json(payload)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except Exception as exc:  # noqa: BLE001 - a message that makes the decoder raise is invalid
        raise ValueError(f"it cannot be read ({type(exc).__name__})") from None


class Judgement(Enum):
    """The result of judging a statement about the present stream."""

    NEWS = "news"
    """It was stored."""
    KNOWN = "known"
    """It contains nothing new."""
    SUPERSEDED = "superseded"
    """It is about an earlier stream of this ledger, for which no confirmation is expected any more."""
    FOREIGN = "foreign"
    """It is about a stream unknown to this ledger."""
    SET_BACK = "set_back"
    """It covers more than was assigned: the ledger was set back, and a new stream was opened."""
    REPEATED = "repeated"
    """Like SET_BACK, but within ``ROLLBACK_MS`` of the last stream opened for that reason: it is ignored."""


class DeliveryMark(NamedTuple):
    """What the broker answered to one event."""

    sequence: int
    refused: int | None = None
    """The reason code of a permanent refusal; None: acknowledged."""


class Judged(NamedTuple):
    """A judgement and its numbers."""

    judgement: Judgement
    assigned: int
    """Highest sequence of the present stream, before the judgement."""
    first: int | None = None
    """Number of the first event that a receipt newly confirms or lists as missing."""


class ResendCounts(NamedTuple):
    """Result of a request to send events again."""

    events: int
    """Events marked for resending."""
    forgotten: int
    """Events whose bodies were pruned."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects events to be sent again; all conditions must hold."""

    first: int = 1
    last: int = 2**63 - 1
    """Numbers in the ledger, inclusive."""
    terminal: str | None = None
    """Only records of this terminal."""
    days: tuple[date, date] | None = None
    """Only records of these days, by the terminal's clock; records without a readable date never match."""

    def condition(self) -> tuple[str, dict[str, object]]:
        """Return the SQL condition on ``event`` and its values."""
        parts = ["sequence BETWEEN :first AND :last"]
        named: dict[str, object] = {"first": self.first, "last": self.last}
        if self.terminal is not None:
            parts.append("terminal = (SELECT number FROM terminal WHERE name = :terminal)")
            named["terminal"] = self.terminal
        if self.days is not None:
            parts.append(f"day BETWEEN :from AND :to AND day <> {UNDATED}")
            named |= {"from": self.days[0].toordinal(), "to": self.days[1].toordinal()}
        return " AND ".join(parts), named


def write_marks(transaction: Transaction, marks: Sequence[DeliveryMark]) -> None:
    """Store the broker's answers."""
    sent = [(transaction.now_ms, mark.sequence) for mark in marks if mark.refused is None]
    parked = [(mark.refused, mark.sequence) for mark in marks if mark.refused is not None]
    connection = transaction.connection
    if sent:
        connection.exec_driver_sql("UPDATE event SET sent_ms = ? WHERE sequence = ? AND sent_ms IS NULL", sent)
        connection.exec_driver_sql("UPDATE gateway SET last_sent_ms = ?", (transaction.now_ms,))
    if parked:
        connection.exec_driver_sql("UPDATE event SET parked = ? WHERE sequence = ?", parked)


def choose(transaction: Transaction, confirm: str) -> None:
    """Store whose acknowledgement counts as delivery."""
    transaction.connection.exec_driver_sql("UPDATE delivery SET confirm = ?", (confirm,))


def judge(transaction: Transaction, stream: str, upto: int) -> Judged:
    """Judge a claim that events 1 to ``upto`` of ``stream`` exist; open a new stream where it proves a rollback.

    A new stream is opened at most once in ``ROLLBACK_MS``: two claims, or one claim by two ways, never open two.
    """
    head = transaction.head
    assigned = head.sequence - head.base
    if stream != head.stream:
        known = transaction.connection.exec_driver_sql("SELECT 1 FROM stream WHERE id = ?", (stream,)).first()
        return Judged(Judgement.SUPERSEDED if known else Judgement.FOREIGN, assigned)
    if upto <= assigned:
        return Judged(Judgement.KNOWN, assigned)
    opened_ms = transaction.connection.exec_driver_sql(
        "SELECT max(opened_ms) FROM stream WHERE reason = ?", (ROLLED_BACK,)
    ).scalar()
    if opened_ms is not None and 0 <= transaction.now_ms - opened_ms < ROLLBACK_MS:
        return Judged(Judgement.REPEATED, assigned)
    transaction.open_stream(ROLLED_BACK, lost=transaction.gaps())
    return Judged(Judgement.SET_BACK, assigned)


def note_receipt(transaction: Transaction, receipt: Receipt) -> Judged:
    """Judge a receipt, and store its content where it is about the present stream.

    ``upto`` only rises; ``missing`` overrides earlier confirmations. Newly covered events count as sent: the receipt
    may arrive before the broker's acknowledgement. A receipt that covers more than was ever assigned is only a claim
    for :func:`judge`.
    """
    judged = judge(transaction, receipt.stream, receipt.upto)
    if judged.judgement is not Judgement.KNOWN:
        return judged
    first = _store(transaction, receipt)
    return judged if first is None else judged._replace(judgement=Judgement.NEWS, first=first)


def _store(transaction: Transaction, receipt: Receipt) -> int | None:
    """Store a receipt; return the number of the first event that it changes, None where it changes nothing."""
    connection, base = transaction.connection, transaction.head.base
    row = connection.exec_driver_sql("SELECT stream, upto FROM delivery").one()
    upto_before = int(row.upto)
    if row.stream != receipt.stream and upto_before < base:
        # The rest of the previous stream will never be confirmed.
        connection.exec_driver_sql("INSERT INTO missing (first, last) VALUES (?, ?)", (upto_before + 1, base))
        upto_before = base
    covered = base + receipt.upto
    upto = max(upto_before, covered)
    before = [
        (int(first), int(last))
        for first, last in connection.exec_driver_sql(
            "SELECT first, last FROM missing WHERE last > ? ORDER BY first", (base,)
        )
    ]
    missing = [(base + first, base + last) for first, last in receipt.missing]
    missing += [(max(first, covered + 1), last) for first, last in before if last > covered]
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


def resend_missing(transaction: Transaction) -> ResendCounts:
    """Mark missing events for resending, unless they wait, or were sent less than a minute ago.

    At most ``STEP`` events at a time. Pruned events are listed in a note, each once.
    """
    now_ms = transaction.now_ms
    ranges = transaction.connection.exec_driver_sql(
        "SELECT first, last FROM missing WHERE last > ? ORDER BY first", (transaction.head.base,)
    ).all()
    old = {"recent": now_ms - RESEND_INTERVAL_MS, "now": now_ms}
    events = forgotten = 0
    for first, last in ranges:
        selection = Selection(first, last)
        if events < STEP:
            condition, values = selection.condition()
            condition += " AND NOT (sent_ms > :recent AND sent_ms <= :now)"
            events += len(_mark_for_resend(transaction, condition, values | old, STEP - events))
        if forgotten < PRUNED_PER_CALL:
            forgotten += note_pruned(transaction, selection, PRUNED_PER_CALL - forgotten)
    return ResendCounts(events, forgotten)


def mark_for_resend(transaction: Transaction, selection: Selection) -> list[int]:
    """Mark up to ``STEP`` selected events for resending, parked ones included; return their numbers."""
    condition, values = selection.condition()
    return _mark_for_resend(transaction, f"{condition} AND (sent_ms IS NOT NULL OR parked IS NOT NULL)", values, STEP)


def _mark_for_resend(transaction: Transaction, condition: str, values: dict[str, object], limit: int) -> list[int]:
    connection = transaction.connection
    chosen = [
        row.sequence
        for row in connection.exec_driver_sql(
            f"SELECT sequence FROM event WHERE {condition} AND body IS NOT NULL AND parked IS NOT {ALTERED} "
            "ORDER BY sequence LIMIT :limit",
            values | {"limit": limit},
        )
    ]
    if chosen:
        connection.exec_driver_sql(
            "UPDATE event SET sent_ms = NULL, parked = NULL WHERE sequence = ?", [(number,) for number in chosen]
        )
        connection.exec_driver_sql("UPDATE delivery SET again_upto = max(again_upto, ?)", (chosen[-1],))
    return chosen


def set_aside(transaction: Transaction, numbers: Sequence[int]) -> int:
    """Mark events whose bodies do not fit their digests, so that they are never sent; list each in a note once.

    The bodies stay as they were found. For the centre they equal pruned events: id and digest keep their places in the
    chain. Returns how many were newly marked.
    """
    connection = transaction.connection
    connection.exec_driver_sql(
        "UPDATE event SET parked = ?, sent_ms = NULL WHERE sequence = ?", [(ALTERED, number) for number in numbers]
    )
    chosen = "sequence IN (SELECT value FROM json_each(:numbers))"
    return _note_bodiless(transaction, chosen, {"numbers": json.dumps(list(numbers))}, len(numbers))


def count_pruned(transaction: Transaction, selection: Selection) -> int:
    """Return how many of the selected events were pruned."""
    condition, values = selection.condition()
    return int(
        transaction.connection.exec_driver_sql(
            f"SELECT count(*) FROM event WHERE {condition} AND body IS NULL", values
        ).scalar_one()
    )


def note_pruned(transaction: Transaction, selection: Selection, limit: int = PRUNED_PER_CALL) -> int:
    """List up to ``limit`` selected pruned events in notes, none twice; return how many."""
    condition, values = selection.condition()
    return _note_bodiless(transaction, f"{condition} AND body IS NULL", values, limit)


def _note_bodiless(transaction: Transaction, condition: str, values: dict[str, Any], limit: int) -> int:
    connection = transaction.connection
    rows = connection.exec_driver_sql(
        "SELECT sequence, id, digest, "
        "(SELECT number FROM stream WHERE base < event.sequence ORDER BY base DESC LIMIT 1) AS stream "
        f"FROM event WHERE {condition} "
        "AND sequence NOT IN (SELECT sequence FROM forgotten) ORDER BY sequence LIMIT :limit",
        values | {"limit": limit},
    ).all()
    streams = {row.number: row for row in connection.exec_driver_sql("SELECT number, id, base FROM stream")}
    for number, of_stream in groupby(rows, lambda row: row.stream):
        stream = streams[number]
        for some in _batched(of_stream, PRUNED_PER_NOTE):
            events = [
                {"sequence": row.sequence - stream.base, "id": str(UUID(bytes=row.id)), "digest": row.digest}
                for row in some
            ]
            transaction.note(event.BODY_FORGOTTEN, None, transaction.now, {"stream": stream.id, "events": events})
    if rows:
        connection.exec_driver_sql("INSERT INTO forgotten (sequence) VALUES (?)", [(row.sequence,) for row in rows])
    return len(rows)


def _batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Split ``rows`` into lists of ``size``; the last may be shorter."""
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some
