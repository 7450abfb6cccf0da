"""Lay out the documentation of the package: ``docs.py FOLDER``.

As in the repository, so that links between pages work where they are installed: README, CHANGELOG, ``docs/``, and every
file that these link to. Samples, which people copy, lie in ``examples/`` as well.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = ("config/*.yaml", "config/templates/*", "systemd/serial.conf", "docs/broker/*")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def linked(page: Path) -> Iterator[Path]:
    """Yield the files that a Markdown page links to, of this repository."""
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            yield (page.parent / target).resolve()


def shipped() -> set[Path]:
    """Return all files that the package's documentation consists of."""
    found: set[Path] = set()
    waiting = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "docs"]
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting += [inner for inner in path.iterdir() if inner.name != "__pycache__"]
        elif path not in found:
            found.add(path)
            waiting += linked(path) if path.suffix == ".md" else ()
    return found


def lay_out(folder: Path) -> None:
    """Copy the documentation into a folder."""
    pairs = [(path, folder / path.relative_to(ROOT)) for path in shipped()]
    pairs += [(path, folder / "examples" / path.name) for sample in SAMPLES for path in ROOT.glob(sample)]
    for path, copy in sorted(pairs):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o644)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
