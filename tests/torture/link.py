"""A line between the gateway and its broker that can be cut and slowed."""

import socket
import threading
import time
from contextlib import suppress

from tests.broker import WAIT_S, Proxy

SLICE = 512


class Link(Proxy):
    """Carries bytes both ways; not a :class:`Proxy`'s packets, so that it may break in the middle of one."""

    def __init__(self, broker_port: int) -> None:
        super().__init__(broker_port)
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self.delay_s = 0.0
        """How long each ``SLICE`` bytes take."""

    def cut(self) -> None:
        """Break every connection, and let none through until :meth:`mend`."""
        self._whole.clear()
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Make the line whole and fast."""
        self.delay_s = 0.0
        self._whole.set()

    def _serve(self, near: socket.socket) -> None:
        if not self._whole.is_set():
            return
        with socket.create_connection(("127.0.0.1", self.broker_port)) as far:
            self._ends |= {near, far}
            upward = threading.Thread(target=self._carry, args=(near, far), daemon=True)
            upward.start()
            self._carry(far, near)
            upward.join(WAIT_S)
            self._ends -= {near, far}

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(SLICE if self.delay_s else 65536):
                time.sleep(self.delay_s)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
