"""Assemblies for attacks on the pull-request report."""

from tests.reports.conftest import production

__all__ = ["production"]
