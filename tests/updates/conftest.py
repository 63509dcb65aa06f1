"""The embedded AWS of the functions' tests."""

from tests.lambdas.conftest import embedded_aws

__all__ = ["embedded_aws"]
