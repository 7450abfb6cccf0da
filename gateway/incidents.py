"""The table of incidents: the log level, the note in the ledger and the alarm of each, and the messages of alarms.

An incident is named by the code of its alarm. Its log line has the same name. Messages of alarms are English on the
topics, and in the language of the reader elsewhere: :mod:`gateway.texts`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from gateway import event_types as event
from gateway.texts import Language, Message, Text, _

Level = Literal["info", "warning", "error"]
WhenFull = Literal["waits", "with its data"]

NOTES: Mapping[str, WhenFull] = {
    event.TERMINAL_LOST: "waits",
    event.TERMINAL_FOUND: "waits",
    event.TERMINAL_CHANGED: "waits",
    event.CLOCK_STEPPED: "waits",
    event.CLOCK_SET: "waits",
    event.CLOCK_SYNCHRONISED: "waits",
    event.GATEWAY_RESUMED: "waits",
    event.STREAM_OPENED: "with its data",
    event.HISTORY_WITHHELD: "with its data",
    event.BODY_FORGOTTEN: "with its data",
    event.FILE_IMPORTED: "with its data",
}
"""Type of a note → what a full ledger means for it.

``waits``: the note is kept in memory with its own moment and stored as soon as there is space
(:class:`gateway.pending.PendingWrites`); log line and alarm are immediate. ``with its data``: the note is written in
one transaction with the data that it describes; where the disk is full neither is stored, and both are tried again.
"""


class Incident(NamedTuple):
    """What an incident causes."""

    level: Level | None
    """Level of the log line of this name; None where the module that raises the alarm logs another one."""
    note: str | None
    """Type of the note in the ledger: a key of :data:`NOTES`. None: no note."""
    title: Text
    """Its name for people."""
    texts: Mapping[str, Text]
    """Variant → message of the alarm; ``""`` is the usual one."""


def _incident(level: Level | None, note: str | None, title: Text, text: Text, **variants: Text) -> Incident:
    return Incident(level, note, title, {"": text, **variants})


OF_TERMINAL = _("terminal {terminal}: {message}")
AS_IS = _("{reason}")

INCIDENTS: Mapping[str, Incident] = {
    # Terminals.
    "terminal_lost": _incident(None, event.TERMINAL_LOST, _("Terminal lost"), AS_IS),
    "terminal_refused": _incident(None, event.TERMINAL_LOST, _("Terminal refuses"), AS_IS),
    "log_unreadable": _incident(None, event.TERMINAL_LOST, _("A log cannot be read"), AS_IS),
    "terminal_found": _incident(
        "info", event.TERMINAL_FOUND, _("Terminal answers again"), _("terminal {terminal} answers again")
    ),
    "driver_failed": _incident(
        "error",
        None,
        _("A terminal cannot be read: a mistake in Hadir"),
        _("the gateway met what its driver does not expect ({where}); please report the log's line driver_failed"),
    ),
    "serial_changed": _incident(
        None,
        event.TERMINAL_CHANGED,
        _("Another terminal answers"),
        _("serial {reported} answers, {expected} is expected"),
    ),
    "identity_changed": _incident(
        "warning",
        event.TERMINAL_CHANGED,
        _("A terminal is not what it was"),
        _(
            "serial {serial} answers with another {what} ({after}, before {before}); if nobody exchanged or "
            "updated it, "
            "find out what answers there"
        ),
    ),
    "clock_stepped": _incident(
        "warning", event.CLOCK_STEPPED, _("A terminal's clock jumped"), _("its clock jumped by {seconds} s")
    ),
    "clock_set": _incident(
        "info",
        event.CLOCK_SET,
        _("A terminal's clock was set"),
        _("its clock was wrong by {seconds} s and has been set"),
    ),
    "clock_not_set": _incident(
        "warning", None, _("A terminal's clock was not set"), _("its clock was not set: {reason}")
    ),
    "log_differs": _incident(
        "warning",
        None,
        _("A log differs"),
        _(
            "its log is not what earlier readings brought: {missed} records more, {invented} missing, {moved} in "
            "another place"
        ),
    ),
    "log_incomplete": _incident(
        "warning",
        None,
        _("A log is sent incompletely"),
        _(
            "it counts {counted} records and sends {sent} of them, at two readings in succession; read it with another "
            "driver, such as `driver: zkteco`"
        ),
    ),
    "log_filling": _incident(
        "warning",
        event.TERMINAL_CHANGED,
        _("A log is filling up"),
        _(
            "its log is {threshold} % full ({records} of {capacity} records); clear it at the terminal once everything "
            "is confirmed"
        ),
        dated=_(
            "its log is {threshold} % full ({records} of {capacity} records); at the pace of the last weeks it is full "
            "on {fills}; clear it at the terminal once everything is confirmed"
        ),
    ),
    "line_unreadable": _incident(
        None,
        None,
        _("A line cannot be read"),
        _("its content cannot be read ({reason}); the bytes are kept"),
    ),
    "serial_from_two_addresses": _incident(
        "warning",
        None,
        _("One serial number from two addresses"),
        _(
            "it calls from {served}, and from {refused} at the same time, which is refused; find out which device has "
            "its serial number"
        ),
    ),
    "stamp_reversed": _incident(
        "warning",
        None,
        _("A terminal's stamp runs backwards"),
        _(
            "it states {after} as its place after {before}: its clock was set back, or another device has its serial "
            "number"
        ),
    ),
    "table_held": _incident(
        "error",
        None,
        _("A terminal has punches that are not understood"),
        _("it sends punches as {table}, which this version does not know; they stay in the terminal: report this"),
    ),
    "table_discarded": _incident(
        "warning",
        None,
        _("A terminal sends what is not known"),
        _("it sends {table}, which this version does not know and which holds no punches; it is discarded"),
    ),
    "ack_form_changed": _incident(
        "warning",
        None,
        _("A terminal repeats what was stored"),
        _("it sent the same {table} again and again; it now gets another form of the answer"),
    ),
    "upload_too_long": _incident(
        "error",
        None,
        _("A terminal sends too much at once"),
        _("it sends more {table} at once than the gateway takes; it stays in the terminal: report this"),
    ),
    "signature_refused": _incident(
        "warning",
        None,
        _("A post with a wrong signature"),
        _(
            "posts arrive whose signature is wrong, and are refused; compare the app's secret with secret_file; if the "
            "app has the right one, find out what else posts there"
        ),
    ),
    "post_unreadable": _incident(
        "warning",
        None,
        _("A post cannot be read"),
        _("it posts what cannot be read and is refused ({reason}); the app keeps it: show this to its developers"),
    ),
    "records_not_delivered": _incident(
        "warning",
        None,
        _("A terminal counts more than it sends"),
        _(
            "it counts {records} records more than it sends (from {days}); export its attendance log to a flash disk "
            "and import it"
        ),
    ),
    "file_refused": _incident("warning", None, _("A file is refused"), _("{file} is not read: {reason}")),
    "terminal_silent": _incident(
        "warning",
        None,
        _("Unusually silent"),
        _("it answers, but no punch since {since}, which is unusual; try it with a finger"),
        all=_("no punch at any terminal since {since}; is it a holiday?"),
    ),
    "terminal_heard": _incident("warning", None, _("Punches again"), _("punches arrive again")),
    # Terminals that call this machine.
    "receiver_unavailable": _incident(
        "error",
        None,
        _("The port for terminals that call cannot be opened"),
        _("no terminal can call {listen}: {reason}; it is tried again"),
    ),
    "stranger_called": _incident(
        "warning",
        None,
        _("A terminal calls that is not configured"),
        _(
            "a terminal with serial number {serial} calls from {address} and is not configured; it keeps its punches; "
            "if it is yours, add it to the configuration"
        ),
    ),
    # The broker and the centre.
    "delivery_refused": _incident(
        None,
        None,
        _("The broker refuses"),
        _("the broker does not take what this gateway publishes on {topic} (reason {code}): {fate}"),
        access=_(
            "the broker does not take what this gateway publishes on {topic} (reason {code}): {fate}; check the "
            "broker's access list"
        ),
    ),
    "no_subscriber": _incident(None, None, _("No subscriber"), _("no client subscribes to {topic}: {fate}")),
    "message_parked": _incident(
        None,
        None,
        _("A message is refused for good"),
        _("the broker will never take event {sequence} (reason {code})"),
    ),
    "message_too_large": _incident(
        None,
        None,
        _("A message is too large"),
        _(
            "event {sequence} is larger than the broker allows: it is kept; raise the broker's limit, or "
            "delivery.batch_bytes"
        ),
    ),
    "client_id_taken": _incident(
        None,
        None,
        _("Two gateways with one name"),
        _(
            "another machine publishes with the same `site` and `gateway`, and a ledger this one does not know; change "
            "one of them, or switch it off"
        ),
    ),
    "login_refused": _incident(None, None, _("The broker refuses the login"), AS_IS),
    "subscription_refused": _incident(
        None,
        None,
        _("A subscription is refused"),
        _(
            "the broker does not let this gateway subscribe to {topic} ({why}): {what} of the centre do not arrive; "
            "check the broker's access list"
        ),
    ),
    "receipt_invalid": _incident(
        None, None, _("A receipt is not valid"), _("{what}: it is ignored; look at the centre's inbox")
    ),
    "receipt_foreign": _incident(
        None, None, _("A receipt for another ledger"), _("{what}: it is ignored; look at the centre's inbox")
    ),
    "rollback_detected": _incident(
        None,
        event.STREAM_OPENED,
        _("The ledger was set back"),
        _("{proof}, more than the ledger knows: it was set back to an older state; a new stream begins"),
    ),
    "rollback_repeated": _incident(
        None,
        None,
        _("Claims of a set-back ledger, ignored"),
        _("{what}: it is ignored; find out who may write the receipt and the info of this gateway"),
    ),
    # The ledger and the disk.
    "body_altered": _incident(
        "error",
        None,
        _("An event in the ledger was altered"),
        _(
            "event {sequence} in the ledger is not what was written: it is not sent, and the centre gets its digest "
            "only. Keep a copy of data_dir as it is, look at the disk, run `hadir verify`"
        ),
    ),
    "disk_floor": _incident(
        None,
        None,
        _("The disk is full"),
        _("there is no room on the gateway's disk: reading has stopped, the terminals keep their punches; make room"),
        news=_("the gateway's disk is nearly full: long imports wait, new punches are still read; make room"),
    ),
    "disk_room": _incident(
        None, None, _("There is room again"), _("there is room on the gateway's disk again: everything is read")
    ),
    "writes_not_held": _incident(
        "error",
        event.TERMINAL_CHANGED,
        _("The disk is full, punches are lost"),
        _(
            "the gateway: the disk is full, and {most} {kind} wait already; further ones are counted and "
            "lost; make room"
        ),
        terminal=_(
            "terminal {terminal}: the disk is full, and {most} {kind} wait already; further ones are counted and lost; "
            "make room"
        ),
    ),
    "stream_opened": _incident(
        None, event.STREAM_OPENED, _("A new stream began"), _("the ledger began a new stream: {reason}")
    ),
    "ledger_salvaged": _incident(
        None,
        event.STREAM_OPENED,
        _("The ledger was damaged"),
        _(
            "the ledger was damaged ({damage}); {kept} events were saved, the terminals are read again; the "
            "damaged file "
            "is kept as {file}"
        ),
    ),
    "backup_failed": _incident("warning", None, _("The backup failed"), AS_IS),
    # The gateway.
    "settings_refused": _incident("error", None, _("The configuration has mistakes"), AS_IS),
    "settings_reloaded": _incident(
        None,
        None,
        _("The configuration is right again"),
        _("the configuration is without mistakes again, and in effect"),
    ),
    "settings_outdated": _incident(
        "warning",
        None,
        _("The configuration has values that must be changed"),
        _(
            "the configuration is used as before, but a later version will refuse it: {first} (such lines: "
            "{count}; see "
            "`hadir check`)"
        ),
    ),
    "certificates_not_strict": _incident(
        "warning",
        None,
        _("Incomplete certificates are accepted"),
        _("the configuration accepts what Python refuses by default: {first} (such lines: {count}; see `hadir check`)"),
    ),
    "job_failed": _incident(
        None, None, _("A nightly job failed"), _("the nightly job {name} failed ({error}); see the gateway's log")
    ),
    "doctor_called": _incident(
        None,
        None,
        _("The doctor was here"),
        _("hadir doctor tries whether this gateway may publish; nothing is wrong"),
    ),
}
"""Code of the alarm → what the incident causes."""


def log_incident(log: Any, code: str, **fields: object) -> None:
    """Write the log line of an incident, which must have one."""
    level = INCIDENTS[code].level
    assert level is not None, code  # noqa: S101 - the table
    getattr(log, level)(code, **fields)


def alarm_message(code: str, variant: str = "", /, **values: object) -> Message:
    """Return the message of an alarm."""
    return Message(INCIDENTS[code].texts[variant], **values)


def of_terminal(terminal: str, message: str) -> Message:
    """Return the message of an alarm about a terminal."""
    return Message(OF_TERMINAL, terminal=terminal, message=message)


def shown_alarm(alarm: Mapping[str, Any], language: Language) -> str:
    """Return the message of an alarm of the daemon's status in a language; English where it has no translation."""
    data = alarm.get("translatable")
    return str(alarm["message"]) if data is None else Message.of(data).into(language)
