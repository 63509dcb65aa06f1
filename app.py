"""The front door: one Carmen for each file in environments/, or the one named by `-c env=prod`; with all, the pipelines' access.

A preview (`-c env=preview-pr-123`) is told its last day by whoever deploys it: `-c preview-ends=2026-12-01`.
"""

from __future__ import annotations

import gc
import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # what follows takes seconds: Ctrl-C ends it without a traceback
gc.disable()  # nearly all that is made is needed to the end: looking for the rest takes longer than it is worth

import sys

import aws_cdk as cdk

from settings.loader import SettingsError, load_all, preview_ends, preview_pipeline, selected_environments
from stacks.base import REPRODUCIBLE
from stacks.carmen import build_environment
from stacks.pipeline_access import build_pipeline_access

app = cdk.App(context=REPRODUCIBLE)
try:
    context = app.node.get_all_context()
    environments = load_all(selected_environments(context))
    for settings in environments:
        build_environment(app, settings, preview_ends(settings, context))
    if "env" not in context:
        build_pipeline_access(app, environments, preview_pipeline(environments))
except (SettingsError, FileNotFoundError) as error:
    sys.exit(f"\n{error}\n")
app.synth()
gc.freeze()  # nor when Python ends, which looks once more
