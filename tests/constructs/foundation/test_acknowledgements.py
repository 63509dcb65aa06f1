from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from constructs_lib.foundation.acknowledgements import acknowledge, export_name, record_opt_outs, resource_in_finding
from tests.constructs.conftest import settings, stack, template

REASON = "A reason that is long enough for a test."


def test_acknowledged_findings_are_metadata_with_their_scanner() -> None:
    queue = sqs.Queue(stack(), "Queue")
    acknowledge(queue, {"AwsSolutions-SQS3": "one", "Parliament::X": "two", "Cloudsplaining::Y": "three"})
    entries = [entry.data for entry in queue.node.metadata if entry.type == "aws:cdk:acknowledged-rules"]
    assert {name: reason for entry in entries for name, reason in entry.items()} == {
        "AwsSolutions::AwsSolutions-SQS3": "one",
        "Parliament::X": "two",
        "Cloudsplaining::Y": "three",
    }


def test_resource_in_finding_formats_references() -> None:
    one = stack()
    bucket = s3.CfnBucket(one, "Bucket")
    assert resource_in_finding(bucket, bucket.ref) == "<Bucket>"
    assert resource_in_finding(bucket, f"{bucket.attr_arn}/*") == "<Bucket.Arn>/*"
    assert resource_in_finding(bucket, f"arn:{cdk.Aws.PARTITION}:x") == "arn:<AWS::Partition>:x"


def test_export_name_is_the_name_of_the_export() -> None:
    owner = stack("Owner")
    bucket = s3.CfnBucket(owner, "Bucket")
    assert export_name(bucket, bucket.attr_arn) == "Owner:ExportsOutputFnGetAttBucketArn436138FE"


def test_opt_out_reasons_are_metadata_of_the_resource() -> None:
    one = stack()
    database = settings(database={"multi_az": False, "multi_az_opt_out_reason": REASON}).database
    record_opt_outs(s3.Bucket(one, "Bucket"), database, "multi_az", "deletion_protection")
    (bucket,) = template(one).resources("AWS::S3::Bucket").values()
    assert {name: value for name, value in bucket["Metadata"].items() if name.endswith("OptOut")} == {"MultiAzOptOut": REASON}
