"""Synthesize one Carmen for each file in environments/, or the one of `-c env=prod`; with all of them, the roles of pipelines.

A preview (`-c env=preview-pr-123`) needs its last day: `-c preview-ends=2026-12-01`.
"""

from __future__ import annotations

import gc
import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends synthesis without a traceback
gc.disable()  # with `freeze` below, saves 0.6 of 3.9 s: nearly every object lives until the end

import sys

import aws_cdk as cdk

from settings.loader import SettingsError, load_all, preview_ends, preview_pipeline, refuse_two_monitors, selected_environments
from stacks.base import REPRODUCIBLE
from stacks.carmen import build_environment
from stacks.pipeline_access import build_pipeline_access

app = cdk.App(context=REPRODUCIBLE)
try:
    context = app.node.get_all_context()
    environments = load_all(selected_environments(context))
    refuse_two_monitors(environments)
    for settings in environments:
        build_environment(app, settings, preview_ends(settings, context))
    if "env" not in context:
        build_pipeline_access(app, environments, preview_pipeline(environments))
except (SettingsError, FileNotFoundError) as error:
    sys.exit(f"\n{error}\n")
app.synth()
gc.freeze()
