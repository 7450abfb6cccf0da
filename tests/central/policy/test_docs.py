"""The policy and the cases of docs/judging.md, as a newcomer copies them."""

import re
from pathlib import Path

from central.policy.cases import Case, read_cases
from central.policy.explain import explain
from central.policy.load import Library
from central.policy.model import Policy
from central.policy.run import run_case

PAGE = (Path(__file__).parents[3] / "docs/judging.md").read_text("utf-8")


def test_the_policy_of_the_page_meets_the_cases_of_the_page(tmp_path: Path) -> None:
    """Both are saved under the names that the page gives them."""
    policy, cases = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "perbup-12-2027.yaml").write_text(policy, "utf-8")
    (tmp_path / "perbup-12-2027.cases.yaml").write_text(cases, "utf-8")
    library = Library()
    read = read_cases(tmp_path / "perbup-12-2027.cases.yaml")

    assert len(read) == 4
    for case in read:
        assert isinstance(case, Case), str(case)
        outcome = run_case(case, library)
        assert (outcome.error, [str(found) for found in outcome.differences]) == (None, [])
    assert "From 2028-01-01 on:" in explain(library.load_file(tmp_path / "perbup-12-2027.yaml"))


def test_the_page_names_every_word_of_a_policy() -> None:
    """No word of the vocabulary is left to be found in the code."""
    named = set(re.findall(r"[a-z_]+", PAGE))
    words: set[str] = set()
    for part in [Policy.model_json_schema(), *Policy.model_json_schema()["$defs"].values()]:
        words.update(part.get("properties", ()))

    assert len(words) > 40
    assert words - named == set()
