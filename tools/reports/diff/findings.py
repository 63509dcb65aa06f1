"""A dangerous change, as the checks report it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A dangerous change in one environment. `words` are equal for the same change in another environment."""

    environment: str
    kind: str  # State, Deployment, Secret, Protection, Network, Permissions, Firewall, Headers or Caching
    words: str
    reason: str = ""  # from the settings, if they give one
