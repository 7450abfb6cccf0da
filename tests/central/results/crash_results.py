"""An inbox that stops dead while it publishes results, so that a test can kill it there.

``python crash_results.py PORT DB published|acknowledged``. It writes the word when it is there, and then does nothing
more: ``published``: messages are on their way, and no answer has been handled; ``acknowledged``: the broker has
answered, and nothing has been deleted.
"""

import sys
import threading

from central.inbox import Broker, Inbox
from central.results.messages import Message
from central.results.publisher import Publisher
from central.store import Store


class DyingPublisher(Publisher):
    """A publisher that comes to one place and no further."""

    place = ""

    def published(self, mid: int, code: int) -> bool:
        """Take the broker's answer, and die."""
        found = super().published(mid, code)
        if found:
            self._die()
        return found

    def _die(self) -> None:
        print(self.place, flush=True)  # noqa: T201 - the test listens
        threading.Event().wait()


def main(port: int, db: str, place: str) -> None:
    """Receive until killed."""
    store = Store(db)
    inbox = Inbox(Broker("127.0.0.1", port, tls=False), store)
    publisher = DyingPublisher(store.database)
    publisher.place = place
    inbox._results = publisher
    if place == "published":
        publish = inbox._publish_result

        def dying(message: Message) -> int:
            mid = publish(message)
            publisher._die()
            return mid

        inbox._publish_result = dying  # type: ignore[method-assign]
    inbox.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
