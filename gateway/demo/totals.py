"""Punches by place, which must be equal at the end, and waiting for programs as long as numbers move."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.ledger import LedgerError, LedgerReader
from gateway.texts import Count, Message, _

STILL_S = 120.0
"""After this time without progress the numbers are final. Longer than the gateway's pause between retries."""
WORKING_S = 900.0
"""So long without progress, although programs work: one may work without end."""
LOOK_S = 0.25


class Progress(Protocol):
    """What was measured; measurements that differ are progress."""

    @property
    def waiting(self) -> Message | None:
        """What is still missing, or None."""


P = TypeVar("P", bound=Progress)


def settle(
    measure: Callable[[], P],
    ended: Callable[[], bool],
    show: Callable[[Message], None],
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    work: Callable[[], int] = lambda: 0,
) -> P:
    """Wait until nothing is missing, as long as numbers move and no program has ``ended``; return how far it came.

    ``work``: what programs have done so far. On a busy machine one takes minutes to start, or for an import, in which
    nothing else moves.
    """
    found, done = measure(), work()
    moved = worked = now()
    while (waiting := found.waiting) is not None and not ended():
        if now() - worked >= STILL_S or now() - moved >= WORKING_S:
            break
        show(waiting)
        pause(LOOK_S)
        before, found = found, measure()
        if found != before:
            moved = worked = now()
        elif (doing := work()) != done:
            done, worked = doing, now()
    return found


@dataclass(frozen=True)
class Totals:
    """Punches by place, and events by acknowledgement."""

    in_terminals: int
    in_ledger: int
    at_centre: int
    events: int
    covered: int
    verdicts: int = 0
    """Received so far: a centre that judges moves, although it stores nothing meanwhile."""

    @property
    def right(self) -> bool:
        """Whether everything was received and confirmed by the centre."""
        return self.in_terminals == self.in_ledger == self.at_centre > 0 and self.events == self.covered

    @property
    def waiting(self) -> Message | None:
        """What is still missing before the centre is queried, or None."""
        if self.in_ledger < self.in_terminals:
            return Message(
                _("the gateway to read {count} more punches"), count=Count(self.in_terminals - self.in_ledger)
            )
        if self.covered < self.events:
            return Message(_("the centre's receipts for {count} events"), count=Count(self.events - self.covered))
        return None

    def message(self) -> Message:
        """Return the equation, or the numbers that should be equal."""
        numbers = {
            "terminals": Count(self.in_terminals),
            "ledger": Count(self.in_ledger),
            "centre": Count(self.at_centre),
            "covered": Count(self.covered),
            "events": Count(self.events),
        }
        if self.right:
            text = _(
                "in the terminals {terminals}  =  in the ledger {ledger}  =  at the centre {centre}; "
                "receipts cover {covered} of {events} events"
            )
        else:
            text = _(
                "in the terminals {terminals}, in the ledger {ledger}, at the centre {centre}: these should be equal; "
                "receipts cover {covered} of {events} events"
            )
        return Message(text, **numbers)


def measure_totals(data_dir: Path, in_terminals: int) -> Totals:
    """Return the numbers of the gateway's ledger; those of the centre are queried once, at the end."""
    try:
        with closing(LedgerReader(data_dir)) as ledger:
            counts, punches = ledger.counts(), ledger.punches()
    except LedgerError:  # the daemon has not created it yet
        return Totals(in_terminals, 0, 0, 0, 0)
    return Totals(in_terminals, punches, 0, counts.sequence, counts.confirmed)
