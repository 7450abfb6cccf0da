"""Steps 6 and 8, classify and sum: classes and cuts of slots, and what the whole day comes to. Pure."""

from dataclasses import dataclass

from central.timesheet.doubt import DayDoubt, could_bring_end_forward, has_variants, settle
from central.timesheet.known import Known
from central.timesheet.model import DayResult, Order, Punch, Reason, SlotResult, Status
from central.timesheet.plan import DayWork, SlotWork
from central.timesheet.rules import Cut, Missing, Ref, ref_json

NOTHING = Cut()


@dataclass(slots=True)
class Verdict:
    """What a slot comes to before the day is summed."""

    slot: SlotWork
    status: Status
    minutes: int | None = None
    missing: bool | None = None
    class_: str | None = None
    cut: Cut = NOTHING
    """What it cuts; nothing unless it is final."""
    given: Cut = NOTHING
    """What its class cuts, or would where it is not final."""
    excused_min: int = 0


def planned_minutes(day: DayWork) -> int:
    """Return the minutes from the plan's first to its last due time, less the break; 0 where nothing is demanded."""
    if day.first_due is None or day.last_due is None or not any(slot.demanded for slot in day.slots):
        return 0
    return max(0, (day.last_due - day.first_due) // 60 - day.plan.break_min)


def classify(day: DayWork, slot: SlotWork, status: Status, planned: int) -> Verdict:
    """Return minutes, class and cut of a slot, and append the line of the policy to the reasons."""
    verdict = Verdict(slot, status)
    rule = slot.rule
    if rule is None:
        return verdict
    if slot.excused is not None:
        verdict.minutes = 0
        verdict.excused_min = (slot.measured or 0) if slot.demanded else 0
        return verdict
    if not slot.demanded:
        return verdict
    if slot.picked is None:
        if status == "open":
            return verdict
        verdict.missing = True
        verdict.minutes = _missing_minutes(rule.missing, planned) if rule.measure != "present" else None
        _give(day, verdict, "missing", rule.missing.name, rule.missing.cut, rule.missing.ref)
        return verdict
    verdict.missing = False
    verdict.minutes = slot.measured if rule.measure != "present" else None
    measured = slot.measured or 0
    for band in reversed(rule.bands):
        if band.start <= measured:
            _give(day, verdict, "class", band.name, band.cut, band.ref)
            break
    return verdict


def _missing_minutes(missing: Missing, planned: int) -> int | None:
    return planned // 2 if missing.minutes == "half" else missing.minutes


def _give(day: DayWork, verdict: Verdict, what: str, name: str | None, cut: Cut, ref: Ref) -> None:
    verdict.class_, verdict.given = name, cut
    if verdict.status == "final":
        verdict.cut = cut
    day.reasons.append(
        {
            "step": "classify",
            "what": what,
            "slot": verdict.slot.slot.name,
            "minutes": verdict.minutes,
            "class": name,
            "cut": cut.percent,
            "cut_rp": cut.rupiah,
            "policy": ref_json(ref),
        }
    )


def sum_day(
    day: DayWork, verdicts: list[Verdict], known: Known, doubts: list[DayDoubt], status: Status, inputs: str
) -> DayResult:
    """Return the result of a day whose slots are classified."""
    punches = known.punches
    demanded = [verdict for verdict in verdicts if verdict.slot.demanded]
    absent = bool(demanded) and all(
        verdict.missing and verdict.status == "final" and verdict.slot.excused is None for verdict in demanded
    )
    class_, cut = _day_cut(day, verdicts, absent)
    if status == "provisional":
        _explain_withheld(day, demanded, verdicts, cut)
    present, counted, before, overtime = _presence(day, known.orders)
    unclaimed, repeats = _unclaimed(day, known)
    return DayResult(
        date=day.plan.date,
        work_date=day.work_date,
        kind=day.plan.kind,
        status=status,
        shifts=day.plan.shifts,
        absent=absent,
        worked=any(slot.pool for slot in day.slots),
        class_=class_,
        cut=cut.percent,
        cut_rp=cut.rupiah,
        planned_min=day.planned_min,
        present_min=present,
        counted_min=counted,
        before_min=before,
        overtime_min=overtime,
        slots=tuple([_slot_result(day, verdict, punches, doubts) for verdict in verdicts]),
        excused=tuple(day.excused.items()),
        unclaimed=unclaimed,
        repeats=repeats,
        conditions=_conditions(day, punches),
        reasons=tuple(day.reasons),
        inputs=inputs,
    )


def classify_slots(day: DayWork, known: Known, doubts: list[DayDoubt]) -> list[Verdict]:
    """Settle and classify every slot of a day."""
    planned = day.planned_min = planned_minutes(day)
    verdicts = []
    for slot in day.slots:
        _explain_pick(day, slot, known.punches)
        status = settle(day, slot, doubts, known.punches, known.now)
        verdicts.append(classify(day, slot, status, planned))
    return verdicts


def day_status(verdicts: list[Verdict]) -> Status:
    """Return open, else provisional, as any demanded slot is; else final."""
    found = {verdict.status for verdict in verdicts if verdict.slot.demanded}
    return "open" if "open" in found else "provisional" if "provisional" in found else "final"


def _day_cut(day: DayWork, verdicts: list[Verdict], absent: bool) -> tuple[str | None, Cut]:
    if absent:
        instead = day.rules.all_missing
        day.reasons.append(
            {"step": "sum", "what": "absent", "policy": None if instead is None else ref_json(instead.ref)}
        )
        if instead is not None:
            for verdict in verdicts:
                verdict.minutes, verdict.class_, verdict.cut = None, None, NOTHING
            return instead.name, instead.cut
    percent = sum(verdict.cut.percent for verdict in verdicts)
    rupiah = sum(verdict.cut.rupiah for verdict in verdicts)
    cap = day.rules.day_cap
    if cap is not None and percent > cap.percent:
        day.reasons.append({"step": "sum", "what": "cap", "policy": ref_json(cap.ref)})
        percent = cap.percent
    return None, Cut(percent, rupiah)


def _explain_withheld(day: DayWork, demanded: list[Verdict], verdicts: list[Verdict], cut: Cut) -> None:
    """Say what the day would cut if nothing better came, where that is more than it cuts."""
    instead, cap = day.rules.all_missing, day.rules.day_cap
    ref = None
    if instead is not None and all(verdict.missing and verdict.slot.excused is None for verdict in demanded):
        would, ref = instead.cut, instead.ref
    else:
        percent = sum(verdict.given.percent for verdict in verdicts)
        if cap is not None and percent > cap.percent:
            percent, ref = cap.percent, cap.ref
        would = Cut(percent, sum(verdict.given.rupiah for verdict in verdicts))
    if would != cut:
        reason: Reason = {"step": "sum", "what": "withheld", "cut": would.percent, "cut_rp": would.rupiah}
        day.reasons.append({**reason, "policy": None if ref is None else ref_json(ref)})


def _explain_pick(day: DayWork, slot: SlotWork, punches: tuple[Punch, ...]) -> None:
    """Append what the steps claim, pick and measure found for a slot."""
    rule = slot.rule
    if slot.picked is None or rule is None:
        return
    name = slot.slot.name
    if len(slot.pool) > 1 or slot.picked not in slot.claimed:
        claimed = [describe_punch(punches[index]) for index in slot.pool]
        own = len(slot.claimed) == len(slot.pool)
        day.reasons.append(
            {"step": "claim", "what": "claimed" if own else "also_counts", "slot": name, "punches": claimed}
        )
    picked: Reason = {"step": "pick", "what": rule.pick, "slot": name, "punch": describe_punch(punches[slot.picked])}
    picked["policy"] = ref_json(rule.pick_ref)
    day.reasons.append(picked)
    beyond = day.times[slot.picked] - slot.due
    seconds = beyond if rule.measure == "late" else -beyond if rule.measure == "early" else 0
    if seconds > 0:
        measured: Reason = {"step": "measure", "what": rule.measure, "slot": name, "seconds": seconds}
        measured["minutes"] = slot.measured
        measured["policy"] = ref_json(rule.ref if rule.grace.kind == "none" else rule.grace.ref)
        day.reasons.append(measured)


def _slot_result(day: DayWork, verdict: Verdict, punches: tuple[Punch, ...], doubts: list[DayDoubt]) -> SlotResult:
    slot = verdict.slot
    flexi = (
        slot.flexi_arrival
        and slot.demanded
        and slot.excused is None
        and verdict.status == "final"
        and not could_bring_end_forward(day, doubts, punches)
    )
    return SlotResult(
        name=slot.slot.name,
        kind=slot.slot.kind,
        measure=slot.measure,
        status=verdict.status,
        demanded=slot.demanded,
        punch=None if slot.picked is None else punches[slot.picked],
        punches=len(slot.pool),
        due=slot.due,
        due_local=day.plan.zone.local(slot.due),
        minutes=verdict.minutes,
        missing=verdict.missing,
        class_=verdict.class_,
        cut=verdict.cut.percent,
        cut_rp=verdict.cut.rupiah,
        excused=slot.excused,
        excused_min=verdict.excused_min,
        flexi_arrival=flexi,
    )


def _presence(day: DayWork, orders: tuple[Order, ...]) -> tuple[int | None, int | None, int | None, int]:
    """Return present, counted, before and overtime minutes."""
    come = _time(day, day.arrival)
    gone = _time(day, day.leaving)
    first, last = day.first_due, day.last_due
    if come is None or first is None or last is None:
        return None, None, None, 0
    before = max(0, (first if gone is None else min(first, gone)) - come) // 60
    if gone is None:
        return None, None, before, 0
    present = max(0, gone - come) // 60
    counted = max(0, gone - max(come, first)) // 60
    if not orders:
        return present, counted, before, 0
    demanded = any(slot.demanded for slot in day.slots)
    overtime = _overtime(orders, come, gone, (first, last) if demanded else None)
    return present, counted, before, overtime // 60


def _time(day: DayWork, slot: SlotWork | None) -> int | None:
    return None if slot is None or slot.picked is None else day.times[slot.picked]


def _overtime(orders: tuple[Order, ...], come: int, gone: int, plan: tuple[int, int] | None) -> int:
    """Return the seconds inside an order, while present, outside the plan; orders are in order of time."""
    free = [(come, gone)] if plan is None else [(come, min(gone, plan[0])), (max(come, plan[1]), gone)]
    total = 0
    for start, end in free:
        at = start
        for order in orders:
            begin = max(at, order.start)
            until = min(end, order.end)
            if until > begin:
                total += until - begin
                at = until
    return total


def _unclaimed(day: DayWork, known: Known) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the punches printed with the day's date that no slot took, and the repeats among them."""
    unclaimed, repeats = [], []
    for index in known.printed_on(day):
        punch = known.punches[index]
        if known.claims.repeat[index]:
            repeats.append(punch.local)
            day.reasons.append({"step": "claim", "what": "repeat", "punch": describe_punch(punch)})
        elif known.claims.owner[index] is None and not known.claims.unplaced[index]:
            unclaimed.append(punch.local)
            day.reasons.append({"step": "claim", "what": "unclaimed", "punch": describe_punch(punch)})
    return tuple(unclaimed), tuple(repeats)


def _conditions(day: DayWork, punches: tuple[Punch, ...]) -> tuple[str, ...]:
    """Return what is wrong with plan or punches, by name, in a fixed order."""
    found = []
    if not day.slots and day.plan.kind == "workday":
        found.append("no_slots")
    if any(_due_outside(slot) for slot in day.slots):
        found.append("due_outside_window")
    if any(slot.rule is None for slot in day.slots):
        found.append("unknown_kind")
    if any(slot.picked is not None and has_variants(slot, punches[slot.picked]) for slot in day.slots):
        found.append("state_variants")
    return (*found, *day.unknown)


def _due_outside(slot: SlotWork) -> bool:
    plan = slot.slot
    return plan.start > plan.end or (plan.due is not None and not plan.start <= plan.due <= plan.end)


def describe_punch(punch: Punch) -> dict[str, object]:
    """Return a punch as evidence: what tells it apart, its printed time and what is known of its clock."""
    found: dict[str, object] = {
        "id": punch.id,
        "stream": punch.stream,
        "sequence": punch.sequence,
        "terminal": punch.terminal,
        "local": punch.local,
        "instant": punch.instant,
        "states": punch.states,
    }
    if punch.suspect:
        found["suspect"] = punch.suspect
    if punch.clock is not None or punch.offset_ms is not None:
        found["clock"] = punch.clock or {"offset_ms": punch.offset_ms}
    if punch.paper is not None:
        found["paper"] = punch.paper
    return found
