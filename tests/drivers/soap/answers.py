"""Answers of the web service for tests, and a server that sends prepared bytes."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from drivers.base import BadRecord, Record
from drivers.soap.service import Log
from drivers.soap.wire import HttpReply, RowReader

HEAD = (
    b"HTTP/1.0 200 OK\r\nServer: ZK Web Server\r\nPragma: no-cache\r\nCache-control: no-cache\r\n"
    b"Content-Type: text/xml\r\nConnection: close\r\n\r\n"
)
OPENING, CLOSING = b"<GetAttLogResponse>\r\n", b"</GetAttLogResponse>\r\n"
NO_DATA = b"<Row><Result>0</Result><Information>No data!</Information></Row>\r\n"


def row(pin: str, moment: str | datetime, verify: int = 1, state: int = 0, code: str = "0") -> bytes:
    """Return a row as most firmware writes it, without a line end."""
    fields = f"<PIN>{pin}</PIN><DateTime>{moment}</DateTime><Verified>{verify}</Verified><Status>{state}</Status>"
    return f"<Row>{fields}<WorkCode>{code}</WorkCode></Row>".encode("ascii")


def answer(*rows: bytes, closing: bytes = CLOSING, end: bytes = b"\r\n") -> bytes:
    """Return the body of an answer with rows."""
    return OPENING + b"".join(one + end for one in rows) + closing


def read(body: bytes, step: int = 4096) -> tuple[list[Record], Log, RowReader]:
    """Return the records of a body that arrives in pieces, and what the readers know of it."""
    log, reader = Log(), RowReader("GetAttLog")
    for at in range(0, len(body), step):
        piece = body[at : at + step]
        log.add(piece, reader.feed(piece))
    log.add(b"", reader.close())
    log.end()
    return list(log), log, reader


def received(data: bytes, step: int = 4096) -> tuple[int | None, bytes]:
    """Return status and body of a reply that arrives in pieces."""
    reply = HttpReply()
    body = b"".join(reply.feed(data[at : at + step]) for at in range(0, len(data), step))
    return reply.status, body


def reasons(records: Iterable[Record]) -> list[str | None]:
    """Return the PIN of each punch, and the reason of each bad record."""
    return [record.reason if isinstance(record, BadRecord) else record.pin for record in records]


@contextmanager
def serving(*answers: bytes | Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Answer each connection with the next of prepared answers, the last one again and again.

    Yields the port, and the requests that were received. An answer in pieces is sent piece by piece.
    """
    requests: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                prepared = answers[min(len(requests), len(answers) - 1)]
                with connection, suppress(OSError):
                    request = connection.recv(4096)
                    while b"</Get" not in request and b"</Set" not in request and (more := connection.recv(4096)):
                        request += more
                    requests.append(request)
                    for piece in (prepared,) if isinstance(prepared, bytes) else prepared:
                        connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], requests
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
