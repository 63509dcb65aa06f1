"""Tokens of CI platforms, with a signature that nobody checks."""

from __future__ import annotations

import base64
import json
from typing import Any

from constructs_lib.pipelines.oidc_trust import AUDIENCE, GITHUB


def token(*, repository: str, branch: str, environment: str = "", **_: Any) -> str:
    """GitHub's token of a job (GitHub Docs, "OpenID Connect reference")."""
    subject = f"environment:{environment}" if environment else f"ref:refs/heads/{branch}"
    claims = {"iss": f"https://{GITHUB}", "aud": AUDIENCE, "sub": f"repo:{repository}:{subject}", "ref": f"refs/heads/{branch}"}
    return _signed({**claims, "repository": repository, **({"environment": environment} if environment else {})})


def gitlab_token(*, repository: str, branch: str, host: str = "gitlab.com") -> str:
    """GitLab's token of a job on a branch (GitLab Docs, "OpenID Connect (OIDC) Authentication Using ID Tokens")."""
    return _signed({"iss": f"https://{host}", "aud": AUDIENCE, "sub": f"project_path:{repository}:ref_type:branch:ref:{branch}"})


def _signed(claims: dict[str, Any]) -> str:
    parts = ({"alg": "RS256", "kid": "test"}, {**claims, "exp": 4_102_444_800})
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts), "c2ln"])
