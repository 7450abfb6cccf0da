"""What is known of a span while its days are judged: facts in their order, and what became of the punches. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from central.timesheet.claim import Claims
from central.timesheet.clock import DAY_S, midnight
from central.timesheet.due import Absence
from central.timesheet.model import LeaveDay, Order, Punch
from central.timesheet.plan import DayWork


@dataclass(slots=True, eq=False)
class Known:
    """The facts of a span that several steps read."""

    punches: tuple[Punch, ...]
    claims: Claims
    absences: list[Absence]
    leave_of: dict[date, list[LeaveDay]]
    orders: tuple[Order, ...]
    """In order of time."""
    now: int
    _printed: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the punches by the date that was printed."""
        for index, punch in enumerate(self.punches):
            self._printed.setdefault(punch.local // DAY_S, []).append(index)

    def printed_on(self, day: DayWork) -> Sequence[int]:
        """Return the indices of the punches printed with a day's date."""
        return self._printed.get(midnight(day.plan.date) // DAY_S, ())
