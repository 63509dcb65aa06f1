"""The picture in docs/ is the app's, and would not be drawn if a way were not there."""

from __future__ import annotations

import copy
import dataclasses
import json
import re

import pytest

from settings.loader import load
from tests.conftest import Built
from tools.reports import architecture_picture as picture


def test_the_picture_is_current(built: Built) -> None:
    """`make architecture-picture` draws it."""
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.draw(built, load("prod"))


@pytest.mark.parametrize("environment", ["prod", "staging"])  # development lacks parts: the picture is of the whole
def test_every_stack_has_its_box_and_every_way_its_arrow(built: Built, environment: str) -> None:
    drawn = picture.draw(built, load(environment))
    stacks = [name for name in built.templates if re.match(rf"Carmen{environment.capitalize()}([A-Z]|$)", name)]
    assert len(stacks) == 10
    assert [name for name in stacks if f">{name}</text>" not in drawn] == []
    assert drawn.count("marker-end") == len(picture.ARROWS) + 3 + 3  # users, people and uptime; the legend


@pytest.mark.parametrize("arrow", picture.ARROWS, ids=lambda arrow: f"{arrow.start} to {arrow.end}")
def test_a_way_that_is_closed_is_not_drawn(built: Built, arrow: picture.Arrow) -> None:
    """Without the resources that open it."""
    kind, *words = arrow.by
    templates = copy.deepcopy(dict(built.templates))
    for name, template in templates.items():
        template["Resources"] = {
            key: one
            for key, one in template["Resources"].items()
            if one["Type"] != kind or not all(word in f"{name}/{key} {json.dumps(one)}" for word in words)
        }
    with pytest.raises((ValueError, KeyError), match=r"mend tools.reports.architecture_picture.ARROWS|/"):
        picture.draw(dataclasses.replace(built, templates=templates), load("prod"))


def test_what_an_environment_does_not_have_is_not_in_its_picture(built: Built) -> None:
    templates = copy.deepcopy(dict(built.templates))
    resources = templates["CarmenProdNetwork"]["Resources"]
    templates["CarmenProdNetwork"]["Resources"] = {key: one for key, one in resources.items() if one["Type"] != "AWS::EC2::NatGateway"}
    drawn = picture.draw(dataclasses.replace(built, templates=templates), load("prod"))
    assert "NAT gateways" not in drawn
    assert "VPC" in drawn
