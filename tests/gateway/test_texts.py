"""Texts for people in both languages, and the table of incidents."""

import json
import re
from pathlib import Path

import pytest

from gateway.incidents import INCIDENTS, NOTES, alarm_message, of_terminal, shown_alarm
from gateway.texts import Language, Message, Text, _, in_context

ROOT = Path(__file__).parent.parent.parent


def test_a_text_in_both_languages() -> None:
    """Values are filled in; a context distinguishes equal texts; an unknown text stays English."""
    assert _("since {since}").into(Language.INDONESIAN, since="x") == "sejak x"
    assert _("since {since}").into(Language.ENGLISH, since="x") == "since x"
    assert in_context("serial_twice", "{reason}").into(Language.INDONESIAN, reason="x").endswith("(x)")
    assert _("{reason}").into(Language.INDONESIAN, reason="x") == "x"
    assert Text("not in any catalogue").translated(Language.INDONESIAN) == "not in any catalogue"
    assert Text("").translated(Language.INDONESIAN) == ""


def test_a_message_is_its_english_text_and_can_be_translated_elsewhere() -> None:
    """On a topic it is a string; over the control socket its parts follow it."""
    message = of_terminal("lobby", alarm_message("clock_stepped", seconds=90))
    assert json.loads(json.dumps(message)) == "terminal lobby: its clock jumped by 90 s"
    received = Message.of(json.loads(json.dumps(message.data())))
    assert received.into(Language.INDONESIAN) == "mesin lobby: jamnya melompat 90 detik"
    assert received.into(Language.ENGLISH) == str(message)


def test_an_alarm_without_a_translation_is_shown_as_it_is() -> None:
    """One of the publisher's errors, or of a daemon of another version."""
    assert shown_alarm({"message": "text {"}, Language.INDONESIAN) == "text {"
    assert shown_alarm({"message": "text", "translatable": None}, Language.INDONESIAN) == "text"


def test_values_in_braces_stay_what_they_are() -> None:
    """A name of a file or an error may hold them."""
    message = alarm_message("file_refused", file="{0}.dat", reason="{x")
    assert Message.of(message.data()).into(Language.INDONESIAN) == "{0}.dat tidak dibaca: {x"


@pytest.mark.parametrize("code", INCIDENTS)
def test_variants_of_an_alarm_differ_and_have_known_values(code: str) -> None:
    """And its note is one that the table of notes knows."""
    incident = INCIDENTS[code]
    assert incident.title
    assert len(set(incident.texts.values())) == len(incident.texts)
    assert incident.note is None or incident.note in NOTES


def test_every_alarm_in_the_code_is_in_the_table() -> None:
    """And every row of the table is one that the code raises or the contract names."""
    files = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")]  # a driver's notices have codes too
    code = "\n".join(path.read_text("utf-8") for path in files if path.name != "incidents.py")
    raised = set(re.findall(r'(?:alarm|incident|_raise_alarm|alarm_message)\(\s*"(\w+)"', code))
    raised |= set(re.findall(r'alarm="(\w+)"', code))
    assert len(raised) > 20
    assert raised <= set(INCIDENTS)
    assert {name for name in INCIDENTS if f'"{name}"' not in code} == set()


def test_every_note_has_a_rule_for_a_full_ledger() -> None:
    """A new type of note needs a decision."""
    from gateway import event

    types = {value for value in vars(event).values() if isinstance(value, str) and value.startswith("hadir.")}
    records = {event.RECORDED, event.CONFIRMED, event.UNCONFIRMED, event.QUARANTINED}
    assert set(NOTES) == types - records
