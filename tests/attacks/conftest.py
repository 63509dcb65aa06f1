"""Assemblies for attacks on the pull-request report; servers for attacks on the database and its backups."""

from tests.lambdas.conftest import aws, bucket, embedded_aws, erp, master, s3, server
from tests.reports.conftest import production

__all__ = ["aws", "bucket", "embedded_aws", "erp", "master", "production", "s3", "server"]
