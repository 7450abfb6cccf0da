"""The judgement: from plan, punches, policy and doubts to verdicts with their reasons. Pure and total."""

from collections.abc import Iterable, Sequence
from datetime import date

from central.timesheet.claim import claim, sort_punches
from central.timesheet.digest import head_of, inputs_digest
from central.timesheet.doubt import FOREVER, STANDING, DayDoubt, gather, standing_effects
from central.timesheet.due import apply_leave, join_intervals
from central.timesheet.known import Known
from central.timesheet.measure import pick_and_measure
from central.timesheet.model import DayResult, Judged, LeaveDay, Order, PlanDay, Span
from central.timesheet.plan import DayWork, laid_out_again, lay_out
from central.timesheet.rules import RulesOn
from central.timesheet.verdict import classify_slots, day_status, sum_day


def judge(span: Span, rules_on: RulesOn, laid_out: Sequence[DayWork] | None = None) -> Judged:
    """Return the verdict on each planned date of a span, in order of date; ``rules_on`` gives the policy of a date.

    ``laid_out``: what :func:`lay_out_once` made of the same days and rules, for callers who judge many spans by them.

    The order in which facts stand in the span has no influence. Nothing raises: what is wrong with a plan or a punch
    is a named condition of the result.
    """
    days = lay_out(span.days, rules_on) if laid_out is None else laid_out_again(laid_out)
    absences = join_intervals(span.leave)
    whole_days = sorted((leave for leave in span.leave if isinstance(leave, LeaveDay)), key=_leave_order)
    leave_of: dict[date, list[LeaveDay]] = {}
    for leave in whole_days:
        leave_of.setdefault(leave.date, []).append(leave)
    for day in days:
        own = leave_of.get(day.plan.date, [])
        apply_leave(day, absences, [leave for leave in own if leave.slot is None], [x for x in own if x.slot])
    punches = sort_punches(days, span.punches)
    claims = claim(days, punches)
    for day in days:
        pick_and_measure(day, punches)
    picked = {slot.picked for day in days for slot in day.slots if slot.picked is not None}
    now = FOREVER if span.now is None else span.now
    known = Known(punches, claims, absences, leave_of, tuple(sorted(span.orders, key=_order_order)), now)
    unpicked = [index for index, punch in enumerate(punches) if punch.suspect and index not in picked]
    found = [_result(day, known, gather(day, span, punches, unpicked)) for day in days]
    free = [index for index in range(len(punches)) if claims.owner[index] is None]
    return Judged(
        days=tuple([result for result, _ in found]),
        unclaimed=tuple([punches[index] for index in free if not claims.unplaced[index]]),
        unplaced=tuple([punches[index] for index in free if claims.unplaced[index]]),
        awaiting=frozenset([result.date for result, waits in found if waits]),
    )


def lay_out_once(days: Iterable[PlanDay], rules_on: RulesOn) -> list[DayWork]:
    """Return what :func:`judge` finds of planned days and rules alone."""
    laid_out = lay_out(days, rules_on)
    for day in laid_out:
        day.head = head_of(day)
    return laid_out


def _result(day: DayWork, known: Known, doubts: list[DayDoubt]) -> tuple[DayResult, bool]:
    """Return the verdict on a day, and whether a standing doubt keeps anything of it provisional."""
    verdicts = classify_slots(day, known, doubts)
    status = day_status(verdicts)
    standing = standing_effects(day, doubts, known.punches, known.now) if doubts else []
    lasting = _lasting(day, doubts, known.now) if doubts else doubts
    inputs = inputs_digest(day, known, lasting, standing, [status, *[verdict.status for verdict in verdicts]])
    return sum_day(day, verdicts, known, doubts, status, inputs), bool(standing)


def _lasting(day: DayWork, doubts: list[DayDoubt], now: int) -> list[DayDoubt]:
    """Return the doubts that enter the digest: those that touch a window which has ended.

    A slot is open while its window lasts, whatever is in doubt: a terminal that is off at night brings no revision.
    """
    ended = [slot for slot in day.slots if slot.end < now]
    if ended and day.flexi and day.arrival is not None:
        ended.append(day.arrival)  # a doubt at the arrival moves the end
    return [
        doubt
        for doubt in doubts
        if doubt.why not in STANDING and any(doubt.start <= slot.end and doubt.end >= slot.start for slot in ended)
    ]


def _leave_order(leave: LeaveDay) -> tuple[object, ...]:
    return leave.date, leave.kind, leave.slot or "", f"{leave.paper is not None:d}{leave.paper or ''}"


def _order_order(order: Order) -> tuple[int, int, str]:
    return order.start, order.end, f"{order.paper is not None:d}{order.paper or ''}"
