"""Checks of releases: the placeholder, two releases, a failed migration, a rollback, and the application's environment."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from urllib.parse import quote

from local.acceptance.access import connect_as, get, service_task
from local.acceptance.assertions import NotAccepted, expect, wait_until
from local.acceptance.clients import Clients
from local.deployment import Deployment
from local.services.stand_in_carmen import CONTRACT, static_files
from tools.cli.commands.release import release, rollback
from tools.environment import Deployed, FailedError
from tools.releases import NONE_YET, inspect, releases

CONTENT_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".woff2": "font/woff2"}


def placeholder(deployment: Deployment) -> str:
    """Before the first image: 200 on the health path, 503 with the reason elsewhere, and an output that says so."""
    task = service_task(deployment)
    expect(get(task, "/api/health/live"), (200, b"ok"))
    expect(get(task, "/dashboard"), (503, b"awaiting first image"))
    state = deployment.outputs("Service")["ImageState"]
    if not state.startswith("awaiting first image"):
        raise NotAccepted(f"the output ImageState is {state!r}")
    return "placeholder: 200 on the health path, 503 elsewhere; the output ImageState says so"


def releases_and_rollback(deployment: Deployment) -> str:
    """Two releases and a rollback: the service's stack reads the image parameter again; no template changes."""
    repository, ecr = deployment.outputs()["ImageRepository"], deployment.client("ecr")
    deployed = deployment.deployed
    template = _service_template(deployment)
    pushed = [  # one manifest each: the emulator's ECR holds no layers
        ecr.put_image(repositoryName=repository.split("/", 1)[1], imageTag=tag, imageManifest=json.dumps({"version": tag}))
        for tag in ("1", "2")
    ]
    images = [f"{repository}@{one['image']['imageId']['imageDigest']}" for one in pushed]
    with contextlib.redirect_stdout(io.StringIO()):
        release(deployed, images[0], allow_unscanned=True)
        _wait_until_served(deployment, images, images[0])
        answers = _release_with_failing_migration(deployed, deployment, images[1])
        expect(_images_served_by_task(deployment, images), {images[0]})
        expect(_images_in_bucket(deployment, images), set(images))  # static files are published before the migration
        release(deployed, images[1], allow_unscanned=True)
        _wait_until_served(deployment, images, images[1])
        expect(_images_in_bucket(deployment, images), set(images))
        rollback(deployed)
        _wait_until_served(deployment, images, images[0])
    expect(deployment.outputs("Service")["ImageState"], images[0])
    expect(
        [(one.image, one.outcome) for one in releases(deployed)],
        [(images[0], "healthy"), (images[1], "healthy"), (images[1], "failed"), (images[0], "healthy"), (NONE_YET, "unknown")],
    )
    expect(inspect(deployed).findings(), [])
    expect(_service_template(deployment), template)
    return (
        f"releases: two images released after their migrations; a failed migration stopped a release while the old image answered {answers} "
        "queries; a rollback returned to the first image; no template changed; static files were in the bucket before a task served them, "
        "and the first image's stayed"
    )


def application_environment(deployment: Deployment) -> str:
    """The stand-in starts with exactly the task's variables and answers over the database."""
    task = service_task(deployment)
    status, body = get(task, "/api/health")
    if status != 200:
        raise NotAccepted(f"/api/health answers {status}: {body.decode()}")
    for path in ("/api/health/live", "/dashboard", "/api/auth/session"):
        expect(get(task, path)[0], 200)
    return f"application: all {len(CONTRACT)} variables of the environment contract are set; /api/health answers at {task['url']}"


def _service_template(deployment: Deployment) -> object:
    return deployment.client("cloudformation").get_template(StackName=f"{deployment.top_stack}Service")["TemplateBody"]


def _wait_until_served(deployment: Deployment, images: list[str], image: str) -> None:
    wait_until(lambda: _images_served_by_task(deployment, images) == {image}, f"{image} serves its own static files and no others")


def _images_served_by_task(deployment: Deployment, images: list[str]) -> set[str]:
    """The images of which the running task has all static files; empty when the task ends during the requests."""
    with contextlib.suppress(OSError):
        task = service_task(deployment)
        return {
            image
            for image in images
            if all(get(task, f"/_next/static/{quote(name)}") == (200, content) for name, content in static_files(image).items())
        }
    return set()


def _images_in_bucket(deployment: Deployment, images: list[str]) -> set[str]:
    """The images of which CloudFront's first origin has all static files, with the headers that browsers need."""
    s3, bucket = deployment.client("s3"), deployment.outputs()["ReleaseFilesBucket"]
    found = set()
    for image in images:
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            for name, content in static_files(image).items():
                answer = s3.get_object(Bucket=bucket, Key=f"_next/static/{name}")
                headers = (answer["Body"].read(), answer["CacheControl"], answer["ContentType"])
                expect(headers, (content, "public, max-age=31536000, immutable", CONTENT_TYPES[Path(name).suffix]))
            found.add(image)
    return found


def _release_with_failing_migration(deployed: Deployed, deployment: Deployment, image: str) -> int:
    """Try to release; return the number of queries that the old image answered meanwhile."""
    with connect_as(deployment, "MigrationConnection") as owner:
        owner.run("CREATE TABLE public.must_fail ()")
        with Clients(deployment) as clients:
            try:
                release(deployed, image, allow_unscanned=True)
            except FailedError as failure:
                expect("The migration failed" in str(failure), True)
            else:
                raise NotAccepted("a failed migration did not stop the release")
        owner.run("DROP TABLE public.must_fail")
    expect((clients.failures, inspect(deployed).named == image), ([], False))
    return clients.answers
