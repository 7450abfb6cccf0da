"""Texts of the centre in both languages."""

from central.texts import Language, Text, _, in_context


def test_a_text_in_both_languages() -> None:
    """Values are filled in; a value that is a text is translated too; an unknown text stays English."""
    text = _("the column {column} is missing; one of these may stand at its head: {words}")
    assert text.into(Language.ENGLISH, column="x", words="y").startswith("the column x is missing")
    assert text.into(Language.INDONESIAN, column=_("final"), words="y").startswith("kolom final tidak ada")
    assert in_context("policy", "in").into(Language.INDONESIAN) == "masuk"
    assert Text("not in any catalogue").into(Language.INDONESIAN) == "not in any catalogue"
    assert Text("").into(Language.INDONESIAN) == ""


def test_values_in_braces_stay_what_they_are() -> None:
    """A name of a file or a cell may hold them."""
    assert _("{seen} is not in the calendar").into(Language.INDONESIAN, seen="{0}") == "{0} tidak ada di kalender"
