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
    receiver: tuple[str, ...] = ()
    """Changed keys of the section ``receiver``."""
    restart: tuple[str, ...] = ()
    """Changed keys of other sections; they take effect at the next start."""

    def payload(self) -> dict[str, Any]:
        """Return the form for the log and `hadir reload`: names only, never a value."""
        return {
            "added": [entry.name for entry in self.added],
            "changed": {entry.name: list(keys) for entry, keys in self.changed},
            "removed": list(self.removed),
            "receiver": list(self.receiver),
            "restart": list(self.restart),
        }


def difference(running: Settings, wanted: Settings) -> Difference:
    """Compare the settings in effect with those of a file."""
    changed = tuple(_changed(running, wanted, deep=True))
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
        receiver=tuple(key for key in changed if key.partition(".")[0] == "receiver"),
        restart=tuple(key for key in changed if key.partition(".")[0] not in ("terminals", "receiver")),
    )


def applied(running: Settings, wanted: Settings) -> Settings:
    """Return the settings in effect after the terminals and the receiver of ``wanted`` were applied."""
    return running.with_changes_of(wanted)


def _changed(before: BaseModel, after: BaseModel, *, deep: bool = False) -> Iterator[str]:
    """Yield the names of the fields that differ; ``deep``: of sections the keys within them."""
    for name, definition in {**type(before).model_fields, **type(after).model_fields}.items():
        old, new = getattr(before, name, None), getattr(after, name, None)
        if old == new:
            continue
        key = definition.alias or name
        if deep and isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from (f"{key}.{inner}" for inner in _changed(old, new, deep=True))
        else:
            yield key
