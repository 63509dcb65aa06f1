"""A Lambda function in Python with this house's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.function_role import function_role

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "lambda_src"
LIBRARIES = ROOT / ".build" / "libraries"


class PythonFunction(lambda_.Function):
    """`lambda_src/<package>/handler.py` on arm64, with its own role and log group.

    The code asset is the package and `common/`, nothing else, so that a change elsewhere does not deploy it. Its
    third-party code comes as the layer `libraries`, which `make install` builds from pinned wheels: synth bundles nothing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        package: str,
        description: str,
        timeout: Duration,
        libraries: lambda_.ILayerVersion,
        environment: Mapping[str, str],
        memory_mib: int = 256,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        **overrides: Any,
    ) -> None:
        log_group = logs.LogGroup(scope, f"{construct_id}LogGroup", retention=log_retention, removal_policy=RemovalPolicy.DESTROY)
        super().__init__(
            scope,
            construct_id,
            description=description,
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(
                str(SOURCE), exclude=["*", f"!{package}", f"!{package}/**", "!common", "!common/**", "**/__pycache__", "**/*.pyc"]
            ),
            handler=f"{package}.handler.handler",
            layers=[libraries],
            memory_size=memory_mib,
            timeout=timeout,
            environment={"POWERTOOLS_SERVICE_NAME": package.replace("_", "-"), "POWERTOOLS_LOG_LEVEL": "INFO", **environment},
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=log_group,
            role=function_role(scope, f"{construct_id}Role", log_group=log_group, description=description, in_vpc="vpc" in overrides),
            **overrides,
        )


def libraries_layer(scope: Construct) -> lambda_.LayerVersion:
    """The layer of third-party code; raises FileNotFoundError with what to do when it was not built."""
    if not (LIBRARIES / "python").is_dir():
        raise FileNotFoundError(f"{LIBRARIES} is not there: run `make install`, which builds it from lambda_src/requirements.txt")
    return lambda_.LayerVersion(
        scope,
        "Libraries",
        description="Third-party Python of the functions: pure Python, so it runs on any architecture",
        code=lambda_.Code.from_asset(str(LIBRARIES), exclude=["**/__pycache__", "**/*.pyc"]),
        removal_policy=RemovalPolicy.RETAIN,
    )
