"""What has changed between two configurations: what can be applied to a running gateway, and what cannot."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gateway.settings import Settings, TerminalSettings


@dataclass(frozen=True, slots=True)
class Difference:
    """What a configuration has that is not in effect yet."""

    added: tuple[TerminalSettings, ...] = ()
    changed: tuple[tuple[TerminalSettings, tuple[str, ...]], ...] = ()
    """Each as it is to be, with the names of the keys that have changed."""
    removed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """Keys outside of the terminals; they take effect at the next start."""

    def payload(self) -> dict[str, Any]:
        """Return it as the log and `hadir reload` tell it: names only, never a value."""
        return {
            "added": [entry.name for entry in self.added],
            "changed": {entry.name: list(keys) for entry, keys in self.changed},
            "removed": list(self.removed),
            "restart": list(self.restart),
        }


def difference(running: Settings, wanted: Settings) -> Difference:
    """Compare what is in effect with what a file says."""
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
    """Return what is in effect once the terminals of ``wanted`` are."""
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
