"""The configuration file: every mistake becomes one line that states where, what is wrong and what would be right."""

import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from drivers import DRIVERS
from drivers.push.terminal import PushOptions
from drivers.textfile import read_secret
from drivers.webhook.terminal import WebhookOptions
from gateway.settings import Settings, json_schema, load
from gateway.settings_text import SettingsError
from tests.authority import Authority

EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.example.yaml"
SERIAL_EXAMPLE = EXAMPLE.with_name("anviz.example.yaml")

GOOD = """\
site: 3602-bkpsdm
gateway: gw-01
timezone: Asia/Jakarta
mqtt:
  url: mqtt://broker
terminals:
  - name: lobby
    driver: zkteco
    address: 192.168.1.201
"""

SECRET = "hunter2-4711"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test writes its configuration; no credentials of systemd unless the test sets them."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return tmp_path / "gateway.yaml"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that issues certificates."""
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


def write(config: Path, text: str) -> Path:
    """Write the configuration."""
    config.write_text(text, encoding="utf-8")
    return config


def secret(folder: Path, name: str, content: str = SECRET, mode: int = 0o600) -> Path:
    """Write a file that the configuration names."""
    file = folder / name
    file.write_text(content, encoding="utf-8")
    file.chmod(mode)
    return file


def mistakes(config: Path, text: str | bytes) -> list[str]:
    """Load a file that must not load; its lines without the file's name."""
    config.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        load(config, strict=True)
    assert str(caught.value) == "\n".join(caught.value.lines)
    for line in caught.value.lines:
        assert line.startswith(f"{config}:")
        assert SECRET not in line
    return [line.removeprefix(f"{config}:") for line in caught.value.lines]


def changed(old: str, new: str) -> str:
    """Return the good file with one change."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


@cache
def whole_schema() -> dict[str, Any]:
    """Return the schema, made once: it reads the descriptions of all values from the code."""
    return json_schema()


# ---------------------------------------------------------------- what a good file becomes


def test_small_file_gets_every_default(config: Path) -> None:
    """The five required things are enough."""
    settings = load(write(config, GOOD))
    assert settings.data_dir == Path("/var/lib/hadir")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.tls) == ("broker", 1883, False)
    assert settings.terminals[0].poll == 60.0
    assert settings.terminals[0].clock.tolerance == 60.0


def test_client_id_and_topics_come_from_site_and_gateway(config: Path) -> None:
    """The names that contract.md promises."""
    settings = load(write(config, changed("url: mqtt://broker", "url: mqtt://broker\n  root: gov/hadir")))
    assert settings.client_id == "hadir-3602-bkpsdm-gw-01"
    assert settings.topic_prefix == "gov/hadir/v1/3602-bkpsdm/gw-01"


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://10.0.0.1", "10.0.0.1", 1883, False),
        ("mqtts://broker.example.go.id", "broker.example.go.id", 8883, True),
        ("mqtts://broker:443/", "broker", 443, True),
        ("mqtt://[::1]:1884", "::1", 1884, False),
    ],
)
def test_url_says_host_port_and_tls(config: Path, url: str, host: str, port: int, tls: bool) -> None:
    """Ports have the default of their protocol."""
    mqtt = load(write(config, changed("mqtt://broker", url))).mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


def test_terminal_is_its_drivers_options(config: Path) -> None:
    """An entry can be handed to ``driver.connect`` as it is."""
    terminal = load(write(config, GOOD + "    timeout: 2s\n    transport: udp\n")).terminals[0]
    options = DRIVERS["zkteco"].options
    assert isinstance(terminal, options)
    assert terminal.timeout == 2.0


def test_settings_cannot_be_changed(config: Path) -> None:
    """Frozen all the way down."""
    settings = load(write(config, GOOD))
    for model, field in ((settings, "site"), (settings.mqtt, "root"), (settings.terminals[0], "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, "x")


def test_zone_of_a_terminal_is_its_own_or_the_offices(config: Path) -> None:
    """One office may span zones."""
    more = "    timezone: Asia/Makassar\n  - {name: gudang, driver: zkteco, address: 10.0.0.2}\n"
    settings = load(write(config, GOOD + more))
    zones = [settings.zone(terminal) for terminal in settings.terminals]
    assert zones == [ZoneInfo("Asia/Makassar"), ZoneInfo("Asia/Jakarta")]


@pytest.mark.parametrize("text", ["2026-01-01", "'2026-01-01'"])
def test_start_may_be_a_date(config: Path, text: str) -> None:
    """With or without quotes."""
    assert load(write(config, GOOD + f"    start: {text}\n")).terminals[0].start == date(2026, 1, 1)


@pytest.mark.parametrize(("text", "protocol"), [("5", 5), ("'5'", 5), ("3.1.1", "3.1.1")])
def test_protocol_with_or_without_quotes(config: Path, text: str, protocol: int | str) -> None:
    """YAML makes a number of one and text of the other."""
    mqtt = load(write(config, changed("mqtt://broker", f"mqtt://broker\n  protocol: {text}"))).mqtt
    assert mqtt.protocol == protocol


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 * 1024**3), ("1.5 GB", 1_500_000_000), ("2097152", 2_097_152), ("2048KiB", 2_097_152)]
)
def test_sizes_have_units(config: Path, text: str, size: int) -> None:
    """Binary and decimal units differ; a plain number is bytes."""
    assert load(write(config, GOOD + f"retention: {{max_bytes: {text}}}\n")).retention.max_bytes == size


def test_web_may_be_off(config: Path) -> None:
    """Null is a choice, not a mistake."""
    assert load(write(config, GOOD + "web: null\n")).web is None


def test_relative_data_dir_counts_from_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command was started."""
    monkeypatch.chdir("/")
    assert load(write(config, GOOD + "data_dir: state\n")).data_dir == config.parent / "state"


def test_anchors_share_what_terminals_have_in_common(config: Path) -> None:
    """YAML's own means against repetition work."""
    more = "    <<: &old {transport: udp, live: no}\n  - {<<: *old, name: gudang, driver: zkteco, address: 10.0.0.2}\n"
    assert [terminal.live for terminal in load(write(config, GOOD + more)).terminals] == [False, False]


def test_byte_order_mark_is_no_mistake(config: Path) -> None:
    """Notepad writes one."""
    config.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(config).site == "3602-bkpsdm"


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "localhost:80", "127.9.9.9:80", "[::1]:80"])
def test_page_of_this_machine_only_needs_no_token(config: Path, listen: str) -> None:
    """It is reachable from this computer only."""
    assert load(write(config, GOOD + f"web: {{listen: '{listen}'}}\n")).web is not None


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "192.168.1.5:80", "[::]:80", "gateway.office:80"])
def test_page_for_others_needs_a_token(config: Path, listen: str) -> None:
    """Whoever opens it to a network has to say how it is guarded."""
    advice = "an address that other machines can reach; add token_file, or write 127.0.0.1:8081"
    assert mistakes(config, GOOD + f"web: {{listen: '{listen}'}}\n") == [f"10:15: web.listen: {advice}"]
    file = secret(config.parent, "token", "0123456789abcdef\n")
    web = load(write(config, GOOD + f"web: {{listen: '{listen}', token_file: token}}\n")).web
    assert web is not None
    assert web.token_file == file


@pytest.mark.parametrize("token", ["tooshort", "with a blank in it", "0123456789abcdef "])
def test_token_must_be_one(config: Path, token: str) -> None:
    """Long enough not to be guessed, and such as a form and a header carry unchanged."""
    secret(config.parent, "token", token)
    (line,) = mistakes(config, GOOD + "web: {token_file: token}\n")
    assert line.startswith("10:19: web.token_file: the file holds no token; write 16 or more letters and digits")


# ---------------------------------------------------------------- files that files name


def test_file_is_found_beside_the_configuration(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command was started; without the line end that an editor writes."""
    monkeypatch.chdir("/")
    file = secret(config.parent, "mqtt-password", SECRET + "\n")
    more = "mqtt://broker\n  username: gw\n  password_file: mqtt-password"
    found = load(write(config, changed("mqtt://broker", more))).mqtt.password_file
    assert found == file
    assert read_secret(file) == SECRET


@pytest.mark.parametrize(
    ("written", "credential"), [("lobby-key", "lobby-key"), ("secrets/lobby-key", "secrets_lobby-key")]
)
def test_file_may_be_a_systemd_credential(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, credential: str
) -> None:
    """By the name that systemd gives it; before the file itself, which may be root's; also in a driver's options."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "secrets").mkdir()
    beside = secret(tmp_path, written, "123456\n")
    text = GOOD + f"    comm_key_file: {written}\n"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert load(write(config, text)).terminals[0].model_dump()["comm_key_file"] == beside

    handed_on = secret(credentials, credential, "123456\n")
    assert load(write(config, text)).terminals[0].model_dump()["comm_key_file"] == handed_on


def test_missing_file_says_where_it_was_looked_for(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both places; and what was written is not repeated, for it may be the secret itself."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/hadir")
    assert mistakes(config, GOOD + f"    comm_key_file: {SECRET}\n") == [
        (
            f"10:20: terminals[0].comm_key_file: no such file in {tmp_path} or /run/credentials/hadir; "
            "write the name of a file that exists, never the secret itself"
        )
    ]


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file", "password_file"])
def test_every_file_must_exist(config: Path, key: str) -> None:
    """Whatever it is for."""
    lines = mistakes(config, changed("url: mqtt://broker", f"url: mqtts://broker\n  {key}: absent"))
    assert any(line.startswith(f"6:{len(key) + 5}: mqtt.{key}: no such file in {config.parent};") for line in lines)


@pytest.mark.parametrize(
    ("service", "mend"),
    [
        (False, "make the user that runs the gateway its owner (chown)"),
        (
            True,
            "put it into the folder secrets beside this file, where the service may have it, and write secrets/NAME",
        ),
    ],
)
def test_unreadable_file_is_a_mistake(config: Path, monkeypatch: pytest.MonkeyPatch, service: bool, mend: str) -> None:
    """Found now, not at night; a service without a user of its own gets its own advice."""
    file = secret(config.parent, "key", "1")
    if service:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/hadir")
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root, who can read everything
    assert mistakes(config, GOOD + "    comm_key_file: key\n") == [
        f"10:20: terminals[0].comm_key_file: {file} cannot be read; {mend}"
    ]


def test_secret_that_everybody_can_read_is_a_mistake(config: Path) -> None:
    """With the command that mends it."""
    file = secret(config.parent, "pw", mode=0o644)
    more = "mqtt://broker\n  username: gw\n  password_file: pw"
    assert mistakes(config, changed("mqtt://broker", more)) == [
        "7:18: mqtt.password_file: everybody on this machine can read this secret; " + f"run: chmod 600 {file}"
    ]


def test_certificate_may_be_readable_by_all(config: Path, authority: Authority) -> None:
    """It is public."""
    file = secret(config.parent, "ca.pem", authority.ca.read_text(), mode=0o644)
    assert load(write(config, changed("mqtt://broker", "mqtts://broker\n  ca_file: ca.pem"))).mqtt.ca_file == file


@pytest.mark.parametrize("content", [SECRET, "1000000", "-1", "1 2", "٣"])
def test_comm_key_is_a_number(config: Path, content: str) -> None:
    """From 0 to 999999, as on the terminal's own screen."""
    secret(config.parent, "key", content)
    assert mistakes(config, GOOD + "    comm_key_file: key\n") == [
        "10:20: terminals[0].comm_key_file: the file holds no communication key; write a number from 0 to 999999 in it"
    ]


@pytest.mark.parametrize(("content", "wrong"), [(b"", "the file is empty"), (b"\xff", "not UTF-8 text")])
def test_secret_must_be_text(config: Path, content: bytes, wrong: str) -> None:
    """An empty or binary secret is a mistake."""
    secret(config.parent, "key").write_bytes(content)
    (line,) = mistakes(config, GOOD + "    comm_key_file: key\n")
    assert wrong in line


# ---------------------------------------------------------------- mistakes in the file as a whole

START = "with `sudo hadir init`"


def test_missing_configuration(config: Path) -> None:
    """The most frequent mistake of all."""
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert caught.value.lines == (f"{config}:1:1: (file): no such file; make it {START}",)


def test_unreadable_configuration(tmp_path: Path) -> None:
    """A folder, for instance."""
    with pytest.raises(SettingsError, match=r":1:1: \(file\): cannot be read \(Is a directory\); "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", f"1:1: (file): nothing in this file is in effect; make a configuration {START}"),
        ("# nothing\n\n", f"1:1: (file): nothing in this file is in effect; make a configuration {START}"),
        ("# a list\n- a\n", "2:1: (file): does not consist of keys; write key: value on each line"),
        (b"site: a\ngateway: \xff", "2:10: (file): not UTF-8 text; save the file as UTF-8"),
        ("site: a\nname: b\x01", "2:8: (file): a character that cannot stand in a text file; remove it"),
        (
            "site: a\nmqtt:\n\turl: b",
            "3:1: (file): nothing can begin with this character; put the value in quotes, indent with blanks, not tabs",
        ),
        ("site: a\ngateway 'b\n", "2:1: (file): a key without a colon; write key: value"),
        ("site: 'a\ngateway: b", "1:7: (file): a quote is not closed; close it at the end of the value"),
        ("mqtt: {url: a\nsite: b", "1:7: (file): a bracket is not closed; write [a, b] or {a: 1, b: 2}"),
        (
            "mqtt:\n  url: a\n root: b\n",
            "3:2: (file): does not fit the lines above; indent it like the other keys of its section",
        ),
        ("site: a\n---\nsite: b", "2:1: (file): a second document begins here; remove the line ---"),
        ("[" * 5000, "1:1: (file): brackets nested too deeply; a configuration needs three levels"),
        (
            "site: !!int a",
            "1:7: (file): a value cannot begin with ! like this; put the value in quotes",
        ),
        ('site: "\\x4"\n', "1:7: (file): a backslash that means nothing here; put the value in single quotes"),
        ('site: "a\n---\ngateway: b\n', "1:7: (file): a quote is not closed; close it at the end of the value"),
        ("site: *a\n", "1:7: (file): a value cannot begin with * like this; put the value in quotes"),
        (
            "site: a: b\n",
            (
                "1:8: (file): a colon where none can be; check the indentation and the line above, and put a value "
                "that contains a colon and a blank in quotes"
            ),
        ),
        (
            "site: a\n%YAML 1.1\n",
            "3:1: (file): not YAML; check indentation, colons, quotes and brackets around here",
        ),
    ],
)
def test_file_that_is_no_configuration(config: Path, text: str | bytes, line: str) -> None:
    """One line, in words of this program and not of its parser."""
    assert mistakes(config, text) == [line]


def test_a_folder_that_is_a_number(config: Path) -> None:
    """The advice is that for a folder, not that for a file of a secret."""
    (line,) = mistakes(config, "data_dir: 5\n" + GOOD)
    assert line == "1:11: data_dir: not the name of a folder; write its whole path, such as /var/lib/hadir"


def test_key_written_twice(config: Path) -> None:
    """Every one of them, at any depth, beside the other mistakes."""
    more = "    live: true\n    live: false\nsite: other\nweb: 5\n"
    assert mistakes(config, GOOD + more) == [
        "11:5: terminals[0].live: written twice, first in line 10; keep one of them",
        "12:1: site: written twice, first in line 1; keep one of them",
        "13:6: web: has no keys; write its keys below it, indented, or remove it",
    ]


# ---------------------------------------------------------------- mistakes in one value

LEVEL = "where a topic level is expected; write only a-z, 0-9 and hyphens, such as"
DRIVER_NAMES = " or ".join(sorted(DRIVERS))
DURATION = "a number and a unit, such as 10s, 5m or 1h"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (changed("site: 3602-bkpsdm", "site: kantor/pusat"), f"1:7: site: has a slash {LEVEL} kantor-pusat"),
        (changed("gateway: gw-01", "gateway: Gw-01"), f"2:10: gateway: has upper case {LEVEL} gw-01"),
        (
            changed("name: lobby", "name: Lobby Depan"),
            f"7:11: terminals[0].name: has upper case and a blank {LEVEL} lobby-depan",
        ),
        (changed("name: lobby", "name: pos_1"), f"7:11: terminals[0].name: has no or other characters {LEVEL} pos-1"),
        (changed("name: lobby", "name: ''"), f"7:11: terminals[0].name: has no or other characters {LEVEL} gw-01"),
        (
            changed("gateway: gw-01", "gateway: 01"),
            "2:10: gateway: a number where text is expected; put it in quotes",
        ),
        (GOOD + "    serial: 12345\n", "10:13: terminals[0].serial: a number where text is expected; put it in quotes"),
        (
            GOOD + "    serial: A 1\n",
            (
                "10:13: terminals[0].serial: not a serial number; "
                "write it as the terminal shows it: letters and digits without blanks"
            ),
        ),
        (changed("gateway: gw-01", "gateway:"), "2:1: gateway: not text; write one value"),
        (
            changed("Asia/Jakarta", "Jakarta"),
            (
                "3:11: timezone: not the name of a time zone; "
                "write Asia/Jakarta (WIB), Asia/Makassar (WITA) or Asia/Jayapura (WIT)"
            ),
        ),
        (changed("Asia/Jakarta", "asia/jakarta"), "3:11: timezone: not the name of a time zone; write Asia/Jakarta"),
        (changed("Asia/Jakarta", "Asia/makassar"), "3:11: timezone: not the name of a time zone; write Asia/Makassar"),
        (
            GOOD + "    timezone: asia/jayapura\n",
            "10:15: terminals[0].timezone: not the name of a time zone; write Asia/Jayapura",
        ),
        (
            GOOD + "colour: blue\n",
            (
                "10:1: colour: unknown key; write one of site, gateway, timezone, data_dir, mqtt, delivery, retention, "
                "commands, web, receiver, terminals"
            ),
        ),
        (GOOD + "web:\n  lisen: x\n", "11:3: web.lisen: unknown key; did you mean listen?"),
        (GOOD + "    adress: x\n", "10:5: terminals[0].adress: unknown key; did you mean address?"),
        (GOOD + "    clock:\n      sett: x\n", "11:7: terminals[0].clock.sett: unknown key; did you mean set?"),
        (changed("site: 3602-bkpsdm\n", ""), "1:1: site: is missing; add site: 3602-bkpsdm"),
        (
            changed("url: mqtt://broker", "root: x"),
            "5:3: mqtt.url: is missing; add url: mqtts://broker.example.go.id:8883",
        ),
        (
            changed("    address: 192.168.1.201\n", ""),
            "7:5: terminals[0].address: is missing; add address: 192.168.1.201",
        ),
        (changed("    driver: zkteco\n", ""), "7:5: terminals[0].driver: is missing; add driver: zkteco"),
        (
            GOOD[: GOOD.index("terminals")],
            "1:1: terminals: is missing; add terminals: and its entries below it",
        ),
        (
            GOOD[: GOOD.index("terminals")] + "terminals: []",
            "6:12: terminals: the list is empty; write at least one entry that begins with - name:",
        ),
        (
            GOOD[: GOOD.index("terminals")] + "terminals:\n",
            "6:1: terminals: not a list; write [a, b], or each entry on a line of its own after a dash",
        ),
        (GOOD + "  - lobby\n", "10:5: terminals[1]: has no keys; write its keys below it, indented, or remove it"),
        (GOOD + "delivery:\n", "10:1: delivery: has no keys; write its keys below it, indented, or remove it"),
        (changed("zkteco", "zk"), f"8:13: terminals[0].driver: no such driver; write {DRIVER_NAMES}"),
        (GOOD + "    poll: 60\n", "10:11: terminals[0].poll: a duration needs a unit; write 60s, 60m or 60h"),
        (GOOD + "    poll: soon\n", f"10:11: terminals[0].poll: not a duration; write {DURATION}"),
        (GOOD + "    poll: null\n", f"10:11: terminals[0].poll: not a duration; write {DURATION}"),
        (GOOD + "    poll: 0s\n", "10:11: terminals[0].poll: too small; write more than 0"),
        (GOOD + "    live: maybe\n", "10:11: terminals[0].live: neither true nor false; write true or false"),
        (
            GOOD + "    start: yesterday\n",
            "10:12: terminals[0].start: not a place to start; write all, now or a date as YYYY-MM-DD",
        ),
        (
            GOOD + "    start: 2026-02-31\n",
            "10:12: terminals[0].start: no such day in the calendar; write a date as YYYY-MM-DD",
        ),
        (
            GOOD + "    start: 2026-02-01T07:00:00\n",
            "10:12: terminals[0].start: not a place to start; write all, now or a date as YYYY-MM-DD",
        ),
        (
            GOOD + "    transport: carrier-pigeon\n",
            "10:16: terminals[0].transport: not one of the choices; write 'tcp' or 'udp'",
        ),
        (
            GOOD + "commands: {allow: [poll, reboot]}\n",
            (
                "10:26: commands.allow[1]: not one of the choices; "
                "write 'poll', 'reconcile', 'replay', 'report' or 'set-clock'"
            ),
        ),
        (
            GOOD + "retention: {max_bytes: 2 gigs}\n",
            "10:24: retention.max_bytes: not a size; write a number and a unit, such as 512MiB or 2GiB",
        ),
        (GOOD + "retention: {days: 0}\n", "10:19: retention.days: too small; write 1 or more"),
        (GOOD + "retention: {days: ten}\n", "10:19: retention.days: not a whole number; write digits only"),
        (
            changed("url: mqtt://broker", "url: mqtt://broker\n  window: 70000"),
            "6:11: mqtt.window: too large; write 65535 or less",
        ),
        (
            changed("url: mqtt://broker", "url: mqtt://broker\n  protocol: 4"),
            "6:13: mqtt.protocol: not one of the choices; write 5 or '3.1.1'",
        ),
        (
            changed("url: mqtt://broker", "url: mqtt://broker\n  root: /hadir/"),
            (
                "6:9: mqtt.root: not a topic; write one or more levels of a-z, 0-9 and hyphens "
                "with a slash between them, such as hadir"
            ),
        ),
        (
            changed("mqtt://broker", "tcp://broker"),
            "5:8: mqtt.url: not a broker's address; write mqtt://host:1883, or mqtts://host:8883 for TLS",
        ),
        (
            changed("mqtt://broker", "mqtt://broker:0"),
            "5:8: mqtt.url: the port is not one; write a number from 1 to 65535 after the last colon",
        ),
        (
            GOOD + "web: {listen: 8081}\n",
            "10:15: web.listen: a number where text is expected; put it in quotes",
        ),
        (
            GOOD + "web: {listen: ':8081'}\n",
            "10:15: web.listen: not an address to listen on; write host:port, such as 127.0.0.1:8081",
        ),
        (
            GOOD + "    comm_key_file: 12345\n",
            (
                "10:20: terminals[0].comm_key_file: not the name of a file; "
                "put the value in a file of its own and write that file's name here"
            ),
        ),
        (
            GOOD + "5: x\n",
            "10:1: [5]: a key that is not text; write a name that `hadir schema` has",
        ),
    ],
)
def test_wrong_value(config: Path, text: str, line: str) -> None:
    """Where, which key, what is wrong, what would be right."""
    assert mistakes(config, text) == [line]


# ---------------------------------------------------------------- mistakes between values


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("name: lobby, address: 10.0.0.2", "11:12: terminals[1].name: the same as terminals[0].name"),
        ("name: b, address: 192.168.1.201", "11:24: terminals[1].address: the same as terminals[0].address"),
        ("name: b, address: 192.168.1.201:4370", "11:24: terminals[1].address: the same as terminals[0].address"),
        ("name: b, address: 10.0.0.2, serial: S1", "11:42: terminals[1].serial: the same as terminals[0].serial"),
    ],
)
def test_two_terminals_that_are_one(config: Path, more: str, line: str) -> None:
    """Names, serials and addresses are unique."""
    text = GOOD + f"    serial: S1\n  - {{name: x, {more}, driver: zkteco}}\n".replace("name: x, ", "", 1)
    more = ", and one entry for each driver" if "serial" in line else ""
    assert mistakes(config, text) == [f"{line}; every terminal has its own{more}"]


def test_one_terminal_has_an_entry_for_each_driver(config: Path) -> None:
    """Read over the network and from a flash disk: one serial number."""
    text = GOOD + "    serial: S1\n  - {name: b, driver: attlog, path: /media/absen, serial: S1}\n"
    config.write_text(text)
    assert [entry.serial for entry in load(config, strict=True).terminals] == ["S1", "S1"]


def anviz(**options: object) -> str:
    """Return the entry of a terminal on a serial line."""
    return "  - {driver: anviz, " + ", ".join(f"{key}: {value}" for key, value in options.items()) + "}\n"


def test_terminals_share_a_line_under_numbers_of_their_own(config: Path) -> None:
    """One port, several terminals; the same number twice is a mistake."""
    lines = anviz(name="gudang", port="/dev/ttyUSB0") + anviz(name="loket", port="/dev/ttyUSB0", device_id=2)
    assert [terminal.driver for terminal in load(write(config, GOOD + lines)).terminals] == ["zkteco", "anviz", "anviz"]
    assert mistakes(config, GOOD + lines + anviz(name="pos", port="/dev/ttyUSB0", device_id=1)) == [
        (
            "12:38: terminals[3].port: the same as terminals[1].port, with the same device_id; "
            "every terminal on a line has its own number"
        )
    ]


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"port": "COM3"}, "not a port; write a device file such as /dev/ttyUSB0, or tcp://host"),
        ({"port": "/dev/ttyUSB0", "device_id": 0}, "terminals[1].device_id"),
        ({"port": "/dev/ttyUSB0", "baudrate": 9601}, "write 1200"),
        ({"port": "/dev/ttyUSB0", "turnaround": 200}, "write 200s"),
        ({"port": "/dev/ttyUSB0", "epoch": "soon"}, "terminals[1].epoch"),
        ({}, "terminals[1].port: is missing; add port: /dev/ttyUSB0"),
        ({"address": "10.0.0.2"}, "terminals[1].address"),
    ],
)
def test_wrong_options_of_a_serial_terminal(config: Path, options: dict[str, object], reported: str) -> None:
    """Each is reported in words, at its place."""
    assert any(reported in line for line in mistakes(config, GOOD + anviz(name="gudang", **options)))


def test_certificates_need_tls(config: Path, authority: Authority) -> None:
    """Otherwise they would protect nothing, silently."""
    secret(config.parent, "ca.pem", authority.ca.read_text())
    assert mistakes(config, changed("mqtt://broker", "mqtt://broker\n  ca_file: ca.pem")) == [
        "6:12: mqtt.ca_file: of no use without TLS; write mqtts:// in mqtt.url, or remove it"
    ]


@pytest.mark.parametrize(("key", "other"), [("cert_file", "key_file"), ("key_file", "cert_file")])
def test_certificate_and_key_belong_together(config: Path, key: str, other: str) -> None:
    """One alone is a mistake."""
    secret(config.parent, "x.pem")
    (line,) = mistakes(config, changed("mqtt://broker", f"mqtts://broker\n  {key}: x.pem"))
    assert line.endswith(f" mqtt.{key}: of no use alone; add {other}")


def test_password_needs_a_user(config: Path) -> None:
    """The broker would refuse it."""
    secret(config.parent, "pw")
    assert mistakes(config, changed("mqtt://broker", "mqtt://broker\n  password_file: pw")) == [
        "6:18: mqtt.password_file: of no use alone; add username"
    ]


@pytest.mark.parametrize("allow", ["", "commands: {allow: [poll]}\n", "commands: {allow: set-clock}\n"])
def test_nightly_clock_needs_the_command(config: Path, allow: str) -> None:
    """Setting a clock takes two decisions."""
    assert "10:18: terminals[0].clock.set: not allowed; add set-clock to commands.allow, or write never" in mistakes(
        config, GOOD + "    clock: {set: nightly}\n" + allow
    )


PUSH = """site: office
gateway: gw
timezone: Asia/Jakarta
mqtt: {url: "mqtt://broker"}
receiver: {listen: "127.0.0.1:8088"}
terminals:
  - name: loket-3
    driver: push
"""


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ("", "serial is missing; a terminal that calls is known by its serial number"),
        ("    serial: SYN1\n    clock: {set: nightly}\n", "clock.set: a terminal that calls sets its clock itself"),
        ("    serial: SYN1\n    from: 10.0.0.300\n", "from: not an address or network"),
        ("    serial: SYN1\n    address: 10.0.0.3\n", "address: unknown key"),
    ],
)
def test_mistakes_in_terminals_that_call(config: Path, more: str, mistake: str) -> None:
    """Each states what is right."""
    (line,) = mistakes(config, PUSH + more)
    assert mistake in line


@pytest.mark.parametrize(
    ("receiver", "more", "mistake"),
    [
        (None, "", "terminals[0].driver: "),
        ("{listen: '127.0.0.1:8088', cert_file: pem}", "", "receiver.cert_file: of no use alone; add key_file"),
        ("{listen: '127.0.0.1:8088', key_file: pem}", "", "receiver.key_file: of no use alone; add cert_file"),
        ("{listen: '127.0.0.1:8081'}", "", "receiver.listen: the port of the status page"),
        ("{listen: '8088'}", "", "receiver.listen: "),
        ("{listen: '127.0.0.1:70000'}", "", "receiver.listen: "),
        (
            "{listen: '127.0.0.1:8088'}",
            "  - {name: aula, driver: push, serial: SYN1}\n",
            "terminals[1].serial: ",
        ),
    ],
)
def test_mistakes_in_the_receiver(config: Path, receiver: str | None, more: str, mistake: str) -> None:
    """A missing section, a certificate without its key, a port that is none or another's, a serial number twice."""
    secret(config.parent, "pem")
    line = "" if receiver is None else f"receiver: {receiver}\n"
    text = PUSH.replace('receiver: {listen: "127.0.0.1:8088"}\n', line) + "    serial: SYN1\n" + more
    (found,) = mistakes(config, text)
    assert mistake in found


def test_a_terminal_that_calls(config: Path) -> None:
    """Its key may be any text; its clock is set by each answer, or never."""
    secret(config.parent, "key", "0123456789ABCDEFabcdef\n")
    more = "    serial: SYN1\n    from: 10.0.0.0/24, 10.1.0.7\n    comm_key_file: key\n    clock: {set: always}\n"
    config.write_text(PUSH + more, encoding="utf-8")
    (terminal,) = load(config).terminals
    assert isinstance(terminal, PushOptions)
    assert terminal.key().value == "SYN1"
    assert terminal.comm_key() == "0123456789ABCDEFabcdef"
    assert len(terminal.expected().networks) == 2


WEBHOOK = PUSH.replace("driver: push", "driver: webhook").replace("loket-3", "aplikasi")
APP = "    serial: APP-PRESENSI\n    secret_file: key\n"


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ("    secret_file: key\n", "serial is missing; write a name of your own for the app"),
        ("    serial: APP\n", "secret_file: is missing"),
        ("    serial: APP\n    secret_file: nowhere\n", "secret_file: no such file"),
        ("    serial: APP\n    secret_file: short\n", "secret_file: the file holds no token; write 16 or more"),
        ("    serial: APP\n    secret_file: empty\n", "secret_file: the file is empty"),
        ("    serial: APP\n    secret_file: open\n", "secret_file: everybody on this machine can read this secret"),
        ("    serial: APP\n    secret: 0123456789abcdef\n", "secret: a secret does not belong in this file"),
        (f"{APP}    path: hook/presensi\n", "path: "),
        (f"{APP}    items: records\n", "items: not a JSON Pointer"),
        (f"{APP}    fields: {{pin: ''}}\n", "fields.pin: a pointer to a field begins with a slash"),
        (f"{APP}    fields: {{pin: null}}\n", "fields.pin: "),
        (f"{APP}    fields: {{name: /name}}\n", "fields.name: unknown key"),
        (f"{APP}    states: {{masuk: in}}\n", "states.masuk"),
        (f"{APP}    clock: {{set: always}}\n", "clock.set: an app takes its time from elsewhere; write never"),
        (f"{APP}    states: {{masuk: 70000}}\n", "states.masuk"),
        (
            f"{APP}  - name: other\n    driver: webhook\n    path: aplikasi\n{APP}".replace("APP-", "B-", 1),
            "path: the same as",
        ),
        (f"{APP}  - name: other\n    driver: webhook\n{APP}", "serial: the same as"),
    ],
)
def test_mistakes_in_apps(config: Path, more: str, mistake: str) -> None:
    """Each states what is right, and none has a value of a secret."""
    secret(config.parent, "key", "0123456789ABCDEFabcdef\n")
    secret(config.parent, "short", "0123456789\n")
    secret(config.parent, "empty", "\n")
    secret(config.parent, "open", "0123456789ABCDEFabcdef\n").chmod(0o644)
    found = mistakes(config, WEBHOOK + more)
    assert any(mistake in line for line in found), found
    assert "0123456789" not in "".join(found)


def test_an_app(config: Path) -> None:
    """What is left out is as in the documentation; the line end of a secret does not belong to it."""
    secret(config.parent, "key", "0123456789ABCDEFabcdef\r\n")
    config.write_text(WEBHOOK + APP + "    fields: {state: null, pin: /who/pin}\n", encoding="utf-8")
    (terminal,) = load(config).terminals
    assert isinstance(terminal, WebhookOptions)
    assert terminal.key().value == "/hook/aplikasi"
    assert terminal.secret() == b"0123456789ABCDEFabcdef"
    form = terminal.form(ZoneInfo("Asia/Jakarta"))
    assert form.items == ("records",)
    assert form.fields == {"pin": ("who", "pin"), "time": ("at",), "id": ("id",)}
    assert form.states == {"masuk": 0, "pulang": 1}
    assert not form.allow_nip


def test_only_terminals_that_call_take_the_time_from_answers(config: Path) -> None:
    """A terminal that is called has its clock set by a command."""
    (line,) = mistakes(config, GOOD + "    clock: {set: always}\n")
    assert "only terminals that call take the time" in line


def test_all_mistakes_at_once_in_the_order_of_the_file(config: Path) -> None:
    """Of every kind, in one go: ten mistakes must not take ten rounds."""
    text = """\
site: A
timezone: WIBB
mqtt:
  url: mqtt://broker
  rot: hadir
  ca_file: absent
  window: 3
  window: 4
terminals:
  - name: lobby
    driver: zk
    live: 7
  - name: lobby
    driver: zkteco
    comm_key: 1
"""
    assert [line.rpartition(": ")[0].split(": ")[:2] for line in mistakes(config, text)] == [
        ["1:1", "gateway"],
        ["1:7", "site"],
        ["2:11", "timezone"],
        ["5:3", "mqtt.rot"],
        ["6:12", "mqtt.ca_file"],
        ["6:12", "mqtt.ca_file"],
        ["8:3", "mqtt.window"],
        ["11:13", "terminals[0].driver"],
        ["12:11", "terminals[0].live"],
        ["13:5", "terminals[1].address"],
        ["13:11", "terminals[1].name"],
        ["15:5", "terminals[1].comm_key"],
    ]


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (changed("mqtt://broker", f"mqtt://broker\n  password: {SECRET}"), "6:3: mqtt.password: a secret does not"),
        (changed("mqtt://broker", f"mqtt://broker\n  pass: [{SECRET}]"), "6:3: mqtt.pass: a secret does not"),
        (changed("mqtt://broker", f"mqtt://broker\n  key: {SECRET}"), "6:3: mqtt.key: a secret does not"),
        (GOOD + f"password: {SECRET}\n", "10:1: password: a secret does not"),
        (GOOD + f"    comm_key: {SECRET}\n", "10:5: terminals[0].comm_key: a secret does not"),
        (changed("mqtt://broker", f"mqtt://gw:{SECRET}@broker"), "5:8: mqtt.url: a user or password does not"),
        (changed("mqtt://broker", f"mqtt://gw:{SECRET}/@broker"), "5:8: mqtt.url: a user or password does not"),
        (changed("mqtt://broker", f"mqtt://broker:{SECRET}"), "5:8: mqtt.url: not a broker's address"),
        (changed("192.168.1.201", f"a:{SECRET}@10.0.0.1"), "9:14: terminals[0].address: a user or password does not"),
        (changed("mqtt:\n  url: ", f"mqtt: '{SECRET}'\nx: "), "4:7: mqtt: has no keys"),
        (
            changed("mqtt://broker", f"mqtt://broker\n  password: *{SECRET}"),
            "6:13: (file): a value cannot begin with *",
        ),
        (changed("mqtt://broker", f"mqtt://broker\n  password: !{SECRET} x"), "6:13: (file): a value cannot begin"),
        (changed("mqtt://broker", f"mqtt://broker\n  password: %{SECRET}"), "6:13: (file): nothing can begin with"),
        (changed("mqtt://broker", f'mqtt://broker\n  password: "\\{SECRET}'), "6:13: (file): a backslash that"),
        (changed("mqtt://broker", f"mqtt://broker\n  password: a: {SECRET}"), "6:14: (file): a colon where none"),
        (
            changed("mqtt://broker", f"mqtt://broker\n  password: {SECRET}\n  password: {SECRET}"),
            "6:3: mqtt.password: a secret does not",
        ),
    ],
)
def test_secret_in_the_file_is_a_mistake_and_never_repeated(config: Path, text: str, line: str) -> None:
    """Whatever place it was written in. That no line holds it, ``mistakes`` asserts."""
    assert mistakes(config, text)[0].startswith(line)


def test_secret_is_not_in_the_chain_of_causes(config: Path) -> None:
    """A traceback that is sent along does not contain it either."""
    write(config, changed("mqtt://broker", f"mqtt://gw:{SECRET}@broker\n  password: {SECRET}"))
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# ---------------------------------------------------------------- the example and the schema


def yaml(text: str) -> Any:
    """Read YAML as any other program would."""
    return YAML(typ="safe", pure=True).load(text)


def with_defaults_in_effect(example: Path = EXAMPLE) -> str:
    """Return the example with the hash removed from every default, as its first lines advise."""
    return re.sub(r"^(\s*)# (\s*[a-z_]+:.*)$", r"\1\2", example.read_text(encoding="utf-8"), flags=re.MULTILINE)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Return a model's sections and theirs."""
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind
                yield from models(kind)


def test_example_loads() -> None:
    """As it is, with only what is required in effect."""
    settings = load(EXAMPLE)
    assert set(yaml(EXAMPLE.read_text(encoding="utf-8"))) == {"site", "gateway", "timezone", "mqtt", "terminals"}
    assert settings.terminals[0].driver == "zkteco"


def test_defaults_stated_in_the_example_are_the_codes(config: Path) -> None:
    """Every default that it states in a comment, put in effect, changes nothing."""
    text = with_defaults_in_effect()
    assert text != EXAMPLE.read_text(encoding="utf-8")
    assert dict(load(write(config, text))) == dict(load(EXAMPLE))


def test_example_explains_every_option() -> None:
    """A key that is not in it does not exist."""
    document = yaml(with_defaults_in_effect())
    settings = load(EXAMPLE)

    def compare(section: dict[str, Any], model: BaseModel) -> None:
        assert set(section) == set(type(model).model_fields)
        for key, value in section.items():
            if isinstance(value, dict):
                compare(value, getattr(model, key))

    compare(document, settings)
    compare(document["terminals"][0], settings.terminals[0])


def test_example_of_a_serial_line(config: Path) -> None:
    """It loads, states the defaults, and names every option of its driver."""
    settings = load(SERIAL_EXAMPLE)
    in_effect = with_defaults_in_effect(SERIAL_EXAMPLE)

    assert [terminal.driver for terminal in settings.terminals] == ["anviz", "anviz"]
    assert in_effect != SERIAL_EXAMPLE.read_text(encoding="utf-8")
    assert dict(load(write(config, in_effect))) == dict(settings)
    assert set(yaml(in_effect)["terminals"][0]) == {"driver", *DRIVERS["anviz"].options.model_fields}
    jsonschema.Draft202012Validator(whole_schema()).validate(yaml(SERIAL_EXAMPLE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("example", ["gateway", "anviz"])
def test_example_has_an_explanation_before_every_option(example: str) -> None:
    """A full sentence in plain words."""
    lines = EXAMPLE.with_name(f"{example}.example.yaml").read_text(encoding="utf-8").splitlines()
    option = re.compile(r"\s*(# )?\s*(- )?[a-z_]+:( |$)")
    for before, line in pairwise(lines):
        if option.match(line) and line.strip() != "# key_file: null":  # shares the sentence of cert_file
            assert re.match(r"\s*## .*[.)]$", before), line


def test_example_fits_the_schema() -> None:
    """As it is, and with every default in effect: editors underline nothing."""
    schema = whole_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml(EXAMPLE.read_text(encoding="utf-8")))
    validator.validate(yaml(with_defaults_in_effect()))


@pytest.mark.parametrize(
    "text",
    [
        changed("site: 3602-bkpsdm", "site: A/B"),
        changed("gateway: gw-01\n", ""),
        changed("mqtt://broker", "tcp://broker"),
        changed("zkteco", "zk"),
        GOOD + "    adress: x\n",
        GOOD + "    poll: 60\n",
        GOOD + "    start: yesterday\n",
        GOOD + "retention: {max_bytes: 2 gigs}\n",
        GOOD[: GOOD.index("terminals")] + "terminals: []",
    ],
)
def test_schema_refuses_what_load_refuses(config: Path, text: str) -> None:
    """The mistakes that an editor can see without this machine."""
    mistakes(config, text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(whole_schema()).validate(yaml(text))


def test_schema_describes_every_option_of_the_gateway() -> None:
    """What an editor shows beside a key comes from the code."""
    schema = whole_schema()
    own = {model.__name__ for model in models(Settings)}
    for name, part in {"": schema, **schema["$defs"]}.items():
        assert part["description"], name
        if name in own:
            for key, field in part["properties"].items():
                assert "description" in field or "$ref" in field, f"{name}.{key}"


# ---------------------------------------------------------------- whatever is in the file

KEYS = st.sampled_from([*re.findall(r"([a-z_]+):(?: |\n)", with_defaults_in_effect()), "<<", "password", "comm_key"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.binary(max_size=8)
    | st.sampled_from(["zkteco", "Asia", "WIB", "mqtt://h", "nightly", "9" * 400 + "GiB", "9" * 400 + "d", "\0", "."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)
TOKENS = st.lists(
    st.sampled_from([*"-:?,[]{}#&*!|>'\"%@`\n\t \\~<=.0é\x85\ufeff", "\n  ", ": ", "- ", "!!", "&a ", "*a", "a", "---"])
    | st.sampled_from(
        ["!!int ", "!!binary ", "!!set ", "!!omap ", "!!timestamp ", "!!pairs ", "<<: ", "terminals:\n - "]
    )
    | st.text(max_size=3),
    max_size=40,
).map("".join)
FUZZ = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def loads_or_says_why(config: Path, content: bytes) -> None:
    """Load a file; only well-formed lines may come of it."""
    config.write_bytes(content)
    try:
        load(config)
    except SettingsError as error:
        assert error.lines  # noqa: PT017 - either outcome is right
        for line in error.lines:
            assert re.fullmatch(re.escape(str(config)) + r":[1-9]\d*:[1-9]\d*: [^\n\r]+: [^\n\r]+", line)


@FUZZ
@given(st.binary() | TOKENS.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_text_loads_or_says_why(config: Path, content: bytes) -> None:
    """Nothing but a SettingsError comes out, whatever the file holds."""
    loads_or_says_why(config, content)


@FUZZ
@given(st.dictionaries(KEYS, VALUES, max_size=8), st.lists(st.dictionaries(KEYS, VALUES), max_size=3))
def test_any_document_loads_or_says_why(config: Path, document: dict[str, Any], terminals: list[Any]) -> None:
    """Nothing but a SettingsError comes out, whatever the keys hold."""
    with config.open("w", encoding="utf-8", errors="replace") as file:
        YAML(typ="safe", pure=True).dump({"terminals": terminals, **document}, file)
    loads_or_says_why(config, config.read_bytes())


@pytest.mark.parametrize(("size", "warned"), [("4MiB", False), ("5MiB", True)])
def test_messages_longer_than_the_centre_reads_are_warned_of(config: Path, size: str, warned: bool) -> None:
    """The number is used up to 4 MiB."""
    found = load(write(config, GOOD + f"delivery: {{batch_bytes: {size}}}\n")).problems
    assert ["delivery.batch_bytes"] * warned == [problem.path for problem in found if "4MiB" in problem.message]
