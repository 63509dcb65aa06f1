"""A danger, as judges tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a person must want, in one environment. `words` are the same for the same thing in another."""

    environment: str
    kind: str  # State, Deployment, Secret, Protection, Network, Permissions, Firewall, Headers or Caching
    words: str
    reason: str = ""  # why, where the settings say so
