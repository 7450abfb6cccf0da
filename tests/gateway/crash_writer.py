"""Writes into a ledger until it is killed, and prints what the ledger acknowledged.

``python crash_writer.py DATA_DIR SEED``. Every line is written after its call has returned:
``open``, ``read N`` (a reading of a log of N records), ``live N`` (the live event of record N), ``note SEQUENCE``,
``sent SEQUENCE ...``.
"""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from drivers.base import RawPunch, Reading, Via
from gateway.event import GATEWAY_RESUMED, ReadingContext
from gateway.ledger import Ledger
from gateway.ledger import reading as intake

SOURCE = "/hadir/office/gw-01"
TERMINAL = "lobby"
SERIAL = "CEXA193960001"


def record_at(number: int) -> RawPunch:
    """Return the record at a position of the terminal's log; some are the second of a person in one second."""
    twin = number % 10 == 9  # this one repeats the record before it to the last byte
    number -= twin
    local_time = datetime(2026, 9, 7, 7) + timedelta(seconds=number // 3)  # noqa: DTZ001 - a terminal's wall clock
    return RawPunch(str(1000 + number % 13), None, local_time, number % 2, 1, "0", number.to_bytes(4, "little"))


def reading(total: int, start: int = 0) -> Reading:
    """Read a log of ``total`` records from ``start``."""
    return Reading(start, total, [record_at(number) for number in range(start, total)], "40")


def context(via: Via) -> ReadingContext:
    """Return who reads."""
    return ReadingContext(
        terminal=TERMINAL,
        serial=SERIAL,
        zone=ZoneInfo("Asia/Jakarta"),
        via=via,
        now=datetime.now(UTC),
        synchronised=True,
        clock=None,
        stepped=False,
        tolerance=timedelta(seconds=60),
    )


def say(*words: object) -> None:
    """Report to the test; the line is out of this process when the call returns."""
    print(*words, flush=True)  # noqa: T201 - the test listens


def main(data_dir: Path, seed: int) -> None:
    """Write for ever."""
    intake.SLICE = 7  # most readings take several transactions
    dice = random.Random(seed)
    ledger = Ledger(data_dir, SOURCE)
    known = ledger.pin_serial(TERMINAL, SERIAL)
    ledger.alive()
    say("open")
    length = known.in_log
    while True:
        match dice.choice(("read", "read", "live", "note", "sent")):
            case "read":
                length += dice.randrange(40)
                known = ledger.terminal(TERMINAL) or known
                ledger.record_reading(context("log"), reading(length, known.tail_start))
                say("read", length)
            case "live":
                ahead = length + dice.randrange(3)
                if ledger.record_live(context("live"), record_at(ahead)):
                    length = max(length, ahead + 1)
                    say("live", ahead)
            case "note":
                say("note", ledger.record_note(GATEWAY_RESUMED, None, datetime.now(UTC), {"clean": False}))
            case "sent":
                sequences = [waiting.sequence for waiting in ledger.pending(0, dice.randrange(1, 30))]
                ledger.mark_sent(sequences)
                ledger.flush_marks()
                say("sent", *sequences)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
