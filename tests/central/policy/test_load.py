"""Loading: line-exact errors, dated values, parents, and the traps of YAML."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from central.policy.cases import Case, read_cases
from central.policy.document import DocumentError, parse
from central.policy.explain import explain
from central.policy.load import Library, Policy, PolicyError
from central.policy.model import json_schema
from central.policy.run import run_case
from central.texts import Language
from central.timesheet.rules import Ref

HERE = Path(__file__).parent


def _load(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text, "utf-8")
    return Library().load_file(path)


@pytest.mark.parametrize(
    "case", [case for case in read_cases(HERE / "refused.cases.yaml") if isinstance(case, Case)], ids=lambda c: c.name
)
def test_policy_is_refused_by_the_node_that_is_wrong(case: Case) -> None:
    """The node has its name without indices of lists."""
    outcome = run_case(case, Library())

    assert (outcome.error, [str(difference) for difference in outcome.differences]) == (None, [])


def test_every_mistake_is_named_at_its_line_and_column(tmp_path: Path) -> None:
    """Unknown keys stand at the key, wrong values at the value, what is missing at the map that lacks it."""
    text = """policy: x
source: {decree: y}
slots:
  in:
    mesure: late
    bands:
      - {from: 1, cut: 0.5}
      - {class: B}
"""
    with pytest.raises(PolicyError) as caught:
        _load(tmp_path, text)

    places = {problem.node: (problem.place.line, problem.place.column) for problem in caught.value.problems}
    assert places == {
        "slots.in.mesure": (5, 5),
        "slots.in.bands.cut": (7, 24),
        "slots.in.bands.from": (8, 9),
    }
    assert "did you mean measure?" in str(caught.value)


def test_yaml_that_cannot_be_read_is_named_at_its_place(tmp_path: Path) -> None:
    """Syntax, keys written twice and anchors within themselves."""
    for text, line in (
        ("policy: [", 1),
        ("policy: a\npolicy: b\n", 2),
        ("a: &a\n  b: *a\n", 1),
        ("", 1),
        ("a: \x07", 1),
    ):
        with pytest.raises(DocumentError) as caught:
            _load(tmp_path, text)
        assert caught.value.place.line >= line


def test_off_dates_and_times_are_text_and_anchors_are_expanded() -> None:
    """A plain ``off`` is no truth value; a time is no number; a merge key adds what is not there."""
    text = "a: off\nb: 07:30\nc: 2026-09-01\nd: &d {x: 1, y: on}\ne: {<<: *d, x: 2}\nf: true\ng: ~\nh: 1.5\n"

    assert parse(text, "f").plain() == {
        "a": "off",
        "b": "07:30",
        "c": "2026-09-01",
        "d": {"x": 1, "y": "on"},
        "e": {"x": 2, "y": "on"},
        "f": True,
        "g": None,
        "h": 1.5,
    }


def test_aliases_that_repeat_without_end_are_refused() -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    with pytest.raises(DocumentError, match="too large"):
        parse("\n".join(lines), "f")


HEAD = "policy: x\nsource: {decree: y}\n"


def _dates(count: int) -> str:
    return "".join(f"- {{from: {1000 + number:04d}-01-01, value: floor}}\n" for number in range(count))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (HEAD + "slots:\n" + "  k: {}\n" * 150_000, "1:1", "larger than 1048576 bytes"),
        (HEAD + "rounding:\n" + _dates(2000), "1:1", "2000 dates are too many"),
        ("{policy: x, source: {decree: y}, extends: " * 11 + "starter" + "}" * 11, "1:463", "more than 10 parents"),
    ],
    ids=["size", "dates", "parents"],
)
def test_what_would_take_minutes_is_refused_at_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    """A file, its dates and its parents have limits, far above those of any decree."""
    with pytest.raises((PolicyError, DocumentError)) as caught:
        _load(tmp_path, text)

    assert str(caught.value).startswith(f"{tmp_path / 'policy.yaml'}:{place}: ")
    assert words in str(caught.value)


def test_parents_in_files_are_limited_too(tmp_path: Path) -> None:
    """A thousand of them ended at the interpreter's own limit, at the place of an innocent file."""
    for number in range(1000):
        (tmp_path / f"p{number}.yaml").write_text(HEAD + f"extends: p{number + 1}.yaml\n")

    with pytest.raises(PolicyError) as caught:
        Library().load_file(tmp_path / "p0.yaml")

    assert str(caught.value) == f"{tmp_path / 'p10.yaml'}:3:10: extends: more than 10 parents; join some of them"


def test_a_device_that_never_ends_is_no_policy() -> None:
    """No more is read of it than a file may have."""
    with pytest.raises(DocumentError, match="larger than"):
        Library().load_file(Path("/dev/zero"))


def test_aliases_across_the_cases_of_a_file_are_limited_together(tmp_path: Path) -> None:
    """The cases before are read."""
    case = "- {name: a, policy: %s, zone: Asia/Jakarta, expect: {total: {days: 0}}}\n"
    large = f"{{policy: z, source: {{decree: y}}, title: {{en: &large [{'1,' * 60_000}]}}}}"
    path = tmp_path / "many.cases.yaml"
    path.write_text("cases:\n" + case % large + case % "{title: *large}" * 1000)

    found = read_cases(path)

    assert [isinstance(one, Case) for one in found] == [True, True, True, False]
    assert str(found[-1]).startswith(f"{path}:5:3: too large from here on")


def test_mistakes_of_every_sort_are_named_at_once(tmp_path: Path) -> None:
    """Nobody corrects one to learn of the next."""
    text = (
        "policy: x\nsource: {}\nperiod: {begins_on: 99}\nrounding: [{value: up}, {from: soon, value: floor}]\nfoo: 1\n"
    )
    with pytest.raises(PolicyError) as caught:
        _load(tmp_path, text)

    assert [(problem.place.line, problem.node) for problem in caught.value.problems] == [
        (2, "source.decree"),
        (3, "period.begins_on"),
        (4, "rounding"),
        (4, "rounding.from"),
        (5, "foo"),
    ]


def test_a_dated_value_is_valid_from_its_date_on_in_whatever_order(tmp_path: Path) -> None:
    """Before the first date a value is null, as if left out; a value without a date is valid since ever."""
    policy = _load(
        tmp_path,
        """policy: x
source: {decree: old, article: "1"}
rounding: [{from: 2027-01-01, value: ceil}]
day:
  cap:
    - {from: 2027-01-01, value: "3", source: {decree: new}}
    - {value: "2.5"}
slots:
  in: [{from: 2026-06-01, value: {bands: [{from: 1, cut: [{value: "1"}, {from: 2027-01-01, value: "2"}]}]}}]
""",
    )

    before, between, after = (policy.on(date(2026, 5, 31)), policy.on(date(2026, 6, 1)), policy.on(date(2027, 1, 1)))
    assert (before.slots, before.ceil) == ({}, False)
    assert between.slots["in"].bands[0].cut.percent == 1000
    assert after.slots["in"].bands[0].cut.percent == 2000
    assert after.ceil
    assert between.day_cap is not None
    assert after.day_cap is not None
    assert (between.day_cap.percent, between.day_cap.ref) == (2500, Ref("day.cap", "old", "1"))
    assert (after.day_cap.percent, after.day_cap.ref) == (3000, Ref("day.cap", "new", None))
    assert len({before.digest, between.digest, after.digest}) == 3


def test_a_child_replaces_nodes_and_single_kinds_and_keeps_its_parents_sources(tmp_path: Path) -> None:
    """Inherited nodes rest on the parent's decree."""
    (tmp_path / "parent.yaml").write_text(
        """policy: parent
source: {decree: parent's, article: "2"}
rounding: ceil
slots: {in: {missing: {cut: "1"}}, out: {measure: early, source: {article: "3"}}}
day: {repeat_s: 60, cap: "2"}
leave: {annual: {}, sick: {cut: "1"}}
""",
        "utf-8",
    )
    policy = _load(
        tmp_path,
        """policy: child
source: {decree: child's}
extends: parent.yaml
slots: {in: {missing: {cut: "2"}}}
day: {cap: "4"}
leave: {sick: null}
""",
    )

    rules = policy.on(date(2026, 1, 1))
    assert rules.policy == "child"
    assert rules.ceil
    assert rules.slots["in"].missing.ref == Ref("slots.in.missing", "child's", None)
    assert rules.slots["out"].ref == Ref("slots.out", "parent's", "3")
    assert rules.day_cap is not None
    assert (rules.day_cap.percent, rules.repeat_s) == (4000, 0)
    assert sorted(rules.leave) == ["annual"]
    assert policy.place_of("slots.out", date(2026, 1, 1)).file.endswith("parent.yaml")


def test_the_digest_of_a_version_depends_on_content_only(tmp_path: Path) -> None:
    """Comments and the order of keys change nothing; a source does."""
    texts = (
        "policy: x\nsource: {decree: y}\nrounding: ceil\nday: {cap: '1'}\n",
        "# note\nday: {cap: '1'}\nrounding: ceil\nsource: {decree: y}\npolicy: x\n",
        "policy: x\nsource: {decree: z}\nrounding: ceil\nday: {cap: '1'}\n",
    )
    one, two, three = (_load(tmp_path, text).on(date(2026, 1, 1)) for text in texts)

    assert one.digest == two.digest != three.digest


def test_the_schema_takes_what_is_loaded_and_refuses_what_is_not() -> None:
    """Shipped policies and those of the tests are valid by the schema; a few that are refused are not."""
    schema = json.loads(json.dumps(json_schema()))
    validator = jsonschema.Draft202012Validator(schema)
    root = HERE.parents[2]
    files = [*(root / "config/policies").rglob("*.yaml"), *(HERE.parent / "timesheet/policies").glob("*.yaml")]
    policies = [parse(path.read_text("utf-8"), str(path)).plain() for path in files if ".cases." not in path.name]

    assert [error.message for policy in policies for error in validator.iter_errors(policy)] == []
    mistakes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("slotz", {}),
        ("day", {"cap": 4}),
        ("slots", {"in": {"measure": "soon"}}),
        ("period", {"begins_on": 29}),
    )
    for key, wrong in mistakes:
        assert list(validator.iter_errors({"policy": "x", "source": {"decree": "y"}, key: wrong})) != []


def test_a_policy_is_explained_with_its_sources_dates_and_inventions(tmp_path: Path) -> None:
    """Each sentence names its decree; what changes stands under its date; an invented figure is marked."""
    policy = _load(
        tmp_path,
        """policy: x
title: {id: Contoh, en: Example}
source: {decree: Perwal 1/2026, article: "7"}
slots:
  in:
    bands:
      - {from: 1, class: TL1, cut: "0.5"}
      - {from: 31, class: TL2, cut: [{value: "1"}, {from: 2027-01-01, value: "1.25", source: {decree: invented}}]}
leave: {sick: {cut_rp: 15000, after_days: 3}}
""",
    )

    english, indonesian = explain(policy, Language.ENGLISH), explain(policy, Language.INDONESIAN)
    assert "  in: 1 to 30 min: TL1, cut 0.5 %. (Perwal 1/2026, Art. 7)" in english
    assert english.index("From 2027-01-01 on:") < english.index("in: 31 min or more: TL2, cut 1.25 %.")
    assert "  in (masuk): 31 menit atau lebih: TL2, potongan 1 %. (Perwal 1/2026, Pasal 7)" in indonesian
    assert "Cuti/izin sick (sakit): potongan Rp15.000 per hari, setelah 3 hari pertama dalam periode." in indonesian
    assert len(english.splitlines()) == len(indonesian.splitlines())
