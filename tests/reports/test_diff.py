"""The report as a reviewer sees it: Markdown, acceptances, omitted rows and exit codes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.reports.changed_templates import Edit, Edits, setting
from tools.reports.assembly import Assembly
from tools.reports.diff import report as command
from tools.reports.diff.acceptances import AcceptanceError, added
from tools.reports.diff.checkout import CheckoutError, both
from tools.reports.diff.render import GITHUB_LIMIT, GITLAB_LIMIT, MARKER, Report
from tools.reports.diff.report import report

DB = "Data/Database/Instance"
NOTHING = f"""{MARKER}
## 🟢 Infrastructure: nothing changes

Changes compared with `main`, from the templates alone:

- prod: unchanged.
- staging: unchanged.
- dev: unchanged.
"""
# The complete report on one change in production.
ONE_CHANGE = f"""{MARKER}
## 🔴 Infrastructure: 1 danger to accept

Changes compared with `main`, from the templates alone:

- **prod**: 1 changed; +93.44 USD per month

### Danger

| | What | Id |
|---|---|---|
| Protection | **prod:** `{DB}` (RDS DBInstance): deletion protection is switched off. | `ID` |

To accept a danger, append its id and a reason to `docs/accepted-dangers.toml` in this pull request.

### Cost, USD per month

| Stack | prod | Reason |
|---|---:|---|
| Data | +93.44 | `{DB}` db.t4g.medium in two zones → db.t4g.large in two zones |
| **Total** | TOTAL | |

List prices in us-east-1, checked on 2026-11-24 or later, with the minimum number of tasks. Before traffic: requests and the \
volume of logs, images, backups and files are not counted.

### During deployment

- **prod:** `{DB}`: the database restarts with a failover to the standby, 1 to 2 minutes (`DBInstanceClass`).

### Changes

#### Data

| | Resource | Property: old → new |
|---|---|---|
| changed<br>prod | `{DB}`<br>RDS DBInstance | `DBInstanceClass`: `db.t4g.medium` → `db.t4g.large`<br>`DeletionProtection`: `true` → `false` |

<details><summary>Noise: code hashes, tags, metadata, versions (1 resource)</summary>

- tags: `{DB}` (prod)

</details>
"""


def _edited(assembly: Assembly, folder: Path, *several: Edit) -> Path:
    edits = Edits(assembly)
    for edit in several:
        edit(edits)
    return edits.write(folder)


def _report(assembly: Assembly, folder: Path, *several: Edit, accepted: dict[str, str] | None = None) -> Report:
    return report(assembly.folder, _edited(assembly, folder, *several), "main", accepted)


def _in_all(path: str, properties: str, value: object) -> Edit:
    """The same setting in every environment."""

    def edit(edits: Edits) -> None:
        for one in [one for one in edits.assembly.resources.values() if one.path == path]:
            edits.templates[one.stack.name]["Resources"][one.logical_id]["Properties"][properties] = value

    return edit


def _one_change(edits: Edits) -> None:
    edits.set(DB, "DBInstanceClass", "db.t4g.large")
    edits.set(DB, "DeletionProtection", False)
    edits.properties(DB)["Tags"].append({"Key": "team", "Value": "erp"})


def test_unchanged_environments_are_one_line_each(everywhere: Assembly) -> None:
    assert report(everywhere.folder, everywhere.folder, "main").markdown() == NOTHING


def test_complete_report_on_one_change(production: Assembly, tmp_path: Path) -> None:
    text = _report(production, tmp_path, _one_change).markdown()
    text = re.sub(r"`[0-9a-f]{8}`", "`ID`", text)
    assert re.sub(r"\d+\.\d+ → \*\*\d+\.\d+\*\*", "TOTAL", text) == ONE_CHANGE


def test_environment_with_only_noise_is_one_line(production: Assembly, tmp_path: Path) -> None:
    text = _report(production, tmp_path, setting("Operations/Backup/Function", "Code.S3Key", f"{'ab' * 32}.zip")).markdown()
    assert "- prod: only noise (1 resource: 1 × code)." in text
    assert "### Changes" not in text
    assert "- **prod:** `Operations/Backup/Function`: the next invocation runs the new version." in text


def test_number_as_text_is_unchanged(production: Assembly, tmp_path: Path) -> None:
    """CloudFormation treats both as equal."""
    text = _report(production, tmp_path, setting(DB, "BackupRetentionPeriod", "14"), setting(DB, "MultiAZ", "true")).markdown()
    assert "\n- prod: unchanged.\n" in text


def test_same_change_in_several_environments_is_one_row(everywhere: Assembly, tmp_path: Path) -> None:
    made = _report(everywhere, tmp_path, _in_all("Storage/Pages", "VersioningConfiguration", {"Status": "Suspended"}))
    text = made.markdown()
    assert [danger.environments for danger in made.dangers] == [("prod", "staging", "dev")]
    assert text.count("versioning, Enabled → Suspended") == 1
    rows = [line for line in text.splitlines() if "VersioningConfiguration" in line]
    assert rows == [
        "| changed<br>prod, staging, dev | `Storage/Pages`<br>S3 Bucket | `VersioningConfiguration.Status`: `Enabled` → `Suspended` |"
    ]


def test_different_values_are_listed_by_environment(everywhere: Assembly, tmp_path: Path) -> None:
    text = _report(everywhere, tmp_path, _in_all(DB, "DBInstanceClass", "db.t4g.large")).markdown()
    (row,) = [line for line in text.splitlines() if "`DBInstanceClass`: " in line]
    assert row == (
        f"| changed<br>prod, staging, dev | `{DB}`<br>RDS DBInstance | `DBInstanceClass`: `db.t4g.medium` → `db.t4g.large` (prod)<br>"
        "`DBInstanceClass`: `db.t4g.small` → `db.t4g.large` (staging)<br>`DBInstanceClass`: `db.t4g.micro` → `db.t4g.large` (dev) |"
    )


def test_replacement_shows_its_reason(production: Assembly, tmp_path: Path) -> None:
    text = _report(production, tmp_path, setting("Data/Database/Instance/SubnetGroup", "DBSubnetGroupName", "another")).markdown()
    assert (
        f"| **replaced**<br>prod | `{DB}`<br>RDS DBInstance<br>because `DBSubnetGroupName` refers to a replaced resource | "
        "`DBSubnetGroupName` (immutable): the resource it refers to is replaced |"
    ) in text
    assert (
        f"| **replaced**<br>prod | `{DB}/SubnetGroup`<br>RDS DBSubnetGroup<br>because `DBSubnetGroupName` cannot be changed in place | "
        "`DBSubnetGroupName` (immutable): — → `another` |"
    ) in text


def test_move_names_old_and_new_path(production: Assembly, tmp_path: Path) -> None:
    text = _report(production, tmp_path, lambda edits: edits.rename("Storage/Pages", "Errors01234567", "Errors/Resource")).markdown()
    assert "| **moved**<br>prod | `Storage/Errors`<br>S3 Bucket<br>was `Storage/Pages` |" in text


def test_new_resources_are_grouped_by_construct(production: Assembly, tmp_path: Path) -> None:
    """Resources of a new construct share a row."""

    def edit(edits: Edits) -> None:
        for name, kind in (("Log", "Logs::LogGroup"), ("One", "IAM::Policy"), ("Two", "IAM::Policy")):
            edits.add(
                "Operations", f"New{name}", {"Type": f"AWS::{kind}", "Properties": {"PolicyDocument": {}}}, f"Sweeper/{name}/Resource"
            )

    text = _report(production, tmp_path, edit).markdown()
    assert "| added<br>prod | `Operations/Sweeper` | 2 × IAM Policy, Logs LogGroup |" in text


@pytest.mark.parametrize("value", ["a | b", "`ticks`", "two\nlines", "<details>", "x" * 5_000])
def test_special_characters_are_escaped(value: str, production: Assembly, tmp_path: Path) -> None:
    text = _report(production, tmp_path, setting("Operations/Backup/Function", "Description", value)).markdown()
    (row,) = [line for line in text.splitlines() if "`Description`" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert row.count("`") == 8
    assert len(row) < 500


def test_long_values_show_their_difference(production: Assembly, tmp_path: Path) -> None:
    path = "Edge/Edge/SecurityHeaders"
    policy = "ResponseHeadersPolicyConfig.SecurityHeadersConfig.ContentSecurityPolicy.ContentSecurityPolicy"
    old = next(one for one in production.resources.values() if one.path == path).at(policy)
    text = _report(production, tmp_path, setting(path, policy, old.replace("frame-ancestors 'none'", "frame-ancestors 'self'"))).markdown()
    (row,) = [line for line in text.splitlines() if "ContentSecurityPolicy.ContentSecurityPolicy" in line]
    assert ": `…:; frame-ancestors 'none'` → `…:; frame-ancestors 'self'` |" in row


def test_danger_is_accepted_by_its_id(production: Assembly, tmp_path: Path) -> None:
    (danger,) = _report(production, tmp_path, _one_change).dangers
    made = _report(production, tmp_path, _one_change, accepted={danger.id: "Exported | to <b>", "00000000": "Another"})
    assert made.refused == []
    text = made.markdown()
    assert "## 🟡 Infrastructure: 1 danger, all accepted" in text
    assert "### Accepted by this pull request" in text
    assert f"| “Exported \\| to &lt;b>” `{danger.id}` |" in text
    assert "### Danger" not in text
    assert "Accepted ids that match no danger (an id changes with its text): `00000000`." in text


@pytest.mark.slow
def test_id_belongs_to_exactly_one_danger(everywhere: Assembly, tmp_path: Path) -> None:
    """An acceptance does not cover another number or another environment."""

    def ids(*several: Edit) -> set[str]:
        return {danger.id for danger in _report(everywhere, tmp_path, *several).dangers}

    key, name = "Storage/Key", "PendingWindowInDays"
    one = ids(setting(key, name, 10))
    assert len(one) == 1
    assert one == ids(setting(key, name, 10))
    assert not one & ids(setting(key, name, 8))
    assert not one & ids(_in_all(key, name, 10))


def test_long_report_omits_its_last_rows(everywhere: Assembly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = _edited(everywhere, tmp_path, lambda edits: [one["Resources"].clear() for one in edits.templates.values()])
    begun = time.monotonic()
    made = report(everywhere.folder, nothing, "main")
    whole = made.markdown()
    assert time.monotonic() - begun < 5, "removing everything is reported in seconds"
    assert len(whole) > 40_000
    assert (GITHUB_LIMIT, GITLAB_LIMIT) == (65_536, 1_000_000)
    limit = 36_000
    cut = made.markdown(limit, "`report.whole.md`")
    assert limit * 0.9 < len(cut) <= limit
    assert cut.startswith(whole[:15_000])
    (omitted,) = re.findall(r"\*\*Shortened: (\d+) rows are omitted\*\*; the full report is `report\.whole\.md`\.\n$", cut)
    rows = [len([line for line in text.splitlines() if re.match(r"\| |- ", line)]) for text in (whole, cut)]
    heads = [text.count("\n| | Resource |") for text in (whole, cut)]
    assert int(omitted) == rows[0] - heads[0] - (rows[1] - heads[1])
    monkeypatch.setattr(command, "GITHUB_LIMIT", limit)
    out = tmp_path / "report.md"
    command.write(made, out)
    text = out.read_text(encoding="utf-8")
    assert text.startswith(MARKER)
    assert text.endswith("**; the full report is `report.whole.md`, an artifact of this pipeline.\n")
    assert len(text) <= limit
    assert (tmp_path / "report.whole.md").read_text(encoding="utf-8") == whole
    monkeypatch.setattr(command, "GITHUB_LIMIT", len(whole))
    command.write(made, out)
    assert not (tmp_path / "report.whole.md").exists()


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(everywhere: Assembly, tmp_path: Path) -> None:
    """Independent of the order of Python's sets."""
    head = _edited(everywhere, tmp_path, _in_all("Storage/Uploads", "PublicAccessBlockConfiguration", {}), _one_change,
                   lambda edits: edits.properties("EdgeGlobal/WebFirewall/WebAcl")["Rules"].clear())  # fmt: skip
    code = "import sys; from pathlib import Path; from tools.reports.diff.report import report; "
    code += "sys.stdout.write(report(Path(sys.argv[1]), Path(sys.argv[2]), 'main').markdown())"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, str(everywhere.folder), str(head)],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "rule SqlInjection is removed" in texts.pop().decode()


def _accepting(*ids: str, reason: str = "The export of last night was restored elsewhere, and compared.") -> str:
    return "".join(f'[[accepted]]\nid = "{one}"\nreason = "{reason}"\n' for one in ids)


def test_only_added_entries_accept_dangers() -> None:
    one, two, three = "8da5c260", "00000000", "0123abcd"
    assert set(added(_accepting(one), _accepting(one, two))) == {two}
    assert set(added(_accepting(one, two), _accepting(two, one))) == set()
    assert set(added(_accepting(one), _accepting(one, one))) == {one}, "accepted again"
    assert set(added("", _accepting(three))) == {three}
    assert added("", "") == {}
    assert set(added("what is this", _accepting(one))) == {one}
    assert added(_accepting(one), _accepting(one, reason="Another reason for what was there already.")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_accepting("8DA5C260"), "entry 1, id '8DA5C260': string should match pattern"),
        (_accepting("8da5c260", "all"), "entry 2, id 'all': string should match pattern"),
        (_accepting("8da5c260", reason="wanted"), "entry 1, reason 'wanted': string should have at least 20 characters"),
        ('[[accepted]]\nid = "8da5c260"\n', "entry 1, reason {'id': '8da5c260'}: field required"),
        ('[[acepted]]\nid = "8da5c260"\n', "acepted [{'id': '8da5c260'}]: extra inputs are not permitted"),
        ("[[accepted]", "docs/accepted-dangers.toml is not valid TOML: "),
    ],
)
def test_invalid_acceptance_is_an_error(text: str, message: str) -> None:
    with pytest.raises(AcceptanceError) as caught:
        added("", text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("docs/accepted-dangers.toml")


@contextlib.contextmanager
def _given(base: Path, head: Path) -> Iterator[tuple[Path, Path]]:
    yield base, head


@pytest.mark.slow
def test_exit_codes(production: Assembly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    head = _edited(production, tmp_path / "head", _one_change)
    monkeypatch.setattr(command, "both", lambda base: _given(production.folder, head))
    monkeypatch.setattr(command, "text_in", lambda base, path: "")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr("tools.reports.diff.judge.find", lambda base, root: [])  # tests/attacks/test_reports.py
    out = tmp_path / "report.md"
    assert command.run("main", None, out) == 3
    output = capsys.readouterr()
    (danger,) = report(production.folder, head, "main").dangers
    assert output.err == f"Danger {danger.id} (prod): {danger.words}\n"
    assert danger.id in out.read_text(encoding="utf-8")
    accepted = tmp_path / "docs" / "accepted-dangers.toml"
    accepted.parent.mkdir()
    accepted.write_text(_accepting(danger.id), encoding="utf-8")
    assert command.run("main", None, None) == 0
    assert capsys.readouterr().out.startswith(MARKER)


def test_base_that_does_not_exist() -> None:
    with pytest.raises(CheckoutError) as error:
        command.run("no-such-branch", None, None)
    assert str(error.value) == (
        "--base no-such-branch does not exist here. It must be a branch, a tag or a commit; try `git fetch origin`."
    )
    with pytest.raises(CheckoutError), both("--upload-pack=x"):
        pass
