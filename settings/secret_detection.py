"""Detect secrets in settings by value or by name: TOML files must not contain any.

The patterns are the documented forms of secrets that an ERP uses; other random text is recognised by its entropy. This is a
safety net, not a scanner: `detect-secrets` and similar tools read a whole repository.
"""

from __future__ import annotations

import math
import re
from collections import Counter

ACCESS_KEY_ID = "an AWS access key id"
PATTERNS = {
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    ACCESS_KEY_ID: r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a Slack webhook": r"\bhooks\.slack\.com/(services|workflows|triggers)/\w+",
    "a GitHub token": r"\b(gh[opsur]_[A-Za-z0-9]{36}|github_pat_\w{22,})",
    "a Stripe key": r"\b([rs]k_(live|test)_|whsec_)[A-Za-z0-9]{16,}",
    "a SendGrid key": r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    "a Sentry DSN": r"\bhttps://[0-9a-f]{32}(:[0-9a-f]{32})?@[\w.-]+/\d+",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.",
    "a URL with a password": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@",
}
# Minimum length and bits per character of random text in one alphabet: detect-secrets' limits, and at least the 128 bits of a key.
RANDOM_TEXTS = {r"[0-9a-fA-F]{32,}": 3.0, r"[A-Za-z0-9+/_-]{32,}={0,2}": 4.5}
SECRET_WORDS = frozenset([
    "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PWD", "PASSPHRASE", "TOKEN", "KEY", "APIKEY", "CREDENTIAL", "CREDENTIALS", "DSN", "WEBHOOK",
])  # fmt: skip
PUBLIC_WORDS = frozenset(["PUBLIC", "PUBLISHABLE"])


def detect_secret(text: str, *, is_user_name: bool = False, is_variable: bool = False) -> str | None:
    """Return the kind of secret that `text` looks like, or None.

    A user name may be an access key id, because SES uses those. Random text counts only in variables.
    """
    for kind, pattern in PATTERNS.items():
        if re.search(pattern, text) and not (is_user_name and kind == ACCESS_KEY_ID):
            return kind
    if is_variable and any(re.fullmatch(pattern, text) and _entropy(text) > bits for pattern, bits in RANDOM_TEXTS.items()):
        return "a random key"
    return None


def is_secret_name(name: str) -> bool:
    """Whether a name ends in a word such as SECRET or KEY and contains no word such as PUBLIC."""
    words = re.split(r"[_-]", name.upper())
    return words[-1] in SECRET_WORDS and not PUBLIC_WORDS & set(words)


def _entropy(text: str) -> float:
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
