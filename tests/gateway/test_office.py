"""What a running gateway reports of its configuration: only for exactly the same text, found without a parser."""

import os
from pathlib import Path

import pytest

from drivers.textfile import MAX_TEXT as LONGEST
from gateway.control_server import Command, Control
from gateway.office import MAX_TEXT, Office, digest_of, running_office
from gateway.settings import Settings, load

REST = """site: kantor
gateway: gw-01
timezone: Asia/Jakarta
mqtt: {url: "mqtt://127.0.0.1"}
terminals:
  - {name: lobby, driver: zkteco, address: 192.0.2.1, clock: {tolerance: 5m}}
"""
FLOW = (
    f"{{data_dir: data, {', '.join(REST.splitlines()[:4])}, "
    "terminals: [{name: lobby, driver: zkteco, address: 192.0.2.1}]}"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the place of a configuration; its data are in ``data`` beside it."""
    (tmp_path / "data").mkdir()
    return tmp_path / "gateway.yaml"


def found(config: Path, text: str, *, encoding: str = "utf-8") -> Office | None:
    """Return what is found of a gateway that runs with a text in a file."""
    config.write_text(text, encoding=encoding, newline="")
    settings = load(config)
    server = Control(settings.data_dir, {"office": lambda _: settings.office.data(settings.digest)})
    try:
        return running_office(config)
    finally:
        server.close()


@pytest.mark.parametrize(
    "line",
    ["data_dir: data", "data_dir: ./data  # beside it", "data_dir: 'data'", 'data_dir: "data"', "data_dir:   data  "],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_gateway_with_the_same_text_is_found(config: Path, line: str, end: str) -> None:
    """As people write the line; a comment that names the key is none."""
    text = f"# data_dir: elsewhere\n{line}\n{REST}".replace("\n", end)
    for encoding in ("utf-8", "utf-8-sig"):
        office = found(config, text, encoding=encoding)
        assert office == Office(
            "kantor", "gw-01", "Asia/Jakarta", config.parent / "data", "mqtt://127.0.0.1", {"lobby": 300.0}
        )


@pytest.mark.parametrize(
    "text",
    [
        FLOW,
        f"data_dir:\n  data\n{REST}",
        f"? data_dir\n: data\n{REST}",
        f'"data_dir": data\n{REST}',
    ],
)
def test_another_way_of_writing_is_left_to_the_parser(config: Path, text: str) -> None:
    """Where the folder is not certain, no gateway is looked for."""
    assert found(config, text) is None


def test_any_other_text_is_read_and_checked_here(config: Path) -> None:
    """One blank more, and the gateway's report is not used."""
    text = f"data_dir: data\n{REST}"
    assert found(config, text) is not None
    settings = load(config)
    server = Control(settings.data_dir, {"office": lambda _: settings.office.data(settings.digest)})
    try:
        config.write_text(text + " ")
        assert running_office(config) is None
        config.write_text("data_dir: data\n#" + "x" * MAX_TEXT)
        assert running_office(config) is None
    finally:
        server.close()


def test_what_cannot_be_read_is_left_to_the_parser(config: Path, tmp_path: Path) -> None:
    """No file, no UTF-8, no gateway, one of an earlier version, an answer of another kind; a pipe is not emptied."""
    assert running_office(config) is None
    config.write_bytes(b"data_dir: data\n\xff")
    assert running_office(config) is None
    config.write_text(f"data_dir: data\n{REST}")
    assert running_office(config) is None
    digest = digest_of(config.read_text())
    answers: tuple[dict[str, Command], ...] = (
        {},
        {"office": lambda _: {}},
        {"office": lambda _: {"digest": digest}},
    )
    for commands in answers:
        server = Control(tmp_path / "data", commands)
        try:
            assert running_office(config) is None
        finally:
            server.close()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert running_office(pipe) is None
    assert running_office(tmp_path) is None


def test_settings_that_no_file_has_have_no_digest(config: Path) -> None:
    """A gateway that was made without a file, and one whose other settings wait for its next start."""
    config.write_text(f"data_dir: data\n{REST}")
    before = load(config)
    config.write_text(f"data_dir: data\n{REST}".replace("lobby", "gudang"))
    terminals = load(config)
    config.write_text(f"data_dir: data\nretention: {{days: 7}}\n{REST}")
    more = load(config)
    assert before.digest
    assert before.with_changes_of(terminals).digest == terminals.digest != before.digest
    assert before.with_changes_of(more).digest == ""
    assert Settings.model_validate({**dict(before), "mqtt": before.mqtt}).digest == ""


def test_a_file_is_read_as_far_as_the_settings_read_it() -> None:
    """The two limits are one; the settings' module is not imported for it."""
    assert MAX_TEXT == LONGEST
