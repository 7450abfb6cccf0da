"""The page for officials shows what stands on their screens, in words of theirs."""

import re
from pathlib import Path

from central.sheets.messages import TITLES
from central.texts import Language
from central.web.app import _texts
from central.web.pages.today import FIGURE_TEXTS

PAGE = (Path(__file__).parent.parent / "docs" / "bkd.id.md").read_text("utf-8")
FOREIGN = r"(?i)\b(server|database|basis data|gateway|log|mqtt|yaml|json|csv|url|token|kuki|hadir-central|daemon)\b"


def test_names_are_those_of_the_pages() -> None:
    """Each name in bold is a text of the pages, or a figure of theirs, in Indonesian."""
    shown = {text.into(Language.INDONESIAN) for text in (*_texts().values(), *FIGURE_TEXTS.values())}
    named = set(re.findall(r"\*\*([^*]+)\*\*", PAGE)) - {"tebal"}
    assert len(named) > 30
    assert sorted(named - shown) == []


def test_sheets_are_named_as_they_are_headed() -> None:
    """Those of a closing."""
    rows = re.findall(r"^\| ([A-Z][\w ]+?) \| [a-z]", PAGE, re.MULTILINE)
    titles = [TITLES[name].into(Language.INDONESIAN).partition(":")[0] for name in ("recap", "annex", "full")]
    assert rows == titles


def test_no_words_of_a_trade_that_is_not_theirs() -> None:
    """Officials need no word of information technology."""
    prose = re.sub(r"\]\([^)]*\)", "", PAGE)
    assert re.findall(FOREIGN, prose) == []
