"""Policies in plain sentences: which applies to which unit, and what each says with decree and article."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from central.policy.explain import explain
from central.policy.load import Policy
from central.texts import Language, Text, _
from central.web.page import Look, Missing, Page, Shown

TEXTS: Mapping[str, Text] = {
    "policies_page": _("Policies"),
    "policies_used": _("Which applies on {date}"),
    "policies_used_none": _("No policy is assigned to a unit of this account on this date."),
    "policies_below": _("A unit without a line has the policy of the unit above it. A person can have another one."),
    "policies_unit": _("unit"),
    "policies_policy": _("policy"),
    "policies_since": _("since"),
    "policies_paper": _("paper"),
    "policies_all": _("All policies that are known here"),
    "policies_gone": _("not known here: its file is missing or has a mistake; inform the administrator of the centre"),
    "policy_page": _("Policy"),
    "policy_about": _(
        "Each sentence names the decree and article that it rests on. What is marked as chosen or invented has no "
        "source: check it with the personnel agency."
    ),
    "policy_back": _("All policies"),
}


class Used(NamedTuple):
    """A policy that applies to a unit."""

    unit: str
    policy: str
    known: bool
    since: date
    paper: str


class Part(NamedTuple):
    """Sentences that begin on one date."""

    heading: str
    sentences: tuple[str, ...]


def show(look: Look) -> Shown:
    """Return the page of all policies."""
    on = look.day_of("date", look.today())

    def values() -> Mapping[str, Any]:
        policies = {name: look.policies.policy(name) for name in look.policies}
        named = {name: title_of(policy, look.language) for name, policy in policies.items()}
        return {"on": on, "used": list(_used(look, on)), "policies": sorted(named.items(), key=lambda one: one[1])}

    return look.show("policies.html", values, key=(tuple(sorted(look.scope.units(on))), on))


def _used(look: Look, on: date) -> Iterator[Used]:
    """Yield what applies to the units of the scope; a root of it has what the units above it hand down."""
    units, everything = {unit.key: unit for unit in look.units(on)}, look.tree.on(on)
    rows = look.registers.rows("assignments", [f"unit:{key}" for key in everything], on, on)
    found = {row.record.unit: row for row in rows if row.record.policy is not None}
    for key, unit in units.items():
        row, above, seen = found.get(key), unit.parent, {key}
        while row is None and above is not None and above not in units and above in everything and above not in seen:
            seen.add(above)
            row, above = found.get(above), everything[above].parent
        if row is not None:
            name = row.record.policy
            yield Used(unit.name, name, name in look.policies, row.since, row.paper if row.record.unit == key else "")


def title_of(policy: Policy, language: Language) -> str:
    """Return the title of a policy in a language, else its name."""
    titles = policy.versions[0].model.title
    title = None if titles is None else titles.id if language is Language.INDONESIAN else titles.en
    return title or policy.name


def show_policy(look: Look) -> Shown:
    """Return one policy in sentences; raises Missing."""
    name = look.parameters["policy"]
    if name not in set(look.policies):
        raise Missing
    policy = look.policies.policy(name)
    return look.show(
        "policy.html",
        lambda: {"name": name, "parts": list(_parts(explain(policy, look.language)))},
        key=(name,),
        title=title_of(policy, look.language),
    )


def _parts(text: str) -> Iterator[Part]:
    heading, sentences = "", list[str]()
    for line in text.split("\n"):
        if line.startswith("  "):
            sentences.append(line.strip())
            continue
        if heading:
            yield Part(heading, tuple(sentences))
        heading, sentences = line.rstrip(":"), []
    yield Part(heading, tuple(sentences))


PAGES = [
    Page("/policies", "policies", TEXTS["policies_page"], show, in_menu=True, watched=False),
    Page("/policies/{policy}", "policy", TEXTS["policy_page"], show_policy, watched=False),
]
