"""Which backups are copied where, and that none expires before newer ones exist."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from backup.handler import handler
from backup.settings import Settings
from common.backup_manifest import TIERS, BackupDamaged, Manifest, parse_stamp, stamp_of
from common.backup_store import SUPERSEDED, UploadError, is_due

from tests.lambdas import backups
from tests.lambdas.backups import CONTEXT, TIME, Erp

SETTINGS = {"BACKUP_BUCKET": "b", "AWS_REGION": "us-east-1", "BACKUP_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/k"}
DAYS = {"daily": 7, "weekly": 35, "monthly": 400}  # settings/sections, Storage
on_one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("tier", "now", "newest", "due"),
    [
        ("weekly", "2026-11-24T01:00", None, True),  # the very first, a Tuesday
        ("weekly", "2026-11-29T01:00", "2026-11-24T01:00", True),  # Sunday
        ("weekly", "2026-11-29T13:00", "2026-11-29T01:00", False),  # a second one on Sunday
        ("weekly", "2026-11-30T01:00", "2026-11-29T01:00", False),
        ("weekly", "2026-11-30T01:00", "2026-11-22T01:00", True),  # Sunday's failed: Monday's is taken
        ("monthly", "2026-12-01T01:00", "2026-11-01T01:00", True),
        ("monthly", "2026-12-04T01:00", "2026-11-01T01:00", True),  # three days failed
        ("monthly", "2026-12-31T01:00", "2026-12-01T01:00", False),
        ("monthly", "2027-01-01T01:00", "2026-12-04T01:00", True),
        ("daily of an old event repeated", "2026-11-01T01:00", "2026-12-01T01:00", False),
    ],
)
def test_copy_is_due(tier: str, now: str, newest: str | None, due: bool) -> None:
    assert is_due(tier.split()[0].replace("daily", "monthly"), at(now), at(newest) if newest else None, "SUN", 1) is due


def test_days_of_tiers_are_settings() -> None:
    settings = Settings.from_environment({**SETTINGS, "BACKUP_WEEKLY_DAY": "WED", "BACKUP_MONTHLY_DAY": "15"})
    days = (settings.weekly_day, settings.monthly_day)
    assert is_due("weekly", at("2026-11-25T01:00"), at("2026-11-22T01:00"), *days)
    assert not is_due("monthly", at("2026-11-14T01:00"), at("2026-10-15T01:00"), *days)
    assert is_due("monthly", at("2026-11-15T01:00"), at("2026-10-15T01:00"), *days)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BACKUP_WEEKLY_DAY", "Sunday", "one or more of MON, TUE"),
        ("BACKUP_MONTHLY_DAY", "31", "a whole number from 1 to 28"),
        ("BACKUP_FORMATS", "sql", "one or more of archive, sql_gz"),
        ("BACKUP_BUCKET", "", "the name of the bucket"),
        ("BACKUP_KEY_ARN", "", "the KMS key that encrypts"),
    ],
)
def test_wrong_setting_names_allowed_values(name: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        Settings.from_environment({**SETTINGS, name: value})


def a_backup(s3: Any, bucket: str, time: datetime) -> Manifest:
    """A small backup, without a database."""
    stamp, store = stamp_of(time), backups.store(s3, bucket)
    files = {name: store.put(f"daily/{stamp}/{name}.{stamp}", stamp.encode(), content_type="text/plain") for name in ("archive", "roles")}
    made = backups.manifest_of("daily", stamp, files)
    store.write(made)
    return made


def superseded(s3: Any, bucket: str, known: frozenset[str] | set[str] = frozenset()) -> set[str]:
    """The backups that lifecycle rules may remove when they are old enough, without those already `known`."""
    names = {name for tier in TIERS for name in backups.store(s3, bucket).names(tier)} - known
    return {name for name in names if SUPERSEDED in s3.get_object_tagging(Bucket=bucket, Key=f"{name}/manifest.json")["TagSet"]}


@pytest.mark.long
def test_ten_days_without_backup_expire_nothing(s3: Any, bucket: str) -> None:
    """Lifecycle rules remove tagged objects older than their tier's days: three complete backups of each tier always remain."""
    store = backups.store(s3, bucket)
    tagged: set[str] = set()
    start, failing = at("2026-09-01T01:00"), range(12, 22)
    for day in range(32):
        now = start + timedelta(days=day)
        before = {tier: store.names(tier) for tier in TIERS}
        if day not in failing:
            store.copy_to_tiers(a_backup(s3, bucket, now), weekly_day="SUN", monthly_day=1)
            store.tag_superseded()
        tagged |= superseded(s3, bucket, tagged)
        for name in tagged:  # as S3's lifecycle rules do at night
            tier, stamp = name.split("/")
            if now - parse_stamp(stamp) >= timedelta(days=DAYS[tier]):
                for key, _ in list(store.objects(f"{name}/")):
                    s3.delete_object(Bucket=bucket, Key=key)
        for tier, known in before.items():
            left = store.names(tier)
            assert len(left) >= min(3, len(known)), (day, tier)
            assert day not in failing or left[0] == known[0], (day, tier)
    assert len(store.names("daily")) == DAYS["daily"]  # old backups do expire


def test_objects_without_manifest_are_superseded(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="daily/20260901T010000Z/carmen_backup_20260901T010000Z.dump", Body=b"half")
    for day in range(2, 5):
        a_backup(s3, bucket, at(f"2026-09-0{day}T01:00"))
    assert backups.store(s3, bucket).tag_superseded() == 1
    assert superseded(s3, bucket) == set()


@on_one_major
def test_weekly_and_monthly_copies_are_complete(erp: Erp, s3: Any, bucket: str) -> None:
    answer = handler({"time": TIME}, CONTEXT)
    assert [key.split("/")[3] for key in answer["written"]] == ["daily", "weekly", "monthly"]
    daily, weekly = (erp.store.newest(tier) for tier in ("daily", "weekly"))
    assert daily
    assert weekly
    assert replace(weekly, tier="daily", files=daily.files) == daily
    for file in weekly.files.values():
        assert file.key.startswith("weekly/")
        assert hashlib.sha256(erp.read(file.key)).hexdigest() == file.sha256
    assert [key.split("/")[3] for key in handler({"time": "2026-11-25T01:00:00Z"}, CONTEXT)["written"]] == ["daily"]


@pytest.mark.long
@on_one_major
def test_second_region_gets_missed_backups(erp: Erp, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = boto3.client("s3", region_name="eu-central-1")
    copies = f"copy-of-{bucket}"
    handler({"time": TIME}, CONTEXT)
    monkeypatch.setenv("BACKUP_COPY_BUCKET", copies)
    monkeypatch.setenv("BACKUP_COPY_REGION", "eu-central-1")
    key = boto3.client("kms", region_name="eu-central-1").create_key()["KeyMetadata"]["Arn"]
    monkeypatch.setenv("BACKUP_COPY_KEY_ARN", key)
    with pytest.raises(
        UploadError, match=f"copied to s3://{copies} in eu-central-1: .*NoSuchBucket.*The backup itself is good"
    ):  # a failed copy is an error of the run, but the backup is good
        handler({"time": "2026-11-25T01:00:00Z"}, CONTEXT)
    elsewhere.create_bucket(Bucket=copies, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    answer = handler({"time": "2026-11-25T01:00:00Z"}, CONTEXT)
    assert answer["outcome"] == "already there"
    assert len(answer["written"]) == 4  # two daily ones, one weekly, one monthly
    for tier in TIERS:
        assert backups.store(elsewhere, copies).names(tier) == erp.store.names(tier)
    copied = backups.store(elsewhere, copies).find()
    found = elsewhere.get_object(Bucket=copies, Key=copied.files["archive"].key)
    assert hashlib.sha256(found["Body"].read()).hexdigest() == copied.files["archive"].sha256
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key)


def test_wrong_manifest_is_refused(s3: Any, bucket: str) -> None:
    made, store = a_backup(s3, bucket, at("2026-11-24T01:00")), backups.store(s3, bucket)
    s3.copy_object(Bucket=bucket, Key="daily/20261125T010000Z/manifest.json", CopySource={"Bucket": bucket, "Key": made.key})
    assert store.newest() == made  # the moved one does not count
    with pytest.raises(BackupDamaged, match=r"says that it is daily/20261124T010000Z/manifest\.json: it was moved"):
        store.read("daily/20261125T010000Z")
    with pytest.raises(BackupDamaged, match="there is no complete backup of that time"):
        store.read("daily/20261126T010000Z")
    for text, message in (
        ("{", "is not a backup manifest"),
        ('{"version": 2}', "this code reads version 1"),
        ('{"version": 1, "files": {}}', "is not a backup manifest"),
    ):
        with pytest.raises(BackupDamaged, match=message):
            Manifest.from_json(text, "s3://b/k")
