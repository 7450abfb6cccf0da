"""Texts of the pages in English and Indonesian, and how they print numbers, dates and moments. Pure."""

from collections.abc import Mapping
from datetime import date, datetime, tzinfo

from central.moments import print_moment
from central.texts import Language, Text, _, in_context
from central.web.access import Role
from central.words import VALUES, print_decimal

LANGUAGES: Mapping[Language, str] = {Language.INDONESIAN: "Bahasa Indonesia", Language.ENGLISH: "English"}
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS: tuple[Text, ...] = (
    in_context("month", "January"),
    in_context("month", "February"),
    in_context("month", "March"),
    in_context("month", "April"),
    in_context("month", "May"),
    in_context("month", "June"),
    in_context("month", "July"),
    in_context("month", "August"),
    in_context("month", "September"),
    in_context("month", "October"),
    in_context("month", "November"),
    in_context("month", "December"),
)
ROLES: Mapping[Role, Text] = {
    Role.OPERATOR: in_context("role", "operator"),
    Role.SUPERIOR: in_context("role", "superior"),
    Role.BKD: in_context("role", "personnel agency"),
    Role.AUDITOR: in_context("role", "auditor"),
    Role.PERSON: in_context("role", "own days"),
}
TEXTS: Mapping[str, Text] = {
    "site": _("Attendance"),
    "language": _("Language"),
    "menu": _("Pages"),
    "skip": _("To the content"),
    "logged_in": _("{account} ({role})"),
    "logout": _("Log out"),
    "home": _("Overview"),
    "home_units": _("Your units"),
    "home_all": _("All units"),
    "home_own": _("Your days"),
    "home_none": _(
        "This account has no unit that the registers know today. Ask the administrator of the centre to look at the "
        "account's units."
    ),
    "login": _("Log in"),
    "login_account": _("Account"),
    "login_password": _("Password"),
    "login_go": _("Log in"),
    "login_about": _("The administrator of the centre gives you an account and its password."),
    "login_wrong": _("Account and password do not belong together. Check both; capitals count in the password."),
    "login_wait": _(
        "Too many wrong passwords from here. Wait {seconds} seconds, then try again; the account is not locked."
    ),
    "login_busy": _("Many people are logging in at this moment. Try again in a few seconds."),
    "login_cookies": _(
        "This browser did not send back the cookie of this page. Allow cookies for this address, or load the page "
        "again, and log in once more."
    ),
    "login_ended": _("You are logged out."),
    "login_needed": _("Log in to see this page. A login ends after 12 hours, or 2 hours after the last page."),
    "error": _("The page cannot be shown"),
    "error_missing": _("There is no such page, or it is not for this account."),
    "error_missing_do": _(
        "Check the address, or begin at the overview. If you need this page, the administrator can change the account."
    ),
    "error_wrong": _("The address or the form holds something that cannot be read: {what}."),
    "error_wrong_do": _("Go back and correct it."),
    "error_form": _("The form did not come from a page of this login, or is too old."),
    "error_form_do": _("Nothing was changed. Open the page again and send the form once more."),
    "error_many": _("Too many requests from this account at once."),
    "error_many_do": _("Wait {seconds} seconds and load the page again."),
    "error_database": _("The centre's database cannot be used at this moment."),
    "error_database_do": _(
        "Nothing is lost. Load the page again in a minute; if this stays, inform the administrator of the centre and "
        "name the time: the log of the pages shows why."
    ),
    "error_internal": _("There is a fault in the program."),
    "error_internal_do": _(
        "Other pages work. Inform the administrator of the centre and name the time: the log of the pages shows "
        "where it is."
    ),
    "error_large": _("The form is too large."),
    "error_large_do": _("Nothing was changed. Shorten its texts and send it again."),
    "date_form": _("a date is written YYYY-MM-DD"),
    "month_form": _("a month is written YYYY-MM"),
    "live_on": _("live"),
    "live_off": _("not live: the connection is lost, load the page again"),
    "live_ended": _("The login has ended. Load the page again."),
    "as_of": _("as of {moment}"),
    "data_as_of": _("data as of {moment}"),
    "data_behind": _(
        "These pages show data as of {moment}: they read a copy of the database that is {minutes} minutes behind. "
        "What arrived after that is not shown."
    ),
    "data_unknown": _(
        "These pages read a copy of the database, and how old it is cannot be determined. Data of today may be missing."
    ),
    "data_behind_do": _(
        "People who seem to be missing may have come meanwhile. The administrator of the centre can see why the copy "
        "is behind."
    ),
}


class Messages:
    """The texts in one language; a template calls it with a key and values."""

    def __init__(self, texts: Mapping[str, Text], language: Language) -> None:
        self._texts = texts
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values."""
        return self._texts[key].into(self.language, **values)

    def into(self, text: Text, **values: object) -> str:
        """Return a text that has no key."""
        return text.into(self.language, **values)

    def number(self, number: int) -> str:
        """Return a whole number with its thousands grouped."""
        grouped = f"{number:,}"
        return grouped.replace(",", ".") if self.language is Language.INDONESIAN else grouped

    def decimal(self, number: str) -> str:
        """Return a decimal number with the decimal sign of the language."""
        return print_decimal(number, self.language)

    def weekday(self, day: date) -> str:
        """Return the name of a weekday."""
        return VALUES[WEEK[day.weekday()]].into(self.language).capitalize()

    def month(self, day: date) -> str:
        """Return the month of a date: September 2026."""
        return f"{MONTHS[day.month - 1].into(self.language)} {day.year}"

    def day(self, day: date) -> str:
        """Return a date without its weekday: 2 September 2026."""
        return f"{day.day} {self.month(day)}"

    def date(self, day: date) -> str:
        """Return a date: Wednesday, 2 September 2026."""
        return f"{self.weekday(day)}, {self.day(day)}"

    def when(self, moment: str, zone: tzinfo | None) -> str:
        """Return a moment as letters have it, to the minute: 2 September 2026, 08:30 WIB."""
        text = print_moment(moment, zone)
        try:
            at = datetime.fromisoformat(text[:19])
        except ValueError:
            return text
        return f"{self.day(at.date())}, {at:%H:%M} {text[20:]}".rstrip()

    def moment(self, moment: str | datetime, zone: tzinfo | None) -> str:
        """Return a moment in a zone with the zone's name; None: this computer's."""
        return print_moment(moment if isinstance(moment, str) else moment.isoformat(), zone)

    def role(self, role: Role) -> str:
        """Return the name of a role."""
        return ROLES[role].into(self.language)

    def language_named(self, language: Language) -> str:
        """Return a language's own name."""
        return LANGUAGES[language]
