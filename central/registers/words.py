"""What the reader of registers says to people, in English and Indonesian."""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "id"]

MESSAGES: dict[str, tuple[str, str]] = {
    # the file as a whole
    "unreadable": ("cannot be read ({what})", "tidak dapat dibaca ({what})"),
    "empty": ("the file is empty", "berkas kosong"),
    "too_large": (
        "larger than {limit}; divide it into several files",
        "lebih besar dari {limit}; bagi menjadi beberapa berkas",
    ),
    "too_large_yaml": (
        "larger than {limit}, too much for YAML; save it as CSV or XLSX",
        "lebih besar dari {limit}, terlalu besar untuk YAML; simpan sebagai CSV atau XLSX",
    ),
    "unpacks_too_large": (
        "unpacks to more than {limit}; a register is smaller",
        "isinya lebih dari {limit} setelah dibuka; daftar biasa lebih kecil",
    ),
    "too_many_rows": (
        "more than {limit} rows; divide it into several files",
        "lebih dari {limit} baris; bagi menjadi beberapa berkas",
    ),
    "too_many_entries": (
        "more than {limit} entries, as each cell of a roster is one; divide it by months or units",
        "lebih dari {limit} entri, karena setiap sel jadwal dinas satu entri; bagi menurut bulan atau unit",
    ),
    "too_many_columns": ("more than {limit} columns", "lebih dari {limit} kolom"),
    "too_many_cells": (
        "more than {limit} filled cells; divide it into several files",
        "lebih dari {limit} sel terisi; bagi menjadi beberapa berkas",
    ),
    "encrypted_xlsx": (
        "protected by a password; remove the password in Excel and save it again",
        "dilindungi kata sandi; hapus kata sandinya di Excel lalu simpan lagi",
    ),
    "old_xls": (
        "an old Excel file (XLS) or another Office document; save it as XLSX",
        "berkas Excel lama (XLS) atau dokumen Office lain; simpan sebagai XLSX",
    ),
    "xlsb": ("a binary workbook (XLSB); save it as XLSX", "buku kerja biner (XLSB); simpan sebagai XLSX"),
    "opendocument": (
        "an OpenDocument file; save it as XLSX or CSV",
        "berkas OpenDocument; simpan sebagai XLSX atau CSV",
    ),
    "word": ("a Word document; put the table into a spreadsheet", "dokumen Word; pindahkan tabelnya ke lembar kerja"),
    "zip": ("a ZIP archive; unpack it and name the file inside", "arsip ZIP; buka dulu dan sebut berkas di dalamnya"),
    "pdf": ("a PDF; ask for the spreadsheet it was made from", "berkas PDF; minta lembar kerja asalnya"),
    "image": ("an image; a table is needed", "sebuah gambar; yang diperlukan tabel"),
    "html": (
        "a web page (HTML), whatever its name; open it in Excel and save it as XLSX",
        "halaman web (HTML), apa pun namanya; buka di Excel lalu simpan sebagai XLSX",
    ),
    "xml": (
        "an XML file; open it in Excel and save it as XLSX",
        "berkas XML; buka di Excel lalu simpan sebagai XLSX",
    ),
    "not_xlsx_text": (
        "text, no XLSX; if it is a CSV file, let its name end in .csv",
        "teks, bukan XLSX; bila berkas CSV, beri nama berakhiran .csv",
    ),
    "not_xlsx": ("no XLSX; open it in Excel and save it as XLSX", "bukan XLSX; buka di Excel lalu simpan sebagai XLSX"),
    "damaged_xlsx": (
        "a damaged XLSX; open it in Excel or LibreOffice and save it again",
        "XLSX rusak; buka di Excel atau LibreOffice lalu simpan lagi",
    ),
    "no_xlsx_here": (
        "XLSX needs the libraries of the extra `centre`, which are not installed; install them, or save it as CSV",
        "XLSX memerlukan pustaka tambahan `centre` yang belum terpasang; pasang dulu, atau simpan sebagai CSV",
    ),
    "broken_utf16": ("damaged UTF-16 text; save it as CSV UTF-8", "teks UTF-16 rusak; simpan sebagai CSV UTF-8"),
    "utf16_without_mark": (
        "UTF-16 text without a byte order mark; save it as CSV UTF-8",
        "teks UTF-16 tanpa tanda urutan bita; simpan sebagai CSV UTF-8",
    ),
    "binary": (
        "holds a NUL byte; not a text file, or a damaged one",
        "berisi bita NUL; bukan berkas teks, atau rusak",
    ),
    "not_utf8": (
        "not UTF-8 text (as Windows-1252 the sign here would be {seen}); save it as CSV UTF-8",
        "bukan teks UTF-8 (menurut Windows-1252 tanda di sini {seen}); simpan sebagai CSV UTF-8",
    ),
    "broken_csv": (
        "not CSV from this row on ({what}); look for a quotation mark that is not closed or not doubled",
        "bukan CSV mulai baris ini ({what}); cari tanda kutip yang tidak ditutup atau tidak digandakan",
    ),
    "broken_yaml": ("{what}", "bukan YAML yang benar ({what})"),
    "yaml_no_list": (
        "not a list; begin each entry with a hyphen",
        "bukan daftar; awali setiap entri dengan tanda hubung",
    ),
    "yaml_no_map": ("no entry of `name: value`", "bukan entri `nama: nilai`"),
    "yaml_key": ("a name must be plain text", "nama harus teks biasa"),
    "yaml_key_twice": ("{key} stands twice in this entry", "{key} ditulis dua kali dalam entri ini"),
    # sheets and headers
    "hidden_sheet": ("the hidden sheet {sheet} is not read", "lembar tersembunyi {sheet} tidak dibaca"),
    "hidden_rows": (
        "hidden rows or columns are read like the others",
        "baris atau kolom tersembunyi ikut dibaca seperti yang lain",
    ),
    "only_hidden_sheets": (
        "no visible sheet holds anything; show the sheet, or name it with --sheet",
        "tidak ada lembar tampak yang berisi; tampilkan lembarnya, atau sebut dengan --sheet",
    ),
    "several_sheets": (
        "several sheets hold something; name one with --sheet: {sheets}",
        "beberapa lembar berisi data; pilih satu dengan --sheet: {sheets}",
    ),
    "no_such_sheet": ("no sheet of that name; there are: {sheets}", "tidak ada lembar bernama itu; yang ada: {sheets}"),
    "merged": (
        "merged cells ({range}); unmerge them and write the value into each",
        "sel digabung ({range}); pisahkan dan isi nilainya di setiap sel",
    ),
    "no_header": (
        "no row with the heads of columns; write them above the data: {columns}",
        "tidak ada baris judul kolom; tulis di atas data: {columns}",
    ),
    "no_rows": ("no row below the heads of columns", "tidak ada baris di bawah judul kolom"),
    "column_missing": (
        "the column {column} is missing; one of these may stand at its head: {words}",
        "kolom {column} tidak ada; judulnya boleh salah satu dari: {words}",
    ),
    "column_twice": (
        "the column {column} stands twice; the other is at {other}",
        "kolom {column} ada dua; yang lain di {other}",
    ),
    "unknown_column": (
        "unknown column {seen}; known are: {choices}; a remark may stand under `keterangan`",
        "kolom {seen} tidak dikenal; yang dikenal: {choices}; catatan boleh di bawah `keterangan`",
    ),
    "unknown_column_close": (
        "unknown column {seen}; is {close} meant?",
        "kolom {seen} tidak dikenal; maksudnya {close}?",
    ),
    "grid_without_days": (
        "no column has a date, or a day from 1 to 31, at its head",
        "tidak ada kolom berjudul tanggal, atau hari 1 sampai 31",
    ),
    "grid_without_month": (
        "columns are days of a month; add the column month, such as 2026-09",
        "kolom berupa hari dalam bulan; tambahkan kolom bulan, misalnya 2026-09",
    ),
    "outside_columns": (
        "a value outside the named columns; a separator too many in the row, or a column without a head",
        "nilai di luar kolom berjudul; pemisah berlebih di baris ini, atau kolom tanpa judul",
    ),
    # one cell
    "cell_missing": ("{column} is empty", "{column} kosong"),
    "formula": (
        "a formula; copy the column and paste it as values",
        "rumus; salin kolomnya lalu tempel sebagai nilai",
    ),
    "error_value": ("the error value {seen}; write what is meant", "nilai galat {seen}; tulis nilai yang dimaksud"),
    "nested": ("a list or map; one value is expected", "daftar atau peta; yang diharapkan satu nilai"),
    "date_for_text": (
        "a date where text is expected; format the column as text and enter it again",
        "tanggal di tempat teks; atur format kolom sebagai teks lalu isi lagi",
    ),
    "truth_for_text": (
        "TRUE or FALSE where text is expected; format the column as text and enter it again",
        "TRUE atau FALSE di tempat teks; atur format kolom sebagai teks lalu isi lagi",
    ),
    "number_for_text": (
        "a number where text is expected; format the column as text and enter it again",
        "angka di tempat teks; atur format kolom sebagai teks lalu isi lagi",
    ),
    "number_for_identifier": (
        "a number: leading zeros and digits after the fifteenth may be lost; format the column as text, enter it again",
        "berupa angka: nol di depan dan digit setelah ke-15 mungkin hilang; atur format kolom sebagai teks, isi lagi",
    ),
    "scientific": (
        "a number in scientific notation: digits are lost; enter it again as text from the source",
        "angka bernotasi ilmiah: digitnya hilang; isi lagi sebagai teks dari sumbernya",
    ),
    "separators_in_number": (
        "a number with decimals or separators; write the digits only, as text",
        "angka dengan desimal atau pemisah; tulis digitnya saja, sebagai teks",
    ),
    "control_character": (
        "a line break or another control character; remove it",
        "ada ganti baris atau karakter kendali; hapus",
    ),
    "too_long": ("longer than {limit} characters", "lebih dari {limit} karakter"),
    "looks_like_formula": (
        "begins with =, + or @, which spreadsheets take for a formula; write it without",
        "diawali =, + atau @ yang dianggap rumus oleh lembar kerja; tulis tanpa tanda itu",
    ),
    "key_like_nip": (
        "looks like a NIP, which holds birth date and sex; use a key of your own, and the column nip for the NIP",
        "tampak seperti NIP, yang memuat tanggal lahir dan jenis kelamin; pakai kunci sendiri, dan kolom nip untuk NIP",
    ),
    "key_form": (
        "no key; write up to 64 letters, digits, . _ / or -, beginning with a letter or digit",
        "bukan kunci; tulis paling banyak 64 huruf, angka, . _ / atau -, diawali huruf atau angka",
    ),
    "nip_form": ("no NIP; it has 18 digits", "bukan NIP; panjangnya 18 digit"),
    "nip_birth": (
        "no NIP; it begins with a birth date, and its fifteenth digit is 1 or 2",
        "bukan NIP; diawali tanggal lahir, dan digit kelima belas 1 atau 2",
    ),
    "pin_form": (
        "no PIN; 1 to 24 printable ASCII characters without blanks, not beginning with uid:",
        "bukan PIN; 1 sampai 24 karakter ASCII tanpa spasi, tidak diawali uid:",
    ),
    "serial_form": (
        "no serial number; up to 64 printable ASCII characters without blanks",
        "bukan nomor seri; paling banyak 64 karakter ASCII tanpa spasi",
    ),
    "code_form": (
        "no code; write up to 32 letters, digits, . _ + / or -, beginning with a letter or digit",
        "bukan kode; tulis paling banyak 32 huruf, angka, . _ + / atau -, diawali huruf atau angka",
    ),
    "off_is_no_timetable": (
        "off is the code of a day without work; give the timetable another code",
        "off adalah kode hari tanpa kerja; beri jam kerja ini kode lain",
    ),
    "level_form": (
        "write a-z, 0-9 and hyphens only, at most 64",
        "tulis hanya a-z, 0-9 dan tanda hubung, paling banyak 64",
    ),
    "leave_form": (
        "write a word of a-z, 0-9, _ and -, as the policy or the source names it",
        "tulis kata dari a-z, 0-9, _ dan -, seperti di kebijakan atau sumbernya",
    ),
    "zone": (
        "no time zone; write WIB, WITA, WIT or a name such as Asia/Jakarta",
        "bukan zona waktu; tulis WIB, WITA, WIT atau nama seperti Asia/Jakarta",
    ),
    "time_in_date": ("a date with a time; write the date alone", "tanggal dengan jam; tulis tanggalnya saja"),
    "time_for_date": ("a time where a date is expected", "jam di tempat tanggal"),
    "number_for_date": (
        "a number where a date is expected; format the cell as a date, or write 2026-09-01",
        "angka di tempat tanggal; atur format sel sebagai tanggal, atau tulis 2026-09-01",
    ),
    "date_form": (
        "{seen} is no date; write 2026-09-01 or 1 September 2026",
        "{seen} bukan tanggal; tulis 2026-09-01 atau 1 September 2026",
    ),
    "date_order": (
        "{seen} may be read with the day or the month first; write 2026-09-01 or 1 September 2026",
        "{seen} dapat dibaca dengan hari atau bulan di depan; tulis 2026-09-01 atau 1 September 2026",
    ),
    "no_such_date": ("{seen} is not in the calendar", "{seen} tidak ada di kalender"),
    "year": ("{seen}: the year is not plausible", "{seen}: tahunnya tidak masuk akal"),
    "date_for_time": (
        "a date where a time of day is expected; write it as text, such as 07:30 or 31:00",
        "tanggal di tempat jam; tulis sebagai teks, misalnya 07:30 atau 31:00",
    ),
    "number_for_time": (
        "a number where a time of day is expected; write it as text, such as 07:30",
        "angka di tempat jam; tulis sebagai teks, misalnya 07:30",
    ),
    "time_form": (
        "{seen} is no time of day; write 07:30 or 07:30:00, from 24:00 on for the next day",
        "{seen} bukan jam; tulis 07:30 atau 07:30:00, mulai 24:00 untuk hari berikutnya",
    ),
    "time_range": ("outside 00:00 to {limit}:00", "di luar 00:00 sampai {limit}:00"),
    "whole_number": ("no whole number from 0 to {limit}", "bukan bilangan bulat 0 sampai {limit}"),
    "choice": ("{seen} is none of: {choices}", "{seen} tidak termasuk: {choices}"),
    "schedule_day": (
        "{seen} is no day; write monday to sunday, or 1, 2, 3 … for a cycle",
        "{seen} bukan hari; tulis senin sampai minggu, atau 1, 2, 3 … untuk siklus",
    ),
    # one row
    "ends_before_begin": ("ends on {end}, before it begins on {begin}", "berakhir {end}, sebelum dimulai {begin}"),
    "one_of": (
        "write either {first} or {second}, not both and not neither",
        "isi {first} atau {second}, jangan keduanya dan jangan kosong",
    ),
    "window_ends_before_begin": (
        "the window ends before it begins; write hours of the next day from 24:00 on",
        "jendela berakhir sebelum dimulai; tulis jam hari berikutnya mulai 24:00",
    ),
    "due_outside_window": ("the due time lies outside the window", "jatuh tempo di luar jendela"),
    "nothing_assigned": ("neither schedule nor policy", "tidak ada jadwal maupun kebijakan"),
    "calendar_too_long": ("longer than 60 days", "lebih dari 60 hari"),
    "begin_and_end": ("hours need begin and end", "jam perlu mulai dan selesai"),
    "hours_end_before_begin": (
        "does not end after it begins; write hours of the next day from 24:00 on",
        "selesai tidak setelah mulai; tulis jam hari berikutnya mulai 24:00",
    ),
    "hours_or_slot": ("write hours or a slot, not both", "isi jam atau sesi, jangan keduanya"),
    "one_date_only": ("leave of hours or of a slot is for one date", "izin jam atau sesi hanya untuk satu tanggal"),
    "decision_needs": ("the decision {decision} needs {column}", "keputusan {decision} memerlukan {column}"),
    # several rows
    "unknown_reference": ("{seen} is not in the register {kind}", "{seen} tidak ada di daftar {kind}"),
    "person_overlaps": (
        "the same person is valid here and at {other} at the same time",
        "pegawai yang sama berlaku di sini dan di {other} pada waktu yang sama",
    ),
    "unit_overlaps": (
        "the same unit is valid here and at {other} at the same time",
        "unit yang sama berlaku di sini dan di {other} pada waktu yang sama",
    ),
    "enrolment_overlaps": (
        "the same PIN at the same place is valid here and at {other} at the same time",
        "PIN yang sama di tempat yang sama berlaku di sini dan di {other} pada waktu yang sama",
    ),
    "slot_twice": (
        "the same slot of this timetable and date stands at {other}",
        "sesi yang sama untuk jam kerja dan tanggal ini ada di {other}",
    ),
    "differs_in_version": (
        "{column} differs from {other}; it is one for all rows of this code and date",
        "{column} berbeda dari {other}; nilainya satu untuk semua baris dengan kode dan tanggal ini",
    ),
    "schedule_day_twice": (
        "the same day of this schedule stands at {other}",
        "hari yang sama di jadwal ini ada di {other}",
    ),
    "week_and_cycle": (
        "days of the week and of a cycle in one schedule; the other is at {other}",
        "hari minggu dan hari siklus dalam satu jadwal; yang lain di {other}",
    ),
    "schedule_lacks_days": (
        "the schedule {schedule} lacks: {days}; write off where there is no work",
        "jadwal {schedule} kurang: {days}; tulis off bila tidak ada kerja",
    ),
    "roster_overlaps": (
        "the same person and date stand at {other}",
        "pegawai dan tanggal yang sama ada di {other}",
    ),
    "schedule_overlaps": (
        "another schedule is assigned at {other} at the same time",
        "jadwal lain ditetapkan di {other} pada waktu yang sama",
    ),
    "policy_overlaps": (
        "another policy is assigned at {other} at the same time",
        "kebijakan lain ditetapkan di {other} pada waktu yang sama",
    ),
    "unit_above_itself": ("{unit} is above itself", "{unit} menjadi induk dirinya sendiri"),
    "outside_validity": (
        "{key} is not valid on {date} in the register {kind}",
        "{key} tidak berlaku pada {date} menurut daftar {kind}",
    ),
    "terminal_unseen": (
        "no punch of the serial number {seen} is held yet; compare it with `hadir-central serial list`",
        "belum ada absen dari nomor seri {seen}; bandingkan dengan `hadir-central serial list`",
    ),
    "site_unseen": (
        "no punch of the site {seen} is held yet; compare it with `hadir-central report`",
        "belum ada absen dari lokasi {seen}; bandingkan dengan `hadir-central report`",
    ),
    "contradicts_stored": (
        "contradicts what is entered: {other}; write that row with its last date into this file, or withdraw it first",
        "bertentangan dengan yang tercatat: {other}; tulis baris itu dengan tanggal akhirnya di sini, atau cabut dulu",
    ),
    "leave_twice": (
        "leave of the same person, kind and beginning stands at {other}",
        "izin pegawai, jenis dan awal yang sama ada di {other}",
    ),
    "decision_twice": (
        "the same decision from the same date stands at {other}",
        "keputusan yang sama sejak tanggal yang sama ada di {other}",
    ),
    "not_entered": (
        "nothing of the kind is entered, so nothing can be withdrawn",
        "tidak ada yang tercatat seperti ini, jadi tidak ada yang dapat dicabut",
    ),
    "entered_otherwise": (
        "entered otherwise: {other}; only what is entered as the file states it can be withdrawn",
        "tercatat lain: {other}; yang dapat dicabut hanya yang tercatat persis seperti di berkas",
    ),
    "still_needed": (
        "{key} is still named by what is entered: {other}; withdraw or change that first",
        "{key} masih disebut oleh yang tercatat: {other}; cabut atau ubah itu dulu",
    ),
    "row_twice": ("the same stands at {other}", "isi yang sama ada di {other}"),
    "two_day_kinds": (
        "{date} is a holiday and cuti bersama for the same scope; the other is at {other}",
        "{date} hari libur sekaligus cuti bersama untuk cakupan yang sama; yang lain di {other}",
    ),
    "ramadan_overlaps": ("overlaps the period at {other}", "bertumpang tindih dengan masa di {other}"),
    "order_overlaps": (
        "overlaps the order of the same person at {other}",
        "bertumpang tindih dengan perintah pegawai yang sama di {other}",
    ),
}

SUMMARY: dict[str, tuple[str, str]] = {
    "good": ("OK: {file}: {kind}, entries: {rows}", "BAIK: {file}: {kind}, entri: {rows}"),
    "distinct": ("  {field}: {count}", "  {field}: {count}"),
    "dates": ("  dates: {first} to {last}", "  tanggal: {first} sampai {last}"),
    "one_day": (
        "  employed for one day only: {count}",
        "  bekerja satu hari saja: {count}",
    ),
    "estimated": ("  estimated dates, to be confirmed: {count}", "  tanggal perkiraan, harus dipastikan: {count}"),
    "remark": ("  note: {text}", "  catatan: {text}"),
    "more": ("further mistakes: {more}", "kesalahan lainnya: {more}"),
    "wrong": (
        "{file}: mistakes: {count}. Nothing of the file is taken; correct them and check again.",
        "{file}: kesalahan: {count}. Tidak ada isi berkas yang diambil; perbaiki lalu periksa lagi.",
    ),
    "imported": (
        "{file}: {kind}: new {new}, changed {changed}, unchanged {unchanged}",
        "{file}: {kind}: baru {new}, berubah {changed}, tetap {unchanged}",
    ),
    "withdrawn": (
        "{file}: {kind}: withdrawn {withdrawn}, withdrawn before {unchanged}",
        "{file}: {kind}: dicabut {withdrawn}, sudah dicabut sebelumnya {unchanged}",
    ),
    "nothing_changed": (
        "  nothing changes: all of this is entered already, and nothing was stored",
        "  tidak ada yang berubah: semuanya sudah tercatat, dan tidak ada yang disimpan",
    ),
    "dry_run": ("  dry run: nothing was stored", "  uji coba: tidak ada yang disimpan"),
    "entered": (
        "  entered {moment} by {by}, paper: {paper}",
        "  dicatat {moment} oleh {by}, surat: {paper}",
    ),
    "clock_behind": (
        "  WARNING: the clock shows {clock}, before the last import; entered as {moment}, after it. Check the clock.",
        "  PERINGATAN: jam menunjukkan {clock}, sebelum impor terakhir; dicatat {moment}, sesudahnya. Periksa jam.",
    ),
    "affected_people": (
        "  days to judge again, with neighbours and until today: {affected_days}, of people: {affected_people}",
        "  hari yang dinilai ulang, dengan sekitarnya, sampai hari ini: {affected_days}, pegawai: {affected_people}",
    ),
    "more_changes": ("  … and {more} more", "  … dan {more} lagi"),
    "shown": ("{what} on {on}{known}", "{what} pada {on}{known}"),
    "known_at": (", as known at {moment}", ", menurut yang diketahui pada {moment}"),
    "shown_nothing": (
        "  nothing is valid on this date; other dates: {dates}",
        "  tidak ada yang berlaku pada tanggal ini; tanggal lain: {dates}",
    ),
    "by_paper": ("[{entered}, {by}, {paper}]", "[{entered}, {by}, {paper}]"),
    "not_found": (
        "{seen} is no key and no name in the registers; write a key, a name as entered, or such as unit:{seen}",
        "{seen} bukan kunci atau nama di daftar; tulis kunci, nama seperti tercatat, atau misalnya unit:{seen}",
    ),
    "several_people": (
        "several people are called {seen}; write one of their keys: {keys}",
        "beberapa pegawai bernama {seen}; tulis salah satu kuncinya: {keys}",
    ),
    "proposed": (
        "{file}: {count} entries, {estimated} of them estimated. A person compares them with the decree before use.",
        "{file}: {count} entri, {estimated} di antaranya perkiraan. Cocokkan dengan SKB sebelum dipakai.",
    ),
}


def message(code: str, values: Mapping[str, str], language: Language = "en") -> str:
    """Return the message of a code; raises KeyError for a code that has none."""
    return _filled(MESSAGES[code], values, language)


def summary(code: str, values: Mapping[str, object], language: Language = "en") -> str:
    """Return a line of a summary; raises KeyError for a code that has none."""
    return _filled(SUMMARY[code], values, language)


def _filled(texts: tuple[str, str], values: Mapping[str, object], language: Language) -> str:
    return texts[language == "id"].format_map(values)
