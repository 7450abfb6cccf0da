"""Texts for people: the catalogues of gateway and centre fit the code, and both languages say the same."""

import re
import subprocess
import sys
from pathlib import Path
from string import Formatter

import pytest
import texts as tool
from babel.messages.catalog import Catalog

ROOT = Path(__file__).parent.parent
every_package = pytest.mark.parametrize("package", tool.PACKAGES)


def translated(package: str) -> Catalog:
    """Return the Indonesian catalogue."""
    return tool.read(tool.po(package, "id"), "id")


def ids(catalog: Catalog) -> list[tuple[str | None, str]]:
    """Return context and text of each message."""
    return [(message.context, str(message.id)) for message in catalog if message.id]


def fields(text: str) -> set[str]:
    """Return the placeholders of a text."""
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


@every_package
def test_the_catalogues_hold_the_texts_of_the_code(package: str) -> None:
    """Run `make texts` after a text has changed."""
    extracted = ids(tool.extracted(package))
    assert len(extracted) > 300
    assert sorted(extracted, key=str) == sorted(ids(tool.read(tool.pot(package))), key=str)
    assert sorted(extracted, key=str) == sorted(ids(translated(package)), key=str)
    assert not translated(package).obsolete


@every_package
def test_the_extraction_finds_a_new_text(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare nothing."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "new.py").write_text('_("new " "text")\nin_context("here", "other")\nother("none")\n')
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    assert ids(tool.extracted(package)) == [(None, "new text"), ("here", "other")]


@every_package
def test_no_text_is_without_a_translation_and_no_placeholder_differs(package: str) -> None:
    """In each language."""
    catalog = translated(package)
    assert list(tool.missing(catalog)) == []
    assert [message.id for message in catalog if message.id and message.fuzzy] == []
    differing = [
        message.id for message in catalog if message.id and fields(str(message.id)) != fields(str(message.string))
    ]
    assert differing == []


@every_package
def test_the_compiled_catalogue_is_that_of_the_texts(package: str) -> None:
    """It is what the program reads."""
    assert tool.po(package, "id").with_suffix(".mo").read_bytes() == tool.compiled(translated(package))


@every_package
def test_the_terms_of_the_glossary_are_used(package: str) -> None:
    """One Indonesian term for each thing."""
    wrong = re.compile(
        r"(?<!mesin )(?<!pin )\babsen\b|\babsensi\b|\breceipts?\b(?!\.json)|(?<!\{)\bevents?\b|kunci komunikasi|"
        r"buku catatan|\baliran\b|\balarm\b|\bjendela (?!terminal)|jatuh tempo|kebijakan|\broster\b",
        re.IGNORECASE,
    )
    found = [message.string for message in translated(package) if message.id and wrong.search(str(message.string))]
    assert found == []


def test_a_wheel_holds_the_catalogues(tmp_path: Path) -> None:
    """An installation reads them from its own packages."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True)
    for package in tool.PACKAGES:
        assert f"{package}/locale/id/LC_MESSAGES/hadir.mo" in listed.stdout
