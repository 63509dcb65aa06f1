"""Upload a build's static folder: every file under its name, with the response headers for browsers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "_next/static/"  # the path at the edge: constructs_lib/edge/distribution.py
CACHE_CONTROL = "public, max-age=31536000, immutable"  # names contain a hash of the content or the build's id
PARALLEL = 10  # connections that botocore keeps open
LONGEST_KEY = 1024  # bytes: S3 User Guide, "Naming Amazon S3 objects"
# Python's own table lacks half of them, depending on its version and the machine. `nosniff` makes browsers strict.
CONTENT_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp4": "video/mp4",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
UNKNOWN_TYPE = "application/octet-stream"


class NotAFolderOfFiles(ValueError):
    """The folder is not a build's output: nothing was uploaded."""


@dataclass(frozen=True)
class Published:
    """Number and size of the uploaded files."""

    files: int
    size_bytes: int


def publish(folder: Path, bucket: str, s3: Any) -> Published:
    """Upload every file below `folder`. Existing ones are uploaded again, which resets their age for the lifecycle rule.

    Raises NotAFolderOfFiles before the first upload, or S3's error; then some files are there, and a repetition uploads all.
    """
    files = dict(_files(folder))
    if not files:
        raise NotAFolderOfFiles(f"{folder} contains no files")
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        return Published(len(files), sum(pool.map(lambda key: _put(files[key], bucket, key, s3), files)))
    finally:
        pool.shutdown(cancel_futures=True)


def _put(path: Path, bucket: str, key: str, s3: Any) -> int:
    body = path.read_bytes()
    content_type = CONTENT_TYPES.get(path.suffix.lower(), UNKNOWN_TYPE)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, CacheControl=CACHE_CONTROL)
    return len(body)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(key, file), in order. Links are refused, because they could lead out of the folder; so are pipes and devices."""
    for path in _paths(folder):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotAFolderOfFiles(f"{name!r} is not a regular file; a build's static folder contains only regular files")
        try:
            key = (PREFIX + name).encode()
        except UnicodeEncodeError:
            raise NotAFolderOfFiles(f"{name!r} is not UTF-8, as names in S3 and URLs must be") from None
        if len(key) > LONGEST_KEY:
            raise NotAFolderOfFiles(f"{name!r} is longer than S3's {LONGEST_KEY} bytes for a name")
        yield key.decode(), path


def _paths(folder: Path) -> Iterator[Path]:
    """Everything below it except folders. Raises NotAFolderOfFiles if one cannot be read."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise NotAFolderOfFiles(f"{folder}: {error.strerror}") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _paths(Path(entry.path))
        else:
            yield Path(entry.path)
