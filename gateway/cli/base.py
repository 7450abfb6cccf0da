"""Shared by all commands, and light: exit codes, errors with hints, the groups that commands are registered in."""

import sys
from contextlib import suppress
from enum import IntEnum

import typer

from gateway.texts import Language, _


class Code(IntEnum):
    """Exit codes. Those above 63 have the meanings of sysexits.h."""

    NEGATIVE = 1
    USAGE = 2
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    INTERNAL = 70
    DISK = 74
    LOCKED = 75
    PROTOCOL = 76
    REFUSED = 77
    CONFIG = 78


EPILOG = """Exit codes: 0 done · 1 a negative result · 2 wrong usage · 3 no daemon runs

69 terminal or broker unreachable · 70 internal error · 74 ledger or disk

75 ledger in use · 76 not a terminal we know · 77 refused · 78 configuration"""

# Hint → what to do next, in English and Indonesian.
HINTS = {
    "unavailable": _("Check power, network cable and IP address. Some terminals talk to one program only."),
    "calls": _(
        "It calls this gateway by itself: see `hadir status`; `hadir doctor` names what to compare in its menu or app."
    ),
    "line": _(
        "Check the cable and the port, and speed and device number in the terminal's menu. One program uses a port."
    ),
    "port": _("Let this user use serial ports: usermod -a -G dialout USER, then log in again."),
    "name": _("Check the spelling, or write the terminal's IP address."),
    "refused": _("A person must act: see above and the terminal's own menu."),
    "key": _("Write the key into a file and name it with --comm-key-file, or with comm_key_file in the configuration."),
    "encrypted": _("Until then this terminal cannot be read over the network."),
    "panel": _("Check the IP address: attendance terminals and door panels use the same port."),
    "protocol": _("What answers is not a terminal that this version understands. Check the IP address and the port."),
    "no_terminal": _(
        "Compare with the address in a terminal's own menu (Comm. > Ethernet): this computer must be in its network."
    ),
    "large": _("Name the terminals' own networks, such as 192.168.1.0/24, or add --yes."),
    "public": _("Check the spelling; only with the consent of whoever owns these addresses, add --yes."),
    "no_route": _("Check this computer's own cable, address and gateway."),
    "no_config": _("Make one with `sudo hadir init`, or name the right one with --config FILE or HADIR_CONFIG."),
    "config": _("Correct the configuration, then try `hadir check`."),
    "no_ledger": _("Check data_dir in the configuration if the gateway has run before."),
    "ledger": _("The terminals keep what has not been read yet."),
    "no_backup": _("Name another copy; they are made every night in data_dir/backups, and by `hadir ledger backup`."),
    "altered": _("Keep a copy of the whole data_dir as it is, and find out who had access to it."),
    "locked": _("Only one hadir may use a data_dir at a time."),
    "busy": _("Try again in a minute; see `hadir status` and the log."),
    "permission": _("Try again as the user that runs the daemon, or with sudo."),
    "no_file": _("Check the name of the file, and whether the flash disk is in its place."),
    "not_export": _(
        "Import the attendance log only, such as 1_attlog.dat, as the terminal wrote it, not a copy of a spreadsheet."
    ),
    "dates": _("Look at a date in it that you know, then say --dates dmy (day first) or --dates mdy (month first)."),
    "columns": _("Compare a line with the terminal's own screen, then say --columns device or --columns state."),
    "wrong_terminal": _(
        "Name the terminal that wrote the file with --terminal; it must be in the configuration, with its serial."
    ),
    "incomplete": _(
        "What was stored is safe. Look at `hadir status`, then run the command again: it goes on where this ended."
    ),
    "output": _("Choose another file, or make room on the disk."),
    "stick": _("Make room on the flash disk, or unlock it; then run the command again, it goes on where this ended."),
    "bundle": _("Nothing was sent. Ask for a new export; if this one was damaged on purpose, keep the flash disk."),
    "unfinished": _(
        "Nothing was sent. Run `hadir export` again at that gateway with the same flash disk: it completes the bundle."
    ),
    "encryption": _("Install it with pip install 'hadir-gateway[courier]'; for 32-bit ARM there is none ready-made."),
    "demo": _("Install it with pip install 'hadir-gateway[demo]', or run `make demo` in a clone of the project."),
    "broker": _("Check address, network and cable, then run the command again: what has arrived is not sent twice."),
    "broker_refused": _("Whoever runs the broker must allow it, or start the inbox; then run the command again."),
    "unconfirmed": _("Keep the flash disk. See whether the centre's inbox runs, then run the same command again."),
    "receipt": _("Nothing was changed. Take the receipt.json that `hadir courier send` wrote for this gateway."),
    "not_running": _("Start it with `systemctl start hadir`, or `hadir run` in a terminal window."),
    "other_version": _(
        "The running gateway is of another version than this command: restart it with `systemctl restart hadir`."
    ),
    "internal": _("This is a mistake in hadir. Run it again with HADIR_DEBUG=1 for the details, and report them."),
}


def hint_lines(hint: str) -> tuple[str, str]:
    """Return a hint in English and in Indonesian: whoever reads an error may know one of them only."""
    text = HINTS[hint]
    return text.into(Language.ENGLISH), text.into(Language.INDONESIAN)


class Failure(Exception):  # noqa: N818 - a command that failed, not always an error of the program
    """Ends a command with an exit code, a message, and a hint (a key of :data:`HINTS`)."""

    def __init__(self, code: Code, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join((f"hadir: {self.args[0]}", *(f"  {line}" for line in hint_lines(self.hint))))


def command_group(help_text: str | None = None) -> typer.Typer:
    """Return a new group of commands; the help is plain text, without the frames of Rich, which take longer to load."""
    return typer.Typer(no_args_is_help=True, help=help_text, rich_markup_mode=None)


def print_stderr(text: str) -> None:
    """Print a line to standard error; an error there (a closed pipe) is ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command line prints
