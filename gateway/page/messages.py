"""Texts of the page and of `hadir status` in English and Indonesian, and formatting of numbers and times. Pure."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal, cast

from gateway.incidents import INCIDENTS, shown_alarm
from gateway.texts import Language as Translation
from gateway.texts import Text, _

Language = Literal["id", "en"]

LANGUAGES: Mapping[Language, str] = {"id": "Bahasa Indonesia", "en": "English"}

TEXTS: Mapping[str, Text] = {
    "title": _("Attendance gateway"),
    "language": _("Language"),
    "as_of": _("as of {time}"),
    "version": _("hadir {version}, running for {uptime}"),
    # What needs a person.
    "attention": _("What to look at"),
    "all_well": _("All is well."),
    "all_well_more": _("Terminals answer, the broker is connected, and the centre confirms what it receives."),
    "unknown_well": _("Nothing on this side needs attention."),
    "unknown_well_more": _(
        "The centre has never confirmed anything, so it is not known whether punches have arrived there."
    ),
    "no_broker": _("The broker is not connected"),
    "no_broker_login": _("The broker refuses this gateway's login"),
    "no_broker_certificate": _("The broker's certificate is not trusted"),
    "no_broker_taken": _("Another machine uses this gateway's name at the broker"),
    "no_broker_replaced": _("This is a copy of another gateway: it publishes nothing"),
    "no_broker_kept": _("Punches are kept here and sent later."),
    "no_broker_do": _("Punches are kept here and sent later. The first connection is being tried."),
    "held": _("The broker does not accept everything"),
    "held_do": _("Ask the centre's administrator."),
    "missing": _("The centre lacks {count} events"),
    "missing_do": _("They are sent again by themselves."),
    "unconfirmed": _("The centre has never confirmed anything"),
    "unconfirmed_since": _("The centre has confirmed nothing since {since}"),
    "unconfirmed_do": _("Ask the centre's administrator whether the punches arrive. They are kept here until then."),
    "unsynchronised": _("This machine's clock is not synchronised"),
    "unsynchronised_do": _("Punches are marked until it is: timedatectl shows why."),
    "room_news": _("The disk is nearly full"),
    "room_none": _("The disk is full: reading has stopped"),
    "room_do": _("Make room. Nothing is lost: the terminals keep what is not read yet."),
    "terminal_offline": _("{terminal} does not answer, since {since}"),
    "terminal_refused": _("{terminal} answers and refuses the gateway, since {since}"),
    "terminal_protocol": _("What answers at {terminal} is not understood, since {since}"),
    "terminal_internal": _("{terminal} cannot be read because of a fault in hadir, since {since}"),
    "terminal_waiting": _("{terminal} has not been read yet"),
    "terminal_awaited": _("{terminal} has not called yet since the gateway started"),
    "terminal_clock": _("{terminal}: its clock is {offset}"),
    "terminal_zone": _("{terminal}: its clock is {offset}: perhaps not the clock is wrong, but the time zone"),
    "terminal_full": _("{terminal}: its log is {percent} % full"),
    "terminal_full_do": _("Clear it at the terminal once the centre has everything."),
    "terminal_full_on": _("At this pace it is full on {day}."),
    "terminal_silent": _("{terminal} answers, but no punch since {since}"),
    "terminal_silent_do": _("Try it with a finger."),
    "receiver_closed": _("No terminal can call: the port {listen} is not open"),
    "receiver_closed_do": _(
        "Another program may use the port, or the address is not this machine's: correct receiver.listen, then "
        "hadir reload."
    ),
    "strangers": _("{count} terminals call that are not configured"),
    "strangers_one": _("A terminal calls that is not configured: {serial}, from {address}"),
    "strangers_do": _("They keep their punches. Add those of the office to the configuration, then hadir reload."),
    "caller_elsewhere": _("{terminal} calls from an address where it may not be: {address}"),
    "caller_elsewhere_do": _(
        "It keeps its punches. If it moved, correct from: in its entry, then hadir reload; if not, find out what calls."
    ),
    "app_signature": _("{terminal}: {count} posts with a wrong signature, or none, were refused"),
    "app_signature_do": _(
        "Compare the app's secret with secret_file; if both are right, find out what else posts there."
    ),
    "app_clock": _("{terminal}: the newest record of its last post lies {seconds} s in the future"),
    "app_clock_do": _("The app should take the time of its server; compare timezone: where it sends no offset."),
    # Figures.
    "figures": _("On the way to the centre"),
    "broker": _("Broker"),
    "connected": _("connected"),
    "not_connected": _("not connected"),
    "waiting": _("Waiting to be sent"),
    "waiting_since": _("the oldest since {since}"),
    "last_sent": _("Last sent"),
    "last_receipt": _("Last receipt of the centre"),
    "never": _("none yet"),
    "events": _("Recorded events"),
    "events_more": _("{sent} sent, {confirmed} confirmed"),
    "disk": _("Free on the disk"),
    "disk_days": _("enough for {days} days"),
    # Terminals.
    "terminals": _("Terminals"),
    "online": _("answers"),
    "offline": _("no answer"),
    "refusing": _("refuses"),
    "unreadable": _("cannot be read"),
    "unvisited": _("not read yet"),
    "awaited": _("waits for its first call"),
    "since": _("since {since}"),
    "last_punch": _("Last punch"),
    "clock": _("Clock"),
    "right": _("right"),
    "measured": _("at {time}"),
    "unknown": _("unknown"),
    "ahead": _("{span} ahead"),
    "behind": _("{span} behind"),
    "log": _("Log"),
    "log_of": _("{records} of {capacity} ({percent}\u00a0%)"),
    "log_only": _("{records} records"),
    "serial": _("Serial number"),
    "model": _("Model"),
    "medium": _("Flash disk"),
    "medium_none": _("none"),
    "medium_reading": _("is being read: leave it"),
    "medium_safe": _("safe to remove"),
    "unread": _("{files} files are NOT read: {names}"),
    # Terminals that call and are not configured.
    "strangers_title": _("Terminals that call and are not configured"),
    "address": _("Address"),
    "last_call": _("Last call"),
    "first_call": _("First call"),
    # The live feed.
    "feed": _("Punches as they come"),
    "feed_live": _("live"),
    "feed_lost": _("interrupted, trying again"),
    "feed_still": _("Without JavaScript the page is loaded anew each minute."),
    "no_punches": _("No punch has been recorded yet."),
    "time": _("Time"),
    "terminal": _("Terminal"),
    "person": _("PIN"),
    "how": _("How"),
    # The chart.
    "day": _("Today, by quarter of an hour"),
    "day_described": _(
        "{total} punches today up to {time}; the busiest quarter of an hour began at {peak} with {most}."
    ),
    "day_empty": _("No punch today up to {time}."),
    "day_usual": _("Usually there are {usual} on such a day by this time."),
    "day_unlearnt": _("What is usual is known after two weeks."),
    "today": _("today"),
    "usual": _("usual {weekday}"),
    "as_table": _("The same as a table"),
    "from": _("From"),
    # The tally.
    "tally": _("Terminal, ledger, centre"),
    "tally_about": _(
        "How many records of each day are where. In the log and in the ledger must be equal; the rest follows."
    ),
    "tally_none": _("Nothing has been read yet."),
    "in_log": _("In the log"),
    "in_ledger": _("In the ledger"),
    "sent": _("Sent"),
    "at_centre": _("At the centre"),
    "withheld": _("{count} withheld"),
    "no_date": _("without a date"),
    "equal": _("equal"),
    "unconfirmed_day": _("sent, not confirmed by the centre"),
    "differs": _("not equal yet"),
    # Alarms.
    "alarms": _("Alarms since the start"),
    "no_alarms": _("None."),
    # Only `hadir status`: its fields, columns and remarks.
    "gateway": _("gateway"),
    "gateway_stopped": _("{gateway}, not running"),
    "gateway_runs": _("{gateway}, hadir {version}, running for {uptime}"),
    "broker_field": _("broker"),
    "broker_untried": _("not connected yet"),
    "broker_off": _("not connected: {reason}"),
    "broker_on": _("connected"),
    "broker_name": _("the broker's name is not known"),
    "broker_no_route": _("no network leads to the broker"),
    "broker_silent": _("the broker does not answer"),
    "broker_port": _("nothing listens at the broker's port"),
    "broker_certificate": _("the broker's certificate is not trusted"),
    "broker_tls": _("an encrypted connection cannot be made"),
    "broker_files": _("the files for the login cannot be read"),
    "broker_login": _("the broker refuses the login"),
    "broker_refused": _("the broker refuses the connection"),
    "broker_taken": _("another machine uses this gateway's name"),
    "broker_replaced": _("this is a copy of another gateway"),
    "broker_broke": _("the connection breaks"),
    "broker_no_subscriber": _("no client subscribes to {topic}"),
    "broker_topic_refused": _("{topic} is refused (reason {code})"),
    "broker_no_subscription": _("the subscription to {topic} is refused"),
    "events_wait": _("{count} events wait"),
    "clock_field": _("clock"),
    "clock_synchronised": _("synchronised"),
    "clock_unsynchronised": _("NOT synchronised: punches are marked unverified"),
    "disk_field": _("disk"),
    "disk_free": _("{size} free"),
    "disk_news": _("NEARLY FULL: long imports wait"),
    "disk_none": _("FULL: READING HAS STOPPED"),
    "ledger": _("ledger"),
    "ledger_none": _("none yet"),
    "ledger_unreadable": _("cannot be read by you"),
    "count_events": _("{count} events"),
    "count_sent": _("{count} sent"),
    "count_waiting": _("{count} waiting"),
    "count_confirmed": _("{count} confirmed"),
    "count_missing": _("{count} missing"),
    "count_parked": _("{count} parked"),
    "count_withheld": _("{count} withheld"),
    "count_unconfirmed": _("{count} live, not in a log yet"),
    "column_terminal": _("terminal"),
    "column_state": _("state"),
    "column_since": _("since"),
    "column_serial": _("serial"),
    "column_last_punch": _("last punch"),
    "column_clock": _("clock"),
    "column_records": _("records"),
    "column_full": _("full"),
    "column_day": _("day"),
    "column_in_log": _("in its log"),
    "column_in_ledger": _("in the ledger"),
    "column_withheld": _("withheld"),
    "column_sent": _("sent"),
    "column_confirmed": _("confirmed"),
    "column_short_log": _("in log"),
    "column_short_ledger": _("ledger"),
    "column_short_centre": _("centre"),
    "column_address": _("address"),
    "column_last_call": _("last call"),
    "more_terminals": _("{count} more"),
    "quit": _("q ends"),
    "newest_alarms": _("newest alarms since the start"),
    "disk_of_terminal_none": _("no flash disk is there"),
    "disk_of_terminal_reading": _("the flash disk is being read: do not remove it"),
    "disk_of_terminal_safe": _("the flash disk is read and may be removed"),
    # The login.
    "login": _("Token"),
    "login_about": _("It stands in the file that web.token_file names, on the gateway."),
    "login_wrong": _("That is not the token."),
    "login_wait": _("Too many wrong tokens from this address. Try again in {seconds} s."),
    "login_go": _("Show the page"),
}

_STATES: Mapping[str, Text] = {"online": _("online"), "offline": _("offline"), "unknown": _("unknown")}
"""Connection states of a terminal, as in its message."""
_LABELS: Mapping[str, Text] = {
    "check_in": _("check-in"),
    "check_out": _("check-out"),
    "break_out": _("break out"),
    "break_in": _("break in"),
    "overtime_in": _("overtime in"),
    "overtime_out": _("overtime out"),
    "not_set": _("not set"),
    "password": _("password"),
    "fingerprint": _("fingerprint"),
    "card": _("card"),
    "face": _("face"),
    "palm": _("palm"),
    "reset": _("clock was reset"),
    "future": _("in the future"),
    "step": _("clock jumped"),
    "drift": _("clock is off"),
    "unverified": _("unverified"),
    "unmeasured": _("clock not measured then"),
    "host_time": _("time of the gateway"),
}
"""Labels of codes of terminals and events; a code without a label is shown as it is."""
NORMAL = frozenset({"unmeasured", "host_time"})
"""Values of `suspect` that are usual: of a backlog, of files, and of lines whose messages have no time."""
_WEEKDAYS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "id": ("Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu", "Minggu"),
}
_MONTHS: Mapping[Language, str] = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "id": "Jan Feb Mar Apr Mei Jun Jul Agu Sep Okt Nov Des",
}
_UNITS: Mapping[Language, tuple[tuple[str, int], ...]] = {
    "en": (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)),
    "id": (("hari", 86400), ("jam", 3600), ("menit", 60), ("detik", 1)),
}
_SAME_YEAR = timedelta(days=180)
_SIZES = ("B", "kB", "MB", "GB", "TB")


def language(requested: str | None, accept: str) -> Language:
    """Return the language of the query (``?lang=``), else the browser's preferred one (``Accept-Language``)."""
    if requested in LANGUAGES:
        return cast("Language", requested)
    best: tuple[float, Language] = (0.0, "id")
    for part in accept.split(","):
        tag, _, rest = part.strip().partition(";")
        code = tag.split("-")[0].strip().lower()
        try:
            quality = float(rest.strip().removeprefix("q=") or 1.0)
        except ValueError:
            continue
        if code in LANGUAGES and quality > best[0]:
            best = quality, cast("Language", code)
    return best[1]


class Messages:
    """Texts of one language at one local time; dates and years that this time implies are left out."""

    def __init__(self, language: Language, now: datetime) -> None:
        self.language = language
        self.zone = now.tzinfo
        self._now = now.replace(tzinfo=None)
        self.spoken = Translation(language)

    def __call__(self, name: str, **values: object) -> str:
        """Return the text of a name."""
        return TEXTS[name].into(self.spoken, **values)

    @property
    def day(self) -> date:
        """The present local day."""
        return self._now.date()

    @staticmethod
    def language_named(code: Language) -> str:
        """Return a language's own name."""
        return LANGUAGES[code]

    def label(self, code: str | int | None) -> str:
        """Return the label of a terminal's or event's code; a code without a label as it is."""
        if code is None:
            return ""
        text = _LABELS.get(str(code))
        return str(code) if text is None else text.translated(self.spoken)

    def state(self, code: str) -> str:
        """Return the name of a terminal's connection state."""
        return _STATES[code].translated(self.spoken) if code in _STATES else code

    def alarm(self, code: str) -> str:
        """Return the title of an alarm."""
        return INCIDENTS[code].title.translated(self.spoken) if code in INCIDENTS else code

    def alarm_text(self, alarm: Mapping[str, Any]) -> str:
        """Return the message of an alarm of the daemon's status; in English where it has no translation."""
        return shown_alarm(alarm, self.spoken)

    def number(self, number: float) -> str:
        """Return a number with thousands separators and, unless it is an integer, one decimal."""
        text = f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
        return text if self.language == "en" else text.translate(str.maketrans(",.", ".,"))

    def fullness(self, records: int | None, capacity: int | None) -> str:
        """Return a number of records, and how full they make a log: ``1,204 (1 %)``."""
        percent = f" ({100 * records / capacity:.0f} %)" if capacity and records is not None else ""
        return f"{'?' if records is None else self.number(records)}{percent}"

    def size(self, number: float) -> str:
        """Return a number of bytes."""
        unit = 0
        while number >= 1000 and unit < len(_SIZES) - 1:
            number, unit = number / 1000, unit + 1
        return f"{self.number(round(number, 1) if number < 10 else round(number))} {_SIZES[unit]}"

    def weekday(self, day: date) -> str:
        """Return the name of the day of the week."""
        return _WEEKDAYS[self.language][day.weekday()]

    def date(self, day: date) -> str:
        """Return a day with its weekday."""
        month = _MONTHS[self.language].split()[day.month - 1]
        return f"{self.weekday(day)[:3]}, {day.day} {month} {day.year}"

    def moment(self, local: datetime | str) -> str:
        """Return a local time to the second; without its date if it is today's."""
        if isinstance(local, str):
            local = datetime.fromisoformat(local)
        if local.date() == self._now.date():
            return f"{local:%H:%M:%S}"
        month = _MONTHS[self.language].split()[local.month - 1]
        year = "" if abs(self._now - local) < _SAME_YEAR else f" {local.year}"
        return f"{local.day} {month}{year} {local:%H:%M:%S}"

    def utc(self, moment: str) -> str:
        """Return a UTC time (ISO 8601) as local time."""
        return self.moment(datetime.fromisoformat(moment).astimezone(self.zone).replace(tzinfo=None))

    def today(self) -> str:
        """Return the present local time with its date."""
        return f"{self.date(self._now.date())} {self._now:%H:%M:%S}"

    def span(self, seconds: float) -> str:
        """Return the two largest units of a duration."""
        left, parts = round(abs(seconds)), list[str]()
        for unit, length in _UNITS[self.language]:
            count, left = divmod(left, length)
            if count or parts or length == 1:
                parts.append(f"{count} {unit}")
        return " ".join(part for part in parts[:2] if part == parts[0] or not part.startswith("0 "))

    def offset(self, clock: Mapping[str, int] | None) -> str:
        """Return a clock's offset in words; ``right`` where it is within the measurement's bound."""
        if clock is None:
            return self("unknown")
        offset_ms = clock["offset_ms"]
        if abs(offset_ms) <= max(clock["bound_ms"], 1000):
            return self("right")
        return self("ahead" if offset_ms > 0 else "behind", span=self.span(offset_ms / 1000))
