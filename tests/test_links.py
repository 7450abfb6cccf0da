"""Links in the documentation lead somewhere: in the repository, and as the package lays it out."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from central.operation.messages import COMMENTS as OF_THE_CENTRE
from central.texts import Language as CentreLanguage
from gateway.cli.messages import COMMENTS
from gateway.findings import FINDINGS
from gateway.texts import Language

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if ".venv" not in path.parts]


@cache
def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield each link of a page to a file here: as it is written, the file, the heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            yield link, page.parent / name if name else page, anchor


def dead(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    return [
        link
        for link, target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target.resolve()))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_in_the_repository(page: Path) -> None:
    """To files and to headings."""
    assert dead(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """The test above can fail."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n[a](page.md#title) [b](page.md#other) [c](nowhere.md) [d](https://example.org/)\n")
    assert dead(page) == ["page.md#other", "nowhere.md"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay the documentation out as the package does."""
    folder = tmp_path_factory.mktemp("usr-share-doc") / "hadir"
    subprocess.run([sys.executable, ROOT / "packaging" / "debian" / "docs.py", folder], check=True)
    return folder


def test_links_in_the_package(installed: Path) -> None:
    """Nothing that an installed page links to is left in the repository."""
    pages = [*installed.rglob("*.md")]
    assert {"README.md", "CHANGELOG.md", "install.md", "operations.id.md"} <= {page.name for page in pages}
    assert {page.relative_to(installed).as_posix(): found for page in pages if (found := dead(page))} == {}
    assert all(target.resolve().is_relative_to(installed) for page in pages for _, target, _ in links(page))


def test_samples_that_pages_name_are_shipped(installed: Path) -> None:
    """Samples by the paths that pages, the packaged configuration, manual pages and advice name."""
    texts = [page.read_text("utf-8") for page in installed.rglob("*.md")]
    packaging = ROOT / "packaging" / "debian"
    texts += [(packaging / name).read_text("utf-8") for name in ("hadir/gateway.yaml", "describe.py")]
    texts += [text.into(language) for text in OF_THE_CENTRE.values() for language in CentreLanguage]
    texts += [comment.translated(language) for comment in COMMENTS.values() for language in Language]
    named = {
        name.rstrip(".") for text in texts for name in re.findall(r"/usr/share/doc/hadir(?:-central)?/([\w./-]*)", text)
    }
    named |= {f"examples/{name}" for name in ("mosquitto.conf", "acl", "emqx-acl.conf", "serial.conf", "people.csv")}
    assert len(named) > 6
    assert [name for name in named if not (installed / name).exists()] == []


def test_pages_that_advice_names_are_shipped(installed: Path) -> None:
    """As `docs/broker.md`, below the folder of the documentation."""
    texts = [text for found in FINDINGS.values() for text in found if text is not None]
    output = [text.translated(language) for text in texts for language in Language]
    named = {name for text in output for name in re.findall(r"docs/[\w.]+\.md", text)}
    assert {"docs/broker.md", "docs/operations.id.md"} <= named
    assert [name for name in named if not (installed / name).exists()] == []


def test_the_smallest_configuration_fits_the_sample_access_list() -> None:
    """Its user name is its place in the topics, and who looks at what the centre sees is shown history too."""
    readme = (ROOT / "README.md").read_text("utf-8")
    named = {key: re.findall(rf"^ *{key}: (\S+)", readme, re.MULTILINE)[0] for key in ("site", "gateway", "username")}
    assert named["username"] == f"{named['site']}/{named['gateway']}"
    (line,) = [line for line in readme.splitlines() if "mosquitto_sub" in line]
    assert "punch/+" in line
    assert "/batch" in line


def test_the_front_page_stays_an_invitation() -> None:
    """Short, with what superiors and IT staff see side by side, the two commands, and a door for each reader."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 120
    (pictures,) = [line for line in readme.splitlines() if line.count("](docs/pictures/") == 2]
    assert pictures.startswith("| ![")
    assert "\n    make demo\n    make test\n" in readme
    assert {"operations.id.md", "bkd.id.md", "contract.md", "drivers.md"} <= set(
        re.findall(r"\(docs/([\w.]+)\)", readme)
    )
