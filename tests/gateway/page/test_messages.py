"""Two languages that say the same."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drivers import DRIVERS
from gateway.advice import BROKER_FINDINGS
from gateway.cli import status, status_tables, watch
from gateway.event import LABELS
from gateway.page import attention, site
from gateway.page.messages import NORMAL, TEXTS, Language, Messages, language

NOW = datetime(2026, 11, 24, 10, 12, 33, tzinfo=ZoneInfo("Asia/Jakarta"))
EN, ID = Messages("en", NOW), Messages("id", NOW)


def test_every_text_is_used_and_every_one_used_is_there() -> None:
    """What templates and code ask for by name."""
    commands = [Path(str(module.__file__)) for module in (status, status_tables, watch)]
    sources = [*site.FOLDER.rglob("*.py"), *site.FOLDER.rglob("*.html"), *commands]
    text = "\n".join(path.read_text("utf-8") for path in sources if path.name != "messages.py")
    requested = set(re.findall(r"\b(?:t|messages)\(['\"]([a-z_]+)['\"]", text))
    built = {f"room_{room}" for room in ("news", "none")} | {f"medium_{m}" for m in ("none", "reading", "safe")}
    built |= {f"no_broker_{cause}" for cause in attention._LOGIN} | {"no_broker", "terminal_offline"}
    built |= {f"broker_{cause}" for cause in BROKER_FINDINGS}
    built |= {f"terminal_{cause}" for cause in attention._UNFINISHED} | {"terminal_clock", "terminal_zone"}
    named = re.findall(r"['\"]([a-z_]+)['\"]", "\n".join(path.read_text("utf-8") for path in commands))
    named += [name.partition("_")[2] for name in named] + ["news", "none"]
    looped = {
        "in_log",
        "in_ledger",
        "sent",
        "at_centre",
        "online",
        "offline",
        "refusing",
        "unreadable",
        "unvisited",
        "awaited",
        "right",
        "ahead",
        "behind",
        "unknown",
    }
    built |= {f"disk_of_terminal_{medium}" for medium in ("none", "reading", "safe")}
    prefixed = [f"{prefix}{name}" for prefix in ("column_", "count_", "clock_", "ledger_", "disk_") for name in named]
    prefixes = {"room_", "medium_", "disk_", "disk_of_terminal_", "broker_", "count_", "column_"}
    assert requested - set(TEXTS) <= prefixes
    assert set(TEXTS) - requested - built - looped - set(prefixed) == set()


@pytest.mark.parametrize(
    ("requested", "accept", "chosen"),
    [
        (None, "", "id"),
        (None, "*", "id"),
        (None, "en", "en"),
        (None, "EN-us", "en"),
        (None, "en;q=0.1, id;q=0.2", "id"),
        (None, "id;q=0, en;q=0", "id"),
        ("en", "id", "en"),
        ("javascript:", "en", "en"),
    ],
)
def test_language(requested: str | None, accept: str, chosen: Language) -> None:
    """The address before the browser, and Indonesian before nothing."""
    assert language(requested, accept) == chosen


def test_numbers_and_sizes_are_written_as_people_write_them() -> None:
    """A point between thousands here is a comma there."""
    assert (EN.number(20004), ID.number(20004), ID.number(1204.5)) == ("20,004", "20.004", "1.204,5")
    assert (EN.size(999), EN.size(8_400_000), ID.size(8_400_000), EN.size(82_300_000_000)) == (
        "999 B",
        "8.4 MB",
        "8,4 MB",
        "82 GB",
    )


def test_dates_that_go_without_saying_are_left_out() -> None:
    """Of today the time, of another day the day, of another year the year."""
    assert EN.moment("2026-11-24T07:15:02") == "07:15:02"
    assert ID.moment("2026-08-17T07:15:02") == "17 Agu 07:15:02"
    assert EN.moment("2000-01-01T00:00:05") == "1 Jan 2000 00:00:05"
    assert EN.utc("2026-11-24T00:15:02.000Z") == "07:15:02"
    assert (EN.today(), ID.today()) == ("Tue, 24 Nov 2026 10:12:33", "Sel, 24 Nov 2026 10:12:33")
    assert ID.date(date(2026, 5, 1)) == "Jum, 1 Mei 2026"


@pytest.mark.parametrize(
    ("seconds", "english", "indonesian"),
    [
        (0, "0 s", "0 detik"),
        (-420, "7 min", "7 menit"),
        (425, "7 min 5 s", "7 menit 5 detik"),
        (90000, "1 d 1 h", "1 hari 1 jam"),
        (86400, "1 d", "1 hari"),
    ],
)
def test_spans(seconds: float, english: str, indonesian: str) -> None:
    """The two largest units, and not a second one of nothing."""
    assert (EN.span(seconds), ID.span(seconds)) == (english, indonesian)


def test_a_clock_is_right_within_what_was_measured() -> None:
    """Terminals show whole seconds."""
    assert EN.offset(None) == "unknown"
    assert EN.offset({"offset_ms": -900, "bound_ms": 500}) == "right"
    assert EN.offset({"offset_ms": 3000, "bound_ms": 3100}) == "right"
    assert EN.offset({"offset_ms": 420_000, "bound_ms": 500}) == "7 min ahead"
    assert ID.offset({"offset_ms": -420_000, "bound_ms": 500}) == "terlambat 7 menit"


def test_codes_without_words_are_shown_as_they_are() -> None:
    """A terminal may send an unknown text."""
    assert (ID.label("check_in"), ID.label(17), ID.label(None)) == ("masuk", "17", "")
    assert (ID.alarm("terminal_lost"), ID.alarm("brand_new")) == ("Mesin tidak menjawab", "brand_new")


def test_every_alarm_that_the_contract_knows_has_a_headline() -> None:
    """In Indonesian too."""
    known = re.search(
        r"\n    alarm:\n      type: object.*?x-known:\n(.*?)\n {8}[a-z]",
        (Path(__file__).parents[3] / "docs" / "asyncapi.yaml").read_text("utf-8"),
        re.DOTALL,
    )
    assert known
    codes = re.findall(r"- ([a-z_]+)", known[1])
    assert len(codes) > 20
    assert [code for code in codes if ID.alarm(code) == code] == []


def test_moments_are_shown_by_the_offices_clock() -> None:
    """Wherever the browser is."""
    messages = Messages("en", datetime(2026, 11, 24, 20, tzinfo=UTC).astimezone(ZoneInfo("Asia/Jayapura")))
    assert messages.utc("2026-11-24T15:00:00Z") == "00:00:00"


def test_every_value_of_suspect_has_words() -> None:
    """Those of the contract, all of them and in both languages; what is usual is one of them."""
    text = (Path(__file__).parents[3] / "docs" / "contract.md").read_text("utf-8")
    (listed,) = re.findall(r"^\* `suspect` lists reasons(.*?)^\* ", text, re.MULTILINE | re.DOTALL)
    flags = set(re.findall(r"`([a-z_]+)`", listed))
    assert len(flags) >= 7
    assert [flag for flag in flags if flag in (EN.label(flag), ID.label(flag)) and flag != "unverified"] == []
    assert flags >= NORMAL


@pytest.mark.parametrize("name", DRIVERS)
def test_every_label_of_a_family_has_words(name: str) -> None:
    """What events call a state or a way of verifying."""
    labels = DRIVERS[name].labels or LABELS
    labels_used = {*labels.state.values(), *labels.verify.values()}
    assert {label for label in labels_used if label == ID.label(label)} == set()
