"""From the folder that a build left to the bucket: every file under its name, with the headers browsers get."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "_next/static/"  # the path at the edge: constructs_lib/distribution.py
CACHE_CONTROL = "public, max-age=31536000, immutable"  # names hold a hash of the content, or the build's id
AT_ONCE = 10  # connections that botocore keeps open
LONGEST_KEY = 1024  # bytes: S3 User Guide, "Naming Amazon S3 objects"
# Python's own table knows half of them, and which half depends on its version and the machine. `nosniff` makes browsers strict.
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
UNKNOWN = "application/octet-stream"


class NotAFolderOfFiles(ValueError):
    """What was found is not what a build leaves: nothing was published."""


@dataclass(frozen=True)
class Published:
    """What is in the bucket now."""

    files: int
    size_bytes: int


def publish(folder: Path, bucket: str, s3: Any) -> Published:
    """Puts every file below `folder` into `bucket`, again if it is there: its age begins anew.

    Raises NotAFolderOfFiles before the first is put, or what S3 said of one; then some are there, and a second time puts all.
    """
    files = dict(_files(folder))
    if not files:
        raise NotAFolderOfFiles(f"{folder} holds no file")
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return Published(len(files), sum(pool.map(lambda key: _put(files[key], bucket, key, s3), files)))
    finally:
        pool.shutdown(cancel_futures=True)


def _put(path: Path, bucket: str, key: str, s3: Any) -> int:
    body = path.read_bytes()
    content_type = CONTENT_TYPES.get(path.suffix.lower(), UNKNOWN)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, CacheControl=CACHE_CONTROL)
    return len(body)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(key, file), in order. A link could lead out of the folder, so none is followed: it is refused, as pipes and devices are."""
    for path in _everything(folder):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotAFolderOfFiles(f"{name!r} is a link or another thing that is no file; a build's static folder holds files only")
        try:
            key = (PREFIX + name).encode()
        except UnicodeEncodeError:
            raise NotAFolderOfFiles(f"{name!r} is no UTF-8, which names in S3 and in URLs are") from None
        if len(key) > LONGEST_KEY:
            raise NotAFolderOfFiles(f"{name!r} is longer than S3's {LONGEST_KEY} bytes for a name")
        yield key.decode(), path


def _everything(folder: Path) -> Iterator[Path]:
    """What is below it and no folder itself. Raises NotAFolderOfFiles when it cannot be read."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise NotAFolderOfFiles(f"{folder}: {error.strerror}") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _everything(Path(entry.path))
        else:
            yield Path(entry.path)
