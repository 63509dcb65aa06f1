"""The steps of `./carmen account check --prove`, against servers configured like RDS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from account_proof.handler import BYPASS_ROLE, IAM_ROLE, handler
from common import aws as common_aws
from pg8000.exceptions import InterfaceError

from local.services.postgres import LocalRds
from tests.lambdas.backups import INSTALLATIONS
from tools.account.proof_stack import PROXY_USER
from tools.build.postgres_wheels import MAJORS, install


@pytest.fixture
def login(server: LocalRds, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The master's login, as the command passes it. Afterwards the roles of the proofs are gone."""
    monkeypatch.setenv("RDS_CA_FILE", str(server.ca_file))
    yield {"host": server.host, "port": server.port, "database": server.database, "user": server.master, "password": server.password}
    server.as_rdsadmin(f"DROP ROLE IF EXISTS {IAM_ROLE}, {BYPASS_ROLE}, {PROXY_USER}")


def run(step: str, **arguments: Any) -> dict[str, Any]:
    return handler({"step": step, **arguments}, None)


def test_login_says_whether_and_how_it_was_verified(login: dict[str, Any]) -> None:
    assert run("log in", **login)["refused"] == ""
    wrong = run("log in", **login | {"password": "wrong"})
    assert ("password authentication failed" in wrong["refused"], wrong["by"]) == (True, "server")
    assert run("log in", **login | {"port": 1})["by"] == "network"


def test_untrusted_certificate_is_a_refusal(login: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trustme

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("RDS_CA_FILE", str(other))
    found = run("log in", **login)
    assert ("CERTIFICATE_VERIFY_FAILED" in found["refused"], found["by"]) == (True, "certificate")


def test_bypassrls_is_refused(login: dict[str, Any]) -> None:
    """The master does not have it. Source: PostgreSQL documentation, CREATE ROLE."""
    assert run("create bypass role", **login)["code"] == "42501"


def test_role_in_rds_iam_logs_in_by_token(server: LocalRds, login: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    common_aws.session.cache_clear()
    run("create IAM role", **login)
    without_password = {name: value for name, value in login.items() if name != "password"}
    assert run("log in by token", **without_password | {"user": IAM_ROLE})["refused"] == ""
    assert server.as_rdsadmin(f"SELECT pg_has_role('{IAM_ROLE}', 'rds_iam', 'MEMBER')").strip() == "t"


def test_changed_password_is_accepted_after_a_while(login: dict[str, Any]) -> None:
    run("create user", name=PROXY_USER, new_password="first", **login)
    user = login | {"user": PROXY_USER, "password": "second"}
    assert "password authentication failed" in run("wait for login", seconds=0, **user)["refused"]
    run("change password", name=PROXY_USER, new_password="second", **login)
    found = run("wait for login", seconds=10, **user)
    assert (found["refused"], found["seconds"] < 10) == ("", True)


def test_server_starts_in_the_function() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # under root, the server runs as another user
        found = run("server", home=str(install(MAJORS[-1], INSTALLATIONS)), folder=folder)
    assert found["version"].startswith(f"{MAJORS[-1]}.")


def test_unknown_step_and_lost_server_are_errors(login: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        run("no such step")
    with pytest.raises(InterfaceError):
        run("create user", name="u", new_password="p", **login | {"port": 1})
