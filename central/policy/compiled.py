"""From a policy's document to the flat rules that the judgement reads."""

import json
from hashlib import sha256

from central.policy import model
from central.policy.document import Node, Place
from central.timesheet import rules as flat
from central.timesheet.rules import Cut, Ref, Rules, SlotRule


def compile_rules(policy: model.Policy, document: Node) -> tuple[Rules, dict[str, Place]]:
    """Return the rules of a policy on one date, each part with its source, and where the parts stand."""
    refs = _Refs(document)
    day, period = policy.day, policy.period
    rules = Rules(
        policy=policy.policy,
        digest=_digest(document),
        ref=refs.of(),
        ceil=policy.rounding == "ceil",
        slots={name: _slot(name, kind, refs) for name, kind in policy.slots.items()},
        flexi=_flexi(policy.flexi, refs),
        all_missing=None
        if day.all_missing is None
        else flat.AllMissing(day.all_missing.class_, _cut(day.all_missing), refs.of("day", "all_missing")),
        day_cap=_cap(day.cap, refs, "day"),
        day_ref=refs.of("day"),
        work_date=day.work_date,
        zone_of_terminal=day.zone == "terminal",
        shared_seam=day.shared_seam,
        repeat_s=day.repeat_s,
        trust_offset=day.trust_offset,
        accept=frozenset(day.accept),
        leave={
            name: flat.LeaveRule(_cut(kind), kind.after_days * 1000, refs.of("leave", name))
            for name, kind in policy.leave.items()
        },
        period_ref=refs.of("period"),
        begins_on=period.begins_on,
        buckets=tuple(
            flat.Bucket(tuple(bucket.of), bucket.min, _cut(bucket), refs.of("period", "buckets", index))
            for index, bucket in enumerate(period.buckets)
        ),
        counters=tuple(
            flat.Counter(tuple(counter.of), counter.after, _cut(counter), refs.of("period", "counters", index))
            for index, counter in enumerate(period.counters)
        ),
        period_all_missing=_period_all_missing(period.all_missing, refs),
        proportional=period.proportional,
        period_cap=_cap(period.cap, refs, "period"),
        cap_own_days=period.cap_scope == "own_days",
        discipline=_discipline(policy.discipline, refs),
    )
    return rules, refs.places


class _Refs:
    """Finds nodes of a document, what they rest on, and where they stand."""

    def __init__(self, document: Node) -> None:
        self._document = document
        self.places: dict[str, Place] = {}

    def version(self, *path: str | int) -> str:
        """Return which dated alternatives led to a node."""
        return self._document.nearest(path).version

    def of(self, *path: str | int) -> Ref:
        """Return the reference of a node; what is left out rests on the node around it.

        A node that cuts rests on the source of its figure, which may be dated apart from it.
        """
        nearest = self._document.nearest(path)
        figure = nearest.get("cut") or nearest.get("cut_rp") or nearest
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        self.places[name or "policy"] = nearest.place
        return Ref(name or "policy", figure.source.get("decree"), figure.source.get("article"))


def _digest(document: Node) -> str:
    plain = {key: node.plain() for key, node in document.value.items() if key not in ("extends", "title")}
    content = json.dumps([plain, _sources(document)], ensure_ascii=False, sort_keys=True)
    return sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _sources(node: Node) -> object:
    """Return the sources of a node and of all below it, which are inherited and dated apart from its text."""
    below: object = None
    if isinstance(node.value, dict):
        below = {key: _sources(part) for key, part in node.value.items() if key != "extends"}
    elif isinstance(node.value, list):
        below = [_sources(part) for part in node.value]
    return [dict(node.source), below]


def _cut(part: model.Cutting) -> Cut:
    return Cut(part.cut, part.cut_rp)


def _cap(percent: int | None, refs: _Refs, *path: str) -> flat.Cap | None:
    return None if percent is None else flat.Cap(percent, refs.version(*path, "cap"), refs.of(*path, "cap"))


def _slot(name: str, kind: model.SlotKind, refs: _Refs) -> SlotRule:
    path = ("slots", name)
    return SlotRule(
        kind=name,
        measure=kind.measure,
        pick=kind.pick or ("last" if kind.measure == "early" else "first"),
        states=None if kind.states is None else frozenset(kind.states),
        counts_as=kind.counts_as,
        starts=kind.starts,
        grace=flat.Grace(kind.grace.kind, kind.grace.min * 60, kind.grace.exact, refs.of(*path, "grace")),
        bands=tuple(
            flat.Band(band.from_, band.class_, _cut(band), refs.of(*path, "bands", index))
            for index, band in enumerate(kind.bands)
        ),
        missing=flat.Missing(kind.missing.class_, _cut(kind.missing), kind.missing.min, refs.of(*path, "missing")),
        ref=refs.of(*path),
        pick_ref=refs.of(*path, "pick"),
    )


def _flexi(flexi: model.Flexi | None, refs: _Refs) -> flat.Flexi | None:
    if flexi is None:
        return None
    return flat.Flexi(flexi.mode, flexi.range_min * 60, flexi.repay_min * 60, refs.of("flexi"))


def _period_all_missing(rule: model.PeriodAllMissing | None, refs: _Refs) -> flat.PeriodAllMissing | None:
    if rule is None:
        return None
    return flat.PeriodAllMissing(rule.days, rule.consecutive, _cut(rule), refs.of("period", "all_missing"))


def _discipline(rule: model.Discipline, refs: _Refs) -> flat.DisciplineRule:
    ladder = [(step.days, step.level, refs.of("discipline", "ladder", index)) for index, step in enumerate(rule.ladder)]
    return flat.DisciplineRule(
        minutes_per_day=rule.minutes_per_day,
        ceil=rule.rounding == "ceil",
        excused_counts=rule.excused_counts,
        consecutive_days=rule.consecutive_days,
        consecutive_level=rule.consecutive_level,
        ladder=tuple(ladder),
        minutes_ref=refs.of("discipline", "minutes_per_day"),
        run_ref=refs.of("discipline", "consecutive_days"),
    )
