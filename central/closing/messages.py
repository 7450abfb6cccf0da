"""Texts about closed periods by their codes."""

from collections.abc import Mapping

from central.texts import Language, Text, _

MESSAGES: Mapping[str, Text] = {
    # why a period is not closed
    "closing_no_unit": _("There is no unit {unit}; `hadir-central show units` lists them."),
    "closing_no_verdicts": _("Unit {unit} has no verdict in the period that holds {date}: nothing can be closed."),
    "closing_not_over": _("The period of {unit} runs from {first} to {last} and is not over: close it after its end."),
    "closing_unjudged": _(
        "{marks} changes about these dates are still to be judged. Run `hadir-central recompute`, then close again."
    ),
    "closing_all_elsewhere": _(
        "The period that holds {date} was closed with another unit for all people of {unit}; "
        "see `hadir-central period list`."
    ),
    "closing_open": _(
        "{open} verdicts are open, provisional or missing, or could not be judged. Settle them, or close with "
        "--with-open: they cut nothing, and what becomes final later is an adjustment of the next period."
    ),
    "closing_twice": _(
        "The period of {unit} from {first} to {last} was closed on {entered} by {closed_by} (closing {number}). "
        "It does not move: later knowledge becomes an adjustment of the next period."
    ),
    "closing_changing": _("Verdicts of {unit} change at this moment. Nothing was closed; try again in a minute."),
    "closing_unknown": _("There is no closing {number}; `hadir-central period list` shows them."),
    "closing_no_file": _("Closing {number} has no file {name}; it has: {names}."),
    # what a closing fixes
    "period": _("{unit}, {first} to {last}: {people} people"),
    "closed_elsewhere": _("{people} people of the unit were closed with another one"),
    "no_open": _("Every verdict is final."),
    "open_head": _("{count} verdicts are not final:"),
    "open_day": _("  {person}, {date}: a window has not ended"),
    "closing_unjudged_person": _("  {person}: no verdict in the period; a plan or a policy is missing"),
    "provisional_day": _("  {person}, {date}: provisional: {doubts}"),
    "set_aside_change": _(
        "  {subject}, {first} to {last}: a change could not be judged for a fault of the program; after an update "
        "`hadir-central recompute --retry`, and what it brings is an adjustment"
    ),
    "more": _("  … and {count} more"),
    "no_adjustments": _("No closed period has changed."),
    "adjustments_head": _("{count} adjustments of closed periods:"),
    "adjustment": _("  {person}, {first} to {last}: cut {before} % becomes {after} %, difference {cut} % ({dates})"),
    "adjustment_new": _("  {person}, {first} to {last}: was not among the people closed; cut {after} % ({dates})"),
    "closed": _("Closed as number {number}; digest {digest}."),
    "closing": _("{number}: {unit}, {first} to {last}, closed on {entered} by {closed_by} ({paper})"),
    "closing_digest_ok": _("Totals and adjustments are those that were closed: digest {digest}."),
    "closing_digest_wrong": _("The stored totals differ from the digest {digest}: the database was changed by hand."),
    "closing_file": _("  {name}, {size} bytes, SHA-256 {sha256}"),
    "closing_file_wrong": _("  {name}: its bytes differ from the SHA-256 {sha256} that was stored with it"),
    "closing_none": _("No period was closed yet."),
    "total": _("  {person}: {days} days, cut {cut} %, late {late} min, early {early} min, absent {absent}"),
}


def message(code: str, language: Language, **values: object) -> str:
    """Return a text in a language."""
    return MESSAGES[code].into(language, **values)
