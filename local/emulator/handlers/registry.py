"""ECR: basic scanning, which ministack lacks.

Source: Amazon ECR API Reference, DescribeImageScanFindings (answers, errors) and ImageScanStatus. An image's scan is not found at first,
then in progress, then complete; how often it was asked for decides, not the time. Without `scanOnPush` it is never found.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import ecr

# An annotation of an image's manifest: the number of critical findings that its scan has.
CRITICAL = "local.carmen/critical-findings"
_asked: Counter[tuple[str, str]] = Counter()  # repository and digest


def register() -> None:
    ecr.handle_request = _with_scans(ecr.handle_request)


def _with_scans(native: Any) -> Any:
    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, parameters: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".DescribeImageScanFindings"):
            return _describe_scan(json.loads(body))
        return await native(method, path, headers, body, parameters)

    return handle


def _describe_scan(asked: dict[str, Any]) -> Any:
    repository = asked["repositoryName"]
    if repository not in ecr._repositories:
        return _refuse("RepositoryNotFoundException", f"The repository with name '{repository}' does not exist")
    image = ecr._find_image(repository, asked["imageId"])
    if image is None:
        return _refuse("ImageNotFoundException", f"The image with imageId {asked['imageId']} does not exist in {repository}")
    _asked[repository, image["imageDigest"]] += 1
    times = _asked[repository, image["imageDigest"]]
    if times == 1 or not ecr._repositories[repository]["imageScanningConfiguration"].get("scanOnPush"):
        return _refuse("ScanNotFoundException", f"Image scan does not exist for the image with {asked['imageId']}")
    answer = {"repositoryName": repository, "imageId": asked["imageId"]}
    if times == 2:
        return json_response({**answer, "imageScanStatus": {"status": "IN_PROGRESS"}})
    critical = int(json.loads(image["imageManifest"]).get("annotations", {}).get(CRITICAL, 0))
    status = {"status": "COMPLETE", "description": "The scan was completed successfully."}
    counts = {"CRITICAL": critical} if critical else {}
    findings = {"imageScanCompletedAt": int(time.time()), "findings": [], "findingSeverityCounts": counts}
    return json_response({**answer, "imageScanStatus": status, "imageScanFindings": findings})


def _refuse(code: str, message: str) -> Any:
    return error_response_json(code, message, 400)
