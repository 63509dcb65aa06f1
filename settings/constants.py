"""Names that settings, stacks and tools share."""

from __future__ import annotations

# Production must protect at least as much as staging, where changes are tested first.
COMPARED = {"prod": "staging"}
ACCOUNT_STACK = "CarmenAccount"  # what exists once in an account
PIPELINE_ACCESS = "CarmenPipelineAccess"  # of an account; with an environment's name behind it, of the environment
EDGE_REGION = "us-east-1"  # CloudFront's WAF and certificates live there
# Cache engine → engine version, parameter group family. ElastiCache needs the minor version too: ADR 0023.
CACHE_ENGINES = {"valkey": ("8.1", "valkey8"), "redis": ("7.1", "redis7")}
# The prefix marks previews: the names of other environments contain no hyphen.
PREVIEW_PREFIX = "preview-"
PREVIEW_NAME = r"(?=.{1,12}$)[a-z0-9]+(-[a-z0-9]+)*"
# Tags on a preview's stacks: its name and its last day.
PREVIEW_TAG, PREVIEW_ENDS_TAG = "carmen-preview", "carmen-preview-ends"
# The IAM path of every role of the environments: CarmenBoundary allows only these (ADR 0016).
ROLE_PATH = "/carmen/"
