"""Secrets whose value is in no template: AWS makes it up, a function writes it, or the operator gives it."""

from __future__ import annotations

import json
import string

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.sdk_call import SdkCall

# A value without punctuation needs no quoting in any URL, shell or AUTH command. Named as characters too, since the embedded
# AWS does not honour `exclude_punctuation`; named as characters alone, AWS refuses: it would still require one of each class.
PUNCTUATION = string.punctuation
# The version of the empty value: the same token twice puts it once.
EMPTY_VERSION = "carmen-0000-empty-0000-until-given-0"


class GeneratedSecret(secretsmanager.Secret):
    """A generated value under the AWS-managed key (a key of ours granted across stacks would close a cycle).

    `username` makes it a JSON object with `username` and `password`, as RDS Proxy wants it; `key` one with that single
    key. Its length is never changed after creation: that would generate it anew.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        description: str,
        no_rotation_reason: str,
        username: str | None = None,
        key: str = "value",
        length: int = 48,
        exclude_characters: str = PUNCTUATION,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=description,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=length,
                exclude_characters=exclude_characters,
                exclude_punctuation=exclude_characters == PUNCTUATION,
                include_space=False,
                secret_string_template=json.dumps({"username": username} if username else {}),
                generate_string_key="password" if username else key,
            ),
        )
        acknowledge(self, {"AwsSolutions-SMG4": no_rotation_reason})


class EmptySecret(secretsmanager.CfnSecret):
    """A secret CloudFormation creates empty; its value is written later by a function, or by the operator.

    A template that composed the value would put the old one back at its next change.
    """

    def __init__(self, scope: Construct, construct_id: str, *, description: str, written_by: str) -> None:
        super().__init__(scope, construct_id, description=description)
        self.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        self.secret = secretsmanager.Secret.from_secret_complete_arn(scope, f"{construct_id}Reference", self.ref)
        acknowledge(
            self, {"AwsSolutions-SMG4": f"Created without a value, which is written by {written_by}: Secrets Manager cannot rotate it."}
        )


def operator_secret(scope: Construct, construct_id: str, *, name: str, description: str) -> secretsmanager.ISecret:
    """A shell that the operator fills with `{"value": "…"}`; `make secrets` calls it `name` and says whether it is still empty.

    An empty value is put once, since a task does not start on a secret without any. By a call and not by the template, which
    could put the emptiness back over what the operator gave.
    """
    shell = EmptySecret(scope, construct_id, description=description, written_by="the operator")
    SdkCall(
        scope,
        f"{construct_id}Empty",
        service="SecretsManager",
        action="PutSecretValue",
        parameters={"SecretId": shell.ref, "SecretString": json.dumps({"value": ""}), "ClientRequestToken": EMPTY_VERSION},
        physical_id=f"{name}-empty",
        permissions=[iam.PolicyStatement(actions=["secretsmanager:PutSecretValue"], resources=[shell.ref])],
        once=True,
    )
    return shell.secret
