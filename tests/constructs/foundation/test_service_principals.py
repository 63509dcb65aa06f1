from __future__ import annotations

import pytest
from aws_cdk import aws_iam as iam

from constructs_lib.foundation.service_principals import SOURCES, same_account_principal
from tests.conftest import only
from tests.constructs.conftest import stack, template


@pytest.mark.parametrize("service", SOURCES)
def test_service_assumes_the_role_for_this_account_only(service: str) -> None:
    one = stack()
    iam.Role(one, "Role", assumed_by=same_account_principal(service))
    (statement,) = only(template(one).resources("AWS::IAM::Role"))["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": service}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = "".join(
        part if isinstance(part, str) else part["Ref"] for part in statement["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Join"][1]
    )
    assert source == f"arn:AWS::Partition:{SOURCES[service][0]}:AWS::Region:AWS::AccountId:{SOURCES[service][1]}"
