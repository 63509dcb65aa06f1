"""Neighbours of the alarms' constructs in a small stack."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from constructs_lib.foundation.alarm import Alarm, Metric
from tests.constructs.conftest import alerting


def alarm(small: cdk.Stack, owner: str, name: str) -> Alarm:
    """An alarm called `name` of a construct `owner`, such as a suppressor."""
    scope = small.node.try_find_child(owner) if owner else small
    return alerting().alarm(
        scope if isinstance(scope, Construct) else Construct(small, owner),
        name,
        description="Something is wrong.",
        runbook="function-failing",
        severity="page",
        metric=Metric("Carmen", "One", {}),
        at_least=1,
        missing="ignore",
    )
