"""Policies in sentences: each with the source of its own figure, what ends as well as what begins."""

from datetime import date
from pathlib import Path

import pytest

from central.policy.document import parse
from central.policy.explain import explain
from central.policy.load import Library, Policy
from central.texts import Language

HEAD = "policy: regent\nsource: {decree: Perbup 7/2027, article: 4}\n"


def _load(text: str) -> Policy:
    return Library().load(parse(HEAD + text, "regent.yaml"), Path())


def _lines(text: str, language: Language = Language.ENGLISH) -> list[str]:
    return [line.strip() for line in explain(_load(text), language).splitlines()]


def test_a_figure_rests_on_the_source_of_its_dated_value() -> None:
    """The cut of a band, of leave and of a counter may be dated apart from the node that holds it."""
    dated = '[{value: "2", source: {decree: Perbup 9/2028, article: 1}}]'
    lines = _lines(
        f"slots: {{in: {{bands: [{{from: 1, class: A, cut: {dated}}}]}}}}\n"
        f"leave: {{sick: {{cut: {dated}}}}}\n"
        f"period: {{counters: [{{of: late, after: 2, cut: {dated}}}]}}\n"
    )

    assert "in: 1 min or more: A, cut 2 %. (Perbup 9/2028, Art. 1)" in lines
    assert "Leave sick: cut 2 % a day. (Perbup 9/2028, Art. 1)" in lines
    assert "From number 3 (late) of a period on, by date: cut 2 % each time. (Perbup 9/2028, Art. 1)" in lines


def test_a_reason_rests_on_the_source_of_its_figure() -> None:
    """So does the line of the policy that a verdict names."""
    policy = _load('slots: {in: {bands: [{from: 1, cut: [{value: "2", source: {decree: Perbup 9/2028}}]}]}}\n')

    assert policy.on(date(2028, 1, 1)).slots["in"].bands[0].ref.decree == "Perbup 9/2028"


def test_two_sources_of_one_figure_are_two_policies() -> None:
    """The digest covers sources of dated values, which no plain value shows: reasons differ by them."""
    text = "discipline: {{minutes_per_day: [{{value: 450, source: {{decree: {}}}}}]}}\n"
    first, second = (_load(text.format(decree)).on(date(2028, 1, 1)).digest for decree in ("A", "B"))

    assert first != second


def test_what_the_policy_leaves_out_rests_on_no_decree() -> None:
    """Defaults are the program's."""
    lines = _lines("slots: {in: {}}\n", Language.INDONESIAN)

    assert "in (masuk): presensi pertama yang berlaku. (tidak disebut dalam aturan ini; bawaan program)" in lines
    assert not any("Perbup" in line for line in lines)


def test_a_class_without_a_figure_is_not_free_by_decree() -> None:
    """A band that names no cut: the decree was not read so far."""
    lines = _lines('slots: {in: {bands: [{from: 1, class: A}, {from: 31, class: B, cut: "0"}]}}\n')

    assert "in: 1 to 30 min: A, a cut is not named. (Perbup 7/2027, Art. 4)" in lines
    assert "in: 31 min or more: B, no cut. (Perbup 7/2027, Art. 4)" in lines


def test_an_ending_rule_is_explained_too() -> None:
    """A limit that ends on a date, and a figure that another replaces."""
    lines = _lines('day: {cap: [{value: "2"}, {from: 2028-01-01, value: null}]}\n')

    assert lines[lines.index("From 2028-01-01 on:") :] == [
        "From 2028-01-01 on:",
        "No longer: A day: cut 2 % at most. (Perbup 7/2027, Art. 4)",
    ]


def test_words_of_all_levels_appear() -> None:
    """Rupiah, seconds of a time, the scope of a dated limit, the rule for minutes that fill no day."""
    lines = _lines(
        'slots: {in: {starts: ["05:45:30", "08:00"], bands: [{from: 1, cut_rp: 5000}]}}\n'
        'period: {cap: [{value: "10"}, {from: 2028-01-01, value: "20"}], cap_scope: own_days}\n'
        "discipline: {rounding: ceil, excused_counts: true}\n",
        Language.INDONESIAN,
    )
    text = "\n".join(lines)

    assert "antara 05:45:30 dan 08:00" in text
    assert "potongan Rp5.000" in text
    assert "Setiap batas periode berlaku untuk potongan pada tanggal berlakunya sendiri." in text
    assert "Sisa menit yang belum genap satu hari dihitung satu hari." in text
    assert "yang diizinkan ikut dihitung" in text


def test_a_source_in_two_languages_shows_its_half() -> None:
    """Sources that are no decree are written Indonesian / English."""
    text = "rounding: [{value: ceil, source: {decree: dari programnya / from its program}}]\n"

    assert "Setiap menit yang sudah dimulai dihitung penuh. (dari programnya)" in _lines(text, Language.INDONESIAN)
    assert "Every minute that has begun counts in full. (from its program)" in _lines(text, Language.ENGLISH)


@pytest.mark.parametrize(
    "source",
    [
        "[{value: {decree: Perwal 1/2026}}, {from: 2027-01-01, value: {decree: Perwal 2/27}}]",
        "{decree: [{value: Perwal 1/2026}, {from: 2027-01-01, value: Perwal 2/27}]}",
    ],
)
def test_a_source_may_be_dated_itself(source: str) -> None:
    """The decree that renews another unchanged stands from its date on, in sentences and reasons."""
    policy = Library().load(
        parse(
            f'policy: x\nsource: {source}\nslots: {{in: {{bands: [{{from: 1, cut: "1"}}]}}}}\n',
            "x.yaml",
        ),
        Path(),
    )

    assert [policy.on(day).slots["in"].bands[0].ref.decree for day in (date(2026, 12, 31), date(2027, 1, 1))] == [
        "Perwal 1/2026",
        "Perwal 2/27",
    ]
    assert "  in: 1 min or more: no class, cut 1 %. (Perwal 2/27)" in explain(policy).splitlines()
