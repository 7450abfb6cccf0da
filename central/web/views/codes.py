"""The short codes of a month's sheet, as personnel offices write them. Pure; the same in every language."""

from collections.abc import Mapping
from functools import lru_cache

from central.texts import Text, in_context
from central.timesheet import outcome as marks
from central.timesheet.outcome import Standing

LEAVE: Mapping[str, str] = {
    "annual": "C",
    "important": "C",
    "maternity": "C",
    "long": "C",
    "sick": "S",
    "duty": "DL",
    "training": "DL",
    "permission": "I",
    "remote": "WFH",
    "technical": "T",
}
"""Codes of usual kinds of leave; another kind is ``I``."""
OTHER_LEAVE = "I"
CODES: Mapping[str, Text] = {
    "H": in_context("code", "complete and on time"),
    "TL": in_context("code", "late"),
    "PSW": in_context("code", "left early"),
    "TP": in_context("code", "a punch is missing"),
    "TK": in_context("code", "absent without leave"),
    "C": in_context("code", "leave (annual, maternity, long, important)"),
    "S": in_context("code", "sick"),
    "DL": in_context("code", "duty travel or training"),
    "I": in_context("code", "permission"),
    "WFH": in_context("code", "works elsewhere"),
    "T": in_context("code", "technical reason"),
    "L": in_context("code", "off or holiday"),
    "?": in_context("code", "not final yet"),
    "-": in_context("code", "not judged"),
}
"""What codes mean, in the order of the legend."""


@lru_cache(4096)
def codes_of(found: Standing) -> tuple[str, ...]:
    """Return the codes of a date; what may still change stands behind ``?``."""
    if marks.NONE in found.marks:
        return ("-",)
    if marks.ABSENT in found.marks:
        return ("TK",)
    codes = [LEAVE.get(kind, OTHER_LEAVE) for kind in found.excused]
    for name, code in ((marks.LATE, "TL"), (marks.EARLY, "PSW"), (marks.MISSING, "TP")):
        if name in found.marks and name not in found.unsettled:
            codes.append(code)
    if marks.COMPLETE in found.marks:
        codes.append("H")
    if marks.NO_DUTY in found.marks:
        codes.append("L")
    if found.status != "final":
        codes.append("?")
    return tuple(dict.fromkeys(codes)) or ("H",)


def tone_of(found: Standing) -> str:
    """Return how a date is drawn: ``good``, ``exception``, ``absent``, ``excused``, ``waiting`` or ``none``."""
    if marks.NONE in found.marks or marks.NO_DUTY in found.marks:
        return "none"
    if marks.ABSENT in found.marks:
        return "absent"
    if found.status != "final":
        return "waiting"
    if {marks.LATE, marks.EARLY, marks.MISSING} & found.marks:
        return "exception"
    return "excused" if marks.EXCUSED in found.marks and marks.COMPLETE not in found.marks else "good"
