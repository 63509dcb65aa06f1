"""The embedded AWS of the functions' tests, and production's assembly of the reports' tests."""

from tests.lambdas.conftest import embedded_aws
from tests.reports.conftest import production

__all__ = ["embedded_aws", "production"]
