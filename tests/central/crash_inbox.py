"""An inbox that stops dead at one place, so that a test can kill it there.

``python crash_inbox.py PORT DB received|committed``. It writes the word when it is there, and then does nothing more:
``received``: messages have been read and written into a transaction that is not committed; ``committed``: it is
committed, and nothing of it has been acknowledged.
"""

import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from central.inbox import Broker, Inbox
from central.store import IngestResult, Message, Store
from central.store.batch import Item, Outcome
from central.store.streams import Moment


class DyingStore(Store):
    """A store that comes to one place and no further."""

    place = ""

    def ingest(self, messages: Iterable[Message]) -> IngestResult:
        """Store, and die with it on disk."""
        result = super().ingest(messages)
        if result.stored:
            self._die("committed")
        return result

    def _store(self, connection: Connection, items: Sequence[Item], moment: Moment) -> Outcome:
        outcome = super()._store(connection, items, moment)
        if outcome.stored:
            self._die("received")
        return outcome

    def _die(self, place: str) -> None:
        if place == self.place:
            print(place, flush=True)  # noqa: T201 - the test listens
            threading.Event().wait()


def main(port: int, db: Path, place: str) -> None:
    """Receive until killed."""
    store = DyingStore(db)
    store.place = place
    Inbox(Broker("127.0.0.1", port, tls=False), store).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
