"""The commands ``hadir-central policy``: what they print, and their exit codes."""

import json
from pathlib import Path

from typer.testing import CliRunner

from central.cli import app

CENTRAL = Path(__file__).parents[1]
MIXED = """cases:
  - name: met
    policy: kementan-2012
    zone: Asia/Jakarta
    days: &days
      - date: 2026-09-01
        kind: workday
        slots:
          - {name: in, kind: in, due: "07:30", window: ["05:45", "11:30"]}
          - {name: out, kind: out, due: "16:00", window: ["11:31", "19:46"]}
    punches: &punches ["2026-09-01 08:05:00", "2026-09-01 16:00:00"]
    expect: {2026-09-01: {cut: "1"}}
  - name: not met
    policy: kementan-2012
    zone: Asia/Jakarta
    days: *days
    punches: *punches
    expect: {2026-09-01: {slots: {in: {class: TL1}}}}
  - name: "broken \\ud800"
    policy: kementan-2012
    zone: Asia/Jakarta
    dayz: []
    expect: {total: {}}
"""


def _run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["policy", *map(str, arguments)])
    return result.exit_code, result.stdout


def test_a_case_that_differs_names_the_line_of_the_policy_and_a_broken_one_costs_itself(tmp_path: Path) -> None:
    """Exit code 1; the case that is met is counted as such."""
    path = tmp_path / "mixed.cases.yaml"
    path.write_text(MIXED, "utf-8")

    code, text = _run("test", path)
    assert code == 1
    assert f'{path}:18:47: 2026-09-01.slots.in.class: expected "TL1", got "TL2", by ' in text
    assert "kementan-2012.yaml:14:9 slots.in.bands[1] (Permentan 68/2012)" in text
    assert f"{path}:22:5: " in text
    assert text.endswith("FAILED: 3 cases, 2 not as expected\n")

    code, text = _run("test", path, "--json")
    found = json.loads(text)
    assert (code, found["passed"], found["differs"], found["broken"]) == (1, 1, 1, 1)
    assert [case["outcome"] for case in found["cases"]] == ["passed", "differs", "broken"]
    assert found["cases"][0]["results"]["2026-09-01"]["reasons"]


def test_files_that_are_met_end_with_exit_code_0() -> None:
    """Several files at once."""
    code, text = _run("test", CENTRAL / "timesheet/nights.cases.yaml", CENTRAL / "timesheet/leave.cases.yaml")

    assert (code, text.split(":")[0]) == (0, "OK")


def test_a_file_without_cases_is_no_success(tmp_path: Path) -> None:
    """Nothing checked is nothing passed."""
    path = tmp_path / "empty.cases.yaml"
    for content in ("", "cases: []\n", "[]\n", "case: 1\n"):
        path.write_text(content, "utf-8")
        assert _run("test", path)[0] == 1


def test_check_names_every_mistake_of_every_file(tmp_path: Path) -> None:
    """Policies and case files alike."""
    path = tmp_path / "wrong.yaml"
    path.write_text("policy: x\nsource: {decree: y}\nday: {cap: 4, zone: here}\n", "utf-8")

    code, text = _run("check", path, CENTRAL / "timesheet/policies/graded.yaml", CENTRAL / "timesheet/leave.cases.yaml")
    assert code == 1
    assert f"{path}:3:12: day.cap: " in text
    assert f"{path}:3:21: day.zone: " in text
    assert text.count("OK: ") == 2


def test_try_shows_two_policies_side_by_side_and_marks_what_differs() -> None:
    """The expectations of the case file play no part."""
    code, text = _run("try", CENTRAL / "timesheet/leave.cases.yaml", "kementan-2012", "kejaksaan-2020")

    assert code == 0
    assert any(line.startswith("* 2028-09-02") and "cut 0.5" in line and "cut 1" in line for line in text.splitlines())
    assert _run("try", CENTRAL / "timesheet/leave.cases.yaml", "kementan-2012", "no-such")[0] == 1


def test_explain_and_schema_print_a_policy_and_the_vocabulary() -> None:
    """Indonesian or English; JSON Schema."""
    code, text = _run("explain", "kementan-2012", "--lang", "id")
    assert (code, "potongan 0,5 %" in text) == (0, True)
    assert "cut 0.5 %" in _run("explain", "kementan-2012")[1]
    assert "period" in json.loads(_run("schema")[1])["properties"]
