"""The app as it is deployed, built once a session for every test that looks at templates."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until pytest is ready for Ctrl-C: what follows takes seconds, and begins nothing
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))  # the Makefile holds them back until here

import atexit
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from settings.loader import environment_names, load
from settings.model import Settings
from tools.processes import come_again
from tools.reports.synthesis import CONTEXT, ROOT, Built, build

__all__ = ["CONTEXT", "DOMAIN", "ROOT", "Built", "Variant", "build", "built", "by_id", "only", "preview", "variant"]


TOGETHER = ("tests/local/test_deployment.py", "tests/rules/test_validators.py")


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of one module on one worker, and first: they share a deployment, or verdicts, that take minutes to make."""

    def _split_scope(self, nodeid: str) -> str:
        return next((module for module in TOGETHER if nodeid.startswith(module)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """xdist 3.8 loses the groups of `--dist loadgroup` with pytest 9.2, which does not read the attribute it writes them to."""
    return Together(config, log)


def _but_for_a_broken_pipe(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C in a terminal ends the CDK's Node too; what jsii has to say about that when Python ends is noise."""
    if not isinstance(unraisable.exc_value, BrokenPipeError):
        sys.__unraisablehook__(unraisable)


# At the end, when pytest has put its own away; last come, first served: before jsii's own, registered by the imports above.
atexit.register(setattr, sys, "unraisablehook", _but_for_a_broken_pipe)


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart() -> Iterator[None]:
    """Ctrl-C counts from now on; the workers that start here let it in when they are ready for it, as above."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    come_again(KeyboardInterrupt, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All real environments."""
    return build([load(name) for name in environment_names()], tmp_path_factory.mktemp("cdk.out"))


@pytest.fixture(scope="session")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A preview, as `make preview NAME=pr-123` deploys it."""
    return build([load("preview-pr-123")], tmp_path_factory.mktemp("cdk.out"), preview_ends="2026-12-01")


Variant = Callable[..., Built]
DOMAIN = {"name": "carmen.example.com", "hosted_zone_id": "Z0123456789ABCDEFGHIJ", "hosted_zone_name": "example.com"}


@pytest.fixture(scope="session")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """`variant(database={"multi_az": False})`: production with these settings; each one is built once."""
    known: dict[str, Built] = {}

    def make(**settings: Any) -> Built:
        key = repr(settings)
        if key not in known:
            known[key] = build([Settings.model_validate({"name": "prod", **settings})], tmp_path_factory.mktemp("variant"))
        return known[key]

    return make


def only(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The properties of the one resource found."""
    (resource,) = found.values()
    return dict(resource.get("Properties", {}))


def by_id(found: dict[str, dict[str, Any]], part: str) -> dict[str, Any]:
    """The one resource whose `Stack/LogicalId` holds `part`."""
    (resource,) = [resource for name, resource in found.items() if part in name]
    return resource
