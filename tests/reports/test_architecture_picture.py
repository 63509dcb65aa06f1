"""docs/architecture.svg is drawn from the templates, and drawing fails if a connection is not allowed."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from settings.loader import load
from tests.conftest import Built
from tools.reports import architecture_picture as picture
from tools.reports import docs


def of_production(built: Built) -> Built:
    """A copy of production's templates."""
    templates = {name: one for name, one in built.templates.items() if name.startswith("CarmenProd")}
    return dataclasses.replace(built, templates=json.loads(json.dumps(templates)))


def test_picture_is_current(built: Built) -> None:
    """`make docs` draws it."""
    assert docs.current(docs.ARCHITECTURE, docs.architecture_document(built))


@pytest.mark.parametrize("environment", ["prod", "staging"])  # development lacks parts: the picture shows everything
def test_every_stack_and_every_connection_is_drawn(built: Built, environment: str) -> None:
    drawn = picture.draw(built, load(environment))
    stacks = [name for name in built.templates if re.match(rf"Carmen{environment.capitalize()}([A-Z]|$)", name)]
    assert len(stacks) == 11
    assert [name for name in stacks if f">{name}</text>" not in drawn] == []
    assert drawn.count("marker-end") == len(picture.ARROWS) + 1 + 3  # uptime; the legend


def test_messages_to_slack_leave_the_notifier() -> None:
    assert {arrow.start for arrow in picture.ARROWS if arrow.end == picture.SLACK} == {"Alerts/Notifier"}


@pytest.mark.parametrize("arrow", picture.ARROWS, ids=lambda arrow: f"{arrow.start} to {arrow.end}")
def test_connection_that_is_not_allowed_is_an_error(built: Built, arrow: picture.Arrow) -> None:
    """Without the resources that allow it."""
    kind, *words = arrow.by
    production = of_production(built)
    for name, template in production.templates.items():
        template["Resources"] = {
            key: one
            for key, one in template["Resources"].items()
            if one["Type"] != kind or not all(word in f"{name}/{key} {json.dumps(one)}" for word in words)
        }
    with pytest.raises((ValueError, KeyError), match=r"correct tools.reports.architecture_picture.ARROWS|/"):
        picture.draw(production, load("prod"))


def test_missing_resources_are_not_drawn(built: Built) -> None:
    production = of_production(built)
    resources = production.templates["CarmenProdNetwork"]["Resources"]
    for key in [key for key, one in resources.items() if one["Type"] == "AWS::EC2::NatGateway"]:
        del resources[key]
    drawn = picture.draw(production, load("prod"))
    assert "NAT gateways" not in drawn
    assert "VPC" in drawn
