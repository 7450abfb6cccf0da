"""The pages for office IT and the privacy sheet say what is true: commands, paths, tables, periods, procedures."""

import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import TypeAdapter

from central.cli import app as centre
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.cli.app import LazyCommand, app
from gateway.cli.init import SECRETS
from gateway.ledger import FILE_NAME, copies, schema
from gateway.settings import Bytes, Retention, Settings, load
from gateway.terminal import captures
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.control import ask
from tests.gateway.test_cli import configuration, hadir, running

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {language: (DOCS / f"operations.{language}.md").read_text("utf-8") for language in ("id", "en")}
PRIVACY = (DOCS / "privacy.md").read_text("utf-8")
NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
STICK = "/media/stick"


def codes(text: str) -> list[str]:
    """Return what stands in code: indented lines, and words between backticks."""
    return [found[1] or found[2] for found in re.finditer(r"^ {4}(\S.*)$|`([^`\n]+)`", text, re.MULTILINE)]


def ours(text: str) -> list[list[str]]:
    """Return the words of each command line of ours in code, without what stands beside it in a pipe.

    A person types ``sudo`` before it: what has none is a mention of a command.
    """
    parts = [part.strip() for code in codes(text) for part in code.split("|")]
    return [shlex.split(part)[2:] for part in parts if part.startswith("sudo hadir ")]


def section(number: int, text: str = PAGES["id"]) -> str:
    """Return a numbered section of a page."""
    return text.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def typed(number: int) -> list[list[str]]:
    """Return our command lines that a section gives to type: the indented ones."""
    return ours("\n".join(line for line in section(number).splitlines() if line.startswith("    ")))


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table below a heading, without its head."""
    below, _, _ = text.partition(f"\n## {heading}\n")[2].partition("\n## ")
    for line in [line for line in below.splitlines() if line.startswith("|")][2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


# --- the words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES.values(), PRIVACY], ids=[*PAGES, "privacy"])
def test_every_command_line_parses(page: str) -> None:
    """Commands, options and arguments exist; a mistake raises what a person would be shown."""
    lines = ours(page)
    assert lines
    for words in lines:
        command: Any = typer.main.get_command(app)
        context = command.make_context("hadir", [], resilient_parsing=True)
        rest = list(words)
        while hasattr(command, "commands"):
            name = rest.pop(0)
            assert name in command.commands, words
            command = command.commands[name]
            if isinstance(command, LazyCommand):
                command = command.load()
            if hasattr(command, "commands"):
                context = command.make_context(name, [], parent=context, resilient_parsing=True)
        command.make_context(words[0], rest, parent=context)


def test_a_command_line_with_a_mistake_does_not_parse() -> None:
    """The test above can fail."""
    with pytest.raises(Exception, match=r"(?i)no such option"):
        test_every_command_line_parses("    sudo hadir ledger backup --too /media/stick\n")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_options_of_the_centre_exist(page: Path) -> None:
    """Each ``--option`` beside a command of the centre is one of that command."""
    for line in re.findall(
        r"(?:^(?: {4}|\$ )?|`)(?:sudo )?hadir-central ([^`\n]*)", page.read_text("utf-8"), re.MULTILINE
    ):
        command: Any = typer.main.get_command(centre)
        words = line.partition("   #")[0].split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts} | {"--help"}
        assert {word for word in words if re.fullmatch("--[a-z-]+", word)} <= known, line


def test_both_languages_have_the_same_content() -> None:
    """The same sections, each with the same code in the same order: commands, paths and names of alarms."""
    numbers = {language: re.findall(r"^## (\d+)\. ", page, re.MULTILINE) for language, page in PAGES.items()}
    assert numbers["id"] == numbers["en"] == [str(number) for number in range(1, len(numbers["id"]) + 1)]
    for number in map(int, numbers["id"]):
        lines = [re.findall(r"^ {4}\S.*$", section(number, page), re.MULTILINE) for page in PAGES.values()]
        assert lines[0] == lines[1]
        alarms = [re.findall(r"^\| (`.+?`) \|", section(number, page), re.MULTILINE) for page in PAGES.values()]
        assert alarms[0] == alarms[1]


@pytest.mark.parametrize("page", [*PAGES.values(), PRIVACY], ids=[*PAGES, "privacy"])
def test_paths_are_those_of_the_service(page: str, tmp_path: Path) -> None:
    """Configuration, secrets and data lie where unit, ``init`` and settings have them; links lead somewhere."""
    unit = (ROOT / "systemd" / "hadir.service").read_text("utf-8")
    settings = load(configuration(tmp_path, lobby="192.168.1.201"))
    data = Settings.model_fields["data_dir"].default
    assert "StateDirectory=hadir\n" in unit
    assert f"LoadCredential=secrets:/etc/hadir/{SECRETS}\n" in unit
    assert "--config /etc/hadir/gateway.yaml\n" in unit
    assert data == Path("/var/lib/hadir")
    known = {
        *("/etc/hadir", "/etc/hadir/gateway.yaml", f"/etc/hadir/{SECRETS}", "/etc/machine-id", "/dev/stdin"),
        *(str(data), f"{data}/{settings.backups.name}", f"{data}/{FILE_NAME}", "/var/lib/private/hadir"),
        *("/var/lib/private/hadir-salinan", STICK, f"/etc/hadir/{SECRETS}/presensi"),
    }
    found = {path.rstrip("/.") for code in codes(page) for path in re.findall(r"(?<![\w.:/])/[a-z][\w./-]*", code)}
    assert {path for path in found if not path.startswith(f"{STICK}/")} <= known
    names = [name for name in re.findall(r"\]\(([^)#]+)\)", page) if not name.startswith("http")]
    assert [name for name in names if not (DOCS / name).exists()] == []


def test_alarms_in_the_weekly_look_exist() -> None:
    """What people are advised to look for is what the programs print."""
    output = (DOCS / "contract.md").read_text("utf-8") + (DOCS / "log-events.md").read_text("utf-8")
    alarms = re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.+?`) \|", section(2), re.MULTILINE)))
    assert len(alarms) > 10
    assert [alarm for alarm in alarms if f"`{alarm}`" not in output] == []


def test_privacy_names_every_table_of_the_ledger() -> None:
    """Neither a table without an explanation, nor one that does not exist."""
    assert sorted(name.strip("`") for name, *_ in rows(PRIVACY, "What is kept where")) == sorted(schema.TABLES)


def test_privacy_tells_the_periods_of_the_settings() -> None:
    """Defaults of the retention, and how many copies and captures are kept."""
    done = {what: default for what, default, _ in rows(PRIVACY, "For how long")}
    size = TypeAdapter(Bytes)
    for key in Retention.model_fields:
        default = done.pop(f"`retention.{key}`")
        assert (int(default) if key == "days" else size.validate_python(default)) == getattr(Retention(), key)
    assert done == {
        "copies in `backups/`": str(copies.BACKUPS_KEPT),
        "texts in `captures/`": str(captures.CAPTURES_KEPT),
        "whole logs in `captures/`": str(captures.BODIES_KEPT),
    }


# --- what the pages promise, done as they say ---------------------------------------------------------------------


def terminal(serial: str, punches: int) -> SimulatedTerminal:
    """Return a terminal at which people have punched."""
    made = SimulatedTerminal(serial=serial)
    for minute in range(punches):
        made.punch("1001", moment=NOON + timedelta(minutes=minute))
    return made


def recorded(folder: Path, count: int) -> None:
    """Wait until the running gateway has so many events."""
    eventually(lambda: ((ask(folder / "data", "status") or {}).get("health") or {}).get("sequence", 0) >= count)


def stop(process: Any) -> None:
    """Do what ``systemctl stop`` does."""
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WAIT_S)


def do(words: list[str], config: Path, **paths: str) -> str:
    """Type a command of the page, with this test's paths for those of the page; return what it prints."""
    here = [paths.get(word, word) for word in words]
    done = hadir(*here, HADIR_CONFIG=str(config))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_backup_restore_and_move(tmp_path: Path) -> None:
    """Sections 3, 4 and 5: copies while it runs, back to one, on to another computer; nothing is lost or doubled."""
    old, new, stick = tmp_path / "old", tmp_path / "new", str(tmp_path / "stick")
    old.mkdir()
    new.mkdir()
    device = terminal("S1", 10)
    with Broker(tmp_path) as broker, Simulator(device) as simulator:
        config = configuration(old, url=broker.url, lobby=simulator.address)
        with running("run", "-c", config) as process:
            recorded(old, 10)
            for words in typed(3):
                assert do(words, config, **{STICK: stick}).startswith("OK: ")
            device.punch("1002", moment=NOON + timedelta(hours=2))
            recorded(old, 11)
            stop(process)
        restore, verify = typed(4)
        output = do(restore, config)
        assert "is the ledger now" in output
        assert "ledger.db.replaced-" in output
        assert do(verify, config).startswith("OK: 11 events in 2 streams, 10 of them punches")

        copying, restoring, doctor = typed(5)
        do(copying, config, **{STICK: stick})
        moved = new / config.name
        shutil.copy(config, moved)
        do([*restoring[:2], str(max(Path(stick).glob("ledger-*.db")))], moved)
        with running("run", "-c", moved) as process:
            eventually(lambda: "in 3 streams, 11 of them punches" in hadir(*verify, "-c", moved).stdout)
            assert f"{moved}" in hadir(*doctor, HADIR_CONFIG=str(moved)).stdout
            stop(process)


def test_replacing_a_terminal(tmp_path: Path) -> None:
    """Section 6: another serial is refused until it is written down; the old punches stay."""
    reconcile, status, check, reload, _ = typed(6)
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(terminal("OLD1", 5)))
        config = configuration(tmp_path, lobby=simulator.address)
        process = stack.enter_context(running("run", "-c", config))
        recorded(tmp_path, 5)
        assert do(reconcile, config).startswith("lobby: 5 records")
        simulator.__exit__(None, None, None)
        stack.enter_context(Simulator(terminal("NEW1", 3), port=int(simulator.address.rpartition(":")[2])))
        eventually(lambda: "serial NEW1 answers where OLD1 is expected" in do(status, config))
        config.write_text(config.read_text().replace("    poll: 1s\n", '    poll: 1s\n    serial: "NEW1"\n'))
        do(check, config)
        do(reload, config)
        eventually(lambda: re.search(r"lobby +online .*NEW1", do(status, config)))
        eventually(lambda: "8 of them punches" in hadir("verify", "-c", config).stdout)
        stop(process)


def test_copied_card(tmp_path: Path) -> None:
    """Section 7: the copy states that it publishes nothing more; the original goes on."""
    device = terminal("S1", 3)
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path))
        centre = stack.enter_context(Subscriber(broker.port))
        simulator = stack.enter_context(Simulator(device))
        config = configuration(original, url=broker.url, lobby=simulator.address)
        with running("run", "-c", config) as process:
            recorded(original, 3)
            stop(process)
        shutil.copytree(original, copy)
        stack.enter_context(running("run", "-c", config))
        eventually(lambda: ", connected" in hadir("status", "-c", config).stdout)
        stack.enter_context(running("run", "-c", copy / config.name))
        promised = next(code for code in codes(section(7)) if code.startswith("this copy"))
        eventually(lambda: promised in hadir("status", "-c", copy / config.name).stdout)
        device.punch("1002", moment=NOON + timedelta(hours=2))
        eventually(lambda: [punch for punch in centre.on("/punch/lobby") if punch.payload["data"]["pin"] == "1002"])
        first, *_, last = [message.payload for message in centre.on("/punch/lobby")]
        assert (last["data"]["pin"], last["stream"]) == ("1002", first["stream"])
        assert any(message.payload["alarm"] == "client_id_taken" for message in centre.on("/alarm"))
