"""A power cut in the middle of a reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drivers.base import Record


class PowerCut(Exception):  # noqa: N818 - it is one
    """The gateway dies in the middle of a reading."""


@dataclass(frozen=True)
class Interrupted:
    """Records at whose ``last`` iteration the power is cut before record ``at``.

    A log that continues what is known is iterated once. Any other is iterated until it differs, as a whole to be laid
    against the known order, once more to find what must be matched, and then to be stored.
    """

    records: Sequence[Record]
    at: int
    last: int
    passes: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[Record]:
        self.passes.append(1)
        for index, record in enumerate(self.records):
            if len(self.passes) == self.last and index == self.at:
                raise PowerCut
            yield record
