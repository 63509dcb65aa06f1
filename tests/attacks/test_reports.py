"""A contributor against the pull-request report: it must be neither forged, nor overwritten, nor written by the change itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from settings.loader import SettingsError, preview_environment
from tests.cli.test_comment import BY_OTHERS, BY_US, Platform, platform, variables
from tests.conftest import ROOT
from tests.reports.changed_templates import Edits
from tools.cli.commands import comment
from tools.environment import FailedError
from tools.reports.assembly import Assembly
from tools.reports.diff import judge
from tools.reports.diff.acceptances import FILE
from tools.reports.diff.markdown import cell, plain, words
from tools.reports.diff.render import MARKER
from tools.reports.diff.report import report

__all__ = ["platform"]
HEADERS = "Edge/Edge/SecurityHeaders"
MIGRATION = "Service/Migration/Task"
HASHES = "aa" * 32, "bb" * 32


def _made(production: Assembly, tmp_path: Path, edit: object) -> str:
    before, after = Edits(production), Edits(production)
    edit(before, HASHES[0])  # type: ignore[operator]
    edit(after, HASHES[1])  # type: ignore[operator]
    return report(before.write(tmp_path / "before"), after.write(tmp_path / "after"), "main").markdown()


def _image(edits: Edits, digest: str) -> None:
    edits.properties(MIGRATION)["ContainerDefinitions"][0]["Image"] = f"public.ecr.aws/docker/library/postgres@sha256:{digest}"


def _variable(edits: Edits, digest: str) -> None:
    edits.properties(MIGRATION)["ContainerDefinitions"][0]["Environment"] = [{"Name": "SIGNER", "Value": digest}]


def _foreign_bucket(edits: Edits, digest: str) -> None:
    edits.properties("Operations/Backup/Function")["Code"] = {"S3Bucket": "somebody-else", "S3Key": f"{digest}.zip"}


@pytest.mark.parametrize("edit", [_image, _variable, _foreign_bucket])
def test_hash_that_is_no_asset_is_shown(production: Assembly, tmp_path: Path, edit: object) -> None:
    """An image digest or a variable of 64 hex digits was "nothing but noise"."""
    text = _made(production, tmp_path, edit)
    shown = text.partition("<details>")[0]
    assert re.search("a{20,}", shown)
    assert re.search("b{20,}", shown)


def test_code_in_the_cdks_bucket_is_noise(production: Assembly, tmp_path: Path) -> None:
    def edit(edits: Edits, digest: str) -> None:
        edits.set("Operations/Backup/Function", "Code.S3Key", f"{digest}.zip")

    assert "only noise (1 resource: 1 × code)" in _made(production, tmp_path, edit)


FORGED = "x` \\| \\\\| | `deadbeef` |\n| Headers | [safe](https://evil.example) ![](https://evil.example/i.png) <img src=x> @everyone `"


def test_value_cannot_leave_its_cell(production: Assembly, tmp_path: Path) -> None:
    """A CSP source with backticks, bars and an image was a row with another host and a false id."""

    def edit(edits: Edits, digest: str) -> None:
        value = "default-src 'self'" if digest == HASHES[0] else f"default-src {FORGED}"
        edits.set(HEADERS, "ResponseHeadersPolicyConfig.SecurityHeadersConfig.ContentSecurityPolicy.ContentSecurityPolicy", value)

    text = _made(production, tmp_path, edit)
    _, _, dangers = text.partition("### Danger")
    rows = [line for line in dangers.partition("###")[0].splitlines() if line.startswith("| Headers")]
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 4  # three cells
        assert re.search(r"\| `(?!deadbeef)[0-9a-f]{8}` \|$", row)


@pytest.mark.parametrize("value", [FORGED, "rule ```[x](https://e)` is", "rule `a\\`[x](https://e)` is", "`a``[x](https://e)` b"])
@pytest.mark.parametrize("escape", [words, plain, cell])
def test_text_of_a_change_is_inert(escape: object, value: str) -> None:
    text = escape(value)  # type: ignore[operator]
    assert not re.search(r"``|\\`", text)  # the split below is CommonMark's only without them
    outside = "".join(text.split("`")[::2])  # cell: the caller puts it into a code span, which it cannot close
    assert "\n" not in text
    assert not re.search(r"(?<!\\)\|", text)
    if escape is cell:
        assert "`" not in text
    else:
        assert not re.search(r"(?<!\\)\[|<|@(?!\u200b)|://", outside)


@pytest.mark.parametrize(("logical_id", "kind"), [("Bad|Id", "AWS::S3::Bucket"), ("Good", "AWS::S3::Bucket | x"), ("Good", "<img src=x>")])
def test_id_or_type_that_cloudformation_refuses_is_refused(production: Assembly, tmp_path: Path, logical_id: str, kind: str) -> None:
    edits = Edits(production)
    edits.templates[edits.stack("Storage")]["Resources"][logical_id] = {"Type": kind}
    with pytest.raises(FailedError, match="CloudFormation refuses"):
        Assembly(edits.write(tmp_path / "after"))


def test_template_outside_the_assembly_is_refused(production: Assembly, tmp_path: Path) -> None:
    """It could be the base's own template: nothing would seem to change."""
    edits = Edits(production)
    name = edits.stack("Storage")
    edits.manifest["artifacts"][name]["properties"]["templateFile"] = f"../base/{name}.template.json"
    with pytest.raises(FailedError, match="outside the assembly"):
        Assembly(edits.write(tmp_path / "after"))


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_comment_of_somebody_else_stays_theirs(kind: str, platform: tuple[type[Platform], str], tmp_path: Path) -> None:
    """Its author could edit the verdict afterwards."""
    state, url = platform
    theirs = f"{MARKER}\n🟢 no danger"
    quoted = f"> {MARKER}\nour own answer that quotes a report"
    state.comments[:] = [{"id": 1, "body": theirs, **BY_OTHERS}, {"id": 2, "body": quoted, **BY_US}]
    made = tmp_path / "report.md"
    made.write_text(f"{MARKER}\n🔴 1 danger", encoding="utf-8")
    for _ in range(2):
        comment.publish(made, variables(kind, url))
    assert [one["body"] for one in state.comments] == [theirs, quoted, f"{MARKER}\n🔴 1 danger"]


@pytest.mark.parametrize(
    "path",
    ["tools/reports/diff/dangers.py", "environments/__init__.py", ".github/workflows/report.yml", "app.py", "carmen", "Makefile", "cdk.json",
     "settings/loader.py", "package-lock.json", "requirements.txt", "json.py", "environments/prod.toml.py", "environments/x/prod.toml"],
)  # fmt: skip
def test_file_that_judges_is_known(path: str) -> None:
    assert judge.judges(path)


@pytest.mark.parametrize("path", ["environments/prod.toml", "constructs_lib/edge/waf.py", "docs/cost.md", "README.md", "lambda_src/app.py"])
def test_file_that_does_not_judge_is_no_danger(path: str) -> None:
    assert not judge.judges(path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a judge, a stack and one acceptance."""
    for path, text in {"tools/x.py": "strict", "stacks/a.py": "a", FILE: "# accepted\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    _git(tmp_path, "init", "-q", "-b", "main")
    _commit(tmp_path)
    return tmp_path


def _git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def _commit(folder: Path) -> None:
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "change")


def test_change_of_the_judge_is_a_danger_of_its_own(repository: Path) -> None:
    """Three lines in environments/__init__.py made the report say "nothing changes"."""
    (repository / "stacks/a.py").write_text("b")
    assert judge.find("HEAD", repository) == []
    (repository / "environments").mkdir()
    (repository / "environments/__init__.py").write_text("lie()")
    (danger,) = judge.find("HEAD", repository)
    assert "environments/__init__.py" in danger.words
    _commit(repository)
    (repository / "tools/x.py").write_text("lenient")
    _commit(repository)
    (danger,) = judge.find("HEAD~2", repository)
    assert "`environments/__init__.py`, `tools/x.py`" in danger.words
    (repository / "tools/x.py").write_text("more lenient")
    _commit(repository)
    (later,) = judge.find("HEAD~3", repository)
    assert later.id != danger.id  # an acceptance is of this content


def test_acceptances_are_only_appended(repository: Path) -> None:
    (repository / FILE).write_text("# accepted\n[[accepted]]\n")
    assert judge.find("HEAD", repository) == []
    (repository / FILE).write_text("# nothing\n")
    (danger,) = judge.find("HEAD", repository)
    assert FILE in danger.words


def test_owners_review_what_judges() -> None:
    patterns = {line.split()[0] for line in (ROOT / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines() if line.startswith("/")}
    assert {"/*", "/tools/", "/settings/", "/environments/", "/.github/", "/.ci/", "/tests/rules/", f"/{FILE}"} <= patterns


@pytest.mark.parametrize("name", ["pr-1$(shell touch X)", "pr-1;id", "pr-1`id`", "--yes", "pr 1", "../prod", "pr-1\n"])
def test_hostile_name_of_a_preview_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="a preview's name has"):
        preview_environment(name)


def test_workflow_inputs_are_never_part_of_a_command() -> None:
    """They reach commands as quoted variables; no target of make takes one."""
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\s*- run: (.*)|\s*run: (.*)", line):
                command = match[1] or match[2]
                assert "${{" not in command, line
                assert not re.search(r"\bmake\b.*[=$]", command), line
