"""Texts about registers: mistakes and remarks by their codes, and summaries of commands."""

from collections.abc import Mapping

from central.texts import Language, Text, _

MESSAGES: Mapping[str, Text] = {
    # the file as a whole
    "unreadable": _("cannot be read ({what})"),
    "empty": _("the file is empty"),
    "too_large": _("larger than {limit}; divide it into several files"),
    "too_large_yaml": _("larger than {limit}, too much for YAML; save it as CSV or XLSX"),
    "unpacks_too_large": _("unpacks to more than {limit}; a register is smaller"),
    "too_many_rows": _("more than {limit} rows; divide it into several files"),
    "too_many_entries": _("more than {limit} entries, as each cell of a roster is one; divide it by months or units"),
    "too_many_columns": _("more than {limit} columns"),
    "too_many_cells": _("more than {limit} filled cells; divide it into several files"),
    "encrypted_xlsx": _("protected by a password; remove the password in Excel and save it again"),
    "old_xls": _("an old Excel file (XLS) or another Office document; save it as XLSX"),
    "xlsb": _("a binary workbook (XLSB); save it as XLSX"),
    "opendocument": _("an OpenDocument file; save it as XLSX or CSV"),
    "word": _("a Word document; put the table into a spreadsheet"),
    "zip": _("a ZIP archive; unpack it and name the file inside"),
    "pdf": _("a PDF; ask for the spreadsheet it was made from"),
    "image": _("an image; a table is needed"),
    "html": _("a web page (HTML), whatever its name; open it in Excel and save it as XLSX"),
    "xml": _("an XML file; open it in Excel and save it as XLSX"),
    "not_xlsx_text": _("text, no XLSX; if it is a CSV file, let its name end in .csv"),
    "not_xlsx": _("no XLSX; open it in Excel and save it as XLSX"),
    "damaged_xlsx": _("a damaged XLSX; open it in Excel or LibreOffice and save it again"),
    "no_xlsx_here": _(
        "XLSX needs the libraries of the extra `centre`, which are not installed; install them, or save it as CSV"
    ),
    "broken_utf16": _("damaged UTF-16 text; save it as CSV UTF-8"),
    "utf16_without_mark": _("UTF-16 text without a byte order mark; save it as CSV UTF-8"),
    "binary": _("holds a NUL byte; not a text file, or a damaged one"),
    "not_utf8": _("not UTF-8 text (as Windows-1252 the sign here would be {seen}); save it as CSV UTF-8"),
    "broken_csv": _("not CSV from this row on ({what}); look for a quotation mark that is not closed or not doubled"),
    "broken_yaml": _("not YAML that can be read ({what})"),
    "yaml_no_list": _("not a list; begin each entry with a hyphen"),
    "yaml_no_map": _("no entry of `name: value`"),
    "yaml_key": _("a name must be plain text"),
    "yaml_key_twice": _("{key} stands twice in this entry"),
    # sheets and headers
    "hidden_sheet": _("the hidden sheet {sheet} is not read"),
    "hidden_rows": _("hidden rows or columns are read like the others"),
    "only_hidden_sheets": _("no visible sheet holds anything; show the sheet, or name it with --sheet"),
    "several_sheets": _("several sheets hold something; name one with --sheet: {sheets}"),
    "no_such_sheet": _("no sheet of that name; there are: {sheets}"),
    "merged": _("merged cells ({range}); unmerge them and write the value into each"),
    "no_header": _("no row with the heads of columns; write them above the data: {columns}"),
    "no_rows": _("no row below the heads of columns"),
    "column_missing": _("the column {column} is missing; one of these may stand at its head: {words}"),
    "column_twice": _("the column {column} stands twice; the other is at {other}"),
    "unknown_column": _("unknown column {seen}; known are: {choices}; a remark may stand under `keterangan`"),
    "unknown_column_close": _("unknown column {seen}; is {close} meant?"),
    "grid_without_days": _("no column has a date, or a day from 1 to 31, at its head"),
    "grid_without_month": _("columns are days of a month; add the column month, such as 2026-09"),
    "outside_columns": _(
        "a value outside the named columns; a separator too many in the row, or a column without a head"
    ),
    # one cell
    "cell_missing": _("{column} is empty"),
    "formula": _("a formula; copy the column and paste it as values"),
    "error_value": _("the error value {seen}; write what is meant"),
    "nested": _("a list or map; one value is expected"),
    "date_for_text": _("a date where text is expected; format the column as text and enter it again"),
    "truth_for_text": _("TRUE or FALSE where text is expected; format the column as text and enter it again"),
    "number_for_text": _("a number where text is expected; format the column as text and enter it again"),
    "number_for_identifier": _(
        "a number: leading zeros and digits after the fifteenth may be lost; format the column as text, enter it again"
    ),
    "scientific": _("a number in scientific notation: digits are lost; enter it again as text from the source"),
    "separators_in_number": _("a number with decimals or separators; write the digits only, as text"),
    "control_character": _("a line break or another control character; remove it"),
    "too_long": _("longer than {limit} characters"),
    "looks_like_formula": _("begins with =, + or @, which spreadsheets take for a formula; write it without"),
    "key_like_nip": _(
        "looks like a NIP, which holds birth date and sex; use a key of your own, and the column nip for the NIP"
    ),
    "key_form": _("no key; write up to 64 letters, digits, . _ / or -, beginning with a letter or digit"),
    "nip_form": _("no NIP; it has 18 digits"),
    "nip_birth": _("no NIP; it begins with a birth date, and its fifteenth digit is 1 or 2"),
    "pin_form": _("no PIN; 1 to 24 printable ASCII characters without blanks, not beginning with uid:"),
    "serial_form": _("no serial number; up to 64 printable ASCII characters without blanks"),
    "code_form": _("no code; write up to 32 letters, digits, . _ + / or -, beginning with a letter or digit"),
    "off_is_no_timetable": _("off is the code of a day without work; give the timetable another code"),
    "level_form": _("write a-z, 0-9 and hyphens only, at most 64"),
    "leave_form": _("write a word of a-z, 0-9, _ and -, as the policy or the source names it"),
    "zone": _("no time zone; write WIB, WITA, WIT or a name such as Asia/Jakarta"),
    "time_in_date": _("a date with a time; write the date alone"),
    "time_for_date": _("a time where a date is expected"),
    "number_for_date": _("a number where a date is expected; format the cell as a date, or write 2026-09-01"),
    "date_form": _("{seen} is no date; write 2026-09-01 or 1 September 2026"),
    "date_order": _("{seen} may be read with the day or the month first; write 2026-09-01 or 1 September 2026"),
    "no_such_date": _("{seen} is not in the calendar"),
    "year": _("{seen}: the year is not plausible"),
    "date_for_time": _("a date where a time of day is expected; write it as text, such as 07:30 or 31:00"),
    "number_for_time": _("a number where a time of day is expected; write it as text, such as 07:30"),
    "time_form": _("{seen} is no time of day; write 07:30 or 07:30:00, from 24:00 on for the next day"),
    "time_range": _("outside 00:00 to {limit}:00"),
    "whole_number": _("no whole number from 0 to {limit}"),
    "choice": _("{seen} is none of: {choices}"),
    "schedule_day": _("{seen} is no day; write monday to sunday, or 1, 2, 3 … for a cycle"),
    # one row
    "ends_before_begin": _("ends on {end}, before it begins on {begin}"),
    "one_of": _("write either {first} or {second}, not both and not neither"),
    "window_ends_before_begin": _("the window ends before it begins; write hours of the next day from 24:00 on"),
    "due_outside_window": _("the due time lies outside the window"),
    "nothing_assigned": _("neither schedule nor policy"),
    "calendar_too_long": _("longer than 60 days"),
    "begin_and_end": _("hours need begin and end"),
    "hours_end_before_begin": _("does not end after it begins; write hours of the next day from 24:00 on"),
    "hours_or_slot": _("write hours or a slot, not both"),
    "one_date_only": _("leave of hours or of a slot is for one date"),
    "decision_needs": _("the decision {decision} needs {column}"),
    # several rows
    "unknown_reference": _("{seen} is not in the register {kind}"),
    "unknown_policy": _(
        "no policy {seen} can be loaded: none is shipped, and --policies names no folder with a {seen}.yaml that"
        " `hadir-central policy check` finds good"
    ),
    "person_overlaps": _("the same person is valid here and at {other} at the same time"),
    "unit_overlaps": _("the same unit is valid here and at {other} at the same time"),
    "enrolment_overlaps": _("the same PIN at the same place is valid here and at {other} at the same time"),
    "slot_twice": _("the same slot of this timetable and date stands at {other}"),
    "differs_in_version": _("{column} differs from {other}; it is one for all rows of this code and date"),
    "schedule_day_twice": _("the same day of this schedule stands at {other}"),
    "week_and_cycle": _("days of the week and of a cycle in one schedule; the other is at {other}"),
    "schedule_lacks_days": _("the schedule {schedule} lacks: {days}; write off where there is no work"),
    "roster_overlaps": _("the same person and date stand at {other}"),
    "schedule_overlaps": _("another schedule is assigned at {other} at the same time"),
    "policy_overlaps": _("another policy is assigned at {other} at the same time"),
    "unit_above_itself": _("{unit} is above itself"),
    "outside_validity": _("{key} is not valid on {date} in the register {kind}"),
    "ends_unread": _(
        "this decision ends every doubt about {seen} on these dates, `unread` too: a punch that its log still holds is "
        "missing until it is read"
    ),
    "terminal_unseen": _(
        "no punch of the serial number {seen} is held yet; compare it with `hadir-central serial list`"
    ),
    "site_unseen": _("no punch of the site {seen} is held yet; compare it with `hadir-central report`"),
    "contradicts_stored": _(
        "contradicts what is entered: {other}; write that row with its last date into this file, or withdraw it first"
    ),
    "leave_overlaps": _("overlaps the leave of the same person at {other}"),
    "leave_kind_unknown": _(
        "the policy {policy} names no leave {seen}: it excuses without a cut; named are: {kinds}; check the word"
    ),
    "slot_unknown": _("{seen} is no slot of the person's plan on {date}; its slots are: {slots}"),
    "leave_twice": _("leave of the same person, kind and beginning stands at {other}"),
    "decision_twice": _("the same decision from the same date stands at {other}"),
    "not_entered": _("nothing of the kind is entered, so nothing can be withdrawn"),
    "entered_otherwise": _("entered otherwise: {other}; only what is entered as the file states it can be withdrawn"),
    "still_needed": _("{key} is still named by what is entered: {other}; withdraw or change that first"),
    "row_twice": _("the same stands at {other}"),
    "two_day_kinds": _("{date} is a holiday and cuti bersama for the same scope; the other is at {other}"),
    "ramadan_overlaps": _("overlaps the period at {other}"),
    "order_overlaps": _("overlaps the order of the same person at {other}"),
}

SUMMARY: Mapping[str, Text] = {
    "good": _("OK: {file}: {kind}, entries: {rows}"),
    "distinct": _("  {field}: {count}"),
    "dates": _("  dates: {first} to {last}"),
    "one_day": _("  employed for one day only: {count}"),
    "estimated": _("  estimated dates, to be confirmed: {count}"),
    "remark": _("  note: {text}"),
    "more": _("further mistakes: {more}"),
    "wrong": _("{file}: mistakes: {count}. Nothing of the file is taken; correct them, then run the command again."),
    "imported": _("{file}: {kind}: new {new}, changed {changed}, unchanged {unchanged}"),
    "withdrawn": _("{file}: {kind}: withdrawn {withdrawn}, withdrawn before {unchanged}"),
    "nothing_changed": _("  nothing changes: all of this is entered already, and nothing was stored"),
    "dry_run": _("  dry run: nothing was stored"),
    "dry_run_without": _(
        "  dry run: there is no {file} yet, so the file was compared with an empty one; nothing was stored"
    ),
    "entered": _("  entered {moment} by {by}, paper: {paper}"),
    "clock_behind": _(
        "  WARNING: the clock shows {clock}, before the last import; entered as {moment}, after it. Check the clock."
    ),
    "affected_people": _(
        "  days to judge again, with neighbours and until today: {affected_days}, of people: {affected_people}"
    ),
    "more_changes": _("  … and {more} more"),
    "shown": _("{what} on {on}{known}"),
    "known_at": _(", as known at {moment}"),
    "shown_nothing": _("  nothing is valid on this date; other dates: {dates}"),
    "by_paper": _("[{entered}, {by}, {paper}]"),
    "not_found": _(
        "{seen} is no key and no name in the registers; write a key, a name as entered, or such as unit:{seen}"
    ),
    "no_such_key": _("the registers have no {what} with the key {key}"),
    "no_person": _("{seen} is neither the key nor the name of a person; write a key, or a name as entered"),
    "several_people": _("several people are called {seen}; write one of their keys: {keys}"),
    "proposed": _(
        "{file}: {count} entries, {estimated} of them estimated. A person compares them with the decree before use."
    ),
}


def message(code: str, values: Mapping[str, object], language: Language = Language.ENGLISH) -> str:
    """Return the message of a code; raises KeyError for a code that has none."""
    return MESSAGES[code].into(language, **values)


def summary(code: str, values: Mapping[str, object], language: Language = Language.ENGLISH) -> str:
    """Return a line of a summary; raises KeyError for a code that has none."""
    return SUMMARY[code].into(language, **values)
