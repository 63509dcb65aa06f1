"""Attacks: each test tries what an attacker would, and shows that it fails. docs/threat-model.md lists them by actor."""
