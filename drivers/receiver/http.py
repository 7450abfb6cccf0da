"""HTTP as terminals speak it: bytes to requests, replies to bytes. No I/O.

One request a connection: a reply always ends it, also for clients of HTTP/1.1. What follows a request is discarded, and
the client repeats it on a new connection. Old firmware reads a reply to the end of the stream, ignores its
``Content-Length``, and reads a head case-sensitively into 2 KB.

Accepted, because terminals send it: bare LF as line end, raw blanks in the target, doubled slashes, absolute URIs (a
proxy is configured in the terminal), any suffix after the last component (``.aspx``, ``.php``), query keys in any
case, bytes of any code page, header lines that are none. Refused, because a body of unknown length would be taken for
an empty one, and its terminal would forget it: a POST without a length.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote_to_bytes

HEAD_BYTES = 8192
"""Longest head that is read; the terminals' own are below 2 KB."""
REPLY_HEAD_BYTES = 1024
"""Longest head of a reply: old firmware reads heads into 2 KB, with its own lines among them."""
_CHUNK_LINE_BYTES = 256
_PHRASES = {
    100: "Continue",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_METHOD = re.compile(rb"[A-Za-z]{1,16}")
_VERSION = re.compile(rb"HTTP/(\d)\.(\d)")
_NAME = re.compile(rb"[!-9;-~]+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?\r?", re.DOTALL)
_BLANKS = b" \t"
_FIELD_VALUE = re.compile(r"[ -~]*")
_FIELD_NAME = re.compile(r"[A-Z][A-Za-z]*(?:-[A-Z][A-Za-z]*)*")


class Fault(StrEnum):
    """What is wrong with a request, for counters and for advice."""

    NOT_HTTP = "not_http"
    TLS_ON_PLAIN_PORT = "tls_on_plain_port"
    """A TLS handshake arrived where TLS is not configured: the terminal's HTTPS switch is on."""
    HEAD_TOO_LONG = "head_too_long"
    LENGTH = "length"
    """No length, or none that can be understood."""
    CHUNKS = "chunks"
    VERSION = "version"


class BadRequest(Exception):  # noqa: N818 - named as its status
    """A request that cannot be understood; ``status`` is the answer to it."""

    def __init__(self, status: int, fault: Fault) -> None:
        super().__init__(f"{status} {fault}")
        self.status = status
        self.fault = fault


@dataclass(frozen=True)
class Request:
    """The head of a request. All text is Latin-1: every byte is one character, whatever code page the terminal uses."""

    method: str
    """In upper case."""
    path: str
    """Decoded, without scheme, host and query, each slash once: ``/iclock/cdata.aspx``."""
    query: Mapping[str, str]
    """Keys in lower case; of a key that occurs twice the first value. A plus sign is a plus sign."""
    headers: Mapping[str, str]
    """Names in lower case; of a header that occurs twice the first value."""
    version: tuple[int, int]
    length: int | None
    """Of the body in bytes; None where it arrives in chunks."""
    peer: str = ""
    """IP address of the caller."""
    is_absolute: bool = False
    """The request line had an absolute URI: a proxy is configured in the terminal."""

    @cached_property
    def resource(self) -> str:
        """The last component of the path, without suffix, in lower case: ``cdata`` for ``/x//iclock/cdata.aspx``."""
        return _SUFFIX.sub("", self.path.rpartition("/")[2]).lower()

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for an interim reply before it sends the body."""
        return self.version >= (1, 1) and self.headers.get("expect", "").lower() == "100-continue"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. It always ends the connection."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further ones, such as ``Date``, names in canonical case. Most terminals need none, and some obey ``Date``."""
    content_type: str = "text/plain"

    def encode(self, *, head_only: bool = False) -> bytes:
        """Return the bytes; without the body as the answer to HEAD.

        ValueError for a header that old firmware cannot read, or a head that is too long for it.
        """
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Unknown')}"]
        fields = {
            **self.headers,
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Connection": "close",
        }
        for name, value in fields.items():
            if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
                raise ValueError(f"the header {name!r} cannot be sent")
            lines.append(f"{name}: {value}")
        head = "\r\n".join((*lines, "", "")).encode("ascii")
        if len(head) > REPLY_HEAD_BYTES:
            raise ValueError(f"the head has {len(head)} bytes; old terminals read {REPLY_HEAD_BYTES} or fewer")
        return head if head_only else head + self.body


def parse_head(head: bytes) -> Request:
    """Return the request whose head is ``head``, without the empty line at its end; raises BadRequest."""
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    method, target, minor = _request_line(lines[0])
    if b"\0" in head:
        raise BadRequest(400, Fault.NOT_HTTP)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        before, colon, after = line.partition(b":")
        if not colon or _NAME.fullmatch(before := before.rstrip(_BLANKS)) is None:
            continue
        name, value = before.decode("ascii").lower(), after.strip(_BLANKS).decode("latin-1")
        if headers.setdefault(name, value) != value and name in ("content-length", "transfer-encoding"):
            raise BadRequest(400, Fault.LENGTH)
    path, _, query = target.partition("#")[0].partition("?")
    bare = _ABSOLUTE.sub("", path, count=1) if _ABSOLUTE.match(path) else path
    return Request(
        method=method,
        path=re.sub("/{2,}", "/", "/" + _unquoted(bare)),
        query=MappingProxyType(_parameters(query)),
        headers=MappingProxyType(headers),
        version=(1, minor),
        length=_body_length(method, headers),
        is_absolute=bare is not path,
    )


def _request_line(line: bytes) -> tuple[str, str, int]:
    """Return method, target and minor version.

    No regular expression has the whole line: with the blanks that a target may hold, thousands of them would take one
    minutes, and no other caller is served meanwhile.
    """
    method, line = _METHOD.match(line), line.rstrip(_BLANKS)
    end = max(line.rfind(b" "), line.rfind(b"\t"))
    version = _VERSION.fullmatch(line[end + 1 :])
    target = line[method.end() : end + 1] if method is not None else b""
    if method is None or version is None or target[:1] not in (b" ", b"\t") or not target.strip(_BLANKS):
        raise BadRequest(400, Fault.NOT_HTTP)
    if version[1] != b"1":
        raise BadRequest(505, Fault.VERSION)
    return method[0].decode("ascii").upper(), target.strip(_BLANKS).decode("latin-1"), int(version[2])


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1")


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key:
            found.setdefault(_unquoted(key).strip().lower(), _unquoted(value))
    return found


def _body_length(method: str, headers: Mapping[str, str]) -> int | None:
    """Return the length of the body; None for chunks, 0 for no body."""
    coding = headers.get("transfer-encoding", "identity").lower()
    if coding == "chunked":
        return None
    if coding != "identity":
        raise BadRequest(501, Fault.CHUNKS)
    length = headers.get("content-length")
    if length is None:
        if method in ("GET", "HEAD", "OPTIONS", "DELETE"):
            return 0
        raise BadRequest(411, Fault.LENGTH)
    if not _LENGTH.fullmatch(length):
        raise BadRequest(400, Fault.LENGTH)
    return int(length)


def http_date(moment: datetime) -> str:
    """Return a time, with a zone, as the value of a ``Date`` header."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


class RequestReader:
    """Cuts the stream of one connection into the head and the pieces of the body of one request."""

    def __init__(self, head_bytes: int = HEAD_BYTES) -> None:
        self._head_bytes = head_bytes
        self._state: Literal["head", "body", "size", "chunk", "chunk_end", "trailers", "done"] = "head"
        self._buffer = bytearray()
        self._left = 0
        """Bytes of the body, or of the present chunk, that have not arrived."""
        self._trailer_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether any byte of a request arrived."""
        return self._state != "head" or bool(self._buffer)

    @property
    def in_head(self) -> bool:
        """Whether the head is not complete."""
        return self._state == "head"

    @property
    def is_complete(self) -> bool:
        """Whether the whole request arrived."""
        return self._state == "done"

    def receive_head(self, data: bytes) -> Request | None:
        """Take bytes while :attr:`in_head`; return the request when its head is complete. Raises BadRequest."""
        searched = len(self._buffer)
        self._buffer += data
        if not searched or self._buffer[0] in b"\r\n":
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            searched = 0
        if self._buffer[:2] == b"\x16\x03":
            raise BadRequest(400, Fault.TLS_ON_PLAIN_PORT)
        end = _END_OF_HEAD.search(self._buffer, max(0, searched - 2))
        if (end.start() if end else len(self._buffer)) > self._head_bytes:
            raise BadRequest(431, Fault.HEAD_TOO_LONG)
        if end is None:
            return None
        request = parse_head(bytes(self._buffer[: end.start()]))
        del self._buffer[: end.end()]
        if request.length is None:
            self._state = "size"
        else:
            self._left = request.length
            self._state = "body" if request.length else "done"
        return request

    def receive_body(self, data: bytes = b"") -> bytes:
        """Take bytes after the head, first without any: return what belongs to the body. Raises BadRequest."""
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        if self._state == "body":
            piece = data[: self._left]
            self._left -= len(piece)
            if not self._left:
                self._state = "done"
            return piece
        return b"" if self._state == "done" else self._receive_chunks(data)

    def _receive_chunks(self, data: bytes) -> bytes:
        pieces = []
        at = 0
        while at < len(data) and self._state != "done":
            if self._state == "chunk":
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "chunk_end"
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._buffer += data[at:]
                if len(self._buffer) > _CHUNK_LINE_BYTES:
                    raise BadRequest(400, Fault.CHUNKS)
                break
            self._receive_chunk_line(data[at:end])
            at = end + 1
        return b"".join(pieces)

    def _receive_chunk_line(self, line: bytes) -> None:
        if len(line) > _CHUNK_LINE_BYTES:
            raise BadRequest(400, Fault.CHUNKS)
        if self._state == "size":
            size = _CHUNK.fullmatch(line)
            if size is None:
                raise BadRequest(400, Fault.CHUNKS)
            self._left = int(size[1], 16)
            self._state = "chunk" if self._left else "trailers"
        elif self._state == "chunk_end":
            if line.strip():
                raise BadRequest(400, Fault.CHUNKS)
            self._state = "size"
        elif not line.strip():
            self._state = "done"
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > self._head_bytes:
                raise BadRequest(400, Fault.CHUNKS)
