"""Texts about requests by their codes."""

from collections.abc import Mapping

from central.texts import Language, Text, _, in_context

MESSAGES: Mapping[str, Text] = {
    # why a step is refused
    "request_unknown": _("There is no request {number}; `hadir-central request list` shows them."),
    "request_own": _("Request {number} is your own, or about you: another person decides it."),
    "request_not_own": _("Request {number} is not yours: only whoever entered it withdraws it."),
    "request_approved": _("Request {number} was approved by {by} on {at} already; nothing was changed."),
    "request_refused": _("Request {number} was refused by {by} on {at} already; nothing was changed."),
    "request_withdrawn": _("Request {number} was withdrawn by {by} on {at}; nothing was changed."),
    "request_kind": _("{kind} cannot be requested; these can: {kinds}."),
    "request_one_row": _("Enter one row for each request."),
    "request_cell": _("{column}: at most {most} characters."),
    "request_reason": _("Write a reason, at most {most} characters, without control characters."),
    "request_paper": _("Write the paper: number and date, at most {most} characters."),
    "request_text": _("Write a text, at most {most} characters, without control characters."),
    # what was done
    "request_entered": _("Request {number} waits for approval."),
    "request_done_approved": _("Request {number} is approved; {changes} rows entered. The verdicts are judged next."),
    "request_done_refused": _("Request {number} is refused."),
    "request_done_withdrawn": _("Request {number} is withdrawn."),
    "request_line": _("{number}: {kind}, {what} [{state}]"),
    "request_step": _("  {at} {by}: {what}{reason}{paper}"),
    "request_none": _("There are no requests."),
}
STATES: Mapping[str, Text] = {
    "entered": in_context("request", "waits"),
    "approved": in_context("request", "approved"),
    "refused": in_context("request", "refused"),
    "withdrawn": in_context("request", "withdrawn"),
}
STEPS: Mapping[str, Text] = {
    "entered": in_context("step", "entered"),
    "approved": in_context("step", "approved"),
    "refused": in_context("step", "refused"),
    "withdrawn": in_context("step", "withdrawn"),
}


def message(code: str, language: Language, **values: object) -> str:
    """Return a text in a language."""
    return MESSAGES[code].into(language, **values)
