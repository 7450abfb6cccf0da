"""Mutations of what a web service sends: answers of both dialects, changed in two places."""

import re
from datetime import datetime, timedelta
from random import Random

from drivers.base import BadRecord, RawPunch
from drivers.soap import wire
from drivers.soap.service import Log
from drivers.soap.wire import HttpReply, RowReader, WireError
from tests.drivers.soap.answers import HEAD, answer, row
from tests.mutation import mutate_bytes

NOON = datetime.fromisoformat("2026-11-30 12:00:00")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def attack(seed: int) -> None:
    """Read one mutated answer; raise whatever is no record, and for a lost row that the mutation left alone."""
    random = Random(seed)
    rows = [row(f"{number:03}", NOON + timedelta(seconds=number), number % 16, number % 6) for number in range(8)]
    if random.random() < 0.3:
        rows = [one.replace(b"<DateTime>", b"<Name>Ren\xe9 & Siti</Name><DateTime>") for one in rows]
    body = answer(*rows, end=random.choice((b"\r\n", b"\n", b"")))
    if random.random() < 0.3:
        _read_reply(mutate_bytes(_reply(body, random), random), random)
        return
    body = mutate_bytes(body, random)
    records = _read_body(body, random)
    found = {(record.pin, record.local_time) for record in records if isinstance(record, RawPunch)}
    for number, one in enumerate(rows):
        assert one not in body or (f"{number:03}", NOON + timedelta(seconds=number)) in found


def _reply(body: bytes, random: Random) -> bytes:
    if random.random() < 0.5:
        return HEAD + body
    at = random.randrange(1, len(body))
    return CHUNKED + b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in (body[:at], body[at:])) + b"0\r\n\r\n"


def _read_reply(data: bytes, random: Random) -> None:
    http, step = HttpReply(), random.choice((1, 7, 4096))
    try:
        body = b"".join(http.feed(data[at : at + step]) for at in range(0, len(data), step))
    except WireError:
        return
    if http.status == 200:
        _read_body(body, random)
    assert isinstance(wire.offers_service(data), bool)


def _read_body(body: bytes, random: Random) -> list[RawPunch | BadRecord]:
    step = random.choice((1, 7, 4096))
    log, reader = Log(), RowReader("GetAttLog")
    for at in range(0, len(body), step):
        piece = body[at : at + step]
        log.add(piece, reader.feed(piece))
    log.add(b"", reader.close())
    log.end()
    records = list(log)
    assert len(records) == log.rows
    for record in records:
        assert isinstance(record, RawPunch | BadRecord)
        assert len(record.raw) <= wire.ROW_BYTES
        if isinstance(record, RawPunch):
            assert re.fullmatch(r"[ -~]{1,24}", record.pin or "")
            assert record.pin != "0"
    return records
