"""How each resource type is checked: one entry per type in `CHECKS`.

An entry names the describe call, where the resource is in its answer, and which properties of the
template (left) must be found where (right); both sides are JMESPath expressions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3


@functools.cache
def client(service: str) -> Any:
    return boto3.client(service)


@dataclass(frozen=True)
class Resource:
    stack: str
    logical_id: str
    type: str
    id: str
    properties: dict[str, Any]


@dataclass(frozen=True)
class Look:
    """A further call about the same resource, and the relevant part of its answer.

    It has the first call's arguments; `method:Name` has the physical id as argument `Name` instead.
    """

    method: str
    path: str
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    service: str
    method: str
    arguments: Callable[[Resource], dict[str, Any]]
    path: str
    # expression in the template -> expression in the description; "=" in front: exactly equal
    compare: Mapping[str, str | Look] = field(default_factory=dict)
    # properties that the emulator's API does not return
    not_returned: tuple[str, ...] = ()


def same(names: str) -> dict[str, str]:
    """Properties with the same name in template and description."""
    return {name: name for name in names.split()}


def camel(names: str) -> dict[str, str]:
    """Properties whose name starts with a lower-case letter in the description."""
    return {name: name[0].lower() + name[1:] for name in names.split()}


def by_id(argument: str) -> Callable[[Resource], dict[str, Any]]:
    return lambda resource: {argument: resource.id}


def by_ids(argument: str) -> Callable[[Resource], dict[str, Any]]:
    return lambda resource: {argument: [resource.id]}


def by_filter(name: str) -> Callable[[Resource], dict[str, Any]]:
    return lambda resource: {"Filters": [{"Name": name, "Values": [resource.id]}]}


def policy_version(resource: Resource) -> dict[str, Any]:
    """The default version of a managed policy."""
    policy = client("iam").get_policy(PolicyArn=resource.id)["Policy"]
    return {"PolicyArn": resource.id, "VersionId": policy["DefaultVersionId"]}


def web_acl(resource: Resource) -> dict[str, Any]:
    name, identifier, scope = resource.id.split("|")
    return {"Name": name, "Id": identifier, "Scope": scope}


def security_group_rule(resource: Resource) -> dict[str, Any]:
    return {"GroupIds": [resource.properties["GroupId"]]}


RULE = "{IpProtocol: IpProtocol, FromPort: FromPort, ToPort: ToPort, CidrIp: IpRanges[].CidrIp, Group: UserIdGroupPairs[].GroupId}"
TEMPLATE_RULE = "{IpProtocol: IpProtocol, FromPort: FromPort, ToPort: ToPort, CidrIp: CidrIp, Group: %s}"

LIFECYCLE = (
    "{Id: ID, Status: Status, Days: Expiration.Days, Old: NoncurrentVersionExpiration.NoncurrentDays, "
    "Abort: AbortIncompleteMultipartUpload.DaysAfterInitiation}"
)
TEMPLATE_LIFECYCLE = LIFECYCLE.replace(": ID", ": Id").replace("Expiration.Days", "ExpirationInDays", 1)
BEHAVIOUR = (
    "{Viewers: ViewerProtocolPolicy, Cache: CachePolicyId, Request: OriginRequestPolicyId, "
    "Headers: ResponseHeadersPolicyId, Functions: %s.FunctionARN}"
)
SETTINGS = "Parameters[?ParameterValue].{name: ParameterName, value: ParameterValue}"

CHECKS: dict[str, Check] = {
    "AWS::CertificateManager::Certificate": Check(
        "acm", "describe_certificate", by_id("CertificateArn"), "Certificate", same("DomainName")
    ),
    "AWS::CloudFront::CachePolicy": Check(
        "cloudfront",
        "get_cache_policy",
        by_id("Id"),
        "CachePolicy.CachePolicyConfig",
        {f"CachePolicyConfig.{name}": name for name in ("Name", "DefaultTTL", "MaxTTL")}
        | {
            "CachePolicyConfig.ParametersInCacheKeyAndForwardedToOrigin.EnableAcceptEncodingBrotli": "ParametersInCacheKeyAndForwardedToOrigin.EnableAcceptEncodingBrotli"
        },
    ),
    "AWS::CloudFront::Distribution": Check(
        "cloudfront",
        "get_distribution",
        by_id("Id"),
        "Distribution.DistributionConfig",
        {
            "DistributionConfig.Aliases": "Aliases.Items",
            "DistributionConfig.WebACLId": "WebACLId",
            "DistributionConfig.HttpVersion": "HttpVersion",
            "DistributionConfig.Enabled": "Enabled",
            "DistributionConfig.DefaultCacheBehavior." + BEHAVIOUR % "FunctionAssociations[]": "DefaultCacheBehavior."
            + BEHAVIOUR % "FunctionAssociations.Items[]",
            "=DistributionConfig.CacheBehaviors[].{PathPattern: PathPattern, Policy: ViewerProtocolPolicy, Cache: CachePolicyId, Origin: TargetOriginId}": "CacheBehaviors.Items[].{PathPattern: PathPattern, Policy: ViewerProtocolPolicy, Cache: CachePolicyId, Origin: TargetOriginId}",
            "=DistributionConfig.Origins[].{Id: Id, Vpc: VpcOriginConfig.VpcOriginId, Oac: OriginAccessControlId}": "Origins.Items[].{Id: Id, Vpc: VpcOriginConfig.VpcOriginId, Oac: OriginAccessControlId}",
            "=DistributionConfig.OriginGroups.Items": "OriginGroups.Items",
            "=DistributionConfig.CustomErrorResponses": "CustomErrorResponses.Items",
            "DistributionConfig.ViewerCertificate.{a: MinimumProtocolVersion, b: SslSupportMethod}": "ViewerCertificate.{a: MinimumProtocolVersion, b: SSLSupportMethod}",
            "DistributionConfig.Logging.Bucket": "Logging.Bucket",
        },
    ),
    "AWS::CloudFront::Function": Check(
        "cloudfront",
        "describe_function",
        lambda r: {"Name": r.properties["Name"], "Stage": "LIVE"},
        "FunctionSummary",
        {"FunctionConfig.Runtime": "FunctionConfig.Runtime"},
    ),
    "AWS::CloudFront::OriginAccessControl": Check(
        "cloudfront",
        "get_origin_access_control",
        by_id("Id"),
        "OriginAccessControl",
        same("OriginAccessControlConfig"),
    ),
    "AWS::CloudFront::OriginRequestPolicy": Check(
        "cloudfront",
        "get_origin_request_policy",
        by_id("Id"),
        "OriginRequestPolicy",
        {
            f"OriginRequestPolicyConfig.{name}": f"OriginRequestPolicyConfig.{name}"
            for name in ("Name", "CookiesConfig.CookieBehavior", "HeadersConfig.HeaderBehavior")
        },
    ),
    "AWS::CloudFront::ResponseHeadersPolicy": Check(
        "cloudfront",
        "get_response_headers_policy",
        by_id("Id"),
        "ResponseHeadersPolicy.ResponseHeadersPolicyConfig",
        {
            "ResponseHeadersPolicyConfig.SecurityHeadersConfig": "SecurityHeadersConfig",
            "ResponseHeadersPolicyConfig.CustomHeadersConfig.Items": "CustomHeadersConfig.Items",
        },
    ),
    "AWS::CloudFront::VpcOrigin": Check(
        "cloudfront",
        "get_vpc_origin",
        by_id("Id"),
        "VpcOrigin.VpcOriginEndpointConfig",
        {f"VpcOriginEndpointConfig.{name}": name for name in ("Arn", "HTTPPort", "OriginProtocolPolicy")},
    ),
    "AWS::CloudWatch::Alarm": Check(
        "cloudwatch",
        "describe_alarms",
        by_ids("AlarmNames"),
        "MetricAlarms[0]",
        same(
            "MetricName Namespace Threshold ComparisonOperator EvaluationPeriods DatapointsToAlarm "
            "TreatMissingData Period Statistic ExtendedStatistic AlarmActions OKActions "
            "Metrics[].Expression"
        ),
    ),
    "AWS::CloudWatch::CompositeAlarm": Check(
        "cloudwatch",
        "describe_alarms",
        lambda r: {"AlarmNames": [r.id], "AlarmTypes": ["CompositeAlarm"]},
        "CompositeAlarms[0]",
        same("AlarmRule AlarmActions OKActions ActionsSuppressor ActionsSuppressorWaitPeriod"),
    ),
    "AWS::CloudWatch::Dashboard": Check("cloudwatch", "get_dashboard", by_id("DashboardName"), "DashboardBody"),
    "AWS::DynamoDB::Table": Check(
        "dynamodb",
        "describe_table",
        by_id("TableName"),
        "Table",
        {
            "=KeySchema": "KeySchema",
            "BillingMode": "BillingModeSummary.BillingMode",
            "SSESpecification.SSEEnabled && 'ENABLED'": "SSEDescription.Status",
            "PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled && 'ENABLED'": Look(
                "describe_continuous_backups", "ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus"
            ),
            "TimeToLiveSpecification.AttributeName": Look("describe_time_to_live", "TimeToLiveDescription.AttributeName"),
        },
    ),
    "AWS::EC2::EIP": Check("ec2", "describe_addresses", by_filter("public-ip"), "Addresses[0]", same("Domain")),
    "AWS::EC2::FlowLog": Check(
        "ec2",
        "describe_flow_logs",
        by_ids("FlowLogIds"),
        "FlowLogs[0]",
        same("ResourceId TrafficType LogDestinationType") | {"LogGroupName": "LogDestination"},
        not_returned=("DeliverLogsPermissionArn",),
    ),
    "AWS::EC2::InternetGateway": Check("ec2", "describe_internet_gateways", by_ids("InternetGatewayIds"), "InternetGateways[0]"),
    "AWS::EC2::NatGateway": Check(
        "ec2",
        "describe_nat_gateways",
        by_ids("NatGatewayIds"),
        "NatGateways[0]",
        {"SubnetId": "SubnetId", "AllocationId": "NatGatewayAddresses[0].AllocationId"},
    ),
    "AWS::EC2::Route": Check(
        "ec2",
        "describe_route_tables",
        lambda r: {"RouteTableIds": [r.properties["RouteTableId"]]},
        "RouteTables[0]",
        {"{DestinationCidrBlock: DestinationCidrBlock, GatewayId: GatewayId, NatGatewayId: NatGatewayId}": "Routes"},
    ),
    "AWS::EC2::RouteTable": Check("ec2", "describe_route_tables", by_ids("RouteTableIds"), "RouteTables[0]", same("VpcId")),
    "AWS::EC2::SecurityGroup": Check(
        "ec2",
        "describe_security_groups",
        by_ids("GroupIds"),
        "SecurityGroups[0]",
        {
            "VpcId": "VpcId",
            f"SecurityGroupIngress[].{TEMPLATE_RULE % 'SourceSecurityGroupId'}": f"IpPermissions[].{RULE}",
            f"SecurityGroupEgress[].{TEMPLATE_RULE % 'DestinationSecurityGroupId'}": f"IpPermissionsEgress[].{RULE}",
            "=SecurityGroupIngress[].CidrIp": "IpPermissions[].IpRanges[].CidrIp",
            "=SecurityGroupEgress[].CidrIp": "IpPermissionsEgress[].IpRanges[].CidrIp",
        },
    ),
    "AWS::EC2::SecurityGroupEgress": Check(
        "ec2",
        "describe_security_groups",
        security_group_rule,
        "SecurityGroups[0]",
        {TEMPLATE_RULE % "DestinationSecurityGroupId": f"IpPermissionsEgress[].{RULE}"},
    ),
    "AWS::EC2::SecurityGroupIngress": Check(
        "ec2",
        "describe_security_groups",
        security_group_rule,
        "SecurityGroups[0]",
        {TEMPLATE_RULE % "SourceSecurityGroupId": f"IpPermissions[].{RULE}"},
    ),
    "AWS::EC2::Subnet": Check(
        "ec2",
        "describe_subnets",
        by_ids("SubnetIds"),
        "Subnets[0]",
        same("VpcId CidrBlock AvailabilityZone MapPublicIpOnLaunch"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Check(
        "ec2",
        "describe_route_tables",
        by_filter("association.route-table-association-id"),
        "RouteTables[0]",
        {"RouteTableId": "RouteTableId", "SubnetId": "Associations[].SubnetId"},
    ),
    "AWS::EC2::VPC": Check(
        "ec2",
        "describe_vpcs",
        by_ids("VpcIds"),
        "Vpcs[0]",
        same("CidrBlock InstanceTenancy")
        | {
            "EnableDnsSupport": Look("describe_vpc_attribute:VpcId", "EnableDnsSupport.Value", {"Attribute": "enableDnsSupport"}),
            "EnableDnsHostnames": Look("describe_vpc_attribute:VpcId", "EnableDnsHostnames.Value", {"Attribute": "enableDnsHostnames"}),
        },
    ),
    "AWS::EC2::VPCEndpoint": Check(
        "ec2",
        "describe_vpc_endpoints",
        by_ids("VpcEndpointIds"),
        "VpcEndpoints[0]",
        same("VpcId ServiceName VpcEndpointType RouteTableIds SubnetIds"),
        not_returned=("SecurityGroupIds", "PrivateDnsEnabled", "PolicyDocument"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Check(
        "ec2",
        "describe_internet_gateways",
        lambda r: {"InternetGatewayIds": [r.properties["InternetGatewayId"]]},
        "InternetGateways[0]",
        {"VpcId": "Attachments[].VpcId"},
    ),
    "AWS::ECR::Repository": Check(
        "ecr",
        "describe_repositories",
        by_ids("repositoryNames"),
        "repositories[0]",
        camel("ImageTagMutability ImageScanningConfiguration")
        | {
            "LifecyclePolicy.LifecyclePolicyText": Look("get_lifecycle_policy:repositoryName", "lifecyclePolicyText"),
            "EncryptionConfiguration": "encryptionConfiguration",
        },
    ),
    "AWS::ECS::Cluster": Check(
        "ecs",
        "describe_clusters",
        lambda r: {"clusters": [r.id], "include": ["SETTINGS", "CONFIGURATIONS"]},
        "clusters[0]",
        {"ClusterSettings": "settings"},
    ),
    "AWS::ECS::ClusterCapacityProviderAssociations": Check(
        "ecs",
        "describe_clusters",
        by_ids("clusters"),
        "clusters[0]",
        {
            "=CapacityProviders": "capacityProviders",
            "DefaultCapacityProviderStrategy": "defaultCapacityProviderStrategy",
        },
    ),
    "AWS::ECS::Service": Check(
        "ecs",
        "describe_services",
        lambda r: {"cluster": r.properties["Cluster"], "services": [r.id]},
        "services[0]",
        camel(
            "TaskDefinition CapacityProviderStrategy NetworkConfiguration LoadBalancers "
            "DeploymentConfiguration HealthCheckGracePeriodSeconds EnableECSManagedTags PropagateTags "
            "EnableExecuteCommand"
        ),
    ),
    "AWS::ECS::TaskDefinition": Check(
        "ecs",
        "describe_task_definition",
        by_id("taskDefinition"),
        "taskDefinition",
        camel("Cpu Memory NetworkMode RuntimePlatform RequiresCompatibilities TaskRoleArn ExecutionRoleArn Volumes")
        | {"ContainerDefinitions": "containerDefinitions"},
    ),
    "AWS::ElastiCache::ParameterGroup": Check(
        "elasticache",
        "describe_cache_parameter_groups",
        by_id("CacheParameterGroupName"),
        "CacheParameterGroups[0]",
        {
            "CacheParameterGroupFamily": "CacheParameterGroupFamily",
            "pairs(Properties)": Look("describe_cache_parameters", SETTINGS),
        },
    ),
    "AWS::ElastiCache::ReplicationGroup": Check(
        "elasticache",
        "describe_replication_groups",
        by_id("ReplicationGroupId"),
        "ReplicationGroups[0]",
        same("AtRestEncryptionEnabled TransitEncryptionEnabled TransitEncryptionMode CacheNodeType SnapshotRetentionLimit SnapshotWindow")
        | {
            "AutomaticFailoverEnabled && 'enabled'": "AutomaticFailover",
            "MultiAZEnabled && 'enabled'": "MultiAZ",
            "AuthToken && `true`": "AuthTokenEnabled",
            "NumCacheClusters": "length(MemberClusters)",
        },
        not_returned=("KmsKeyId", "SecurityGroupIds", "CacheParameterGroupName", "CacheSubnetGroupName"),
    ),
    "AWS::ElastiCache::SubnetGroup": Check(
        "elasticache",
        "describe_cache_subnet_groups",
        by_id("CacheSubnetGroupName"),
        "CacheSubnetGroups[0]",
        {"=SubnetIds": "Subnets[].SubnetIdentifier"},
    ),
    "AWS::ElasticLoadBalancingV2::Listener": Check(
        "elbv2",
        "describe_listeners",
        by_ids("ListenerArns"),
        "Listeners[0]",
        same("Port Protocol SslPolicy LoadBalancerArn DefaultActions"),
    ),
    "AWS::ElasticLoadBalancingV2::ListenerRule": Check(
        "elbv2",
        "describe_rules",
        by_ids("RuleArns"),
        "Rules[0]",
        same("Priority") | {"Conditions[].Field": "Conditions[].Field", "Actions[].Type": "Actions[].Type"},
    ),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": Check(
        "elbv2",
        "describe_load_balancers",
        by_ids("LoadBalancerArns"),
        "LoadBalancers[0]",
        same("Scheme Type")
        | {
            "=SecurityGroups": "SecurityGroups",
            "=Subnets": "AvailabilityZones[].SubnetId",
            "LoadBalancerAttributes": Look("describe_load_balancer_attributes:LoadBalancerArn", "Attributes"),
        },
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": Check(
        "elbv2",
        "describe_target_groups",
        by_ids("TargetGroupArns"),
        "TargetGroups[0]",
        same(
            "Port Protocol VpcId TargetType HealthCheckPath HealthCheckIntervalSeconds "
            "HealthCheckTimeoutSeconds HealthyThresholdCount Matcher"
        )
        | {"TargetGroupAttributes": Look("describe_target_group_attributes:TargetGroupArn", "Attributes")},
    ),
    "AWS::Events::Rule": Check(
        "events",
        "describe_rule",
        by_id("Name"),
        "@",
        {
            "State": "State",
            "EventPattern": "EventPattern",
            "Targets[].Arn": Look("list_targets_by_rule:Rule", "Targets[].Arn"),
        },
    ),
    "AWS::IAM::ManagedPolicy": Check(
        "iam",
        "get_policy_version",
        policy_version,
        "PolicyVersion",
        {"PolicyDocument": "Document"},
    ),
    "AWS::IAM::Policy": Check(
        "iam",
        "get_role_policy",
        lambda r: {"RoleName": r.properties["Roles"][0], "PolicyName": r.properties["PolicyName"]},
        "@",
        same("PolicyDocument"),
    ),
    "AWS::IAM::Role": Check(
        "iam",
        "get_role",
        by_id("RoleName"),
        "Role",
        same("AssumeRolePolicyDocument Description Path")
        | {
            "PermissionsBoundary": "PermissionsBoundary.PermissionsBoundaryArn",
            "=ManagedPolicyArns": Look("list_attached_role_policies", "AttachedPolicies[].PolicyArn"),
            "Policies[].PolicyName": Look("list_role_policies", "PolicyNames"),
        },
    ),
    "AWS::KMS::Alias": Check("kms", "describe_key", by_id("KeyId"), "KeyMetadata", {"TargetKeyId": "KeyId"}),
    "AWS::KMS::Key": Check(
        "kms",
        "describe_key",
        by_id("KeyId"),
        "KeyMetadata",
        {
            "EnableKeyRotation": Look("get_key_rotation_status", "KeyRotationEnabled"),
            "RotationPeriodInDays": Look("get_key_rotation_status", "RotationPeriodInDays"),
            "KeyPolicy": Look("get_key_policy", "Policy"),
        },
    ),
    "AWS::Lambda::EventInvokeConfig": Check(
        "lambda",
        "get_function_event_invoke_config",
        lambda r: {"FunctionName": r.properties["FunctionName"], "Qualifier": r.properties["Qualifier"]},
        "@",
        same("MaximumRetryAttempts MaximumEventAgeInSeconds DestinationConfig.OnFailure"),
    ),
    "AWS::Lambda::EventSourceMapping": Check(
        "lambda",
        "get_event_source_mapping",
        by_id("UUID"),
        "@",
        same("BatchSize EventSourceArn FunctionResponseTypes MaximumBatchingWindowInSeconds ScalingConfig"),
    ),
    "AWS::Lambda::Function": Check(
        "lambda",
        "get_function_configuration",
        by_id("FunctionName"),
        "@",
        same("Runtime Handler Role Timeout MemorySize Architectures DeadLetterConfig TracingConfig LoggingConfig Environment")
        | {
            "VpcConfig.SubnetIds": "VpcConfig.SubnetIds",
            "VpcConfig.SecurityGroupIds": "VpcConfig.SecurityGroupIds",
            "Layers": "Layers[].Arn",
            "ReservedConcurrentExecutions": Look("get_function_concurrency", "ReservedConcurrentExecutions"),
        },
    ),
    "AWS::Lambda::LayerVersion": Check("lambda", "get_layer_version_by_arn", by_id("Arn"), "@", same("CompatibleArchitectures")),
    "AWS::Lambda::Permission": Check(
        "lambda",
        "get_policy",
        lambda r: {"FunctionName": r.properties["FunctionName"]},
        "Policy",
        {
            "{Action: Action, Service: Principal, Arn: SourceArn, Account: SourceAccount}": "Statement[].{Action: Action, Service: Principal.Service, "
            'Arn: Condition.ArnLike."AWS:SourceArn", Account: Condition.StringEquals."AWS:SourceAccount"}'
        },
    ),
    "AWS::Logs::LogGroup": Check(
        "logs",
        "describe_log_groups",
        by_id("logGroupNamePrefix"),
        "logGroups[0]",
        camel("LogGroupName RetentionInDays KmsKeyId"),
    ),
    "AWS::Logs::MetricFilter": Check(
        "logs",
        "describe_metric_filters",
        lambda r: {"logGroupName": r.properties["LogGroupName"]},
        "metricFilters[0]",
        camel("FilterPattern MetricTransformations"),
    ),
    "AWS::RDS::DBInstance": Check(
        "rds",
        "describe_db_instances",
        by_id("DBInstanceIdentifier"),
        "DBInstances[0]",
        same(
            "StorageEncrypted DeletionProtection MultiAZ PubliclyAccessible BackupRetentionPeriod "
            "Engine DBInstanceClass AllocatedStorage MaxAllocatedStorage StorageType "
            "KmsKeyId PreferredBackupWindow PreferredMaintenanceWindow CopyTagsToSnapshot "
            "MonitoringInterval MonitoringRoleArn CACertificateIdentifier "
            "PerformanceInsightsRetentionPeriod DBName MasterUsername"
        )
        | {
            "major(EngineVersion)": "major(EngineVersion)",  # RDS chooses and upgrades the minor version
            "EnableIAMDatabaseAuthentication": "IAMDatabaseAuthenticationEnabled",
            "EnablePerformanceInsights": "PerformanceInsightsEnabled",
            "DBParameterGroupName": "DBParameterGroups[].DBParameterGroupName",
            "DBSubnetGroupName": "DBSubnetGroup.DBSubnetGroupName",
            "=VPCSecurityGroups": "VpcSecurityGroups[].VpcSecurityGroupId",
        },
        not_returned=("EnableCloudwatchLogsExports",),
    ),
    "AWS::RDS::DBParameterGroup": Check(
        "rds",
        "describe_db_parameter_groups",
        by_id("DBParameterGroupName"),
        "DBParameterGroups[0]",
        {"Family": "DBParameterGroupFamily", "pairs(Parameters)": Look("describe_db_parameters", SETTINGS)},
    ),
    "AWS::RDS::DBProxy": Check(
        "rds",
        "describe_db_proxies",
        by_id("DBProxyName"),
        "DBProxies[0]",
        same("RequireTLS IdleClientTimeout EngineFamily RoleArn DebugLogging Auth")
        | {"=VpcSecurityGroupIds": "VpcSecurityGroupIds", "=VpcSubnetIds": "VpcSubnetIds"},
    ),
    "AWS::RDS::DBProxyTargetGroup": Check(
        "rds",
        "describe_db_proxy_target_groups",
        lambda r: {"DBProxyName": r.properties["DBProxyName"]},
        "TargetGroups[0]",
        {
            "ConnectionPoolConfigurationInfo": "ConnectionPoolConfig",
            "=DBInstanceIdentifiers": Look("describe_db_proxy_targets", "Targets[].RdsResourceId"),
        },
    ),
    "AWS::RDS::DBSubnetGroup": Check(
        "rds",
        "describe_db_subnet_groups",
        by_id("DBSubnetGroupName"),
        "DBSubnetGroups[0]",
        {"=SubnetIds": "Subnets[].SubnetIdentifier"},
    ),
    "AWS::Route53::HostedZone": Check("route53", "get_hosted_zone", by_id("Id"), "HostedZone", same("Name")),
    "AWS::Route53::RecordSet": Check(
        "route53",
        "list_resource_record_sets",
        lambda r: {"HostedZoneId": r.properties["HostedZoneId"]},
        "@",
        {"{Name: Name, Type: Type, AliasTarget: AliasTarget}": "ResourceRecordSets"},
    ),
    "AWS::S3::Bucket": Check(
        "s3",
        "head_bucket",
        by_id("Bucket"),
        "@",
        {
            "BucketEncryption.ServerSideEncryptionConfiguration[].ServerSideEncryptionByDefault": Look(
                "get_bucket_encryption", "ServerSideEncryptionConfiguration.Rules[].ApplyServerSideEncryptionByDefault"
            ),
            "BucketEncryption.ServerSideEncryptionConfiguration[].BucketKeyEnabled": Look(
                "get_bucket_encryption", "ServerSideEncryptionConfiguration.Rules[].BucketKeyEnabled"
            ),
            "PublicAccessBlockConfiguration": Look("get_public_access_block", "PublicAccessBlockConfiguration"),
            "VersioningConfiguration.Status": Look("get_bucket_versioning", "Status"),
            "ObjectLockConfiguration": Look("get_object_lock_configuration", "ObjectLockConfiguration"),
            "OwnershipControls.Rules": Look("get_bucket_ownership_controls", "OwnershipControls.Rules"),
            "LoggingConfiguration.{TargetBucket: DestinationBucketName, TargetPrefix: LogFilePrefix}": Look(
                "get_bucket_logging", "LoggingEnabled"
            ),
            "=LifecycleConfiguration.Rules[]." + TEMPLATE_LIFECYCLE: Look("get_bucket_lifecycle_configuration", "Rules[]." + LIFECYCLE),
            "=CorsConfiguration.CorsRules[].AllowedOrigins": Look("get_bucket_cors", "CORSRules[].AllowedOrigins"),
            "Tags": Look("get_bucket_tagging", "TagSet"),
        },
    ),
    "AWS::S3::BucketPolicy": Check(
        "s3", "get_bucket_policy", lambda r: {"Bucket": r.properties["Bucket"]}, "Policy", {"PolicyDocument": "@"}
    ),
    "AWS::SNS::Subscription": Check(
        "sns",
        "list_subscriptions_by_topic",
        lambda r: {"TopicArn": r.properties["TopicArn"]},
        "@",
        {
            "{Protocol: Protocol, Endpoint: Endpoint}": "Subscriptions",
            "{RawMessageDelivery: RawMessageDelivery, RedrivePolicy: RedrivePolicy}": Look(
                "get_subscription_attributes:SubscriptionArn", "Attributes"
            ),
        },
    ),
    "AWS::SNS::Topic": Check("sns", "get_topic_attributes", by_id("TopicArn"), "Attributes", same("KmsMasterKeyId DisplayName")),
    "AWS::SNS::TopicPolicy": Check(
        "sns",
        "get_topic_attributes",
        lambda r: {"TopicArn": r.properties["Topics"][0]},
        "Attributes.Policy",
        {"PolicyDocument": "@"},
    ),
    "AWS::SQS::Queue": Check(
        "sqs",
        "get_queue_attributes",
        lambda r: {"QueueUrl": r.id, "AttributeNames": ["All"]},
        "Attributes",
        same("KmsMasterKeyId MessageRetentionPeriod RedrivePolicy SqsManagedSseEnabled VisibilityTimeout"),
    ),
    "AWS::SQS::QueuePolicy": Check(
        "sqs",
        "get_queue_attributes",
        lambda r: {"QueueUrl": r.properties["Queues"][0], "AttributeNames": ["Policy"]},
        "Attributes.Policy",
        {"PolicyDocument": "@"},
    ),
    "AWS::SSM::Parameter": Check("ssm", "get_parameter", by_id("Name"), "Parameter", same("Type Value")),
    "AWS::Scheduler::Schedule": Check(
        "scheduler",
        "get_schedule",
        lambda r: {"Name": r.id, "GroupName": r.properties.get("GroupName", "default")},
        "@",
        same("ScheduleExpression ScheduleExpressionTimezone State FlexibleTimeWindow Target"),
    ),
    "AWS::Scheduler::ScheduleGroup": Check("scheduler", "get_schedule_group", by_id("Name"), "@", same("Name")),
    "AWS::SecretsManager::ResourcePolicy": Check(
        "secretsmanager",
        "get_resource_policy",
        lambda r: {"SecretId": r.properties["SecretId"]},
        "ResourcePolicy",
        {"ResourcePolicy": "@"},
    ),
    "AWS::SecretsManager::RotationSchedule": Check(
        "secretsmanager",
        "describe_secret",
        lambda r: {"SecretId": r.properties["SecretId"]},
        "@",
        same("RotationLambdaARN RotationRules") | {"RotationRules && `true`": "RotationEnabled"},
    ),
    "AWS::SecretsManager::Secret": Check("secretsmanager", "describe_secret", by_id("SecretId"), "@", same("KmsKeyId Description")),
    "AWS::SecretsManager::SecretTargetAttachment": Check("secretsmanager", "describe_secret", by_id("SecretId"), "@"),
    "AWS::WAFv2::IPSet": Check(
        "wafv2", "get_ip_set", web_acl, "IPSet", {"=Addresses": "Addresses", "IPAddressVersion": "IPAddressVersion"}
    ),
    "AWS::WAFv2::WebACL": Check("wafv2", "get_web_acl", web_acl, "WebACL", {"=Rules": "Rules", "DefaultAction": "DefaultAction"}),
    "Custom::S3BucketNotifications": Check(
        "s3",
        "get_bucket_notification_configuration",
        lambda r: {"Bucket": r.properties["BucketName"]},
        "@",
        {"NotificationConfiguration": "@"},
    ),
}
