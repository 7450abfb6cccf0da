"""A policy in plain sentences, as an official would check it against the decree: Indonesian or English.

Each sentence ends with the decree and article that it rests on. What is dated stands under its date; a figure whose
source says that it is invented is marked.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from central.policy.load import Policy, Version
from central.timesheet.rules import Cut, DisciplineRule, Ref, Rules, SlotRule

Language = Literal["id", "en"]

_WORDS: dict[str, tuple[str, str]] = {  # key: Indonesian, English
    "from": ("Mulai {date}:", "From {date} on:"),
    "always": ("Aturan {name}:", "Rules of {name}:"),
    "rounding_floor": (
        "Detik yang belum genap satu menit tidak dihitung.",
        "Seconds that do not make a full minute do not count.",
    ),
    "rounding_ceil": ("Setiap menit yang sudah dimulai dihitung penuh.", "Every minute that has begun counts in full."),
    "late": ("{kind}: terlambat dihitung dari jam yang ditentukan.", "{kind}: lateness counts from the due time."),
    "early": (
        "{kind}: pulang cepat dihitung sampai jam yang ditentukan.",
        "{kind}: leaving early counts up to the due time.",
    ),
    "present": (
        "{kind}: cukup satu absensi dalam rentang waktunya.",
        "{kind}: any punch within its window satisfies it.",
    ),
    "first": ("{kind}: absensi pertama yang berlaku.", "{kind}: the first punch counts."),
    "last": ("{kind}: absensi terakhir yang berlaku.", "{kind}: the last punch counts."),
    "best": ("{kind}: absensi yang paling menguntungkan yang berlaku.", "{kind}: the most favourable punch counts."),
    "state": (
        "{kind}: absensi dengan kode tombol yang sesuai diutamakan.",
        "{kind}: a punch with a matching state key goes first.",
    ),
    "states": ("{kind}: kode tombol yang berlaku: {states}.", "{kind}: state keys that count: {states}."),
    "counts_as": ("{kind}: absensi ini juga berlaku sebagai {other}.", "{kind}: its punches count as {other} too."),
    "starts": (
        "{kind}: hanya diminta pada hari yang mulai antara {first} dan {last}.",
        "{kind}: asked only of days that begin between {first} and {last}.",
    ),
    "threshold": (
        "{kind}: sampai {minutes} menit dimaafkan; lebih dari itu dihitung seluruhnya.",
        "{kind}: up to {minutes} minutes are forgiven; beyond that all of it counts.",
    ),
    "threshold_exact": (
        "{kind}: sampai {minutes} menit dimaafkan, tepat sampai detik; lebih dari itu dihitung seluruhnya.",
        "{kind}: up to {minutes} minutes are forgiven, to the second; beyond that all of it counts.",
    ),
    "offset": (
        "{kind}: {minutes} menit pertama tidak dihitung.",
        "{kind}: the first {minutes} minutes do not count.",
    ),
    "band": ("{kind}: {range}: {class_}, {cut}.", "{kind}: {range}: {class_}, {cut}."),
    "missing": ("{kind}: tanpa absensi: {class_}, {cut}.", "{kind}: without a punch: {class_}, {cut}."),
    "missing_min": (
        "{kind}: tanpa absensi dihitung {minutes} menit.",
        "{kind}: without a punch it counts for {minutes} minutes.",
    ),
    "missing_half": (
        "{kind}: tanpa absensi dihitung setengah dari menit kerja hari itu.",
        "{kind}: without a punch it counts for half of the day's planned minutes.",
    ),
    "shift": (
        "Jam fleksibel: datang sampai {minutes} menit lebih awal atau lebih lambat menggeser jam pulang sama banyak.",
        "Flexible hours: arriving up to {minutes} minutes earlier or later moves the end by as much.",
    ),
    "repay": (
        "Jam fleksibel: terlambat sampai {minutes} menit diganti pada hari yang sama, menit per menit.",
        "Flexible hours: up to {minutes} minutes of lateness are made good on the same day, minute by minute.",
    ),
    "fixed": (
        "Jam fleksibel: terlambat sampai {minutes} menit diganti {repay} menit pada hari yang sama.",
        "Flexible hours: lateness of up to {minutes} minutes is made good by {repay} minutes on the same day.",
    ),
    "absent": (
        "Sehari penuh tanpa absensi: {class_}, {cut}, sebagai ganti potongan tiap absensi.",
        "A whole day without punches: {class_}, {cut}, in place of the cuts of single slots.",
    ),
    "day_cap": ("Sehari paling banyak {cut}.", "A day: at most {cut}."),
    "work_end": ("Hari kerja dicatat pada tanggal jam pulang.", "A day counts on the date of its last due time."),
    "work_longest": (
        "Hari kerja dicatat pada tanggal dengan waktu kerja terbanyak.",
        "A day counts on the date that holds most of it.",
    ),
    "terminal": (
        "Jam mesin dibaca menurut zona waktu jadwal, juga di tempat lain.",
        "The digits of the terminal are read in the plan's zone, elsewhere too.",
    ),
    "seam": (
        "Satu absensi di antara dua sif berlaku untuk keduanya.",
        "One punch between two shifts serves both.",
    ),
    "repeat": (
        "Absensi dalam {seconds} detik setelah absensi sebelumnya adalah ulangan.",
        "A punch within {seconds} seconds of the one before is a repeat.",
    ),
    "trust": (
        "Jam mesin yang meleset dikoreksi dengan selisih terukur, bila menguntungkan pegawai.",
        "A clock that drifts is corrected by its measured offset where that favours the person.",
    ),
    "accept": ("Tidak dianggap meragukan: {suspects}.", "Not taken as a doubt: {suspects}."),
    "leave": ("Cuti/izin {kind}: {cut} per hari.", "Leave {kind}: {cut} a day."),
    "leave_after": (
        "Cuti/izin {kind}: {cut} per hari, setelah {days} hari pertama dalam periode.",
        "Leave {kind}: {cut} a day, after the first {days} days of the period.",
    ),
    "begins": ("Periode mulai tanggal {day} setiap bulan.", "Periods begin on day {day} of the month."),
    "bucket": (
        "Setiap genap {minutes} menit ({of}) dalam periode: {cut}.",
        "Each full {minutes} minutes ({of}) of a period: {cut}.",
    ),
    "counter": (
        "Mulai yang ke-{number} ({of}) dalam periode, menurut tanggal: {cut} setiap kali.",
        "From number {number} ({of}) of a period on, by date: {cut} each time.",
    ),
    "period_absent": (
        "{days} hari tanpa absensi dalam periode: {cut} sebagai ganti semuanya.",
        "{days} absent days in a period: {cut} in place of everything else.",
    ),
    "period_run": (
        "{days} hari berturut-turut tanpa absensi dalam periode: {cut} sebagai ganti semuanya.",
        "{days} absent days in a row in a period: {cut} in place of everything else.",
    ),
    "proportional": (
        "Persentase kehadiran periode dihitung dari menit kerja; tidak memotong sendiri.",
        "The presence of a period is computed from minutes; it cuts nothing itself.",
    ),
    "period_cap": ("Satu periode paling banyak {cut}.", "A period: at most {cut}."),
    "convert": (
        "{minutes} menit terlambat dan pulang cepat dalam setahun dihitung satu hari tidak masuk.",
        "{minutes} minutes late and early in a year count as one absent day.",
    ),
    "ladder": ("Mulai {days} hari dalam setahun: {level}.", "From {days} days in a year on: {level}."),
    "run": ("{days} hari berturut-turut tidak masuk: {level}.", "{days} absent days in a row: {level}."),
    "invented": ("[KARANGAN]", "[INVENTED]"),
    "none": ("tanpa kelas", "no class"),
    "nothing": ("tanpa potongan", "no cut"),
    "single": ("{first} menit", "{first} minutes"),
    "range": ("{first} sampai {last} menit", "{first} to {last} minutes"),
    "beyond": ("{first} menit atau lebih", "{first} minutes or more"),
    "cut": ("potongan {cut}", "cut {cut}"),
    "of_late": ("terlambat", "late"),
    "of_early": ("pulang cepat", "early"),
    "of_missing": ("tanpa absensi", "missing"),
    "of_flexi": ("terlambat dalam batas fleksibel", "late within the flexible range"),
}
_INVENTED = ("invented", "karangan", "rekaan")


class _Line(NamedTuple):
    key: str
    ref: Ref
    values: dict[str, object]


def explain(policy: Policy, language: Language = "en") -> str:
    """Return a policy as sentences, what changes later under its date."""
    titles = policy.versions[0].model.title
    title = (titles.id if language == "id" else titles.en) if titles is not None else None
    parts = []
    before: set[str] = set()
    for index, version in enumerate(policy.versions):
        sentences = [_sentence(line, version, language) for line in _lines(version.rules)]
        new = [sentence for sentence in sentences if sentence not in before]
        if index == 0:
            parts.append(_say("always", language, name=f"{policy.name}, {title}" if title else policy.name))
        elif new:
            parts.append(_say("from", language, date=version.since.isoformat()))
        parts += [f"  {sentence}" for sentence in new]
        before = set(sentences)
    return "\n".join(parts)


def _say(key: str, language: Language, **values: object) -> str:
    return _WORDS[key][0 if language == "id" else 1].format_map(values)


def _sentence(line: _Line, version: Version, language: Language) -> str:
    values = {name: _value(value, language) for name, value in line.values.items()}
    text = _say(line.key, language, **values)
    ref = line.ref
    source = ", ".join(part for part in (ref.decree, ref.article) if part)
    note = version.notes.get(ref.node, "")
    invented = any(word in f"{source} {note}".lower() for word in _INVENTED)
    mark = f" {_say('invented', language)}" if invented else ""
    return f"{text} ({source}{'; ' if note else ''}{note}){mark}" if source or note else f"{text}{mark}"


def _value(value: object, language: Language) -> object:
    if isinstance(value, Cut):
        return _cut(value, language)
    if isinstance(value, range):
        key = "beyond" if value.stop > _OPEN else "single" if len(value) == 1 else "range"
        return _say(key, language, first=value.start, last=value.stop - 1)
    if isinstance(value, tuple):
        return ", ".join(_say(f"of_{item}", language) for item in value)
    return _say("none", language) if value is None else value


def _cut(cut: Cut, language: Language) -> str:
    whole, rest = divmod(cut.percent, 1000)
    decimals = f"{rest:03d}".rstrip("0")
    point = "," if language == "id" else "."
    percent = f"{whole}{point + decimals if decimals else ''} %"
    rupiah = f"Rp{cut.rupiah:,}".replace(",", "." if language == "id" else ",")
    if not cut.percent and not cut.rupiah:
        return _say("nothing", language)
    parts = [text for text, amount in ((percent, cut.percent), (rupiah, cut.rupiah)) if amount]
    return _say("cut", language, cut=" + ".join(parts))


_OPEN = 10**7
"""Minutes that no band's end reaches."""


def _lines(rules: Rules) -> Iterator[_Line]:
    yield _Line("rounding_ceil" if rules.ceil else "rounding_floor", rules.ref, {})
    for slot in rules.slots.values():
        yield from _slot_lines(slot)
    flexi = rules.flexi
    if flexi is not None:
        yield _Line(flexi.mode, flexi.ref, {"minutes": flexi.range_s // 60, "repay": flexi.repay_s // 60})
    yield from _day_lines(rules)
    for kind, leave in rules.leave.items():
        key = "leave_after" if leave.after else "leave"
        yield _Line(key, leave.ref, {"kind": kind, "cut": leave.cut, "days": leave.after // 1000})
    yield from _period_lines(rules)
    yield from _discipline_lines(rules.discipline)


def _slot_lines(slot: SlotRule) -> Iterator[_Line]:
    kind: dict[str, object] = {"kind": slot.kind}
    yield _Line(slot.measure, slot.ref, kind)
    if slot.measure != "present":
        yield _Line(slot.pick, slot.pick_ref, kind)
    if slot.states is not None:
        yield _Line("states", slot.ref, {**kind, "states": " ".join(map(str, sorted(slot.states)))})
    if slot.counts_as is not None:
        yield _Line("counts_as", slot.ref, {**kind, "other": slot.counts_as})
    if slot.starts is not None:
        first, last = (f"{second // 3600:02d}:{second // 60 % 60:02d}" for second in slot.starts)
        yield _Line("starts", slot.ref, {**kind, "first": first, "last": last})
    grace = slot.grace
    if grace.kind != "none":
        key = "threshold_exact" if grace.kind == "threshold" and grace.exact else grace.kind
        yield _Line(key, grace.ref, {**kind, "minutes": grace.seconds // 60})
    ends = [band.start for band in slot.bands[1:]]
    for band, end in zip(slot.bands, [*ends, _OPEN + 1], strict=False):
        yield _Line("band", band.ref, {**kind, "range": range(band.start, end), "class_": band.name, "cut": band.cut})
    missing = slot.missing
    yield _Line("missing", missing.ref, {**kind, "class_": missing.name, "cut": missing.cut})
    if missing.minutes is not None:
        counted = "missing_half" if missing.minutes == "half" else "missing_min"
        yield _Line(counted, missing.ref, {**kind, "minutes": missing.minutes})


def _day_lines(rules: Rules) -> Iterator[_Line]:
    absent, cap = rules.all_missing, rules.day_cap
    if absent is not None:
        yield _Line("absent", absent.ref, {"class_": absent.name, "cut": absent.cut})
    if cap is not None:
        yield _Line("day_cap", cap.ref, {"cut": Cut(cap.percent)})
    if rules.work_date != "start":
        yield _Line(f"work_{rules.work_date}", rules.day_ref, {})
    for key, said in (
        ("terminal", rules.zone_of_terminal),
        ("seam", rules.shared_seam),
        ("trust", rules.trust_offset),
    ):
        if said:
            yield _Line(key, rules.day_ref, {})
    if rules.repeat_s:
        yield _Line("repeat", rules.day_ref, {"seconds": rules.repeat_s})
    if rules.accept:
        yield _Line("accept", rules.day_ref, {"suspects": ", ".join(sorted(rules.accept))})


def _period_lines(rules: Rules) -> Iterator[_Line]:
    if rules.begins_on != 1:
        yield _Line("begins", rules.period_ref, {"day": rules.begins_on})
    for bucket in rules.buckets:
        yield _Line("bucket", bucket.ref, {"minutes": bucket.minutes, "of": bucket.of, "cut": bucket.cut})
    for counter in rules.counters:
        yield _Line("counter", counter.ref, {"number": counter.after + 1, "of": counter.of, "cut": counter.cut})
    absent, cap = rules.period_all_missing, rules.period_cap
    if absent is not None:
        key = "period_run" if absent.consecutive else "period_absent"
        yield _Line(key, absent.ref, {"days": absent.days, "cut": absent.cut})
    if rules.proportional:
        yield _Line("proportional", rules.period_ref, {})
    if cap is not None:
        yield _Line("period_cap", cap.ref, {"cut": Cut(cap.percent)})


def _discipline_lines(rule: DisciplineRule) -> Iterator[_Line]:
    yield _Line("convert", rule.ref, {"minutes": rule.minutes_per_day})
    for days, level, ref in rule.ladder:
        yield _Line("ladder", ref, {"days": days, "level": level})
    if rule.consecutive_level is not None:
        yield _Line("run", rule.ref, {"days": rule.consecutive_days, "level": rule.consecutive_level})
