"""The files that are made at a closing and handed out again as they were. Pure.

They are in Indonesian, as an office files them: recap and annex to the payment as XLSX and HTML, full attendance as
HTML, totals and adjustments as CSV. XLSX is left out where the extra `centre` is not installed.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from central.results.export import TOTALS, write_csv
from central.sheets import month, write
from central.sheets.lines import UnitPeriod
from central.sheets.settings import Settings
from central.sheets.sheet import Sheet
from central.store.closings import ClosedTotal, KeptFile, StoredAdjustment
from central.texts import Language

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ADJUSTMENTS = ("person", "first", "last", "unit", "cut", "cut_rp", "cut_before", "cut_after", "dates")
"""The columns of adjustments; new ones are added at the end."""


def files_for(
    period: UnitPeriod,
    totals: Sequence[ClosedTotal],
    adjustments: Sequence[StoredAdjustment],
    settings: Settings,
    today: date,
) -> list[KeptFile]:
    """Return the files of a closing; the same period gives the same bytes."""
    builders = month.recap, month.annex, month.full_attendance
    sheets = [builder(period, settings, Language.INDONESIAN, today) for builder in builders]
    books = [_xlsx(sheet) for sheet in sheets[:2]] if find_spec("xlsxwriter") else []
    return [
        *books,
        *(_html(sheet) for sheet in sheets),
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


def _xlsx(sheet: Sheet) -> KeptFile:
    file = io.BytesIO()
    write.xlsx(sheet, file)
    return KeptFile(
        f"{sheet.name}.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", file.getvalue()
    )


def _html(sheet: Sheet) -> KeptFile:
    text = io.StringIO()
    write.html(sheet, text, Language.INDONESIAN)
    return KeptFile(f"{sheet.name}.html", "text/html; charset=utf-8", text.getvalue().encode())


def _csv(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> KeptFile:
    text = io.StringIO()
    write_csv(rows, columns, text)
    return KeptFile(name, "text/csv; charset=utf-8", text.getvalue().encode())
