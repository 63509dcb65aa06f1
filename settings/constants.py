"""Names that settings, stacks and tools share."""

from __future__ import annotations

# Production must protect at least as much as staging, where changes are tested first.
COMPARED = {"prod": "staging"}
EDGE_REGION = "us-east-1"  # CloudFront's WAF and certificates live there
# The minor version of a new instance; RDS then upgrades it (auto minor version upgrade).
ENGINE_VERSIONS = {"15": "15.19", "16": "16.15", "17": "17.11", "18": "18.6"}
# The prefix marks previews: the names of other environments contain no hyphen.
PREVIEW_PREFIX = "preview-"
PREVIEW_NAME = r"(?=.{1,12}$)[a-z0-9]+(-[a-z0-9]+)*"
# Tags on a preview's stacks: its name and its last day.
PREVIEW_TAG, PREVIEW_ENDS_TAG = "carmen-preview", "carmen-preview-ends"
