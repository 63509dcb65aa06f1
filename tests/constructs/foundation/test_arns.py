from __future__ import annotations

from aws_cdk import CfnOutput

from constructs_lib.foundation.arns import account_arn
from tests.constructs.conftest import stack, template


def test_account_arn_is_in_the_account_and_region_of_the_stack() -> None:
    one = stack()
    CfnOutput(one, "Arn", value=account_arn("logs", "log-group:one:*"))
    parts = template(one).body["Outputs"]["Arn"]["Value"]["Fn::Join"][1]
    joined = "".join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in parts)
    assert joined == "arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:one:*"
