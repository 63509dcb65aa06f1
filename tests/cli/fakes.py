"""A deployed production environment whose AWS returns the answers of a test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NoReturn, Self

from botocore.exceptions import ClientError, WaiterError

from settings.loader import load
from tools import releases
from tools.environment import Deployed

REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/carmen"
DIGEST, NEXT = (f"sha256:{letter * 64}" for letter in "ab")
PLACEHOLDER_IMAGE = load("prod").service.placeholder_image
FITS = {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {"imageScanCompletedAt": datetime(2026, 11, 20, tzinfo=UTC)}}
CONTAINERS = {"ReleaseFiles": {"copy": "old", "release_files": "python"}, "Migration": {"migration": "old"}}
OUTPUTS = {
    **{"ImageRepository": REPOSITORY, "ImageParameter": "/carmen/prod/image", "Cluster": "c", "Service": "s"},
    **{f"{name}Task": name for name in CONTAINERS},
}
TOP_STACK: dict[str, Any] = {
    "Stacks": [
        {
            "CreationTime": datetime(2026, 11, 20, tzinfo=UTC),
            "StackStatus": "UPDATE_COMPLETE",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()],
        }
    ]
}


class Aws:
    """Returns the answers of a test; another call fails."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def client(self, service: str, **_: Any) -> Aws:
        return self

    def get_paginator(self, method: str) -> Aws:
        return Aws(paginate=self._answers[method])

    def __getattr__(self, method: str) -> Any:
        answer = self._answers[method]
        return lambda **_: answer


def deployed(**answers: Any) -> Deployed:
    return Deployed(load("prod"), Aws(describe_stacks=TOP_STACK, describe_scalable_targets={"ScalableTargets": []}, **answers))


def refused(code: str, message: str, operation: str) -> NoReturn:
    raise ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Account:
    """An environment that runs `before`: its parameters with their history, stacks, tasks and registry.

    `done`: the steps of a release, in order; `fails`: exit codes of a task's containers; `starts`: whether the next image does.
    `earlier`: the image that became healthy before.
    """

    def __init__(
        self, before: str, fails: dict[str, dict[str, Any]] | None = None, findings: dict[str, Any] = FITS, earlier: str = ""
    ) -> None:
        self.done, self._fails, self._findings = list[str](), fails or {}, findings
        self.now = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.user, self.starts, self.status = "arn:aws:iam::000000000000:user/alice", True, "UPDATE_COMPLETE"
        self.runs = before
        self.during_task: Callable[[], Any] | None = None
        self._updating, self._updated = "", self.now
        self.parameters: dict[str, list[dict[str, Any]]] = {}
        self._definitions = {name: self._definition(name, containers) for name, containers in CONTAINERS.items()}
        record = releases.Release(before, earlier, releases.HEALTHY).to_json()
        self._put("/carmen/prod/image", before, record if earlier else "The application image that runs")

    @staticmethod
    def _definition(name: str, containers: dict[str, str]) -> dict[str, Any]:
        log = {"options": {"awslogs-group": f"/{name}"}}
        return {
            "family": name,
            "volumes": [{"name": "files"}],
            "containerDefinitions": [{"name": one, "image": image, "logConfiguration": log} for one, image in containers.items()],
        }

    def client(self, service: str, **_: Any) -> Account:
        return self

    def __getattr__(self, method: str) -> Any:
        answers = {
            "describe_images": {"imageDetails": [{"imageTags": ["v2"]}]},
            "describe_image_scan_findings": self._findings,
            "describe_services": {"services": [{"networkConfiguration": {"awsvpcConfiguration": {}}, "taskDefinition": "web"}]},
            "list_tasks": {"taskArns": []},
        }
        return lambda **_: answers.get(method, {})

    @property
    def value(self) -> str:
        return str(self.parameters["/carmen/prod/image"][-1]["Value"])

    def name_by_hand(self, value: str) -> Self:
        """Somebody overwrites the image parameter."""
        self._put("/carmen/prod/image", value, "")
        return self

    def _put(self, name: str, value: str, description: str) -> int:
        versions = self.parameters.setdefault(name, [])
        version = {"Value": value, "Description": description, "LastModifiedDate": self.now, "LastModifiedUser": self.user}
        versions.append({**version, "Version": len(versions) + 1})
        return len(versions)

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        return {"Parameter": self.parameters[Name][-1]}

    def put_parameter(self, *, Name: str, Value: str, Description: str = "", Overwrite: bool, **_: Any) -> dict[str, Any]:
        if Name in self.parameters and not Overwrite:
            refused("ParameterAlreadyExists", "The parameter already exists.", "PutParameter")
        if Name == "/carmen/prod/image":
            self.done.append(f"names {Value[-1]}")
        return {"Version": self._put(Name, Value, Description)}

    def delete_parameter(self, *, Name: str) -> None:
        if not self.parameters.pop(Name, None):
            refused("ParameterNotFound", "", "DeleteParameter")

    def get_parameter_history(self, *, Name: str, **_: Any) -> dict[str, Any]:
        if Name not in self.parameters:
            refused("ParameterNotFound", "", "GetParameterHistory")
        headers = {"date": format_datetime(self.now, usegmt=True)}
        return {"Parameters": self.parameters[Name], "ResponseMetadata": {"HTTPHeaders": headers}}

    def describe_stacks(self, StackName: str = "CarmenProd") -> dict[str, Any]:
        state = "awaiting first image: a placeholder answers" if self.runs == "placeholder" else self.runs
        (top,) = TOP_STACK["Stacks"]
        outputs = [*top["Outputs"], {"OutputKey": "ImageState", "OutputValue": state}]
        return {
            "Stacks": [{**top, "StackName": StackName, "StackStatus": self.status, "LastUpdatedTime": self._updated, "Outputs": outputs}]
        }

    def update_stack(self, **_: Any) -> None:
        if self.status.endswith("_IN_PROGRESS"):
            refused("ValidationError", "Stack is in UPDATE_IN_PROGRESS state and can not be updated.", "UpdateStack")
        if self.value == self.runs:
            refused("ValidationError", "No updates are to be performed.", "UpdateStack")
        self.done.append("rolls")
        self._updating, self._updated, self.status = self.value, self.now, "UPDATE_IN_PROGRESS"

    def end_update(self) -> None:
        """CloudFormation ends what it does, also without the process that began it."""
        if self._updating:
            self.runs = self._updating if self.starts else self.runs
            self.status, self._updating = "UPDATE_COMPLETE" if self.starts else "UPDATE_ROLLBACK_COMPLETE", ""

    def describe_stack_events(self, **_: Any) -> dict[str, Any]:
        stack = "AWS::CloudFormation::Stack"
        return {
            "StackEvents": [
                {"ResourceType": stack, "ResourceStatus": "UPDATE_ROLLBACK_COMPLETE"},
                {"LogicalResourceId": "Web", "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": "circuit breaker was triggered"},
                {"ResourceType": stack, "ResourceStatus": "UPDATE_IN_PROGRESS"},
                {"LogicalResourceId": "Old", "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": "of an older update"},
            ]
        }

    def describe_task_definition(self, *, taskDefinition: str) -> dict[str, Any]:
        if taskDefinition == "web":
            image = PLACEHOLDER_IMAGE if self.runs == "placeholder" else self.runs
            return {"taskDefinition": self._definition("web", {"carmen": image})}
        return {"taskDefinition": self._definitions[taskDefinition]}

    def register_task_definition(self, **definition: Any) -> dict[str, Any]:
        (application,) = [one["image"] for one in definition["containerDefinitions"] if one["image"] != "python"]
        arn = f"{definition['family']} {application[-1]}"
        assert definition["volumes"] == [{"name": "files"}]
        self._definitions[arn] = definition
        return {"taskDefinition": {"taskDefinitionArn": arn}}

    def deregister_task_definition(self, *, taskDefinition: str) -> None:
        self.done.append(f"forgets {taskDefinition}")

    def run_task(self, *, taskDefinition: str, **_: Any) -> dict[str, Any]:
        self.done.append(taskDefinition)
        if self.during_task:
            self.during_task()
        return {"tasks": [{"taskArn": taskDefinition}]}

    def describe_tasks(self, *, tasks: list[str], **_: Any) -> dict[str, Any]:
        (task,) = tasks
        codes = {one["name"]: {"exitCode": 0} for one in self._definitions[task]["containerDefinitions"]}
        codes |= {name: {} if code is None else {"exitCode": code} for name, code in self._fails.get(task, {}).items()}
        return {
            "tasks": [
                {"taskDefinitionArn": task, "stoppedReason": "ended", "containers": [{"name": n} | code for n, code in codes.items()]}
            ]
        }

    def get_waiter(self, name: str) -> Any:
        def wait(**_: Any) -> None:
            if name == "stack_update_complete":
                self.end_update()
                if not self.starts:
                    raise WaiterError(name, "Waiter encountered a terminal failure state", {})

        return type("Waiter", (), {"wait": staticmethod(wait)})()

    def get_paginator(self, method: str) -> Any:
        groups = [
            {"ResourceType": "AWS::EC2::SecurityGroup", "LogicalResourceId": f"{name}SecurityGroup", "PhysicalResourceId": "sg"}
            for name in CONTAINERS
        ]
        listed = [{"StackResourceSummaries": groups, "StackSummaries": [], "Parameters": self.parameters["/carmen/prod/image"]}]
        return type("Paginator", (), {"paginate": staticmethod(lambda **_: listed)})()
