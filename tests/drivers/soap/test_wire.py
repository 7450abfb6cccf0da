"""Requests, replies and rows of the web service: bytes in, values out."""

from datetime import datetime
from hashlib import sha256
from itertools import chain

import pytest

from drivers.base import BadRecord, RawPunch, Record
from drivers.soap import wire
from drivers.soap.wire import HttpReply, RowReader, WireError
from tests.drivers.soap.answers import CLOSING, HEAD, NO_DATA, OPENING, answer, read, reasons, received, row

MOMENT = datetime(2026, 11, 30, 7)  # noqa: DTZ001 - a terminal's wall clock
CUTS = [(b"<DateTime>", b"<PIN>"), (b"</Row>", b"<PIN>"), (b"ime>2026", b"IN>2"), (b"</DateTime>", b"</PIN>")]
"""Where bytes are missing: from here in one row to there in the next."""


def test_a_request_is_that_of_the_vendor() -> None:
    """HTTP/1.0, a right length, the key first; no envelope, and nothing behind the body."""
    assert wire.request("GetAttLog", 0) == (
        b"POST /iWsService HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: 118\r\n\r\n"
        b'<GetAttLog><ArgComKey xsi:type="xsd:integer">0</ArgComKey><Arg><PIN xsi:type="xsd:integer">All</PIN></Arg>'
        b"</GetAttLog>"
    )
    assert wire.request("GetDate", 8050).endswith(
        b'\r\n\r\n<GetDate><ArgComKey xsi:type="xsd:integer">8050</ArgComKey></GetDate>'
    )
    assert b"<Arg><Date>2026-11-30</Date><Time>07:00:00</Time></Arg>" in wire.request("SetDate", 1, MOMENT)
    for method in sorted(wire.ALLOWED):
        head, _, body = wire.request(method, 999_999).partition(b"\r\n\r\n")
        assert int(head.rpartition(b" ")[2]) == len(body)


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_rows_are_read_as_they_are(step: int) -> None:
    """Codes as numbers, PINs with their zeros, the bytes of each row; "No data!" is no record."""
    rows = [row("0042", MOMENT, 15, 255, "7"), row("7", "2026-11-30 07:00:01"), row("a-9", "2099-12-31 23:59:59")]
    records, log, reader = read(answer(*rows), step)
    assert records == [
        RawPunch("0042", None, MOMENT, 255, 15, "7", rows[0]),
        RawPunch("7", None, MOMENT.replace(second=1), 0, 1, "0", rows[1]),
        RawPunch("a-9", None, datetime(2099, 12, 31, 23, 59, 59), 0, 1, "0", rows[2]),  # noqa: DTZ001 - a wall clock
    ]
    assert (log.rows, log.text, reader.is_whole) == (3, None, True)
    assert list(log) == records
    records, log, reader = read(OPENING + NO_DATA + CLOSING, step)
    assert (records, log.rows, log.text, reader.is_whole) == ([], 0, wire.NO_DATA, True)


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_forms_of_rows(step: int) -> None:
    """LF, several rows on a line, indented and broken lines, attributes, unknown tags, an envelope around all."""
    attributes = row("3", MOMENT).replace(b"<PIN>", b'<PIN xsi:type="xsd:string">').replace(b"<Row>", b'<Row id="9">')
    broken = row("4", MOMENT).replace(b"><", b">\r\n    <")
    without_code = row("5", MOMENT).replace(b"<WorkCode>0</WorkCode>", b"")
    several = row("6", MOMENT) + row("7", MOMENT) + b"\t" + row("8", MOMENT, code="")
    named = row("9", MOMENT).replace(b"</PIN>", b"</PIN><PIN2>77</PIN2><Name>Ren\xe9 & \xff</Name>")
    body = b'<?xml version="1.0"?><soap:Envelope><soap:Body>' + answer(
        row("1", MOMENT), b"   " + row("2", MOMENT), attributes, broken, without_code, several, named, end=b"\n"
    )
    records, _, reader = read(body + b"</soap:Body></soap:Envelope>", step)
    assert reasons(records) == list("123456789")
    assert [record.work_code for record in records if isinstance(record, RawPunch)] == ["0"] * 4 + [
        None,
        "0",
        "0",
        None,
        "0",
    ]
    assert {record.local_time for record in records if isinstance(record, RawPunch)} == {MOMENT}
    assert records[-1].raw == row("9", MOMENT)
    assert reader.is_whole


@pytest.mark.parametrize("step", [1, 64, 4096])
def test_what_is_no_punch_is_kept_in_its_place(step: int) -> None:
    """No person, no such day, broken tags, NUL, other bytes: a bad record each, and the rows around it are read."""
    no_pin, no_time = "no PIN of 1 to 24 printable ASCII characters", "no such date and time"
    bad = {
        row("", MOMENT): no_pin,
        row("0", MOMENT): no_pin,
        row("x" * 25, MOMENT): no_pin,
        row("1\x002", MOMENT): no_pin,
        row("7", MOMENT).replace(b"7<", b"\xe9<"): no_pin,
        row("7", "2026-02-31 07:00:00"): no_time,
        row("7", "2026-11-30 24:00:00"): no_time,
        row("7", "0000-00-00 00:00:00"): no_time,
        row("12", MOMENT).replace(b"</PIN>", b"</PIN"): no_pin,
        row("7", MOMENT).replace(b"</DateTime>", b""): no_time,
        row("7", MOMENT).replace(b"<Status>0", b"<Status>x"): "Status is no number",
        row("7", MOMENT, code="\x07"): "the work code is no printable text",
        b"<Row></Row>": no_pin,
    }
    rows = [one for number, odd in enumerate(bad) for one in (odd, row(f"1{number:02}", MOMENT))]
    records, log, _ = read(answer(*rows), step)
    assert reasons(records) == [one for number, why in enumerate(bad.values()) for one in (why, f"1{number:02}")]
    assert [record.raw for record in records] == rows
    assert log.rows == len(rows)


def test_years_at_the_ends() -> None:
    """A clock that was reset and one far ahead: punches like any other."""
    records, _, _ = read(answer(row("7", "2000-01-01 00:00:14"), row("7", "2103-06-01 12:00:00")))
    assert [record.local_time.year for record in records if isinstance(record, RawPunch)] == [2000, 2103]


def test_entities_are_replaced_once() -> None:
    """The five of XML, and nothing else."""
    pins = ["a&amp;lt;b", "&quot;&apos;&lt;&gt;", "a&b", "&#65;"]
    records, _, _ = read(answer(*(row(pin, MOMENT) for pin in pins)))
    assert reasons(records) == ["a&lt;b", "\"'<>", "a&b", "&#65;"]


@pytest.mark.parametrize("step", [1, 4096])
def test_rows_that_lose_a_tag(step: int) -> None:
    """The row in front of the next one, at the end, or without its beginning is a bad record; no row is lost."""
    unended, begun = row("1", MOMENT)[: -len("</Row>")], row("3", MOMENT)[len("<Row>") :]
    records, _, reader = read(answer(unended, row("2", MOMENT), begun, row("4", MOMENT), unended), step)
    found = [one if isinstance(one, RawPunch) else one.raw for one in records]
    assert [one.pin for one in found if isinstance(one, RawPunch)] == ["1", "2", "3", "4", "1"]
    assert reader.is_whole


@pytest.mark.parametrize("step", [1, 4096])
def test_a_broken_field_is_not_a_missing_one(step: int) -> None:
    """A code that cannot be read would be lost for ever; an empty element, or none, is a field without a value."""
    good = row("1", MOMENT)
    changes = [
        (b"<Status>", b"<Status\0>"),
        (b"<Status>", b"<Sta\r\n1F4\r\ntus>"),
        (b"</Verified>", b""),
        (b"</WorkCode>", b"<"),
    ]
    broken = [good.replace(*change) for change in changes]
    records, _, _ = read(answer(*broken, good.replace(b"<WorkCode>0</WorkCode>", b"<WorkCode/>")), step)
    assert reasons(records) == [*["a field is broken, or occurs twice"] * len(changes), "1"]


@pytest.mark.parametrize("step", [1, 4096])
def test_two_rows_without_what_was_between_them_are_no_punch(step: int) -> None:
    """A person must not get the time of another, wherever the missing bytes begin and end."""
    first, second = row("1", MOMENT), row("2", "2026-11-30 08:30:00", state=1)
    merged = [first[: first.index(end)] + second[second.index(begin) :] for end, begin in CUTS]
    records, _, reader = read(answer(row("8", MOMENT), *merged, row("9", MOMENT)), step)
    assert reasons(records) == ["8", *["a field is broken, or occurs twice"] * len(CUTS), "9"]
    assert reader.is_whole


@pytest.mark.parametrize("step", [1000, 65536])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("others", [0, 1, 40])
def test_a_row_of_any_length_costs_itself(step: int, others: int, *, ended: bool) -> None:
    """Kept in part, with size and digest of all of it; what follows is read, also where it has no end."""
    long = b"<Row><PIN>7</PIN><Name>Siti " + b"x" * 300_000 + (b"</Name></Row>" if ended else b"")
    following = [row(f"9{number}", MOMENT) for number in range(others)]
    records, log, reader = read(answer(row("8", MOMENT), long, *following), step)
    bad = records[1]
    assert isinstance(bad, BadRecord)
    assert reasons(records) == ["8", bad.reason, *(f"9{number}" for number in range(others))]
    assert log.rows == 2 + others
    assert len(bad.raw) <= wire.KEPT_BYTES
    assert b"Siti" not in bad.raw
    whole = long if ended else long + (b"\r\n" if others else b"\r\n" + CLOSING)
    assert (bad.size, bad.sha256) == (len(whole), sha256(whole).hexdigest())
    assert reader.is_whole


@pytest.mark.parametrize("between", [0, 3000, 9000])
@pytest.mark.parametrize("before", [0, 60, 5000])
def test_bytes_outside_of_rows_are_one_bad_record_however_they_arrive(before: int, between: int) -> None:
    """From the first tag of a punch to the next row: otherwise each reading would set others aside."""
    odd = b"y" * before + b"<PIN>7</PIN>" + b"x" * between + b"<DateTime>z" + b"<PIN>8</PIN>" + b"x" * between
    body = answer(row("1", MOMENT), odd, row("2", MOMENT))

    def cut(step: int) -> list[Record]:
        reader = RowReader("GetAttLog")
        pieces = [reader.feed(body[at : at + step]) for at in range(0, len(body), step)]
        return [*wire.records([*chain.from_iterable(pieces), *reader.close()])]

    whole = cut(len(body))
    assert [type(record) for record in whole] == [RawPunch, BadRecord, RawPunch]
    for step in (7, 100, 1000, 4096, 5000):
        assert cut(step) == whole


def test_without_its_closing_tag_an_answer_is_not_whole() -> None:
    """Wherever it ends; what was received of it has its rows."""
    body = answer(row("1", MOMENT), row("2", MOMENT))
    for at in range(len(body) - len("\r\n")):
        _, log, reader = read(body[:at])
        assert not reader.is_whole
        assert log.rows <= 2


@pytest.mark.parametrize("step", [1, 3, 4096])
def test_replies_of_http(step: int) -> None:
    """To the end of the connection whatever length is announced; chunks are decoded, interim replies skipped."""
    body = answer(row("1", MOMENT))
    assert received(HEAD + body, step) == (200, body)
    assert received(HEAD.replace(b"Connection", b"Content-Length: 5\r\nConnection") + body, step) == (200, body)
    chunks = b"".join(b"%x; x=1\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding:  chunked\r\n\r\n"
    assert received(b"HTTP/1.1 100 Continue\r\n\r\n" + head + chunks + b"0\r\n\r\nrest", step) == (200, body)
    assert received(b"HTTP/1.0 404 Not Found\n\nx", step) == (404, b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"\x50\x50\x82\x7d",
        b"HTTP/x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nX: " + b"x" * wire.HEAD_BYTES,
        b"<GetAttLogResponse>",
    ],
)
def test_another_protocol_is_recognised(data: bytes) -> None:
    """Other bytes, a head without a status or without an end."""
    with pytest.raises(WireError):
        received(data)


def test_chunks_without_a_size_are_recognised() -> None:
    """Of a line that is none."""
    with pytest.raises(WireError, match="chunk"):
        received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


@pytest.mark.parametrize(
    ("fields", "moment"),
    [
        ("<Date>2026-11-30</Date><Time>07:00:00</Time>", MOMENT),
        ("<Time> 7:00:00</Time><Date>2026-11-30 </Date>", MOMENT),
        ("<Date>2026-02-30</Date><Time>07:00:00</Time>", None),
        ("<Date>2026-11-30</Date>", None),
        ("<Information>Fail!</Information>", None),
    ],
)
def test_the_clock(fields: str, moment: datetime | None) -> None:
    """As it is shown; None where that is no time."""
    reader = RowReader("GetDate")
    rows = reader.feed(f"<GetDateResponse>\r\n<Row>{fields}</Row>\r\n</GetDateResponse>".encode())
    assert wire.clock([*rows, *reader.close()]) == moment
    assert reader.is_whole


@pytest.mark.parametrize(
    ("reply", "offers"),
    [
        (HEAD + b"<GetDateResponse>\r\n<Row><Date>", True),
        (HEAD + b"<GetDateResponse></GetDateResponse>", True),
        (HEAD + b"<!DOCTYPE html><html>", False),
        (HEAD, False),
        (b"HTTP/1.0 404 Not Found\r\n\r\n<GetDateResponse>", False),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", False),
        (b"\x50\x50\x82\x7d\x08", False),
        (b"", False),
    ],
)
def test_whether_there_is_a_service(reply: bytes, *, offers: bool) -> None:
    """By the beginning of an answer to the smallest question."""
    assert wire.offers_service(reply) is offers


def test_a_head_in_pieces_has_no_status_yet() -> None:
    """None until it is complete."""
    reply = HttpReply()
    assert (reply.feed(HEAD[:20]), reply.status) == (b"", None)
    assert (reply.feed(HEAD[20:]), reply.status) == (b"", 200)
