"""The programs `docker`, `aws` and `npm` of the application's workflow, against the registry of the embedded AWS.

docker builds a manifest instead of an image; it names the commit, so that another commit is another image. npm does nothing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def main(program: str, arguments: list[str]) -> None:
    with Path(os.environ["CALLS"]).open("a", encoding="utf-8") as calls:
        print(program, *arguments, file=calls)
    match program, arguments:
        case "docker", ["push", image]:
            _push(*image.rpartition(":")[::2])
        case "docker", ["login", *_]:
            assert sys.stdin.read().strip() == "password"
        case "aws", ["ecr", "get-login-password"]:
            _ecr().get_authorization_token()
            print("password")
        case "aws", ["ecr", "batch-get-image", "--repository-name", name, "--image-ids", tag, *_]:
            found = _ecr().batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag.removeprefix("imageTag=")}])["images"]
            print(found[0]["imageId"]["imageDigest"] if found else None)
        case ("npm", _) | ("docker", ["build", *_]):
            pass
        case _:
            raise SystemExit(f"{program} {arguments} is not known here")


def _ecr() -> Any:
    return boto3.client("ecr", region_name=os.environ["AWS_REGION"])


def _push(repository: str, tag: str) -> None:
    annotations = {"commit": tag, **json.loads(os.environ.get("ANNOTATIONS", "{}"))}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "annotations": annotations})
    name = repository.partition("/")[2]
    _ecr().put_image(repositoryName=name, imageManifest=manifest, imageManifestMediaType=MANIFEST, imageTag=tag)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except (BotoCoreError, ClientError) as error:
        sys.exit(str(error))
