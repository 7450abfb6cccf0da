"""Texts about holds, retention and a person's own data by their codes."""

from collections.abc import Mapping

from central.texts import Language, Text, _, in_context

MESSAGES: Mapping[str, Text] = {
    # holds
    "hold_set": _("Hold {number} is set: nothing of {whom} is deleted until it is lifted."),
    "hold_lifted": _("Hold {number} is lifted."),
    "hold_unknown": _("There is no hold {number}; `hadir-central hold list` shows them."),
    "hold_lifted_before": _("Hold {number} was lifted by {by} on {at} already; nothing was changed."),
    "hold_whom": _("Name one or more of --person and --unit, or --all."),
    "hold_no_person": _("There is no person {key} in the registers; nothing was changed."),
    "hold_no_unit": _("There is no unit {key} in the registers; nothing was changed."),
    "hold_line": _("{number}: {case}: {whom} [{state}]"),
    "hold_by": _("  {at} {by} ({paper})"),
    "hold_none": _("There are no holds."),
    "hold_everybody": _("everybody"),
    "hold_people": _("people {keys}"),
    "hold_units": _("units {keys} with those below"),
    "hold_in_force": in_context("hold", "in force"),
    "hold_ended": in_context("hold", "lifted"),
    # retention
    "keep_ever": _("{kind}: kept without end"),
    "keep_days": _("{kind}: {days} days ({source})"),
    "deletion": _("{number}: {at}: {kind} until {until}: {rows} rows, by {by} ({paper})"),
    "settled": _("Until {until} no day is judged again: evidence was deleted or archived."),
    "due": _("{kind} until {until}: {rows} rows to delete, {held} kept because of a hold"),
    "due_none": _("Nothing is due: no kind has a number of days, see --settings."),
    "would_settle": _("No day until {until} would be judged again; its verdicts and totals stay as they are."),
    "dry_run": _("Nothing was deleted. Add --yes to delete it."),
    "deleted": _("{kind}: {rows} rows deleted"),
    "waiting": _("{marks} changes about days until {until} are to be judged first: run `hadir-central recompute`."),
    "undecided": _(
        "{days} days until {until} are not decided: without their evidence they would stay so for ever. Settle them "
        "(`hadir-central doubts`), or add --with-open: they cut nothing."
    ),
    "not_carried": _(
        "{days} days until {until} of closed periods differ from what was closed: close the next period first, or add "
        "--with-open: the difference is then lost."
    ),
    "backups": _("Backups that were made before still hold what was deleted: delete them when they are due."),
    # a person's own data
    "export_done": _("{file}: everything about {person}; for that person alone."),
    "export_suffix": _("write a name that ends in .json, .html or .zip (both)."),
    "export_exists": _("{file} exists already; nothing was written. Write another name."),
    "export_title": _("Attendance data of {person}"),
    "export_about": _(
        "Everything that the attendance centre holds about this person, made {made} by {by}. To correct or object to "
        "anything in it, enter a request: each is decided by another person, with a reason and a paper."
    ),
    "export_settled": _("Until {until} no day is judged again: the retention of its evidence has ended."),
    "export_none": _("Nothing is held."),
    "export_registers": _("What was entered about the person"),
    "export_punches": _("Punches"),
    "export_verdicts": _("Verdicts with their reasons"),
    "export_totals": _("Closed periods"),
    "export_requests": _("Requests"),
    "export_notes": _("Notes and answers"),
    "export_accesses": _("Who looked, at the person or at a unit that holds the person"),
    "export_holds": _("Holds"),
    "export_deletions": _("Deletions"),
}
KINDS: Mapping[str, Text] = {
    "events": in_context("retention", "content of events about people, with their punches"),
    "results": in_context("retention", "verdicts of closed periods"),
    "rejected": in_context("retention", "rejected messages"),
    "access": in_context("retention", "access log"),
    "requests": in_context("retention", "decided requests and notes"),
    "mails": in_context("retention", "mails that were sent or given up"),
    "sessions": in_context("retention", "ended sessions"),
    "archive": in_context("retention", "punches of a month, detached for the archive"),
}


def message(code: str, language: Language, **values: object) -> str:
    """Return a text in a language."""
    return MESSAGES[code].into(language, **values)
