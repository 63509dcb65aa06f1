"""CloudWatch alarms: what they watch, their description, runbook and severity, and where they publish (ADR 0015)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from aws_cdk import ReferenceStrength
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from settings import sections

NAMESPACE = "Carmen"  # of the metrics that our functions publish
# Other stacks read an alarm's name and ARN, which do not change, at deployment: settings remove alarms, but CloudFormation keeps exports in
# use.
ALARM_REFERENCES = ReferenceStrength.WEAK
MINUTE, FIVE_MINUTES, HOUR, DAY = 60, 300, 3600, 86_400
Severity = Literal["page", "ticket"]
Missing = Literal["breaching", "notBreaching", "ignore"]
_STATISTIC = re.compile(r"(Average|Sum|Minimum|Maximum|SampleCount)")
_RUNBOOK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Metric:
    """One metric; `label` is its name in graphs."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str = "Average"
    period_seconds: int = MINUTE
    label: str = ""


@dataclass(frozen=True)
class Expression:
    """Metric math over `metrics` (id → metric), all with the same period."""

    text: str
    metrics: Mapping[str, Metric]
    label: str = ""

    @property
    def period_seconds(self) -> int:
        """The period of the metrics; raises ValueError when they differ, which CloudWatch refuses."""
        periods = {metric.period_seconds for metric in self.metrics.values()}
        if len(periods) != 1:
            raise ValueError(f"{self.text}: its metrics have the periods {sorted(periods)}; an alarm's expression needs one period")
        return periods.pop()


AlarmMetric = Metric | Expression


@dataclass(frozen=True)
class Alarm:
    """An alarm. A composite has `children` and neither `metric` nor `threshold`. Without a `resource`, alarms are disabled."""

    runbook: str
    metric: AlarmMetric | None = None
    threshold: float | None = None
    children: Sequence[Alarm] = field(default=())
    resource: cloudwatch.CfnAlarm | cloudwatch.CfnCompositeAlarm | None = None

    @cached_property
    def name(self) -> str:
        """The name that CloudFormation gives it; empty without a resource."""
        return self.resource.ref if self.resource else ""

    @cached_property
    def arn(self) -> str:
        """The ARN; empty without a resource."""
        return self.resource.attr_arn if self.resource else ""


@dataclass(frozen=True)
class Alerting:
    """Creates the alarms of one environment with its thresholds (`settings`). Without a `topic_arn`, alarms have no actions.

    When not `enabled`, it returns alarms without resources, so callers need not check; `always_enabled` still creates some.
    """

    environment: str
    settings: sections.Alarms
    topic_arn: str | None
    enabled: bool = True

    @property
    def always_enabled(self) -> Alerting:
        """For alarms that an environment needs even when it sends no alerts, such as rollback alarms."""
        return replace(self, enabled=True)

    def function_metric(
        self,
        name: str,
        *,
        service: str = "probe",
        statistic: str = "Maximum",
        period_seconds: int = MINUTE,
        label: str = "",
        **dimensions: str,
    ) -> Metric:
        """A metric that one of our functions publishes."""
        dimensions = {"Environment": self.environment, "service": service, **dimensions}
        return Metric(NAMESPACE, name, dimensions, statistic, period_seconds, label)

    def alarm(
        self,
        scope: Construct,
        construct_id: str,
        *,
        description: str,
        runbook: str,
        severity: Severity,
        metric: AlarmMetric,
        missing: Missing,
        at_least: float | None = None,
        below: float | None = None,
        periods: int = 1,
        breaching_periods: int | None = None,
        actions_enabled: bool = True,
    ) -> Alarm:
        """Create an alarm at `at_least` or `below`, after `breaching_periods` (default: all) of the last `periods`.

        Without `actions_enabled` it publishes nothing: a composite does. Raises ValueError for what CloudWatch would refuse.
        """
        threshold, comparison = _threshold(construct_id, at_least, below)
        _check_range(construct_id, metric.period_seconds, periods)
        if not self.enabled:
            return Alarm(runbook, metric, threshold)
        actions = self._actions(actions_enabled)
        resource = cloudwatch.CfnAlarm(
            scope,
            construct_id,
            alarm_description=_alarm_description(description, runbook, severity),
            **_single_metric(metric) if isinstance(metric, Metric) else {"metrics": _queries(metric)},
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=periods,
            datapoints_to_alarm=breaching_periods,
            treat_missing_data=missing,
            alarm_actions=actions,
            ok_actions=actions,
        )
        resource.apply_cross_stack_reference_strength(ALARM_REFERENCES)
        return Alarm(runbook, metric, threshold, resource=resource)

    def composite(
        self,
        scope: Construct,
        construct_id: str,
        *,
        description: str,
        runbook: str,
        severity: Severity,
        alarms: Sequence[Alarm],
        operator: Literal["OR", "AND"] = "OR",
        suppressor: Alarm | None = None,
        suppressor_wait_seconds: int = 180,
        actions_enabled: bool = True,
    ) -> Alarm:
        """Create a composite alarm over `alarms`: one message instead of several.

        It sends nothing while `suppressor`, the cause with its own message, is in alarm or enters it within
        `suppressor_wait_seconds`. In a new environment, states that end within this wait are never sent.
        """
        if not self.enabled:
            return Alarm(runbook, children=tuple(alarms))
        actions = self._actions(actions_enabled)
        resource = cloudwatch.CfnCompositeAlarm(
            scope,
            construct_id,
            alarm_description=_alarm_description(description, runbook, severity),
            alarm_rule=f" {operator} ".join(f'ALARM("{alarm.name}")' for alarm in alarms),
            actions_suppressor=suppressor.arn if suppressor else None,
            actions_suppressor_wait_period=suppressor_wait_seconds if suppressor else None,
            actions_suppressor_extension_period=suppressor_wait_seconds if suppressor else None,
            alarm_actions=actions,
            ok_actions=actions,
        )
        resource.apply_cross_stack_reference_strength(ALARM_REFERENCES)
        return Alarm(runbook, children=tuple(alarms), resource=resource)

    def _actions(self, enabled: bool) -> list[str] | None:
        return [self.topic_arn] if enabled and self.topic_arn is not None else None


def _alarm_description(description: str, runbook: str, severity: Severity) -> str:
    """Three lines, which lambda_src/notifier parses."""
    if "\n" in description or not 10 <= len(description) <= 600:
        raise ValueError(
            f"{description!r} is not a valid alarm description: write one line of 10 to 600 characters that says what is wrong and for whom"
        )
    if not _RUNBOOK.fullmatch(runbook):
        raise ValueError(f"{runbook!r} is not a runbook: give the name of a page in docs/runbooks/ without .md, such as slow-responses")
    return f"{description}\nRunbook: docs/runbooks/{runbook}.md\nSeverity: {severity}"


def _threshold(name: str, at_least: float | None, below: float | None) -> tuple[float, str]:
    if at_least is not None and below is None:
        return at_least, "GreaterThanOrEqualToThreshold"
    if below is not None and at_least is None:
        return below, "LessThanThreshold"
    raise ValueError(f"{name}: at_least is {at_least} and below is {below}; set exactly one of them")


def _check_range(name: str, period: int, periods: int) -> None:
    """Source: CloudWatch API, PutMetricAlarm: at most one day, or seven days with periods of an hour or more."""
    maximum = 7 * DAY if period >= HOUR else DAY
    if period * periods > maximum:
        raise ValueError(f"{name}: {periods} periods of {period} s exceed the {maximum} s that CloudWatch evaluates; set fewer periods")


def _single_metric(metric: Metric) -> dict[str, object]:
    standard = _STATISTIC.fullmatch(metric.statistic)
    return {
        "namespace": metric.namespace,
        "metric_name": metric.name,
        "dimensions": _dimensions(metric),
        "period": metric.period_seconds,
        "statistic": metric.statistic if standard else None,
        "extended_statistic": None if standard else metric.statistic,
        "evaluate_low_sample_count_percentile": None if standard else "ignore",  # a percentile of three requests means nothing
    }


def _queries(expression: Expression) -> list[cloudwatch.CfnAlarm.MetricDataQueryProperty]:
    query = cloudwatch.CfnAlarm.MetricDataQueryProperty
    metrics = [
        query(
            id=key,
            metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
                metric=cloudwatch.CfnAlarm.MetricProperty(
                    namespace=metric.namespace, metric_name=metric.name, dimensions=_dimensions(metric)
                ),
                period=metric.period_seconds,
                stat=metric.statistic,
            ),
            return_data=False,
        )
        for key, metric in expression.metrics.items()
    ]
    return [query(id="watched", expression=expression.text, label=expression.label or None, return_data=True), *metrics]


def _dimensions(metric: Metric) -> list[cloudwatch.CfnAlarm.DimensionProperty]:
    return [cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in metric.dimensions.items()]
