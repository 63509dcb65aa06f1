"""Service level objectives from real traffic, and alarms on error budget burn rates.

Source: Google SRE Workbook, "Alerting on SLOs", multiwindow, multi-burn-rate alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from constructs import Construct

from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.foundation.alarm import FIVE_MINUTES, HOUR, Alarm, Alerting, Expression
from settings import sections

WINDOW_DAYS = 28  # whole weeks: every window has the same weekdays


@dataclass(frozen=True)
class Burn:
    """In alarm when the burn rate reaches `rate` over a long window and, so that the problem is current, over a short one."""

    name: str
    rate: float
    long_seconds: int
    short_seconds: int
    severity: Literal["page", "ticket"]


BURNS = (
    Burn("FastBurn", 14.4, HOUR, FIVE_MINUTES, "page"),  # two per cent of the month's budget in an hour
    Burn("SlowBurn", 6, 6 * HOUR, 30 * 60, "ticket"),  # five per cent in six hours
)


class Slo(Construct):
    """Availability and latency at the load balancer, which CloudFront's cached answers do not reach."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        settings: sections.Slo,
        balancer: LoadBalancer,
        origin_down: Alarm,
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, self._settings, self._balancer, self._origin_down = alerting, settings, balancer, origin_down
        self.availability = [self._define_burn_alarm("Availability", burn) for burn in BURNS]
        self.latency = [self._define_burn_alarm("Latency", burn) for burn in BURNS]

    @property
    def notifying(self) -> list[Alarm]:
        """The alarms that notify people."""
        return [*self.availability, *self.latency]

    def objective(self, kind: str) -> float:
        """Return the target percentage of good answers."""
        return self._settings.availability_percent if kind == "Availability" else self._settings.latency_percent

    def bad_percent(self, kind: str, period_seconds: int, requests_at_least: int = 1) -> Expression:
        """Percentage of bad answers; 0 with fewer than `requests_at_least` requests."""
        of_targets = partial(self._balancer.metric_of_targets, period_seconds=period_seconds)
        by_balancer = partial(self._balancer.metric, period_seconds=period_seconds)
        requests = by_balancer("RequestCount", label="requests")
        if kind == "Availability":
            bad = {"failed": of_targets("HTTPCode_Target_5XX_Count"), "refused": by_balancer("HTTPCode_ELB_5XX_Count")}
            text = "100 * (FILL(failed, 0) + FILL(refused, 0)) / requests"
        else:
            fast = f"PR(:{self._settings.latency_seconds:g})"
            bad = {"fast": of_targets("TargetResponseTime", statistic=fast)}
            text = "100 - FILL(fast, 100)"
        return Expression(f"IF(requests >= {requests_at_least}, {text}, 0)", {"requests": requests, **bad}, label="bad answers (%)")

    def budget_left(self, kind: str) -> Expression:
        """Percentage of the window's error budget that is left; negative if the objective was missed. For a single-value widget."""
        bad = self.bad_percent(kind, WINDOW_DAYS * 24 * HOUR)
        return Expression(
            f"100 - 100 * ({bad.text}) / {100 - self.objective(kind):g}", bad.metrics, label=f"{kind.lower()} budget left (%)"
        )

    def _define_burn_alarm(self, kind: str, burn: Burn) -> Alarm:
        allowed = 100 - self.objective(kind)
        what = "fail" if kind == "Availability" else "are too slow"
        windows = {"LongWindow": burn.long_seconds, "ShortWindow": burn.short_seconds}
        floor = {"LongWindow": self._settings.requests_per_hour * burn.long_seconds // HOUR, "ShortWindow": 1}
        parts = [
            self._alerting.alarm(
                self,
                f"{kind}{burn.name}{window}",
                description=f"Over {seconds // 60} minutes, answers {what} {burn.rate:g} times as often as the objective allows.",
                runbook="slo",
                severity=burn.severity,
                metric=self.bad_percent(kind, seconds, floor[window]),
                at_least=min(round(burn.rate * allowed, 4), 100),
                missing="notBreaching",
                actions_enabled=False,
            )
            for window, seconds in windows.items()
        ]
        return self._alerting.composite(
            self,
            f"{kind}{burn.name}",
            description=f"The SLO is at risk: answers {what} {burn.rate:g} times as often as the error budget allows.",
            runbook="slo",
            severity=burn.severity,
            alarms=parts,
            operator="AND",
            suppressor=self._origin_down,
            suppressor_wait_seconds=300,
        )
