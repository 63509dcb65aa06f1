"""The front door: one Carmen for each file in environments/, or the one named by `-c env=prod`; with all, the pipelines' access."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # what follows takes seconds: Ctrl-C ends it without a traceback

import sys

import aws_cdk as cdk

from environments.loading import SettingsError, environments_wanted, load_all
from stacks.base import REPRODUCIBLE
from stacks.carmen import build_environment
from stacks.pipeline_access import build_pipeline_access

app = cdk.App(context=REPRODUCIBLE)
try:
    environments = load_all(environments_wanted(app.node.get_all_context()))
    for settings in environments:
        build_environment(app, settings)
    if "env" not in app.node.get_all_context():
        build_pipeline_access(app, environments)
except (SettingsError, FileNotFoundError) as error:
    sys.exit(f"\n{error}\n")
app.synth()
