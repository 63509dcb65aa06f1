"""All dangerous changes, grouped over environments, each with a short id for accepting it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from tools.reports.assembly import importance
from tools.reports.diff import changes, collisions, edge, exports, network_exposure, permissions, protection, state, unsupported_updates
from tools.reports.diff.collect import Comparison

CHECKS = (
    *(state.find, exports.find, collisions.find, unsupported_updates.find, changes.find, protection.find),
    *(network_exposure.find, permissions.find, edge.find),
)
KINDS = ("Judge", "State", "Deployment", "Secret", "Protection", "Network", "Permissions", "Firewall", "Headers", "Caching")


@dataclass(frozen=True)
class Danger:
    """A finding with all its environments. The id depends on the exact text and the environments."""

    kind: str
    words: str
    environments: tuple[str, ...]
    reason: str = ""

    @property
    def id(self) -> str:
        """Eight hexadecimal digits."""
        return self._id(self.environments)

    def ids(self, environments: Iterable[str]) -> Iterator[str]:
        """Its own id, and its ids with any more of these environments."""
        others = sorted({*environments} - {*self.environments})
        for more in (some for count in range(len(others) + 1) for some in combinations(others, count)):
            yield self._id((*self.environments, *more))

    def _id(self, environments: tuple[str, ...]) -> str:
        return hashlib.sha256("\n".join((self.kind, self.words, *sorted(environments))).encode()).hexdigest()[:8]


def find_dangers(comparison: Comparison) -> list[Danger]:
    """All dangers: irreversible ones first, then production first."""
    where: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for one in (finding for find in CHECKS for finding in find(comparison)):
        where[one.kind, one.words][one.environment] = one.reason
    dangers = [
        Danger(kind, words, tuple(sorted(reasons, key=importance)), " ".join(dict.fromkeys(filter(None, reasons.values()))))
        for (kind, words), reasons in where.items()
    ]
    return sorted(dangers, key=lambda one: (KINDS.index(one.kind), importance(one.environments[0]), one.words))
