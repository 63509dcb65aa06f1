"""The front door: one Carmen for each file in environments/, or the one named by `-c env=prod`."""

from __future__ import annotations

import sys

import aws_cdk as cdk

from environments.loading import SettingsError, environment_names, load
from stacks.base import REPRODUCIBLE
from stacks.carmen import build_environment

app = cdk.App(context=REPRODUCIBLE)
wanted = app.node.try_get_context("env")
try:
    for settings in [load(name) for name in ([wanted] if wanted else environment_names())]:
        build_environment(app, settings)
except (SettingsError, FileNotFoundError) as error:
    sys.exit(f"\n{error}\n")
app.synth()
