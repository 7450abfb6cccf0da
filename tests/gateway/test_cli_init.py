"""The command `hadir init`: a person at a keyboard, a script, a second time, and everything that goes wrong."""

import os
import pty
import re
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from drivers.textfile import read_secret
from drivers.zkteco.simulator import Simulator, build
from gateway.cli.messages import QUESTIONS, WRONG
from gateway.settings import Settings, host_and_port, load
from gateway.texts import Language
from tests.authority import Authority
from tests.broker import WAIT_S, Broker
from tests.drivers.zkteco import foreign_services
from tests.gateway.test_cli import HADIR, environment, hadir

SITE = ("--site", "kantor", "--timezone", "WIB", "--broker", "mqtt://127.0.0.1:9")


class Person:
    """A person at a terminal of this computer who waits for each question before answering it."""

    def __init__(self, *arguments: object, **env: str) -> None:
        command = [*HADIR, *map(str, arguments)]
        self.screen = ""
        self._seen = 0
        self._process, self._keyboard = pty.fork()
        if self._process == 0:
            os.execve(command[0], command, environment(**env))  # noqa: S606 - the program under test, on a terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._keyboard)

    def reads(self, text: str, timeout: float = WAIT_S) -> None:
        """Wait until ``text`` stands on the screen, behind what was read before."""
        until = time.monotonic() + timeout
        while (at := self.screen.find(text, self._seen)) < 0:
            assert select.select([self._keyboard], [], [], max(0.0, until - time.monotonic()))[0], self.screen
            self.screen += self._more()
        self._seen = at + len(text)

    def types(self, answer: str) -> None:
        """Type a line."""
        os.write(self._keyboard, f"{answer}\n".encode())

    def answers(self, question: str, answer: str) -> None:
        """Wait for a question and for the place to answer: what is typed before it is thrown away."""
        self.reads(question)
        self.reads(": ")
        self.types(answer)

    def waits(self) -> int:
        """Read to the end; return the exit code."""
        with suppress(OSError):  # how a terminal shows that no process writes to it any more
            while more := self._more():
                self.screen += more
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def _more(self) -> str:
        return os.read(self._keyboard, 65536).decode().replace("\r\n", "\n")


@contextmanager
def terminals(**keys: int) -> Iterator[int]:
    """Serve terminals at loopback addresses 127.47.1.1 and on, one for each serial with its key; yield their port."""
    port = foreign_services.free_port()
    served = []
    try:
        for number, (serial, key) in enumerate(keys.items(), 1):
            served.append(Simulator(build(serial=serial, records=5, comm_key=key), f"127.47.1.{number}", port))
            served[-1].__enter__()
        yield port
    finally:
        for simulator in served:
            simulator.__exit__(None, None, None)


def entries(settings: Settings) -> dict[str, tuple[str | None, str]]:
    """Return serial and address of each terminal by name."""
    return {entry.name: (entry.serial, getattr(entry, "address", "")) for entry in settings.terminals}


def contents(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def private(path: Path) -> bool:
    """Return whether only its owner can read a file."""
    return stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("language", list(Language))
def test_a_person_answers_questions(tmp_path: Path, language: Language) -> None:
    """Wrong answers are requested again, secrets are not shown, and what is written is good."""
    config = tmp_path / "new" / "gateway.yaml"
    with (
        Broker(tmp_path, users={"kantor/gw-01": "hunter2"}) as broker,
        terminals(FIRST1=0, SECOND2=4711, THIRD3=0) as port,
        Person(
            "init", "-c", config, "--lang", language.value, "--port", port, "--data-dir", tmp_path / "data"
        ) as person,
    ):

        def again(question: str, *answers: str) -> None:
            *wrong, right = answers
            for answer in wrong:
                person.answers(QUESTIONS[question].into(language), answer)
                person.reads(WRONG[question].into(language))
            person.answers(QUESTIONS[question].into(language), right)

        again("site", "Kantor Pusat", "kantor")
        again("gateway", "GW/1", "")
        again("timezone", "Jakarta", "wita")
        again("broker", "broker", "mqtt://user:pass@host", broker.url)
        again("username", "")
        again("password", "hunter2")
        again("range", "8.8.8.0/24", "10.0.0.0/8", "127.47.1.0/29 Loket=1", f"127.47.1.0/29, pintu=127.47.1.9:{port}")
        person.answers(f"127.47.1.1:{port}, ", "pintu")
        person.reads(WRONG["name"].into(language))
        person.answers(f"127.47.1.1:{port}, ", "lobi")
        person.answers(f"127.47.1.2:{port} ", "abc")
        person.reads(WRONG["key"].into(language))
        person.answers(f"127.47.1.2:{port} ", "1174")
        person.reads(WRONG["key_refused"].into(language))
        person.answers(f"127.47.1.2:{port} ", "4711")
        person.answers(f"127.47.1.2:{port}, ", "aula")
        person.answers(f"127.47.1.3:{port}, ", "-")
        code = person.waits()

    settings = load(config)
    assert entries(settings) == {
        "lobi": ("FIRST1", f"127.47.1.1:{port}"),
        "aula": ("SECOND2", f"127.47.1.2:{port}"),
        "pintu": (None, f"127.47.1.9:{port}"),
    }
    assert (settings.site, settings.gateway, settings.timezone) == ("kantor", "gw-01", "Asia/Makassar")
    assert (settings.mqtt.url, settings.mqtt.username) == (broker.url, "kantor/gw-01")
    assert settings.mqtt.password_file is not None
    assert read_secret(settings.mqtt.password_file) == "hunter2"
    assert (config.parent / "secrets" / "comm-key-aula").read_text() == "4711\n"
    assert all(map(private, (config.parent / "secrets").iterdir()))
    assert sorted(path.name for path in config.parent.iterdir()) == ["gateway.yaml", "secrets"]
    for secret in ("hunter2", "4711", "1174"):
        assert secret not in person.screen + config.read_text()
    assert code == 1  # the third terminal is not there: the doctor reports it
    assert f"OK: {config}" in person.screen
    assert re.search(r"✓ broker +login", person.screen)
    assert re.search(r"✗ pintu +port", person.screen)
    assert "left out" in config.read_text()


def test_a_person_who_leaves(tmp_path: Path) -> None:
    """The end of the input, or Ctrl-C, in the middle of the questions leaves nothing behind."""
    config = tmp_path / "gateway.yaml"
    with Person("init", "-c", config, "--lang", "en") as person:
        person.answers(QUESTIONS["site"], "kantor")
        person.answers(QUESTIONS["gateway"], "\x03")
        code = person.waits()
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_person_options_are_required(tmp_path: Path) -> None:
    """A script names everything; a second run writes nothing and ends as the first did."""
    config = tmp_path / "gateway.yaml"
    key, ca = tmp_path / "office-key", tmp_path / "ca.pem"
    key.write_text("4711\n")
    ca.write_text(Authority(tmp_path, "ours").ca.read_text())
    with terminals(FIRST1=0, SECOND2=4711) as port:
        options = (
            *("init", "-c", config, "--site", "kantor", "--timezone", "Asia/Jayapura", "--username", "kantor/gw-01"),
            *("--broker", "mqtts://127.0.0.1:9", "--ca-file", ca, "--password-file", "-", "--port", port),
            *("--range", "127.47.1.0/29", "--comm-key-file", key, "--terminal", "pintu=127.47.1.7", "--lang", "en"),
            *("--data-dir", tmp_path / "data"),
        )
        first = hadir(*options, stdin="hunter2\n")
        files = contents(tmp_path)
        second = hadir(*options, stdin="other\n")

    settings = load(config)
    assert sorted(serial or "" for serial, _ in entries(settings).values()) == ["", "FIRST1", "SECOND2"]
    assert read_secret(tmp_path / "secrets" / "mqtt-password") == "hunter2"
    assert private(tmp_path / "secrets" / "mqtt-password")
    assert private(tmp_path / "secrets" / "comm-key")
    assert settings.mqtt.ca_file == ca
    assert "Written: " in first.stdout
    assert "is there already: nothing is written" in second.stdout
    assert contents(tmp_path) == files
    assert [done.returncode for done in (first, second)] == [1, 1]  # no broker is there
    assert "hunter2" not in first.stdout + first.stderr + config.read_text()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (("--site", "kantor"), "add --timezone, --broker, --range"),
        ((*SITE, "--range", "8.8.8.8"), "private"),
        ((*SITE, "--range", "10.0.0.0/8"), "1,024"),
        ((*SITE, "--terminal", "Lobi=10.0.0.1"), "private"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--gateway", "GW 1"), "hyphens"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--password-file", "-"), "--username"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--comm-key-file", "/nonexistent"), "no secret"),
        ((*SITE, "--terminal", "lobi=10.0.0.010"), "private"),
        ((*SITE, "--terminal", "lobi@"), "no serial number"),
        ((*SITE, "--terminal", "lobi@SYN.1"), "no serial number"),
        ((*SITE, "--terminal", "lobi@SYN1", "--terminal", "aula@SYN1"), "no serial number"),
        ((*SITE, "--terminal", "lobi@SYN1", "--terminal", "lobi=10.0.0.1"), "no serial number"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--timezone", "Etc/GMT+7"), "No time zone"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--username", "gw\u00a0"), "no blank at an end"),
        ((*SITE, "--terminal", "lobi=10.0.0.1", "--broker", "mqtts://h", "--ca-file", "/nonexistent"), "no such file"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: tuple[str, ...], advice: str) -> None:
    """2, what would be right, and nothing is written."""
    done = hadir("init", "-c", tmp_path / "gateway.yaml", "--lang", "en", *options, stdin="")
    assert done.returncode == 2, done.stderr
    assert advice in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_terminals_that_call_are_named_by_serial_number(tmp_path: Path) -> None:
    """They are added with the port that they call, and what to type into them is printed."""
    config = tmp_path / "gateway.yaml"
    named = ("gate@SYN0000000001", "aula@SYN0000000002", "aplikasi@app:APP-PRESENSI", "kantin=soap:127.0.0.1:1")
    calling = [part for name in named for part in ("--terminal", name)]
    done = hadir("init", "-c", config, *SITE, *calling, "--lang", "en", "--data-dir", tmp_path / "data")

    settings = load(config, strict=True)
    assert [(entry.name, entry.driver, entry.serial) for entry in settings.terminals] == [
        ("kantin", "soap", None),
        ("gate", "push", "SYN0000000001"),
        ("aula", "push", "SYN0000000002"),
        ("aplikasi", "webhook", "APP-PRESENSI"),
    ]
    secret = config.parent / "secrets" / "aplikasi"
    assert re.fullmatch("[0-9a-f]{64}\\n", secret.read_text())
    assert secret.stat().st_mode & 0o777 == 0o600
    assert f"/hook/aplikasi, the secret in {secret}" in done.stdout
    assert settings.receiver is not None
    address, port = host_and_port(settings.receiver.listen)
    assert port == 8088
    assert f"server address {address}, port 8088" in done.stdout
    assert "no daemon runs here that it could call" in done.stdout  # the doctor, of each


def test_no_terminal_answers(tmp_path: Path) -> None:
    """Without a terminal there is no configuration."""
    done = hadir(
        "init", "-c", tmp_path / "gateway.yaml", *SITE, "--range", "127.47.1.9", "--port", foreign_services.free_port()
    )
    assert done.returncode == 1
    assert "nothing is written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """It is reported before the first question, also to root."""
    done = hadir("init", "-c", "/proc/hadir/gateway.yaml", *SITE, "--terminal", "lobi=127.0.0.1:9")
    (tmp_path / "file").write_text("")
    inside = hadir("init", "-c", tmp_path / "file" / "gateway.yaml", *SITE, "--terminal", "lobi=127.0.0.1:9")
    assert [done.returncode, inside.returncode] == [74, 74]
    assert "/proc/hadir" in done.stderr


def test_secret_that_is_there_stays(tmp_path: Path) -> None:
    """Another password is not written over, and nothing else is written either; the same one is used as it is."""
    config, password = tmp_path / "gateway.yaml", tmp_path / "secrets" / "mqtt-password"
    password.parent.mkdir()
    password.write_text("older\n")
    password.chmod(0o600)
    options = (*SITE, "--terminal", "lobi=127.0.0.1:9", "--username", "gw", "--password-file", "-")
    other = hadir("init", "-c", config, *options, stdin="hunter2\n")
    left = contents(tmp_path)
    same = hadir("init", "-c", config, *options, stdin="older\n")

    assert other.returncode == 74
    assert "mqtt-password: File exists" in other.stderr
    assert left == {password: b"older\n"}
    assert same.returncode == 1
    assert read_secret(load(config).mqtt.password_file or password) == "older"


def test_answers_that_make_no_configuration(tmp_path: Path) -> None:
    """Each may be right, and not all of them together: every mistake is reported, and nothing stays behind."""
    options = (*SITE, "--terminal", "lobi=127.0.0.1:9", "--terminal", "aula=127.0.0.1:9", "--username", "gw")
    done = hadir("init", "-c", tmp_path / "gateway.yaml", *options, "--password-file", "-", stdin="hunter2\n")
    assert done.returncode == 78
    assert "every terminal has its own" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_comments_are_no_configuration(tmp_path: Path) -> None:
    """A package installs a page in which nothing is in effect: what is written goes behind it, and only once."""
    config = tmp_path / "gateway.yaml"
    page = "# Nothing here is in effect yet.\n\n# site: 3602-bkpsdm\n"
    config.write_text(page)
    options = ("init", "-c", config, *SITE, "--terminal", "lobi=127.0.0.1:9", "--lang", "en")
    done = hadir(*options)
    written = config.read_text()
    again = hadir(*options)

    assert "Written: " in done.stdout
    assert written.startswith(page)
    assert load(config).site == "kantor"
    assert "nothing is written" in again.stdout
    assert config.read_text() == written
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.yaml"]
