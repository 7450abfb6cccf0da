"""A simulated Kartu terminal on a real socket: ``python -m hadir_kartu.simulator [RECORDS]``."""

import socketserver
import sys
import threading
from collections import Counter
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from . import wire

BEGIN = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock has no zone


class Simulator:
    """A terminal on a free TCP port of this machine; a context manager."""

    def __init__(self, records: int = 3) -> None:
        self.log = [b"%d;%s;0" % (1001 + n, str(BEGIN + timedelta(minutes=n)).encode()) for n in range(records)]
        self.requests: Counter[bytes] = Counter()
        """Count of each command received."""

    def __enter__(self) -> Self:
        terminal = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(terminal.answer(line.strip()))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)
        self._server.daemon_threads = True
        self.port = f"tcp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: bytes) -> bytes:
        """Return the response to a request line."""
        command, _, argument = request.partition(b" ")
        self.requests[command] += 1
        if command == wire.LOG:
            return b"".join(record + b"\n" for record in [*self.log[int(argument) :], wire.END])
        answers = {wire.SERIAL: b"KT-00017", wire.CLOCK: str(BEGIN).encode(), wire.COUNT: b"%d" % len(self.log)}
        return answers.get(command, b"?") + b"\n"


if __name__ == "__main__":
    with Simulator(int(sys.argv[1]) if len(sys.argv) > 1 else 3) as simulator:
        print(simulator.port, flush=True)
        sys.stdin.read()
