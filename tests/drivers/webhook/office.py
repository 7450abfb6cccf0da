"""A receiver on a real socket that knows the path of an app."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.receiver.listener import Config, Limits, Receiver
from drivers.receiver.registry import Expected, Registry, UrlPath
from tests.drivers.push.office import Port

PATH = "presensi"
SECRET = "0123456789abcdef0123456789abcdef"
SERIAL = "APP-PRESENSI"


def entry(folder: Path, **more: Any) -> dict[str, Any]:
    """Return an entry without name and driver; the secret is written into ``folder``, with a line end."""
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\r\n")
    secret.chmod(0o600)
    return {"serial": SERIAL, "path": PATH, "secret_file": secret, **more}


@contextmanager
def receiving(limits: Limits | None = None) -> Iterator[tuple[str, Port]]:
    """Yield the URL of a receiver that knows the path, and the port of a driver."""
    registry = Registry()
    registry.expect({UrlPath(f"/hook/{PATH}"): Expected("aplikasi")})
    receiver = Receiver(registry)
    receiver.configure(Config("127.0.0.1", 0, limits=limits or Limits()))
    receiver.start()
    try:
        yield f"http://127.0.0.1:{receiver.port}", Port(registry)
    finally:
        receiver.close()


def body_of(*records: Any) -> bytes:
    """Return a body with records."""
    return json.dumps({"records": records}).encode()


def signature(body: bytes, secret: str = SECRET) -> str:
    """Return the value of the header, as the documentation states."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def request(body: bytes, *lines: str, path: str = PATH, method: str = "POST") -> bytes:
    """Return the bytes of a request; without ``lines`` it has the right signature."""
    given = lines or (f"X-Hub-Signature-256: {signature(body)}",)
    head = (f"{method} /hook/{path} HTTP/1.1", "Host: gateway:8088", f"Content-Length: {len(body)}", *given)
    return "\r\n".join((*head, "", "")).encode() + body


def exchange(url: str, *pieces: bytes, ends: bool = False, pause_s: float = 0.0) -> bytes:
    """Send bytes, with a pause after each piece, and return the whole reply; ``ends``: nothing more is sent."""
    host, _, port = url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), 60) as sock:
        for piece in pieces:
            sock.sendall(piece)
            time.sleep(pause_s)
        if ends:
            sock.shutdown(socket.SHUT_WR)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


def answer(reply: bytes) -> tuple[int, Any]:
    """Return the status of a reply, and its body as JSON; None for an empty one, 0 for no reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head:
        return 0, None
    return int(head.split()[1]), json.loads(body) if body else None
