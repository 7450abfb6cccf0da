"""What `hadir status` keeps of a checked configuration, and when it is not believed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import checked_office as module
from gateway.cli import configuration
from gateway.cli.base import Failure
from gateway.cli.checked_office import MIN_AGE_NS, checked_office, place_of, to_keep
from gateway.cli.configuration import office_in
from gateway.settings import Settings, load
from tests.drivers.hostile import PLANTS

TEXT = """site: kantor
gateway: gw-01
timezone: Asia/Jakarta
data_dir: data
mqtt: {url: "mqtt://127.0.0.1", username: gw-01, password_file: password}
terminals:
  - {name: lobby, driver: zkteco, address: 192.0.2.1, comm_key_file: key}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration with two files of secrets, not checked yet, in a place with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(module, "MIN_AGE_NS", 0)
    for name, secret in (("password", "a long secret"), ("key", "12345")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "gateway.yaml"
    config.write_text(TEXT)
    return config


def test_an_unchanged_configuration_is_known(config: Path) -> None:
    """Only after a check, with and without its folder of data. No secret is kept, and others cannot read the file."""
    assert checked_office(config) is None
    office = office_in(config)
    assert checked_office(config) == office == load(config).office
    (config.parent / "data").mkdir()
    assert checked_office(config) == office
    place = place_of(config)
    assert place.stat().st_mode & 0o077 == place.parent.stat().st_mode & 0o077 == 0
    assert "secret" not in place.read_text()
    assert "12345" not in place.read_text()
    (config.parent / "other.yaml").write_text(TEXT)
    assert checked_office(config.parent / "other.yaml") is None, "another file"


def _changed_text(config: Path) -> None:
    config.write_text(f"{TEXT}#")


def _secret_removed(config: Path) -> None:
    (config.parent / "key").unlink()


def _secret_written_again(config: Path) -> None:
    (config.parent / "password").write_text("a long secrex")


def _secret_for_all(config: Path) -> None:
    (config.parent / "password").chmod(0o604)


def _file_in_place_of_data(config: Path) -> None:
    (config.parent / "data").write_text("")


def _other_program(config: Path) -> None:
    kept = json.loads(place_of(config).read_text())
    (settings,) = [file for file in kept["files"] if file.endswith("settings.py")]
    kept["files"][settings][-1] -= 1
    place_of(config).write_text(json.dumps(kept))


def _other_installation(config: Path) -> None:
    kept = json.loads(place_of(config).read_text())
    (settings,) = [file for file in kept["files"] if file.endswith("settings.py")]
    del kept["files"][settings]
    place_of(config).write_text(json.dumps(kept))


def _file_above_data(config: Path) -> None:
    text = TEXT.replace("data_dir: data", "data_dir: above/data")
    config.write_text(text)
    office_in(config)
    assert checked_office(config) is not None
    (config.parent / "above").write_text("")


def _written_by_others(config: Path) -> None:
    place_of(config).chmod(0o666)


def _cut(config: Path) -> None:
    place_of(config).write_bytes(place_of(config).read_bytes()[:-9])


@pytest.mark.parametrize(
    "change",
    [
        _changed_text,
        _secret_removed,
        _secret_written_again,
        _secret_for_all,
        _file_in_place_of_data,
        _file_above_data,
        _other_program,
        _other_installation,
        _written_by_others,
        _cut,
    ],
)
def test_whatever_the_check_depended_on(config: Path, change: Callable[[Path], None]) -> None:
    """After any change of it the configuration is checked again."""
    office_in(config)
    assert checked_office(config) is not None
    change(config)
    assert checked_office(config) is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"files": [], "digest": 1}', b"[" * 9000])
def test_what_is_no_kept_office(config: Path, content: bytes) -> None:
    """Any other content is ignored, and replaced by the next check."""
    office = office_in(config)
    place_of(config).write_bytes(content)
    assert checked_office(config) is None
    assert office_in(config) == office == checked_office(config)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_stands_in_its_place(config: Path, tmp_path: Path, plant: Callable[[Path, Path], object]) -> None:
    """A link, a pipe, a folder is neither followed, nor waited for, nor a reason to fail."""
    ours = tmp_path / "ours"
    ours.write_text("ours")
    place_of(config).parent.mkdir(parents=True)
    plant(place_of(config), ours)
    assert checked_office(config) is None
    assert office_in(config).site == "kantor"
    assert ours.read_text() == "ours"


def test_what_is_not_kept(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that just changed may change again in one tick; a service's secrets, and a cache that cannot be written."""
    settings, now = load(config), time.time_ns()
    monkeypatch.setattr(module, "MIN_AGE_NS", MIN_AGE_NS * 10**6)
    assert to_keep(settings.office, settings.digest, settings.files, now) is None
    monkeypatch.setattr(module, "MIN_AGE_NS", 0)
    assert to_keep(settings.office, settings.digest, settings.files, now)
    assert to_keep(settings.office, "", settings.files, now) is None
    office_in(config)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(config.parent))
    assert checked_office(config) is None
    assert to_keep(settings.office, settings.digest, settings.files, now) is None
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    for place in (os.devnull, "/proc", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        monkeypatch.setenv("HOME", os.devnull)
        assert office_in(config) == settings.office
        assert checked_office(config) is None


def test_a_file_that_changes_during_the_check(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its former content was checked, however long that takes; the present one is checked next time."""
    password = config.parent / "password"

    def slowly(path: Path) -> Settings:
        settings, now = load(path), time.time_ns()
        while password.stat().st_ctime_ns <= now:
            password.write_text("another secret")
        return settings

    monkeypatch.setattr(configuration, "load", slowly)
    office_in(config)
    assert checked_office(config) is None


@pytest.mark.parametrize("linked", ["", "hadir"])
def test_a_link_of_another_user_is_not_followed(
    config: Path, tmp_path: Path, linked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root meets it where sudo keeps HOME: the cache, or the folder in it, leads to a folder of root's."""
    ours, link = tmp_path / "ours", tmp_path / "cache" / linked
    ours.mkdir()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(ours)
    lstat = Path.lstat

    def of_another(path: Path) -> os.stat_result:
        found = list(lstat(path))
        return os.stat_result([*found[:4], os.geteuid() + 1, *found[5:]]) if path == link else os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", of_another)
    office_in(config)
    assert list(ours.iterdir()) == []


def test_a_configuration_with_a_mistake_is_not_kept(config: Path) -> None:
    """It is reported each time."""
    config.write_text(TEXT.replace("site:", "sites:"))
    for _ in range(2):
        with pytest.raises(Failure):
            office_in(config)
        assert checked_office(config) is None
