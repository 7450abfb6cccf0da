"""Runs the gateway and kills it before its Nth acknowledgement: ``python killed_push.py CONFIGURATION N``; 0: never.

At that moment the records are committed, and their terminal does not know it.
"""

import os
import signal
import sys

from drivers.base import Delivery, Settlement
from gateway import cli


def main() -> None:
    """Run ``hadir run`` with settlements that are counted."""
    configuration, kill_at = sys.argv[1], int(sys.argv[2])
    settle, count = Delivery.settle, 0

    def counted(delivery: Delivery, settlement: Settlement) -> bool:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return settle(delivery, settlement)

    Delivery.settle = counted  # type: ignore[method-assign,assignment]
    sys.argv = ["hadir", "run", "-c", configuration]
    cli.main()


if __name__ == "__main__":
    main()
