"""What later knowledge changes in a closed period: an adjustment, or nothing. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NUMBERS = (
    *("days", "shifts", "absent_days", "open_days", "provisional_days"),
    *("planned_min", "late_min", "early_min", "missing", "cut", "cut_rp", "presence", "excused"),
)
"""The columns of totals that make an adjustment where they differ; a policy's name or the unit makes none."""


class Change(NamedTuple):
    """A date of which another revision counts now."""

    date: str
    before: int | None
    """The revision that was counted when the period was closed; None: it had no verdict."""
    after: int | None


class Adjustment(NamedTuple):
    """How a closed period differs by later knowledge."""

    before: Mapping[str, Any] | None
    """The totals that counted; None: the person was not among those of the closing."""
    after: Mapping[str, Any]
    cut: int
    """What is cut in addition, in thousandths of a percent; negative: what is given back."""
    cut_rp: int
    """The same in rupiah."""
    changes: Sequence[Change]

    @property
    def content(self) -> dict[str, Any]:
        """Return what is stored and published of it."""
        return {
            "before": None if self.before is None else numbers(self.before),
            "after": numbers(self.after),
            "cut": signed_percent(self.cut),
            "cut_rp": self.cut_rp,
            "changes": [one._asdict() for one in self.changes],
        }


def adjust(
    before: Mapping[str, Any] | None,
    counted: Mapping[str, int],
    after: Mapping[str, Any],
    counting: Mapping[str, int],
) -> Adjustment | None:
    """Compare a closed period with what it comes to now; None where no number differs.

    ``counted`` and ``counting`` are the revisions of the dates, then and now. A revision that changes no number, such
    as another reason for the same verdict, is no adjustment.
    """
    if before is not None and numbers(before) == numbers(after):
        return None
    dates = sorted({*counted, *counting})
    changes = [Change(on, counted.get(on), counting.get(on)) for on in dates if counted.get(on) != counting.get(on)]
    cut = thousandths(after["cut"]) - (0 if before is None else thousandths(before["cut"]))
    rupiah = after["cut_rp"] - (0 if before is None else before["cut_rp"])
    return Adjustment(before, after, cut, rupiah, changes)


def numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a row of totals."""
    return {name: row[name] for name in NUMBERS}


def thousandths(percent: str) -> int:
    """Return a percentage as totals have it, in thousandths; ``"0.5"`` is 500."""
    whole, _, rest = percent.partition(".")
    return int(whole) * 1000 + int(rest.ljust(3, "0") or "0")


def signed_percent(value: int) -> str:
    """Write thousandths as a percentage without trailing zeros, with a minus where it is given back."""
    whole, rest = divmod(abs(value), 1000)
    text = f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
    return f"-{text}" if value < 0 else text
