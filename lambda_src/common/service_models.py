"""How botocore reads its descriptions of AWS's services, without the search for them: a sixth of a cold start."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

# What functions call, and what credentials from a profile on a laptop may be made by.
SERVICES = ("cloudwatch", "dynamodb", "ecs", "elasticache", "s3", "secretsmanager", "sns", "sqs", "sso", "sso-oidc", "sts")
_FORMS: dict[str, Callable[[bytes], bytes]] = {".json": bytes, ".json.gz": gzip.decompress}


class ServiceLoader(Loader):  # type: ignore[misc]  # botocore has no types
    """Is told which services there are, where botocore looks through the folders of all four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


class FileLoader(JSONFileLoader):  # type: ignore[misc]  # likewise
    """Reads into plain dictionaries, which keep their order too; botocore's, from before they did, take twice the time."""

    def load_file(self, file_path: str) -> Any:
        for ending, unpacked in _FORMS.items():
            with suppress(FileNotFoundError):
                return json.loads(unpacked(Path(file_path + ending).read_bytes()))
        return super().load_file(file_path)
