"""Loaders of botocore's service descriptions. Skip the search for services, which takes a sixth of a cold start."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

# Services that functions call, and those that provide credentials from a profile on a laptop.
SERVICES = ("cloudwatch", "dynamodb", "ec2", "ecs", "elasticache", "kms", "s3", "secretsmanager", "sns", "sqs", "sso", "sso-oidc", "sts")
_FORMATS: dict[str, Callable[[bytes], bytes]] = {".json": bytes, ".json.gz": gzip.decompress}


class ServiceLoader(Loader):  # type: ignore[misc]  # botocore has no types
    """Knows the services; botocore searches the folders of all 400."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


class FileLoader(JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    """Reads into plain dictionaries; botocore's OrderedDict takes twice the time."""

    def load_file(self, file_path: str) -> Any:
        for suffix, unpack in _FORMATS.items():
            with suppress(FileNotFoundError):
                return json.loads(unpack(Path(file_path + suffix).read_bytes()))
        return super().load_file(file_path)
