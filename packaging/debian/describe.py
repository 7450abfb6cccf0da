"""Writes manual page and bash completion of a program as it describes itself: describe.py PACKAGE DIRECTORY."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from central import cli as centre
from gateway import cli as gateway
from gateway.cli.app import LazyCommand
from gateway.cli.app import app as gateway_app


@dataclass(frozen=True)
class Program:
    """A program and what its page says beside its commands."""

    name: str
    app: typer.Typer
    summary: str
    hints: Mapping[str, tuple[str, str]]
    """What to do next, in English and Indonesian."""
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """One command: all words of it, its help, its options and arguments each with an explanation."""

    words: str
    usage: str
    help: str
    options: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    """What may be typed behind it: commands and options."""


PROGRAMS = (
    Program(
        "hadir",
        gateway_app,
        "attendance gateway: fingerprint terminals to MQTT",
        {name: gateway.hint_lines(name) for name in gateway.HINTS},
        (
            ("/etc/hadir/gateway.yaml", "The configuration."),
            ("/etc/hadir/secrets/", "Passwords and keys; the configuration names them as secrets/NAME."),
            ("/var/lib/hadir/", "The ledger, its backups, and captures."),
            ("/usr/share/doc/hadir/examples/", "Every option explained."),
        ),
    ),
    Program(
        "hadir-central",
        centre.app,
        "reference centre: receive what Hadir gateways publish",
        {name: centre.hint_lines(name) for name in centre.HINTS},
        (
            ("/etc/hadir-central/centre.yaml", "The settings; `hadir-central init` writes them."),
            ("/etc/hadir-central/secrets/", "Passwords and keys; the settings name them as secrets/NAME."),
            ("/etc/hadir-central/policies/", "The office's own policies."),
            ("/var/lib/hadir-central/", "The database, the accounts, copies."),
            ("/usr/share/doc/hadir-central/examples/", "Every setting explained; templates of registers."),
        ),
    ),
)


def commands(command: Any, words: str, parent: Any = None) -> Iterator[Command]:
    """Yield a command and all below it, as Typer built them; its own types are not public."""
    context = command.make_context(words.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    parameters = command.get_params(context)
    names = tuple(getattr(command, "commands", ()))
    flags = [flag for parameter in parameters if parameter.param_type_name == "option" for flag in parameter.opts]
    yield Command(
        words,
        " ".join((words, *command.collect_usage_pieces(context))),
        command.help or "",
        tuple(record for parameter in parameters if (record := parameter.get_help_record(context))),
        names + tuple(flag for flag in flags if flag.startswith("--")),
    )
    for name in names:
        below = command.commands[name]
        below = below.load() if isinstance(below, LazyCommand) else below
        yield from commands(below, f"{words} {name}", context)


def escaped(text: str) -> str:
    """Return text that roff prints as it is."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def page(program: Program, all_of_it: list[Command]) -> str:
    """Return a manual page (man(7))."""
    root, *others = all_of_it
    english, _, indonesian = root.help.partition("\n\n")
    lines = [
        f'.TH {program.name.upper()} 1 "" "Hadir" "Hadir"',
        ".SH NAME",
        escaped(f"{program.name} - {program.summary}"),
        ".SH SYNOPSIS",
        f".B {escaped(root.usage)}",
        ".SH DESCRIPTION",
        escaped(english),
        *definitions(root.options),
        ".SH COMMANDS",
    ]
    for command in others:
        lines += [f".SS {escaped(command.usage)}", escaped(command.help), *definitions(command.options)]
    lines += [".SH EXIT STATUS", escaped(str(program.app.info.epilog)).replace("\n\n", "\n.br\n")]
    lines += [".SH FILES", *definitions(program.files)]
    lines += [".SH BAHASA INDONESIA", escaped(indonesian), ".PP", "Bila ada yang tidak beres:"]
    for _, text in program.hints.values():
        lines += [".IP \\(bu 2", escaped(text)]
    return "\n".join(line for line in lines if line) + "\n"


def definitions(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Yield terms with what they mean."""
    for term, meaning in pairs:
        yield from (".TP", f".B {escaped(term)}", escaped(meaning))


def completion(program: Program, all_of_it: list[Command]) -> str:
    """Return a bash completion: the commands and options at each place, file names where there are none."""
    function = "_" + program.name.replace("-", "_")
    known = "|".join(f'"{command.words}"' for command in all_of_it)
    choices = [f'        "{command.words}") words="{" ".join(command.choices)}" ;;' for command in all_of_it]
    return "\n".join(
        [
            f"{function}() {{",
            f'    local place="{program.name}" word words=""',
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f'        case "$place $word" in {known}) place="$place $word" ;; esac',
            "    done",
            '    case "$place" in',
            *choices,
            "    esac",
            '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")',
            "}",
            f"complete -o default -F {function} {program.name}",
            "",
        ]
    )


def main(package: str, target: Path) -> None:
    """Write man/NAME.1 and completions/NAME of a package's program below a folder."""
    for folder in ("man", "completions"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for program in [program for program in PROGRAMS if program.name == package]:
        all_of_it = list(commands(typer.main.get_command(program.app), program.name))
        (target / "man" / f"{program.name}.1").write_text(page(program, all_of_it), encoding="utf-8")
        (target / "completions" / program.name).write_text(completion(program, all_of_it), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
