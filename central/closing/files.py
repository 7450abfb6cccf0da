"""The files that are made at a closing and handed out again as they were: totals and adjustments as CSV. Pure."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from central.results.export import TOTALS, write_csv
from central.store.closings import ClosedTotal, KeptFile, StoredAdjustment

ADJUSTMENTS = ("person", "first", "last", "unit", "cut", "cut_rp", "cut_before", "cut_after", "dates")
"""The columns of adjustments; new ones are added at the end."""


def files_for(totals: Sequence[ClosedTotal], adjustments: Sequence[StoredAdjustment]) -> list[KeptFile]:
    """Return ``totals.csv`` and ``adjustments.csv``, UTF-8; the same rows give the same bytes."""
    return [
        _csv("totals.csv", TOTALS, (json.loads(one.content) for one in totals)),
        _csv("adjustments.csv", ADJUSTMENTS, _adjusted(adjustments)),
    ]


def _adjusted(adjustments: Iterable[StoredAdjustment]) -> Iterator[dict[str, Any]]:
    for one in adjustments:
        content = json.loads(one.content)
        yield {
            "person": one.person,
            "first": one.first,
            "last": one.last,
            "unit": one.unit,
            "cut": Decimal(content["cut"]),  # a number: a minus would be taken for a formula in text
            "cut_rp": content["cut_rp"],
            "cut_before": None if content["before"] is None else content["before"]["cut"],
            "cut_after": content["after"]["cut"],
            "dates": [change["date"] for change in content["changes"]],
        }


def _csv(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> KeptFile:
    text = io.StringIO()
    write_csv(rows, columns, text)
    return KeptFile(name, "text/csv; charset=utf-8", text.getvalue().encode())
