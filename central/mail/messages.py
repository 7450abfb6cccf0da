"""Texts of mails, and of the commands about them, by their codes."""

from collections.abc import Mapping

from central.texts import Language, Text, _, in_context

MESSAGES: Mapping[str, Text] = {
    # a digest
    "digest_subject": _("Attendance {unit}, {date}"),
    "digest_head": _("{unit}, {date}: {people} people"),
    "digest_few": _("{unit}, {date}: fewer than {least} people, so no counts are sent."),
    "digest_none": _(
        "No verdict on this date is there yet. The page says why; the administrator's `doctor` what to do."
    ),
    "digest_waiting": _("{count} changes wait to be judged; counts may change. The page shows what is known now."),
    "digest_more": _("Who, and why: {link}"),
    "digest_foot": _(
        "Counts only; no mail names a person. Provisional and open verdicts cut nothing. Sent by Hadir, because the "
        "account {account} is a superior of this unit; the administrator changes that."
    ),
    # an alarm
    "alarm_subject": _("Attendance: {what}"),
    "alarm_more": _("What it keeps provisional, and what settles it: {link}"),
    "alarm_foot": _(
        "Counts only; no mail names a person. Sent by Hadir once a day, because the account {account} is an operator; "
        "the administrator changes that."
    ),
    "alarm_offline": _("{count} gateways are offline"),
    "alarm_out": _("{count} terminals are not reachable"),
    "alarm_pins": _("{count} PINs of yesterday belong to no person"),
    "alarm_failed": _("{count} changes could not be judged"),
    # commands
    "mail_off": _("Mails are switched off: `enabled: false`. Nothing was made or sent."),
    "mail_made": _("{made} mails made, {sent} sent, {failed} to be tried again, {refused} given up"),
    "mail_preview_none": _("No mail would be made now."),
    "mail_preview": _("To: {address} ({account})\nSubject: {subject}\n\n{text}"),
    "mail_counts": _(
        "{sent} sent (the last at {last}), {waiting} wait, {failing} of them after a failure, {refused} given up"
    ),
    "mail_failure": _("The last failure: {failure}"),
    "mail_never": in_context("mail", "never"),
    "mail_retried": _("{mails} mails are tried again by the next run."),
}
COUNTS: Mapping[str, Text] = {
    "complete": in_context("digest", "complete and on time"),
    "late": in_context("digest", "late"),
    "early": in_context("digest", "left early"),
    "missing": in_context("digest", "a punch is missing"),
    "absent": in_context("digest", "absent"),
    "excused": in_context("digest", "on leave or duty"),
    "no_duty": in_context("digest", "off duty"),
    "open": in_context("digest", "not over yet"),
    "provisional": in_context("digest", "provisional"),
    "none": in_context("digest", "not judged"),
}


def message(code: str, language: Language, **values: object) -> str:
    """Return a text in a language."""
    return MESSAGES[code].into(language, **values)
