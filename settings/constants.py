"""Names that settings, stacks and tools share."""

from __future__ import annotations

EDGE_REGION = "us-east-1"  # CloudFront's WAF and certificates live there
# The minor version an instance is created with; RDS then moves it on by itself (auto minor version upgrade).
ENGINE_VERSIONS = {"15": "15.19", "16": "16.15", "17": "17.11", "18": "18.6"}
# A preview's name, with what tells it from an environment that has a file of its own: none of those has a hyphen.
PREVIEW_PREFIX = "preview-"
PREVIEW_NAME = r"(?=.{1,12}$)[a-z0-9]+(-[a-z0-9]+)*"
# Tags on a preview's stacks: its name, and its last day.
PREVIEW_TAG, PREVIEW_ENDS_TAG = "carmen-preview", "carmen-preview-ends"
