"""What reports say to people, in English and Indonesian."""

from collections.abc import Mapping
from typing import Any, Literal

Language = Literal["en", "id"]

MESSAGES: Mapping[str, tuple[str, str]] = {
    # heads
    "title": ("{name} ({person}), {date}: {status}", "{name} ({person}), {date}: {status}"),
    "as_stored": ("revision {revision}, stored {entered}", "revisi {revision}, disimpan {entered}"),
    "as_known": ("as known at {moment}", "menurut yang diketahui pada {moment}"),
    "not_judged": ("This date is not judged: {why}.", "Tanggal ini tidak dinilai: {why}."),
    "not_begun": (
        "This date has not begun where the person works.",
        "Tanggal ini belum mulai di tempat kerja pegawai.",
    ),
    "waiting": (
        "{marks} changes are still to be judged; run `hadir-central recompute`.",
        "Masih ada {marks} perubahan yang belum dinilai; jalankan `hadir-central recompute`.",
    ),
    "head_plan": ("Plan", "Rencana"),
    "head_slots": ("Slots", "Sesi"),
    "head_punches": ("Punches", "Presensi"),
    "head_doubts": ("Doubts", "Keraguan"),
    "head_day": ("Day", "Hari"),
    "head_history": ("Revisions", "Revisi"),
    # status
    "open": ("open, a window has not ended", "terbuka, jendela belum berakhir"),
    "provisional": ("provisional, nothing is cut for it yet", "sementara, belum ada potongan untuk ini"),
    "final": ("final", "final"),
    "none": ("not judged", "tidak dinilai"),
    # why a date is not judged
    "not_employed": ("the person is not employed on it", "pegawai tidak bekerja di sini pada tanggal ini"),
    "no_zone": ("neither the unit nor one above it has a time zone", "unit dan unit di atasnya tidak punya zona waktu"),
    "no_plan": ("no schedule and no roster covers it", "tidak ada jadwal maupun roster untuk tanggal ini"),
    "no_policy": ("no policy is assigned on it", "tidak ada aturan yang ditetapkan untuk tanggal ini"),
    "unknown_policy": ("its policy cannot be loaded", "aturannya tidak dapat dimuat"),
    # plan
    "plan_personal": ("the person's own", "rencana pegawai sendiri"),
    "plan_unit": ("the unit's", "rencana unit"),
    "plan_zone": (
        "zone {zone}, work date {work_date}, policy {policy}",
        "zona {zone}, tanggal kerja {work_date}, aturan {policy}",
    ),
    "plan_not_taken": ("not taken: {what}: {version}", "tidak dipakai: {what}: {version}"),
    "workday": ("workday", "hari kerja"),
    "off": ("off: nothing is demanded", "libur kerja: tidak ada kewajiban"),
    "holiday": ("holiday: nothing is demanded", "hari libur: tidak ada kewajiban"),
    "leave_day": ("leave for the whole date: {leave} ({paper})", "izin sehari penuh: {leave} ({paper})"),
    "moved": (
        "leave {leave} ({paper}) moves {slot} from {from_} to {to}",
        "izin {leave} ({paper}) menggeser {slot} dari {from_} ke {to}",
    ),
    "emptied": ("leave {leave} ({paper}) takes {slot} away", "izin {leave} ({paper}) membebaskan {slot}"),
    "excused": ("excused by leave: {leave}", "bebas karena izin: {leave}"),
    "slot_excused": ("{slot} is excused: {leave}", "{slot} dimaafkan: {leave}"),
    "unknown_kind": ("{slot}: the policy does not know its kind {kind}", "{slot}: jenis {kind} tidak dikenal aturan"),
    "not_required": ("{slot} is not asked for on this day", "{slot} tidak diminta pada hari ini"),
    # slots
    "slot": ("{slot}, due {due}: {what} ({status})", "{slot}, jatuh tempo {due}: {what} ({status})"),
    "slot_on_time": ("punch {punch}, on time", "presensi {punch}, tepat waktu"),
    "slot_present": ("punch {punch}", "presensi {punch}"),
    "slot_late": ("punch {punch}, {minutes} minutes late", "presensi {punch}, terlambat {minutes} menit"),
    "slot_early": ("punch {punch}, {minutes} minutes early", "presensi {punch}, pulang {minutes} menit lebih awal"),
    "slot_missing": ("no punch", "tidak ada presensi"),
    "slot_not_due": ("no punch yet", "belum ada presensi"),
    "slot_free": ("not demanded", "tidak diwajibkan"),
    "slot_excused_min": ("excused, {minutes} minutes", "dimaafkan, {minutes} menit"),
    "class": ("{slot}: {class_}, cut {cut}, by {policy}", "{slot}: {class_}, potongan {cut}, menurut {policy}"),
    "pick": ("{slot} takes the {what} punch, by {policy}", "{slot} memakai presensi {what}, menurut {policy}"),
    "end_moved": (
        "the end moves by {minutes} minutes, by {policy}",
        "jam pulang bergeser {minutes} menit, menurut {policy}",
    ),
    "first": ("first", "pertama"),
    "last": ("last", "terakhir"),
    "best": ("best", "terbaik"),
    "state": ("one with the right key", "dengan tombol yang benar"),
    # punches
    "punch": ("{time} at {terminal}{place}: {use}", "{time} di {terminal}{place}: {use}"),
    "place": (", stream {stream} sequence {sequence}, id {id}", ", aliran {stream} urutan {sequence}, id {id}"),
    "use_pick": ("counts for {slot}", "dihitung untuk {slot}"),
    "use_claimed": ("in the window of {slot}", "dalam jendela {slot}"),
    "use_also_counts": ("counts for {slot} as well", "juga dihitung untuk {slot}"),
    "use_repeat": ("a repeat", "pengulangan"),
    "use_unclaimed": ("in no window", "di luar semua jendela"),
    "clock": ("clock {offset} s off, measured {measured}", "jam meleset {offset} detik, diukur {measured}"),
    "suspect": ("suspect: {suspect}", "diragukan: {suspect}"),
    "vouched": ("vouched for by {paper}", "dijamin oleh {paper}"),
    "no_punches": ("none", "tidak ada"),
    # doubts
    "doubt": ("{slot}: {what}{between}", "{slot}: {what}{between}"),
    "between": (", {from_} to {to}", ", {from_} sampai {to}"),
    "at_terminal": (" at {terminal}", " di {terminal}"),
    "outage": ("a terminal or gateway was out", "mesin atau gateway mati"),
    "gap": ("events are missing", "ada data yang belum diterima"),
    "unread": ("terminals are not read up to here", "mesin belum dibaca sampai saat ini"),
    "unattributed": ("a punch of a PIN that belongs to no person", "presensi dengan PIN yang belum ada pemiliknya"),
    "suspect_punch": (
        "a punch with a doubtful clock may lie here",
        "presensi dengan jam meragukan mungkin ada di sini",
    ),
    "arrival": ("another arrival would move the end", "jam datang lain akan menggeser jam pulang"),
    "state_variants": ("the punch has two keys", "presensi punya dua tombol"),
    "step": ("the clock jumped", "jam mesin melompat"),
    "drift": ("the clock was wrong by more than is tolerated", "jam mesin meleset melebihi batas"),
    "unverified": ("the gateway's clock could not be trusted", "jam gateway tidak dapat dipercaya"),
    "unmeasured": ("the clock was not measured within a day", "jam mesin tidak diukur dalam sehari"),
    "host_time": ("the terminal sent no time", "mesin tidak mengirim waktu"),
    # day
    "absent": (
        "absent: all demanded slots are missing, by {policy}",
        "tidak hadir: semua sesi wajib kosong, menurut {policy}",
    ),
    "cap": ("the day's cut is limited, by {policy}", "potongan sehari dibatasi, menurut {policy}"),
    "cut": ("cut of the day: {cut}", "potongan hari ini: {cut}"),
    "present_min": (
        "present {minutes} minutes, of them counted {counted}",
        "hadir {minutes} menit, dihitung {counted}",
    ),
    "overtime": ("overtime {minutes} minutes", "lembur {minutes} menit"),
    "condition_no_slots": (
        "the plan of this day has no slots: check timetable and schedule",
        "rencana hari ini tanpa sesi: periksa jam kerja dan jadwal",
    ),
    "condition_due_outside_window": (
        "a due time lies outside its window: check the timetable",
        "jatuh tempo di luar jendelanya: periksa jam kerja",
    ),
    "condition_unknown_kind": ("the policy does not know a kind of slot", "ada jenis sesi yang tidak dikenal aturan"),
    "condition_state_variants": ("a punch has two different keys", "ada presensi dengan dua tombol berbeda"),
    # history
    "revision": (
        "{revision}  {entered}  {status}{changed}; by {causes}",
        "{revision}  {entered}  {status}{changed}; karena {causes}",
    ),
    "changed_fields": ("changed {fields}", "berubah {fields}"),
    "punches_new": ("new punches {items}", "presensi baru {items}"),
    "punches_gone": ("punches that left {items}", "presensi yang keluar {items}"),
    "doubts_new": ("new doubts {items}", "keraguan baru {items}"),
    "doubts_gone": ("doubts that ended {items}", "keraguan yang berakhir {items}"),
    "leave_new": ("new leave {items}", "izin baru {items}"),
    "leave_gone": ("leave that ended {items}", "izin yang dicabut {items}"),
    "plan_changed": ("plan now {new}", "rencana menjadi {new}"),
    "policy_changed": ("policy now {new}", "aturan menjadi {new}"),
    "engine_changed": ("judged by version {new} instead of {old}", "dinilai dengan versi {new}, bukan {old}"),
    "cause_time": ("time", "waktu"),
    "cause_punch": ("a punch that arrived", "presensi yang masuk"),
    "cause_gap": ("a gap of a stream that opened or closed", "celah data yang terbuka atau tertutup"),
    "cause_unattributed": ("a PIN that belongs to no person", "PIN yang belum ada pemiliknya"),
    "cause_ownership": ("a decision on a terminal's gateway", "keputusan tentang gateway sebuah mesin"),
    "cause_import": ("import of {register} by {by}, {paper}", "impor {register} oleh {by}, {paper}"),
    "cause_policy": ("another text of the policy {policy}", "teks lain dari aturan {policy}"),
    "cause_engine": ("version {to} of the judgement instead of {from_}", "versi penilaian {to}, bukan {from_}"),
    "cause_rebuild": ("a rebuild", "pembangunan ulang"),
    "cause_other": ("{kind}", "{kind}"),
    # commands
    "recomputed": (
        "{judged} person-days judged, {written} revisions written",
        "{judged} hari-orang dinilai, {written} revisi ditulis",
    ),
    "set_aside": (
        "{failed} marks are set aside because judging them failed; report them, and try again with --retry",
        "{failed} tanda disisihkan karena gagal dinilai; laporkan, lalu coba lagi dengan --retry",
    ),
    "rebuilt": (
        "{days} person-days judged from facts alone: {same} as stored, {different} otherwise",
        "{days} hari-orang dinilai dari fakta saja: {same} sama, {different} berbeda",
    ),
    "differs": (
        "{person} {date}: stored {stored}, from facts {found}",
        "{person} {date}: tersimpan {stored}, dari fakta {found}",
    ),
    "unknown_pin": (
        "PIN {pin} at {serial} ({site}): {punches} punches on {days} days, {first} to {last}",
        "PIN {pin} di {serial} ({site}): {punches} presensi dalam {days} hari, {first} sampai {last}",
    ),
    "no_unknown_pins": ("every PIN that was read belongs to a person", "semua PIN yang terbaca sudah ada pemiliknya"),
}


def message(code: str, language: Language, **values: Any) -> str:
    """Return a text by its code, with its values; a code that no text has is its own text."""
    text = MESSAGES.get(code)
    return code if text is None else text[language == "id"].format_map(values)
