"""HTTP as terminals speak it, byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.receiver.http import BadRequest, Fault, Reply, Request, RequestReader, parse_head


def read(data: bytes, *, pieces: int = 1 << 20) -> tuple[Request, bytes, bool]:
    """Return the request in ``data``, its body, and whether it is whole; ``pieces`` bytes arrive at a time."""
    reader, request, body = RequestReader(), None, b""
    for at in range(0, len(data), pieces):
        piece = data[at : at + pieces]
        if reader.in_head:
            request = reader.receive_head(piece)
            body += b"" if request is None else reader.receive_body()
        else:
            body += reader.receive_body(piece)
    assert request is not None
    return request, body, reader.is_complete


OLD = (
    b"POST /iclock/cdata?SN=SYN0000000001&table=ATTLOG&Stamp=82983982 HTTP/1.0\r\nHost: 10.1.2.3:8088\r\n"
    b"User-Agent: iClock Proxy/1.09\r\nConnection: close\r\nAccept: */*\r\nContent-Length: 31\r\n\r\n"
    b"0042\t2026-11-30 07:01:02\t0\t1\r\n\n"
)
CHUNKED = (
    b"POST /iclock/cdata?SN=A HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;name=value\r\n \r\n0A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
def test_a_request_of_old_firmware_is_read_however_it_is_cut(pieces: int) -> None:
    """TCP may deliver it byte by byte."""
    request, body, whole = read(OLD, pieces=pieces)

    assert (request.method, request.path, request.resource) == ("POST", "/iclock/cdata", "cdata")
    assert request.query == {"sn": "SYN0000000001", "table": "ATTLOG", "stamp": "82983982"}
    assert request.version == (1, 0)
    assert request.headers["host"] == "10.1.2.3:8088"
    assert body == b"0042\t2026-11-30 07:01:02\t0\t1\r\n\n"
    assert whole


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 11, 1000])
def test_chunks_are_joined_however_they_are_cut(pieces: int) -> None:
    """Some firmware sends its bodies in chunks."""
    request, body, whole = read(CHUNKED, pieces=pieces)

    assert request.length is None
    assert (body, whole) == (b"hello 0123456789", True)


@pytest.mark.parametrize(
    ("target", "path", "resource"),
    [
        ("/iclock/cdata.aspx?SN=A", "/iclock/cdata.aspx", "cdata"),
        ("/iclock/getrequest.php?SN=A", "/iclock/getrequest.php", "getrequest"),
        ("//iclock///cdata?SN=A", "/iclock/cdata", "cdata"),
        ("/a1b2/iclock/CDATA?SN=A", "/a1b2/iclock/CDATA", "cdata"),
        ("http://10.1.2.3:8088/iclock/cdata?SN=A", "/iclock/cdata", "cdata"),
        ("http://10.1.2.3:8088?SN=A", "/", ""),
        ("iclock/cdata?SN=A", "/iclock/cdata", "cdata"),
        ("/iclock/%63data?SN=A", "/iclock/cdata", "cdata"),
        ("/iclock/../../etc/passwd?SN=A", "/iclock/../../etc/passwd", "passwd"),
        ("/?SN=A", "/", ""),
    ],
)
def test_paths_are_read_as_terminals_write_them(target: str, path: str, resource: str) -> None:
    """Requests are matched by their last component, and no path reaches a file system."""
    request = parse_head(f"GET {target} HTTP/1.1".encode())

    assert (request.path, request.resource, request.query) == (path, resource, {"sn": "A"})
    assert request.is_absolute == target.startswith("http")


def test_raw_blanks_and_bytes_of_any_code_page_stand_in_a_target() -> None:
    """INFO holds blanks that are not encoded."""
    head = b"GET /iclock/getrequest?SN=A&INFO=Ver 6.60 Apr 28 2017,12,\xd6\xd0+ HTTP/1.1"

    assert parse_head(head).query["info"] == "Ver 6.60 Apr 28 2017,12,\xd6\xd0+"


def test_keys_have_any_case_and_the_first_of_two_is_taken() -> None:
    """Firmware differs in the case of its parameters."""
    request = parse_head(
        b"GET /?sn=1&SN=2&Table=ATTLOG&&empty&x=%41%zz HTTP/1.1\nHOST :h\nhost: second\nno header\n\tx"
    )

    assert request.query == {"sn": "1", "table": "ATTLOG", "empty": "", "x": "A%zz"}
    assert request.headers == {"host": "h"}


def test_bare_line_feeds_and_empty_lines_in_front_are_read() -> None:
    """Some clients end lines with LF alone."""
    request, body, whole = read(b"\r\n\nPOST /x?SN=A HTTP/1.1\nContent-Length: 2\n\nhi")

    assert (request.resource, body, whole) == ("x", b"hi", True)


def test_what_follows_a_request_is_discarded() -> None:
    """A pipelined request is repeated by its client on another connection."""
    _, body, whole = read(b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /y HTTP/1.1\r\n\r\n")

    assert (body, whole) == (b"hi", True)


def test_a_body_that_ends_early_is_not_whole() -> None:
    """A cut upload must not be taken for a short one."""
    assert not read(OLD[:-1])[2]
    assert not read(CHUNKED[:-2])[2]


@pytest.mark.parametrize(
    ("data", "status", "fault"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, Fault.TLS_ON_PLAIN_PORT),
        (b"hello\r\n\r\n", 400, Fault.NOT_HTTP),
        (b"GET /x\r\n\r\n", 400, Fault.NOT_HTTP),
        (b"GET /x\0y HTTP/1.1\r\n\r\n", 400, Fault.NOT_HTTP),
        (b"GET /x HTTP/1.1\r\nA: \0\r\n\r\n", 400, Fault.NOT_HTTP),
        (b"PRI * HTTP/2.0\r\n\r\n", 505, Fault.VERSION),
        (b"GET /" + b"x" * 9000, 431, Fault.HEAD_TOO_LONG),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431, Fault.HEAD_TOO_LONG),
        (b"POST /x HTTP/1.0\r\n\r\n", 411, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\n\r\nabc", 411, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, Fault.LENGTH),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, Fault.LENGTH),
        (
            b"POST /x HTTP/1.1\nContent-Length: 9\nTransfer-Encoding: identity\nTransfer-Encoding: chunked\n\n",
            400,
            Fault.LENGTH,
        ),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, Fault.CHUNKS),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, Fault.CHUNKS),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400, Fault.CHUNKS),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400, Fault.CHUNKS),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300, 400, Fault.CHUNKS),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 2000, 400, Fault.CHUNKS),
    ],
)
@pytest.mark.parametrize("pieces", [1, 1 << 20])
def test_requests_that_cannot_be_understood_are_refused(data: bytes, status: int, fault: Fault, pieces: int) -> None:
    """Each has the status that names what is wrong."""
    with pytest.raises(BadRequest) as caught:
        read(data, pieces=pieces)

    assert (caught.value.status, caught.value.fault) == (status, fault)


def test_a_length_in_a_get_is_a_body_too() -> None:
    """The bytes belong to this request, whatever its method."""
    assert read(b"GET /x HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")[1:] == (b"hi", True)


def test_expecting_an_interim_reply_needs_http_1_1() -> None:
    """A client of HTTP/1.0 would read the interim reply as the final one."""
    assert parse_head(b"POST / HTTP/1.1\nContent-Length: 1\nExpect: 100-Continue").expects_continue
    assert not parse_head(b"POST / HTTP/1.0\nContent-Length: 1\nExpect: 100-continue").expects_continue


def test_a_reply_is_what_old_firmware_reads_byte_for_byte() -> None:
    """No further header, and the names in canonical case."""
    assert Reply(200, b"OK: 1").encode() == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nOK: 1"
    )
    assert Reply(headers={"Date": "Mon, 30 Nov 2026 01:02:03 GMT"}).encode() == (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 01:02:03 GMT\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert Reply(503, b"x").encode(head_only=True).endswith(b"Content-Length: 1\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "headers", [{"date": "x"}, {"Date": "a\r\nB: c"}, {"Date": "\xe9"}, {"Set-Cookie": "x" * 1000}]
)
def test_headers_that_old_firmware_cannot_read_are_not_sent(headers: dict[str, str]) -> None:
    """A defect of a driver is an error here, not at a terminal."""
    with pytest.raises(ValueError, match=r"cannot be sent|old terminals"):
        Reply(headers=headers).encode()


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_a_request_or_refused_however_they_are_cut(data: bytes, pieces: int) -> None:
    """How the bytes are cut changes nothing."""
    results: list[object] = []
    for cut in (pieces, 1 << 20):
        try:
            results.append(read(b"POST /" + data + b"\r\n\r\n0\r\n\r\n", pieces=cut))
        except BadRequest as exc:
            results.append(exc.status)

    assert results[0] == results[1]
