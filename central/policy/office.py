"""The policies that an office has: files of its own folder before shipped ones, found by name."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from central.policy.document import DocumentError
from central.policy.load import SHIPPED, Library, Policy, PolicyError
from central.timesheet.rules import RulesOn


class OfficePolicies(Mapping[str, RulesOn]):
    """Policies by name; each is loaded when it is first used. One that cannot be loaded is not there."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folders = [*([] if folder is None else [folder]), SHIPPED, SHIPPED / "examples"]
        self._library = Library()
        self._policies: dict[str, Policy | None] = {}
        self.problems: dict[str, str] = {}
        """Of each name that a file has but no policy: what is wrong with it."""

    def __getitem__(self, name: str) -> RulesOn:
        found = self.policy(name)
        if found is None:
            raise KeyError(name)
        return found.on

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.policy(name) is not None

    def __iter__(self) -> Iterator[str]:
        files = [file for folder in self._folders for file in sorted(folder.glob("*.yaml"))]
        names = dict.fromkeys(file.stem for file in files if not file.name.endswith(".cases.yaml"))
        return iter([name for name in names if name in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def policy(self, name: str) -> Policy | None:
        """Return a policy by its name; None where no file of this name is one."""
        if name not in self._policies:
            self._policies[name] = self._load(name)
        return self._policies[name]

    def add(self, name: str, policy: Policy) -> None:
        """Let a policy be known by a name, before others of it."""
        self._policies[name] = policy

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of all that a policy says on all dates; None where there is none."""
        policy = self.policy(name)
        if policy is None:
            return None
        versions = "\n".join(f"{version.since.isoformat()} {version.rules.digest}" for version in policy.versions)
        return sha256(versions.encode()).hexdigest()

    def _load(self, name: str) -> Policy | None:
        file = next((path for folder in self._folders if (path := folder / f"{name}.yaml").is_file()), None)
        if file is None:
            return None
        try:
            return self._library.load_file(file)
        except (DocumentError, PolicyError) as error:
            self.problems[name] = str(error)
            return None
