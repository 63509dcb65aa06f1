"""Assumptions that `./carmen account check --prove` answers with throwaway resources, in this order.

They share one stack (tools/account/proof_stack.py). The order matters: the last database proof may lock the master out.
"""

from __future__ import annotations

import json
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from settings.constants import EDGE_REGION
from settings.model import Settings
from tools.account.assumptions import Answer, Assumption, Result, ask
from tools.account.proof_stack import DATABASE, FAMILY, MASTER, MONITOR, NAME, ORIGIN_GROUP, PROXY_USER, TAG, ProofStack, proof_stack
from tools.environment import Deployed, FailedError

# About 0.20 USD for two hours at list prices (tools/reports/cost/prices.toml): database 0.016, proxy 0.030, cache 0.016 and load balancer
# 0.023 an hour; the rest is a fraction of a cent.
COST = "less than 1 USD"
DURATION = "about 40 minutes; at most 60 until the answers are printed"
PROXY_SECONDS = 120  # rotation's PROXY_WAIT_SECONDS (lambda_src/rotation/database_login.py)
INVOKE = Config(read_timeout=620, retries={"total_max_attempts": 1})  # the function's timeout is 600 s; a step must not run twice
MODIFYING_SECONDS = 30  # until the state of a changed replication group says `modifying`
BUDGET_SECONDS, BUDGET_POLL_SECONDS = 600, 20  # SQS waits as long in each request
INSUFFICIENT_PRIVILEGE = "42501"
SERVER_HOME, SERVER_FOLDER = "/var/task/postgresql-server", "/tmp/carmen-drill"  # noqa: S108 (inside the function)


@dataclass
class Proofs:
    """What proofs use. `as_role` makes a session of temporary credentials."""

    stack: ProofStack
    as_role: Callable[[dict[str, str], str], Any]

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    def run(self, step: str, **arguments: Any) -> dict[str, Any]:
        """Run a step of lambda_src/account_proof. Raises FailedError with the function's error."""
        client = self.stack.client("lambda", config=INVOKE)
        answer = client.invoke(FunctionName=self.stack.output("Function"), Payload=json.dumps({"step": step, **arguments}))
        result: dict[str, Any] = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise FailedError(f"the proof's function failed at `{step}`: {result.get('errorMessage', result)}")
        return result

    def secret(self, name: str) -> str:
        """The password in a secret of the stack."""
        value = self.stack.client("secretsmanager").get_secret_value(SecretId=self.stack.output(name))["SecretString"]
        return str(json.loads(value)["password"])

    def change_secret(self, name: str, password: str) -> None:
        """Write another password into a secret of the stack; the rest of its value stays."""
        client, secret = self.stack.client("secretsmanager"), self.stack.output(name)
        value = json.loads(client.get_secret_value(SecretId=secret)["SecretString"])
        client.put_secret_value(SecretId=secret, SecretString=json.dumps({**value, "password": password}))

    @property
    def master(self) -> dict[str, Any]:
        """The master's login at the instance."""
        return {**self._instance, "user": MASTER, "password": self.secret("MasterSecret")}

    @property
    def _instance(self) -> dict[str, Any]:
        return {"host": self.stack.output("DatabaseHost"), "port": int(self.stack.output("DatabasePort")), "database": DATABASE}

    def proxy_login(self, password: str) -> dict[str, Any]:
        """The application user's login through the proxy."""
        port = int(self.stack.output("DatabasePort"))
        return {
            "host": self.stack.output("ProxyHost"), "port": port, "database": DATABASE, "user": PROXY_USER, "password": password
        }  # fmt: skip

    def release_client(self, service: str) -> Any:
        """A client with the release role's permissions."""
        role = self.stack.output("ReleaseRole")
        found = self.stack.client("sts").assume_role(RoleArn=role, RoleSessionName="carmen-proof")["Credentials"]
        return self.as_role(found, self.settings.region).client(service, region_name=self.settings.region)


def prove(deployed: Deployed, say: Callable[[str], None]) -> list[Result]:
    """Create the stack, ask every question, and remove everything."""
    with proof_stack(deployed.session, deployed.settings, say) as stack:
        return list(ask(PROOFS, Proofs(stack, session_of_role), say))


def session_of_role(credentials: dict[str, str], region: str) -> Any:
    """A session with temporary credentials."""
    return boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=region,
    )


def _new_password() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))


# The function


def server_starts_in_lambda(proofs: Proofs) -> Answer:
    """A function starts the restore drill's PostgreSQL server and runs a query."""
    found = proofs.run("server", home=SERVER_HOME, folder=SERVER_FOLDER)
    return Answer(True, f"PostgreSQL {found['version']} answered after {found['seconds']} s")


# The database


def instance_certificate_is_accepted(proofs: Proofs) -> Answer:
    """A function logs in to the instance with Python's default verification."""
    found = proofs.run("log in", **proofs.master)
    return _certificate(found)


def _certificate(found: dict[str, Any]) -> Answer:
    """A server that refuses the login has shown its certificate; one that is not reached has not."""
    how = f"Python {found['python']} {'with' if found['strict'] else 'without'} X509_STRICT"
    if found["by"] == "certificate":
        return Answer(False, f"{how}: {found['refused']}")
    if found["by"] == "network" or not found["strict"]:
        return Answer(None, f"{how} proves nothing: {found['refused'] or 'logged in'}")
    return Answer(True, f"{how} accepted it")


def bypass_rls_is_refused(proofs: Proofs) -> Answer:
    """The master creates a role with BYPASSRLS."""
    found = proofs.run("create bypass role", **proofs.master)
    text = f"PostgreSQL refused: {found['message']}" if found["code"] else "PostgreSQL created the role"
    return Answer(found["code"] == INSUFFICIENT_PRIVILEGE, text)


def proxy_certificate_is_accepted(proofs: Proofs) -> Answer:
    """A function logs in through the proxy, as the user whose secret the proxy has."""
    password = proofs.secret("ProxySecret")
    proofs.run("create user", name=PROXY_USER, new_password=password, **proofs.master)
    return _certificate(proofs.run("log in", proxy=True, **proofs.proxy_login(password)))


def proxy_uses_a_changed_secret(proofs: Proofs) -> Answer:
    """The user's password changes in the database and in the secret; a function logs in through the proxy until it works."""
    password = _new_password()
    proofs.run("change password", name=PROXY_USER, new_password=password, **proofs.master)
    proofs.change_secret("ProxySecret", password)
    found = proofs.run("wait for login", seconds=2 * PROXY_SECONDS, **proofs.proxy_login(password))
    if found["refused"]:
        return Answer(None if found["by"] == "network" else False, f"refused for {found['seconds']} s: {found['refused']}")
    return Answer(found["seconds"] <= PROXY_SECONDS, f"accepted after {found['seconds']} s; rotation waits {PROXY_SECONDS} s")


def master_logs_in_after_rds_iam(proofs: Proofs) -> Answer:
    """The master creates a role in rds_iam and logs in again with its password; if refused, with an IAM token."""
    proofs.run("create IAM role", **proofs.master)
    found = proofs.run("log in", **proofs.master)
    if found["by"] != "server":
        return Answer(None if found["refused"] else True, found["refused"] or "the password is accepted")
    login = {key: value for key, value in proofs.master.items() if key != "password"}
    token = proofs.run("log in by token", **login)
    other = f"an IAM token is refused too: {token['refused']}" if token["refused"] else "an IAM token is accepted"
    return Answer(False, f"the password is refused: {found['refused']}; {other}")


# Tasks


def release_role_lists_tasks(proofs: Proofs) -> Answer:
    """The release role calls ecs:ListTasks with a cluster and a family."""
    cluster = proofs.stack.output("Cluster")
    return _allowed(lambda: proofs.release_client("ecs").list_tasks(cluster=cluster, family=FAMILY, desiredStatus="RUNNING"))


def release_role_registers_tasks(proofs: Proofs) -> Answer:
    """The release role calls ecs:RegisterTaskDefinition for a family of its environment."""
    return _allowed(
        lambda: proofs.release_client("ecs").register_task_definition(
            family=FAMILY,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            containerDefinitions=[{"name": "proof", "image": proofs.settings.service.placeholder_image, "essential": True}],
        )
    )


def _allowed(call: Callable[[], object]) -> Answer:
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDeniedException", "AccessDenied"):
            raise
        return Answer(False, error.response["Error"]["Message"])
    return Answer(True, "allowed")


# The edge, CloudFormation and billing


def origin_has_a_security_group(proofs: Proofs) -> Answer:
    """ec2:DescribeSecurityGroups by name in the VPC of a deployed VPC origin and distribution."""
    vpc = proofs.stack.output("Vpc")
    found = proofs.stack.origin_groups(vpc)
    return Answer(len(found) == 1, f"{found[0]['GroupId']} in {vpc}" if found else f"{vpc} has no group {ORIGIN_GROUP}")


def separate_rules_are_no_drift(proofs: Proofs) -> Answer:
    """cloudformation:DetectStackResourceDrift of a security group whose rules are separate resources."""
    group = proofs.stack.output("Group")
    found = proofs.stack.client("cloudformation").detect_stack_resource_drift(StackName=NAME, LogicalResourceId="Group")
    drift = found["StackResourceDrift"]
    differences = [one["PropertyPath"] for one in drift.get("PropertyDifferences", [])]
    text = f"{group} is {drift['StackResourceDriftStatus']}" + (f": {', '.join(differences)}" if differences else "")
    return Answer(drift["StackResourceDriftStatus"] == "IN_SYNC", text)


def idle_metric_is_filled(proofs: Proofs) -> Answer:
    """The state of an alarm on FILL(m, 0), where m was never published and missing data counts as missing."""
    alarm = proofs.stack.output("IdleAlarm")
    found = proofs.stack.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]
    state, reason = found["StateValue"], found.get("StateReason", "")
    return Answer(None if reason.startswith("Unchecked") else state == "OK", f"{state}: {reason}")


def service_monitor_can_be_created(proofs: Proofs) -> Answer:
    """ce:CreateAnomalyMonitor for AWS services, deleted at once."""
    client = proofs.stack.client("ce", EDGE_REGION)
    monitor = {"MonitorName": MONITOR, "MonitorType": "DIMENSIONAL", "MonitorDimension": "SERVICE"}
    try:
        arn = client.create_anomaly_monitor(AnomalyMonitor=monitor, ResourceTags=[TAG])["MonitorArn"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("LimitExceededException", "ValidationException"):
            raise
        return Answer(False, f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}")
    client.delete_anomaly_monitor(MonitorArn=arn)
    return Answer(True, "created, and deleted again")


def rotated_token_survives_an_update(proofs: Proofs) -> Answer:
    """The token is rotated by API, then a change set changes the group's description; the new token must still be accepted."""
    stack, cloudformation = proofs.stack, proofs.stack.client("cloudformation")
    cache = {"host": stack.output("CacheHost"), "port": int(stack.output("CachePort"))}
    elasticache, token = stack.client("elasticache"), _new_password()
    for strategy in ("ROTATE", "SET"):
        elasticache.modify_replication_group(
            ReplicationGroupId=stack.output("CacheGroup"), AuthToken=token, AuthTokenUpdateStrategy=strategy, ApplyImmediately=True
        )
        time.sleep(MODIFYING_SECONDS)
        elasticache.get_waiter("replication_group_available").wait(ReplicationGroupId=stack.output("CacheGroup"))
    proofs.change_secret("CacheSecret", token)
    if refused := proofs.run("ping redis", token=token, **cache)["refused"]:
        return Answer(None, f"the rotation itself failed: {refused}")
    change = {"StackName": NAME, "ChangeSetName": "carmen-proof"}
    cloudformation.create_change_set(
        **change,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": "CacheDescription", "ParameterValue": "Carmen proof after a rotation"}],
        Capabilities=["CAPABILITY_IAM"],
        Tags=[TAG],
    )
    cloudformation.get_waiter("change_set_create_complete").wait(**change)
    changes = [one["ResourceChange"] for one in cloudformation.describe_change_set(**change)["Changes"]]
    names = sorted(
        {f"{one['LogicalResourceId']}.{detail['Target'].get('Name', '')}" for one in changes for detail in one.get("Details", [])}
    )
    cloudformation.execute_change_set(**change)
    try:
        cloudformation.get_waiter("stack_update_complete").wait(StackName=NAME)
    except WaiterError as error:
        return Answer(False, f"the update failed: {error}")
    refused = proofs.run("ping redis", token=token, **cache)["refused"]
    text = f"the change set changes {', '.join(names)}; the new token is {f'refused: {refused}' if refused else 'accepted'}"
    return Answer(not refused and names == ["Cache.ReplicationGroupDescription"], text)


def budget_reaches_an_encrypted_topic(proofs: Proofs) -> Answer:
    """A budget that is exceeded at once publishes to a topic with a customer key; a queue receives the notice."""
    queue, sqs = proofs.stack.output("Queue"), proofs.stack.client("sqs")
    deadline = time.monotonic() + BUDGET_SECONDS
    while True:
        if sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=BUDGET_POLL_SECONDS).get("Messages"):
            return Answer(True, "the notice arrived")
        if time.monotonic() > deadline:
            return Answer(None, "no notice arrived yet: AWS evaluates budgets up to three times a day, and only if the account has costs")


# The permissions of the proofs that only use the stack.
IN_FUNCTION = ("lambda:InvokeFunction", "secretsmanager:GetSecretValue")

PROOFS: tuple[Assumption[Proofs], ...] = (
    Assumption(
        id="server-in-lambda",
        assumed="PostgreSQL's server starts inside a Lambda function.",
        why="Restore drills run there. Lambda has no /dev/shm and one user of its own.",
        check=server_starts_in_lambda,
        if_wrong="constructs_lib/database/restore_drill.py: run every drill in Fargate.",
        source="FIELD_NOTES, \"Lambda has no writable /dev/shm\"",
        actions=("lambda:InvokeFunction",),
    ),
    Assumption(
        id="instance-certificate",
        assumed="Python's default verification accepts RDS's certificate chain.",
        why="It includes X509_STRICT, which refuses authorities without some extensions.",
        check=instance_certificate_is_accepted,
        if_wrong="lambda_src/common/tls.py: remove VERIFY_X509_STRICT from VERIFY, and write an ADR.",
        source="Python, \"What's New In Python 3.13\", ssl",
        actions=IN_FUNCTION,
    ),
    Assumption(
        id="no-bypassrls",
        assumed="RDS's master may not grant BYPASSRLS.",
        why="A backup then fails at tables with row-level security: the roles run names them instead.",
        check=bypass_rls_is_refused,
        if_wrong="Good news: grant it to carmen_backup in lambda_src/database_roles/roles.py.",
        source="PostgreSQL 16 release notes (CREATEROLE); windmill-labs/windmill#9573",
        actions=IN_FUNCTION,
    ),
    Assumption(
        id="proxy-certificate",
        assumed="Python's default verification accepts RDS Proxy's certificate chain, from the system's authorities.",
        why="Rotation and probe connect through the proxy.",
        check=proxy_certificate_is_accepted,
        if_wrong="lambda_src/common/tls.py: ship Amazon's root authorities, or remove VERIFY_X509_STRICT for the proxy.",
        source="Amazon RDS, \"Using TLS/SSL with RDS Proxy\"",
        actions=IN_FUNCTION,
    ),
    Assumption(
        id="proxy-secret",
        assumed=f"RDS Proxy uses a changed secret within {PROXY_SECONDS} seconds.",
        why="Rotation waits that long before it gives the new password to the tasks.",
        check=proxy_uses_a_changed_secret,
        if_wrong="Raise PROXY_WAIT_SECONDS in lambda_src/rotation/database_login.py (ADR 0012).",
        source="aws/aws-cdk#25568; AWS documents no time",
        actions=(*IN_FUNCTION, "secretsmanager:PutSecretValue"),
    ),
    Assumption(
        id="master-password",
        assumed="The master logs in with its password after it has created a role in rds_iam.",
        why="From PostgreSQL 16 on it becomes a member of that role, and so perhaps of rds_iam, whose members need IAM tokens.",
        check=master_logs_in_after_rds_iam,
        if_wrong="Nothing if the token is accepted: the roles function then uses it (ADR 0024). If not, lambda_src/common/database.py.",
        source="PostgreSQL 16 release notes (creators become members); measured with pg_hba's +rds_iam on 17.11",
        actions=IN_FUNCTION,
    ),
    Assumption(
        id="list-tasks",
        assumed="The release role may call ecs:ListTasks.",
        why="AWS authorises it on `*` with the cluster as a condition, whatever the table of resource types says.",
        check=release_role_lists_tasks,
        if_wrong="constructs_lib/pipelines/roles.py, statement ListTasks, and tools/reports/security/authorization.py.",
        source="cdklabs/construct-hub#1207, fabfuel/ecs-deploy#119",
        actions=("sts:AssumeRole",),
    ),
    Assumption(
        id="register-task-definition",
        assumed="The release role may register a task definition of its environment.",
        why="A release refused here stops before its migration.",
        check=release_role_registers_tasks,
        if_wrong="constructs_lib/pipelines/roles.py and tools/reports/security/authorization.py.",
        source="AWS Service Authorization Reference, Amazon ECS",
        actions=("sts:AssumeRole", "ecs:ListTaskDefinitions", "ecs:DeregisterTaskDefinition", "ecs:DeleteTaskDefinitions"),
    ),
    Assumption(
        id="origin-security-group",
        assumed=f"AWS creates the security group {ORIGIN_GROUP} with the VPC origin and its distribution.",
        why="The load balancer admits only this group, which the deployment finds by its name.",
        check=origin_has_a_security_group,
        if_wrong="constructs_lib/edge/load_balancer.py (ADR 0005): admit CloudFront's prefix list and a secret header instead.",
        source="Amazon CloudFront, \"Restrict access with VPC origins\"; AWS CDK, aws-cloudfront-origins",
        actions=("ec2:DescribeSecurityGroups", "ec2:DeleteSecurityGroup"),
    ),
    Assumption(
        id="drift-of-rules",
        assumed="Security group rules in resources of their own are not drift of the group.",
        why="`./carmen drift` would otherwise report every group, every day.",
        check=separate_rules_are_no_drift,
        if_wrong="tools/reports/drift.py: leave these properties out.",
        source="AWS CloudFormation, \"Detect unmanaged configuration changes\" (considerations)",
        actions=("cloudformation:DetectStackResourceDrift",),
    ),
    Assumption(
        id="fill-of-idle-metric",
        assumed="FILL(m, 0) gives zeros for a metric that was never published.",
        why="Alarms add up metrics that most environments never publish, such as dead letters.",
        check=idle_metric_is_filled,
        if_wrong="constructs_lib/compute/python_function.py and the other alarms with FILL: treat missing data explicitly (ADR 0015).",
        source="Amazon CloudWatch, \"Using math expressions\" (FILL)",
        actions=("cloudwatch:DescribeAlarms",),
    ),
    Assumption(
        id="create-service-monitor",
        assumed="This account may create an anomaly monitor of AWS services.",
        why="A member account may not have one by tag, and any account only one by service.",
        check=service_monitor_can_be_created,
        if_wrong="Set `anomaly_detection.monitor_arn`, or leave [anomaly_detection] out (ADR 0026).",
        source="aws-cloudformation/cloudformation-coverage-roadmap#2515",
        actions=("ce:CreateAnomalyMonitor", "ce:DeleteAnomalyMonitor", "ce:GetAnomalyMonitors", "ce:TagResource"),
    ),
    Assumption(
        id="rotated-token",
        assumed="After a rotated Redis token, an update of the stack changes only what its template changes.",
        why="The template names the token by a dynamic reference: CloudFormation might bring the first one back.",
        check=rotated_token_survives_an_update,
        if_wrong="ADR 0012: leave the token out of the template after the first deployment, or rotate by deployment.",
        source="AWS CloudFormation, \"Get a secret or secret value from Secrets Manager\" (updates of dynamic references)",
        actions=(
            *IN_FUNCTION, "secretsmanager:PutSecretValue", "elasticache:ModifyReplicationGroup", "elasticache:DescribeReplicationGroups",
            "cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:ExecuteChangeSet",
        ),
    ),
    Assumption(
        id="budget-notice",
        assumed="AWS Budgets publishes to a topic with a customer key whose policy allows budgets.amazonaws.com.",
        why="A refused notice is silent.",
        check=budget_reaches_an_encrypted_topic,
        if_wrong="constructs_lib/alerting/topics.py: PUBLISHERS and the key's policy.",
        source="AWS Cost Management, \"Creating an Amazon SNS topic for budget notifications\"",
        actions=("sqs:ReceiveMessage",),
    ),
)  # fmt: skip
