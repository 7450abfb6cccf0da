"""The settings of a centre: the example page, mistakes by line, and what they give to commands."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from central.settings import OF, Settings, SettingsError, load_settings
from central.texts import Language
from tests import command
from tests.central.test_cli import environment

EXAMPLE = Path(__file__).parents[3] / "config" / "centre.example.yaml"
RIGHT = "broker:\n  url: mqtt://127.0.0.1\n"


def written(folder: Path, text: str) -> Path:
    """Write settings."""
    path = folder / "centre.yaml"
    path.write_text(text)
    return path


def keys(model: type[BaseModel]) -> set[str]:
    """Return the names of all settings."""
    below = [field.annotation for field in model.model_fields.values() if isinstance(field.annotation, type)]
    return set(model.model_fields).union(*(keys(part) for part in below if issubclass(part, BaseModel)))


def test_the_example_names_every_setting_with_its_default(tmp_path: Path) -> None:
    """As it stands, and with every default in effect, it is the same settings."""
    text = EXAMPLE.read_text("utf-8")
    in_effect = re.sub(r"^( *)# (?=\S)", r"\1", text, flags=re.MULTILINE)
    found = load_settings(written(tmp_path, text))

    assert load_settings(written(tmp_path, in_effect)) == found
    assert set(re.findall(r"^ *(\w+):", in_effect, re.MULTILINE)) == keys(Settings)
    assert found.database == Path("/var/lib/hadir-central/centre.db")
    assert found.model_copy(update={"broker": None}) == Settings.model_construct(
        **{name: field.get_default() for name, field in Settings.model_fields.items()} | {"broker": None}
    )


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "1:1: the file is empty"),
        ("- a\n", "1:1: write the keys of the settings"),
        ("data: x\n", "1:1: broker: is missing"),
        ("broker: {url: 'http://h'}\n", "1:15: broker.url: write mqtt://host:1883, or mqtts://host:8883 for TLS"),
        (f"{RIGHT}  ulr: x\n", "3:3: broker.ulr: unknown here"),
        (f"{RIGHT}  ca_file: x\n", "2:3: broker: files for TLS have no effect with mqtt://"),
        (f"{RIGHT}  password_file: x\n", "2:3: broker: a password has no effect without `username:`"),
        (f"{RIGHT}  root: Hadir\n", "3:9: broker.root: write one or more levels"),
        (f"{RIGHT}language: jv\n", "3:11: language: write one of: 'en' or 'id'"),
        (f"{RIGHT}pages: {{listen: '0.0.0.0:8090'}}\n", "3:8: pages: passwords and people's data would cross"),
        (f"{RIGHT}pages: {{listen: here}}\n", "3:17: pages.listen: write an IP address and a port"),
        (f"{RIGHT}pages: {{own_days: 1}}\n", "3:19: pages.own_days: write true or false"),
        (f"{RIGHT}backup:\n  keep: 0\n", "4:9: backup.keep: write 1 or more"),
        (f"{RIGHT}backup:\n  keep: 0\n  kep: 1\n", "5:3: backup.kep: unknown here"),
        (f"{RIGHT}data: 7\n", "3:7: data: "),
        (f"{RIGHT}postgresql: {{url: 'mysql://h/d'}}\n", "3:19: postgresql.url: write postgresql://ROLE@HOST"),
        (f"{RIGHT}postgresql: {{url: 'postgresql://r:p@h/d'}}\n", "3:19: postgresql.url: no password stands here"),
        (f"{RIGHT}postgresql: {{password_file: p}}\n", "3:13: postgresql: a password has no effect without `url:`"),
    ],
)
def test_each_mistake_is_named_by_its_line(tmp_path: Path, text: str, mistake: str) -> None:
    """With what would be right."""
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        load_settings(path)
    assert any(line.startswith(f"{path}:{mistake}") for line in refused.value.lines), refused.value.lines
    for line, translated in zip(refused.value.lines, refused.value.into(Language.INDONESIAN), strict=True):
        assert translated != line
        assert translated.startswith(line[: line.index(": ")])


def test_files_are_beside_the_settings_or_among_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd names them: parts of the path with underscores."""
    path = written(tmp_path, f"{RIGHT}  username: c\n  password_file: secrets/p\ndata: d\n")
    assert load_settings(path).broker.password_file == tmp_path / "secrets/p"
    assert load_settings(path).backups == tmp_path / "d/backups"
    with pytest.raises(SettingsError, match=r":4:18: broker.password_file: .*secrets/p is not there"):
        load_settings(path, files=True)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/secrets_p").write_text("x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert load_settings(path, files=True).broker.password_file == tmp_path / "credentials/secrets_p"
    path = written(tmp_path, f"{RIGHT}postgresql: {{url: 'postgresql://hadir@db/hadir', password_file: secrets/d}}\n")
    assert load_settings(path).database == f"postgresql://hadir@db/hadir?password_file={tmp_path}/secrets/d"


def test_commands_take_what_is_left_out_from_the_settings(tmp_path: Path) -> None:
    """An option goes first; a mistake stops those commands only that need the settings."""
    path = written(tmp_path, f"{RIGHT}data: d\nlanguage: id\npolicies: own\n")

    def central(*arguments: object, **more: str) -> str:
        done = command.run("central.cli", *arguments, env=environment() | more)
        return f"{done.returncode} {done.stdout}{done.stderr}"

    assert f"{tmp_path}/d/centre.db: no such database" in central("-c", path, "report")
    assert "other.db: no such database" in central("report", "--db", "other.db", HADIR_CENTRE_CONFIG=str(path))
    assert "Invalid value for '--policies'" in central("-c", path, "days")  # there is no folder `own`
    (tmp_path / "d").mkdir()
    (tmp_path / "own").mkdir()
    units = tmp_path / "units.csv"
    units.write_text("key,name,parent,zone,from\nu,U,,Asia/Jakarta,2026-01-01\n")
    assert central("-c", path, "import", "units", units, "--by", "x", "--paper", "y").startswith(
        "0 units.csv: unit kerja"
    )
    assert central("-c", path, "report") == "0 belum ada pesan dari gateway\n"
    path.write_text("broker: 7\n")
    mistake = central("-c", path, "report")
    assert mistake.startswith("78 ")
    assert f"{path}:1:9: broker: " in mistake
    assert central("-c", path, "report", "--lang", "id", "--db", tmp_path / "d/centre.db").startswith("0 belum")
    assert central("-c", path, "report", "--help").startswith("0 ")
    assert central("-c", tmp_path / "none.yaml", "report").startswith("78 ")


def test_the_settings_of_a_command_are_its_parameters() -> None:
    """A renamed option would silently lose its default."""
    import typer

    from central.cli import app

    group = typer.main.get_command(app)
    for name, values in OF.items():
        assert set(values) <= {parameter.name for parameter in group.commands[name].params}  # type: ignore[attr-defined]
