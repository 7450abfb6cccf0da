"""Collects the texts for people from the code, updates the catalogues, and compiles them.

Gateway and centre have a catalogue each, in gateway/locale and central/locale. Run this by `make texts` after a text
has changed. hadir.pot lists all texts; hadir.po of each language is edited by people; hadir.mo is what the program
reads. All three are in the repository: an installation needs no tool, and a test holds them to the code.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "central")
LANGUAGES = ("id",)
KEYWORDS = {"_": None, "in_context": ((1, "c"), 2)}
"""Functions whose arguments are texts: see texts.py of each package."""


def extracted(package: str) -> Catalog:
    """Return the texts in the code of a package, without translations."""
    catalog = Catalog(project="hadir", charset="utf-8")
    found = extract_from_dir(str(ROOT / package), [("**.py", "python")], keywords=KEYWORDS)
    for file, _line, text, _comments, context in sorted(found, key=lambda item: (item[0], item[1])):
        catalog.add(text, locations=[(f"{package}/{file}", 0)], context=context)
    return catalog


def read(path: Path, language: str | None = None) -> Catalog:
    """Read a catalogue of texts."""
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    """Return the catalogue as the program reads it."""
    buffer = BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def pot(package: str) -> Path:
    """Return the path of the list of a package's texts."""
    return ROOT / package / "locale" / "hadir.pot"


def po(package: str, language: str) -> Path:
    """Return the path of the catalogue that people edit."""
    return ROOT / package / "locale" / language / "LC_MESSAGES" / "hadir.po"


def written(catalog: Catalog) -> bytes:
    """Return the catalogue as text, without times and line numbers, which change with each edit."""
    buffer = BytesIO()
    write_po(buffer, catalog, width=120, omit_header=catalog.locale is None, include_lineno=False, sort_by_file=False)
    return buffer.getvalue()


def main() -> None:
    """Write all catalogues."""
    for package in PACKAGES:
        template = extracted(package)
        pot(package).write_bytes(written(template))
        for language in LANGUAGES:
            catalog = read(po(package, language), language)
            catalog.update(template, no_fuzzy_matching=True, update_creation_date=False)
            catalog.obsolete.clear()
            po(package, language).write_bytes(written(catalog))
            po(package, language).with_suffix(".mo").write_bytes(compiled(catalog))


def missing(catalog: Catalog) -> Iterator[str]:
    """Yield the texts without a translation."""
    return (str(message.id) for message in catalog if message.id and not message.string)


if __name__ == "__main__":
    main()
