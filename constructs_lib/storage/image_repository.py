"""The repository of the application's images, and the parameter that names the running one."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.arns import account_arn
from constructs_lib.foundation.sdk_call import SdkCall
from settings import sections

PLACEHOLDER = "placeholder"


class ImageRepository(Construct):
    """An ECR repository with immutable tags and scan on push, and the SSM parameter with the running image's digest.

    An API call creates the parameter once. CloudFormation does not manage it: a change of its tags or description would restore the
    template's value, and the placeholder with it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Storage, parameter_name: str) -> None:
        super().__init__(scope, construct_id)
        self.parameter_name = parameter_name
        self.repository = self._define_repository(settings.images_kept)
        self._create_parameter_once()

    def _define_repository(self, images_kept: int) -> ecr.Repository:
        return ecr.Repository(
            self,
            "Repository",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            lifecycle_rules=[
                ecr.LifecycleRule(
                    description="Untagged images go after a week", tag_status=ecr.TagStatus.UNTAGGED, max_image_age=Duration.days(7)
                ),
                ecr.LifecycleRule(  # tagged: layers of an index and signatures have no tag and would count as images
                    description="The newest images stay, to roll back to",
                    tag_status=ecr.TagStatus.TAGGED,
                    tag_pattern_list=["*"],
                    max_image_count=images_kept,
                ),
            ],
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )

    def _create_parameter_once(self) -> None:
        SdkCall(
            self,
            "CreateImageParameter",
            service="SSM",
            action="PutParameter",
            parameters={
                "Name": self.parameter_name,
                "Value": PLACEHOLDER,
                "Type": "String",
                "Overwrite": False,
                "Description": "The application image that runs, by digest; 'placeholder' until the first release",
            },
            physical_id=self.parameter_name,
            ignore_errors="ParameterAlreadyExists",
            once=True,
            permissions=[
                iam.PolicyStatement(
                    actions=["ssm:PutParameter"],
                    resources=[account_arn("ssm", f"parameter{self.parameter_name}")],
                )
            ],
        )
