"""The command `hadir-central init`: a person at a keyboard, a script, a second time, and what goes wrong."""

import os
import pty
import re
import stat
import sys
from pathlib import Path

import pytest

from central.operation.messages import INIT, QUESTIONS, WRONG
from central.settings import load_settings
from central.texts import Language
from central.web.access import Role
from central.web.accounts import read_accounts
from central.web.passwords import is_password
from tests import command
from tests.central.test_cli import environment
from tests.gateway import test_cli_init as of_the_gateway

BROKER = ("--broker", "mqtt://127.0.0.1:9")


class Person(of_the_gateway.Person):
    """Somebody at a terminal of this computer, who runs a command of the centre."""

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-m", "central.cli", *map(str, arguments)]
        self.screen, self._seen = "", 0
        self._process, self._keyboard = pty.fork()
        if self._process == 0:
            os.execve(words[0], words, environment())  # noqa: S606 - the program under test, on a terminal


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder with its rights."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in files}


def init(folder: Path, *arguments: object) -> tuple[int, str]:
    """Run the command from a script; return its exit code and what it printed."""
    words = ("-c", folder / "etc/centre.yaml", "init", "--data", folder / "data", *arguments)
    done = command.run("central.cli", *words, env=environment())
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("language", list(Language))
def test_a_person_answers_questions(tmp_path: Path, language: Language) -> None:
    """After a wrong answer the question is repeated, passwords are not shown, and what is written is in effect."""
    config = tmp_path / "etc/centre.yaml"

    def asks(question: str) -> str:
        return QUESTIONS[question].into(language).partition("(")[0]

    with Person("-c", config, "init", "--lang", language) as person:
        person.answers(asks("data"), "relative")
        person.answers(WRONG["data"].into(language), str(tmp_path / "data"))
        person.answers(asks("broker"), "https://x")
        person.answers(WRONG["broker"].into(language), "mqtt://127.0.0.1:1")
        person.answers(asks("username"), "pusat")
        person.answers(asks("password"), "broker's secret")
        person.answers(asks("account"), "kepala.bkd")
        person.answers(asks("account_password"), "short")
        person.answers(WRONG["account_password"].into(language), "a sentence of mine")
        person.answers(asks("policy"), "none-such")
        person.answers(asks("policy"), "kementan-2012")
        person.answers(asks("unit"), "kantor")
        assert person.waits() == 0, person.screen
    settings = load_settings(config)

    assert settings.language is language
    assert settings.broker.username == "pusat"
    assert settings.broker.password_file is not None
    assert settings.broker.password_file.read_text() == "broker's secret\n"
    assert "broker's secret" not in person.screen
    assert "sentence of" not in person.screen
    assert INIT["policies"].into(language) in person.screen
    account = read_accounts(settings.account_file)["kepala.bkd"]
    assert account.role is Role.BKD
    assert is_password("a sentence of mine", account.password)
    assert re.search("^,kantor,week,kementan-2012,", (tmp_path / "etc/assignments.csv").read_text(), re.MULTILINE)
    modes = {name: mode for name, (_, mode) in contents(tmp_path).items()}
    assert modes == {
        "etc/centre.yaml": 0o644,
        "etc/assignments.csv": 0o644,
        "etc/secrets/broker-password": 0o600,
        "data/accounts.yaml": 0o600,
    }
    done = command.run("central.cli", "-c", config, "check", env=environment())
    values = {"broker": settings.broker.url, "database": settings.database, "pages": settings.pages.listen}
    assert done.stdout == INIT["right"].into(language, file=config, **values) + "\n"


def test_a_script_gives_options_and_nothing_is_overwritten(tmp_path: Path) -> None:
    """A password is made by chance where none is given; comments of a package stay; a second run changes nothing."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/centre.yaml").write_text("# of the package\n")
    (tmp_path / "password").write_text("rahasia pusat\n")
    login = ("--username", "centre", "--password-file", tmp_path / "password")

    code, output = init(tmp_path, *BROKER, *login, "--public-url", "https://presensi.example.go.id/")
    assert code == 0, output
    settings = load_settings(tmp_path / "etc/centre.yaml")
    assert (tmp_path / "etc/centre.yaml").read_text().startswith("# of the package\n\n# ")
    assert settings.pages.public_url == "https://presensi.example.go.id"
    made, mode = contents(tmp_path)["etc/secrets/first-password"]
    assert mode == 0o600
    assert re.fullmatch(r"([a-z2-9]{4}-){4}[a-z2-9]{4}\n", made.decode())
    assert made.decode().strip() not in output
    assert is_password(made.decode().strip(), read_accounts(settings.account_file)["bkd"].password)

    before = contents(tmp_path)
    code, output = init(tmp_path, "--broker", "mqtt://other:1")
    assert (code, contents(tmp_path)) == (0, before)
    assert "is there already: nothing is written" in output
    assert "broker mqtt://127.0.0.1:9" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "--broker"),
        (("--broker", "mqtt:/x"), 2, "No broker's address"),
        ((*BROKER, "--data", "x"), 2, "full path"),
        ((*BROKER, "--password-file", "/dev/null"), 2, "no effect without --username"),
        ((*BROKER, "--username", "c", "--password-file", "/dev/null"), 2, "not a regular file"),
        ((*BROKER, "--account", "Budi"), 2, "Only a-z"),
        ((*BROKER, "--policy", "none"), 2, "None of these policies: kejaksaan-2020"),
        ((*BROKER, "--listen", "0.0.0.0:8090"), 78, "unencrypted"),
        ((*BROKER, "--listen", "here"), 2, "write an IP address and a port"),
        ((*BROKER, "--ca-file", "/dev/null"), 2, "no certificate"),
    ],
)
def test_a_wrong_option_leaves_nothing(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """Not even the folders; the message names what is right."""
    found, output = init(tmp_path, *arguments)
    assert found == code
    assert message in " ".join(output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_where_writing_fails(tmp_path: Path) -> None:
    """Another's file in the way: it is named, and what was made before is removed again."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/assignments.csv").write_text("of the office\n")
    (tmp_path / "data").mkdir()
    before = contents(tmp_path)

    code, output = init(tmp_path, *BROKER)
    assert code == 74
    assert "etc/assignments.csv: File exists; nothing is written" in output
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["assignments.csv"]

    (tmp_path / "etc/assignments.csv").unlink()
    assert init(tmp_path, *BROKER)[0] == 0
    (tmp_path / "etc/centre.yaml").unlink()
    (tmp_path / "etc/assignments.csv").unlink()
    accounts = contents(tmp_path)["data/accounts.yaml"]
    (tmp_path / "etc/secrets/first-password").unlink()
    code, output = init(tmp_path, *BROKER)  # the settings were lost, the data were not
    assert code == 0, output
    assert contents(tmp_path)["data/accounts.yaml"] == accounts
    assert not (tmp_path / "etc/secrets/first-password").exists()
