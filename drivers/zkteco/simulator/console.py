"""The typed commands of a simulated ZKTeco terminal."""

import random
from collections.abc import Callable, Mapping

from drivers.console import Console, count_of_punches, new_clock, number
from drivers.zkteco.simulator.terminal import SimulatedTerminal

HELP = (
    "Commands: punch PIN [STATE] [VERIFY], rush N, clock +7m | -30s | 2000-01-01T00:00:00, status, "
    "faults, fault NAME[=VALUE], fault NAME off, help."
)


class TerminalConsole(Console):
    """Commands for ``terminal``; ``status`` returns the sentence about it and its traffic.

    ``faults`` are the commands that list and switch faults, in place of those of the terminal's own protocol.
    """

    def __init__(
        self,
        terminal: SimulatedTerminal,
        status: Callable[[], str],
        *,
        help_text: str = HELP,
        faults: Mapping[str, Callable[..., str]] | None = None,
    ) -> None:
        self._terminal = terminal
        self._random = random.Random(0)  # noqa: S311 - chooses the persons of a rush
        super().__init__(
            help_text,
            {
                "punch PIN [STATE] [VERIFY]": self._punch,
                "rush N": self._rush,
                "clock CHANGE": self._clock,
                "status": status,
                **(faults or _own_faults(terminal)),
            },
        )

    def _punch(self, pin: str, state: str = "0", verify: str = "1") -> str:
        codes = number(state), number(verify)
        moment = self._terminal.punch(pin, *codes)
        return f"{pin} punched at {moment:%Y-%m-%d %H:%M:%S} (state {codes[0]}, verify {codes[1]})."

    def _rush(self, count: str) -> str:
        wanted = count_of_punches(count)
        people = sorted(self._terminal.users.values())
        if not people:
            raise ValueError("a rush needs an enrolled person")
        rounds, rest = divmod(wanted, len(people))
        for pin in people * rounds + self._random.sample(people, rest):
            self._terminal.punch(pin)
        return f"{wanted} punches made; the log holds {self._terminal.count}."

    def _clock(self, change: str) -> str:
        terminal = self._terminal
        terminal.set_clock(new_clock(terminal.clock(), change, "2000-01-01T00:00:00"))
        return f"The clock shows {terminal.clock():%Y-%m-%d %H:%M:%S}, {offset(terminal)}."


def _own_faults(terminal: SimulatedTerminal) -> Mapping[str, Callable[..., str]]:
    return {
        "faults": terminal.faults.listing,
        "fault ORDER": terminal.faults.switch_on,
        "fault NAME off": terminal.faults.switch_off,
    }


def offset(terminal: SimulatedTerminal) -> str:
    """Return how far the terminal's clock is off, as text."""
    seconds = round(terminal.clock_offset.total_seconds())
    return f"{abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}" if seconds else "on time"
