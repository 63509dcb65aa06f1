"""Static files of a release are uploaded with the right headers; unusual files are refused before the first upload."""

from __future__ import annotations

import os
import runpy
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from release_files.publishing import CACHE_CONTROL, NotAFolderOfFiles, Published, publish

NAMES = {
    "Xk2/_buildManifest.js": "text/javascript; charset=utf-8",
    "chunks/app/(erp)/orders/[...id]/@modal/page-1a.js": "text/javascript; charset=utf-8",
    "chunks/main.js.map": "application/json",
    "chunks/a b+c%2F..%5C&d=é#?.mjs": "text/javascript; charset=utf-8",
    "chunks/turbopack-1a.JS": "text/javascript; charset=utf-8",
    "css/1a.css": "text/css; charset=utf-8",
    "media/inter.woff2": "font/woff2",
    "media/logo.svg": "image/svg+xml",
    "media/photo.avif": "image/avif",
    "media/..hidden": "application/octet-stream",
    "wasm/1a.wasm": "application/wasm",
    "LICENSE": "application/octet-stream",
}


def _build(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def _keys(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def test_files_have_path_and_headers(s3: Any, bucket: str, tmp_path: Path) -> None:
    done = publish(_build(tmp_path, list(NAMES)), bucket, s3)
    assert done == Published(len(NAMES), sum(len(name.encode()) for name in NAMES))
    assert sorted(_keys(s3, bucket)) == sorted(f"_next/static/{name}" for name in NAMES)
    for name, content_type in NAMES.items():
        found = s3.get_object(Bucket=bucket, Key=f"_next/static/{name}")
        assert (found["Body"].read(), found["ContentType"], found["CacheControl"]) == (name.encode(), content_type, CACHE_CONTROL)


def test_second_upload_resets_age(s3: Any, bucket: str, tmp_path: Path) -> None:
    _build(tmp_path, ["1a.js", "2b.css"])
    assert publish(tmp_path, bucket, s3) == publish(tmp_path, bucket, s3)
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [one["Key"] for one in versions] == ["_next/static/1a.js"] * 2 + ["_next/static/2b.css"] * 2


def test_files_of_older_release_stay(s3: Any, bucket: str, tmp_path: Path) -> None:
    publish(_build(tmp_path / "old", ["old/_buildManifest.js"]), bucket, s3)
    publish(_build(tmp_path / "new", ["new/_buildManifest.js"]), bucket, s3)
    assert _keys(s3, bucket) == ["_next/static/new/_buildManifest.js", "_next/static/old/_buildManifest.js"]


def test_upload_is_parallel_and_fast(s3: Any, bucket: str, tmp_path: Path) -> None:
    """Two thousand files take at most a minute."""
    _build(tmp_path, [f"chunks/{number % 40}/{number}.js" for number in range(400)])
    start = time.monotonic()
    assert publish(tmp_path, bucket, s3).files == 400
    assert time.monotonic() - start < 60 * 400 / 2000
    assert len(_keys(s3, bucket)) == 400


def _link_to_a_file(folder: Path) -> None:
    (folder / "chunks" / "environ.js").symlink_to("/proc/self/environ")


def _link_to_a_folder(folder: Path) -> None:
    (folder / "chunks" / "out").symlink_to("/etc")


def _link_to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to(folder.absolute())


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "chunks" / "pipe.js")


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "s"))


def _no_text(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff\xfe.js")).write_bytes(b"")


def _too_long(folder: Path) -> None:
    deep = folder.joinpath(*["f" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "a.js").write_bytes(b"")


TRICKS: dict[Callable[[Path], None], str] = {
    **dict.fromkeys((_link_to_a_file, _link_to_a_folder, _link_to_itself, _pipe, _socket), "is not a regular file"),
    _no_text: "is not UTF-8",
    _too_long: "is longer than S3's 1024 bytes",
}


@pytest.mark.parametrize(("trick", "refusal"), TRICKS.items(), ids=[trick.__name__ for trick in TRICKS])
def test_unusual_file_is_refused_before_upload(
    s3: Any, bucket: str, tmp_path: Path, trick: Callable[[Path], None], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    folder = _build(Path("static"), ["chunks/1a.js"])
    trick(folder)
    with pytest.raises(NotAFolderOfFiles, match=refusal):
        publish(folder, bucket, s3)
    assert _keys(s3, bucket) == []


def test_empty_or_missing_folder_is_refused(s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "empty" / "chunks").mkdir(parents=True)
    with pytest.raises(NotAFolderOfFiles, match="contains no files"):
        publish(tmp_path / "empty", bucket, s3)
    with pytest.raises(NotAFolderOfFiles, match="No such file or directory"):
        publish(tmp_path / "nowhere", bucket, s3)


def test_refused_file_stops_the_upload(s3: Any, bucket: str, tmp_path: Path) -> None:
    class Refusing:
        asked = 0

        def put_object(self, **request: Any) -> None:
            self.asked += 1
            time.sleep(0.01)
            if request["Key"].endswith("/0.js"):
                s3.put_object(**request | {"Bucket": "not-there-" + bucket})

    refusing = Refusing()
    _build(tmp_path, [f"{number}.js" for number in range(2000)])
    with pytest.raises(ClientError, match="NoSuchBucket"):
        publish(tmp_path, bucket, refusing)
    assert refusing.asked < 1000


def _run(folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("FILES_FOLDER", str(folder))
    monkeypatch.setenv("FILES_BUCKET", bucket)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("release_files", run_name="__main__")
    return int(ended.value.code or 0)


def test_task_prints_result_or_error(
    aws: str, s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _build(tmp_path, ["1a.js"])
    assert (_run(tmp_path, bucket, monkeypatch), capsys.readouterr().out) == (0, f"Uploaded to s3://{bucket}: 1 files, 5 bytes\n")
    assert _run(tmp_path, "not-there-" + bucket, monkeypatch) == 1
    assert "Some static files are missing in s3://not-there-" in capsys.readouterr().err
    assert _run(tmp_path / "no", bucket, monkeypatch) == 1
    assert "No such file or directory" in capsys.readouterr().err
