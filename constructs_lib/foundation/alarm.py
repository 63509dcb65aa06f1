"""The one way to make an alarm: what it watches, what it says, where it leads, and whom it tells (ADR 0015)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from settings import sections

NAMESPACE = "Carmen"  # of the metrics that our own functions publish
MINUTE, FIVE_MINUTES, HOUR, DAY = 60, 300, 3600, 86_400
Severity = Literal["page", "ticket"]
Missing = Literal["breaching", "notBreaching", "ignore"]
_PLAIN = re.compile(r"(Average|Sum|Minimum|Maximum|SampleCount)")
_RUNBOOK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Metric:
    """One metric; `label` is what a graph calls it."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str = "Average"
    period_seconds: int = MINUTE
    label: str = ""


@dataclass(frozen=True)
class Expression:
    """Metric math over `metrics` (id → metric), all of one period."""

    text: str
    metrics: Mapping[str, Metric]
    label: str = ""

    @property
    def period_seconds(self) -> int:
        """That of its metrics; raises ValueError when they differ, which CloudWatch refuses."""
        periods = {metric.period_seconds for metric in self.metrics.values()}
        if len(periods) != 1:
            raise ValueError(f"{self.text}: its metrics have the periods {sorted(periods)}; an alarm's expression takes one")
        return periods.pop()


Watched = Metric | Expression


@dataclass(frozen=True)
class Alarm:
    """An alarm. `watched` and `threshold` are None of a composite one; `parts` are what it folds. Without a name it was not made."""

    name: str
    arn: str
    runbook: str
    watched: Watched | None = None
    threshold: float | None = None
    parts: Sequence[Alarm] = field(default=())


@dataclass(frozen=True)
class Alerting:
    """Makes the alarms of one environment, with its thresholds (`settings`); without a `topic_arn` they act on nothing.

    Not `on`, it makes none, and what is built upon them need not know: only `always` then makes some.
    """

    environment: str
    settings: sections.Alarms
    topic_arn: str | None
    on: bool = True

    @property
    def always(self) -> Alerting:
        """For what must be watched even where nobody is told of the rest."""
        return replace(self, on=True)

    def measured(
        self, name: str, *, service: str = "probe", statistic: str = "Maximum", period_seconds: int = MINUTE, label: str = "", **more: str
    ) -> Metric:
        """A metric that one of our functions publishes."""
        dimensions = {"Environment": self.environment, "service": service, **more}
        return Metric(NAMESPACE, name, dimensions, statistic, period_seconds, label)

    def alarm(
        self,
        scope: Construct,
        construct_id: str,
        *,
        says: str,
        runbook: str,
        severity: Severity,
        watch: Watched,
        missing: Missing,
        at_least: float | None = None,
        below: float | None = None,
        periods: int = 1,
        breaching_periods: int | None = None,
        folded: bool = False,
    ) -> Alarm:
        """An alarm at `at_least` or `below`, after `breaching_periods` (all, unless said) of the last `periods`.

        A `folded` one tells nobody itself: a composite speaks for it. Raises ValueError for what CloudWatch would refuse.
        """
        threshold, comparison = _threshold(construct_id, at_least, below)
        _check_range(construct_id, watch.period_seconds, periods)
        if not self.on:
            return Alarm("", "", runbook, watch, threshold)
        targets = self._targets(folded)
        resource = cloudwatch.CfnAlarm(
            scope,
            construct_id,
            alarm_description=_description(says, runbook, severity),
            **_simple(watch) if isinstance(watch, Metric) else {"metrics": _queries(watch)},
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=periods,
            datapoints_to_alarm=breaching_periods,
            treat_missing_data=missing,
            alarm_actions=targets,
            ok_actions=targets,
        )
        return Alarm(resource.ref, resource.attr_arn, runbook, watch, threshold)

    def fold(
        self,
        scope: Construct,
        construct_id: str,
        *,
        says: str,
        runbook: str,
        severity: Severity,
        alarms: Sequence[Alarm],
        every: bool = False,
        unless: Alarm | None = None,
        wait_seconds: int = 180,
        silent: bool = False,
    ) -> Alarm:
        """One message for several alarms: a composite that is in alarm while any of them (or `every` one) is.

        While `unless` is in alarm, or goes there within `wait_seconds`, nothing is told: it is the cause and has its own message.
        The wait is also a new environment's grace: what is over by then was never told. A `silent` one only has a state.
        """
        if not self.on:
            return Alarm("", "", runbook, parts=tuple(alarms))
        targets = self._targets(silent)
        resource = cloudwatch.CfnCompositeAlarm(
            scope,
            construct_id,
            alarm_description=_description(says, runbook, severity),
            alarm_rule=(" AND " if every else " OR ").join(f'ALARM("{alarm.name}")' for alarm in alarms),
            actions_suppressor=unless.arn if unless else None,
            actions_suppressor_wait_period=wait_seconds if unless else None,
            actions_suppressor_extension_period=wait_seconds if unless else None,
            alarm_actions=targets,
            ok_actions=targets,
        )
        return Alarm(resource.ref, resource.attr_arn, runbook, parts=tuple(alarms))

    def _targets(self, silent: bool) -> list[str] | None:
        return None if silent or self.topic_arn is None else [self.topic_arn]


def _description(says: str, runbook: str, severity: Severity) -> str:
    """Three lines, which lambda_src/notifier reads."""
    if "\n" in says or not 10 <= len(says) <= 600:
        raise ValueError(f"{says!r}: an alarm says in one line of 10 to 600 characters what is wrong for whom")
    if not _RUNBOOK.fullmatch(runbook):
        raise ValueError(
            f"{runbook!r} is no runbook: it is a page of docs/runbooks/ by its plain name, without ending, such as slow-responses"
        )
    return f"{says}\nRunbook: docs/runbooks/{runbook}.md\nSeverity: {severity}"


def _threshold(name: str, at_least: float | None, below: float | None) -> tuple[float, str]:
    if at_least is not None and below is None:
        return at_least, "GreaterThanOrEqualToThreshold"
    if below is not None and at_least is None:
        return below, "LessThanThreshold"
    raise ValueError(f"{name}: at_least is {at_least} and below is {below}; an alarm has one of the two")


def _check_range(name: str, period: int, periods: int) -> None:
    """Source: CloudWatch API, PutMetricAlarm: a day at most, seven of them with periods of an hour and more."""
    most = 7 * DAY if period >= HOUR else DAY
    if period * periods > most:
        raise ValueError(f"{name}: {periods} periods of {period} s exceed the {most} s that CloudWatch looks back; take fewer")


def _simple(metric: Metric) -> dict[str, object]:
    plain = _PLAIN.fullmatch(metric.statistic)
    return {
        "namespace": metric.namespace,
        "metric_name": metric.name,
        "dimensions": [cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in metric.dimensions.items()],
        "period": metric.period_seconds,
        "statistic": metric.statistic if plain else None,
        "extended_statistic": None if plain else metric.statistic,
        "evaluate_low_sample_count_percentile": None if plain else "ignore",  # the slowest of three requests is no percentile
    }


def _queries(expression: Expression) -> list[cloudwatch.CfnAlarm.MetricDataQueryProperty]:
    query = cloudwatch.CfnAlarm.MetricDataQueryProperty
    metrics = [
        query(
            id=key,
            metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
                metric=cloudwatch.CfnAlarm.MetricProperty(
                    namespace=metric.namespace,
                    metric_name=metric.name,
                    dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in metric.dimensions.items()],
                ),
                period=metric.period_seconds,
                stat=metric.statistic,
            ),
            return_data=False,
        )
        for key, metric in expression.metrics.items()
    ]
    return [query(id="watched", expression=expression.text, label=expression.label or None, return_data=True), *metrics]
