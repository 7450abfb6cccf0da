"""Differences between two configurations: what can be applied to a running gateway, and what needs a restart."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gateway.settings import Settings, TerminalSettings


@dataclass(frozen=True, slots=True)
class Difference:
    """Changes of a configuration that are not in effect yet."""

    added: tuple[TerminalSettings, ...] = ()
    changed: tuple[tuple[TerminalSettings, tuple[str, ...]], ...] = ()
    """The new settings of each, with the names of the changed keys."""
    removed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """Changed keys outside of the terminals; they take effect at the next start."""

    def payload(self) -> dict[str, Any]:
        """Return the form for the log and `hadir reload`: names only, never a value."""
        return {
            "added": [entry.name for entry in self.added],
            "changed": {entry.name: list(keys) for entry, keys in self.changed},
            "removed": list(self.removed),
            "restart": list(self.restart),
        }


def difference(running: Settings, wanted: Settings) -> Difference:
    """Compare the settings in effect with those of a file."""
    before = {entry.name: entry for entry in running.terminals}
    after = {entry.name: entry for entry in wanted.terminals}
    return Difference(
        added=tuple(entry for name, entry in after.items() if name not in before),
        changed=tuple(
            (entry, tuple(_changed(before[name], entry)) if before[name].driver == entry.driver else ("driver",))
            for name, entry in after.items()
            if name in before and before[name] != entry
        ),
        removed=tuple(name for name in before if name not in after),
        restart=tuple(key for key in _changed(running, wanted, deep=True) if key != "terminals"),
    )


def applied(running: Settings, wanted: Settings) -> Settings:
    """Return the settings in effect after the terminals of ``wanted`` were applied."""
    return running.with_terminals_of(wanted)


def _changed(before: BaseModel, after: BaseModel, *, deep: bool = False) -> Iterator[str]:
    """Yield the names of the fields that differ; ``deep``: of sections the keys within them."""
    for key in {**type(before).model_fields, **type(after).model_fields}:
        old, new = getattr(before, key, None), getattr(after, key, None)
        if old == new:
            continue
        if deep and isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from (f"{key}.{name}" for name in _changed(old, new, deep=True))
        else:
            yield key
