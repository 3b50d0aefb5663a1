"""What the local gateway does with each type of resource, and with each property of the types that it serves.

A type is served, or needs nothing on this machine, or is not served. A property of a served type likewise. What stands
in none of these tables is not served, and said.
"""

import enum
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

_NOTHING_LIKE_IT = "there is nothing like it on this machine"
_IGNORED = "it has no effect on this machine"
_NO_NETWORK = "functions are in this machine's own network"
_NO_MACHINE = "no machine is started here"
_NO_ADDRESS = "APIs are at this machine's own address"
_NO_THROTTLE = "no route is throttled on this machine"


class Class(enum.Enum):
    SERVED = "served"
    NEEDS_NOTHING = "needs nothing"
    NOT_SERVED = "not served"


@dataclass(frozen=True)
class Served:
    """A served type. `call`: the API call whose input says of what types the properties are; empty if a service checks.

    `obeyed`: properties that do what they do in AWS. `quiet`: those without any behaviour to miss on a laptop.
    """

    call: str
    required: tuple[str, ...]
    obeyed: frozenset[str]
    quiet: frozenset[str]


def _served(call: str, required: str, obeyed: str, quiet: str = "") -> Served:
    needed = tuple(required.split())
    return Served(call, needed, frozenset(obeyed.split()) | frozenset(needed), frozenset(quiet.split()) | {"Tags"})


SERVED: Mapping[str, Served] = {
    "AWS::ApiGatewayV2::Api": _served(
        "apigatewayv2.CreateApi",
        "",
        "Body CorsConfiguration ProtocolType RouteKey RouteSelectionExpression Target",
        "CredentialsArn Description FailOnWarnings IpAddressType Name Version",
    ),
    "AWS::ApiGatewayV2::Authorizer": _served(
        "apigatewayv2.CreateAuthorizer",
        "ApiId AuthorizerType",
        "AuthorizerPayloadFormatVersion AuthorizerUri EnableSimpleResponses IdentitySource JwtConfiguration",
        "AuthorizerCredentialsArn AuthorizerResultTtlInSeconds Name",
    ),
    "AWS::ApiGatewayV2::Integration": _served(
        "apigatewayv2.CreateIntegration",
        "ApiId IntegrationType",
        "ConnectionId ConnectionType IntegrationMethod IntegrationSubtype IntegrationUri PassthroughBehavior "
        "PayloadFormatVersion RequestParameters RequestTemplates TemplateSelectionExpression TimeoutInMillis TlsConfig",
        "ContentHandlingStrategy CredentialsArn Description",
    ),
    "AWS::ApiGatewayV2::IntegrationResponse": _served(
        "apigatewayv2.CreateIntegrationResponse",
        "ApiId IntegrationId IntegrationResponseKey",
        "ResponseTemplates TemplateSelectionExpression",
        "ContentHandlingStrategy",
    ),
    "AWS::ApiGatewayV2::Route": _served(
        "apigatewayv2.CreateRoute",
        "ApiId RouteKey",
        "AuthorizationType AuthorizerId RouteResponseSelectionExpression Target",
        "AuthorizationScopes OperationName",
    ),
    "AWS::ApiGatewayV2::RouteResponse": _served(
        "apigatewayv2.CreateRouteResponse", "ApiId RouteId RouteResponseKey", "", "ModelSelectionExpression"
    ),
    "AWS::ApiGatewayV2::Stage": _served(
        "apigatewayv2.CreateStage",
        "ApiId StageName",
        "StageVariables",
        "AccessLogSettings AutoDeploy ClientCertificateId DeploymentId Description",
    ),
    "AWS::CloudFormation::Stack": _served("", "", "Parameters TemplateURL", "NotificationARNs TimeoutInMinutes"),
    "AWS::DynamoDB::GlobalTable": _served(
        "",
        "KeySchema AttributeDefinitions",
        "BillingMode GlobalSecondaryIndexes LocalSecondaryIndexes StreamSpecification TableName "
        "TimeToLiveSpecification",
        "Replicas ReadOnDemandThroughputSettings ReadProvisionedThroughputSettings SSESpecification WarmThroughput "
        "WriteOnDemandThroughputSettings WriteProvisionedThroughputSettings",
    ),
    "AWS::DynamoDB::Table": _served(
        "",
        "KeySchema",
        "AttributeDefinitions BillingMode GlobalSecondaryIndexes LocalSecondaryIndexes ProvisionedThroughput "
        "StreamSpecification TableName TimeToLiveSpecification",
        "ContributorInsightsSpecification DeletionProtectionEnabled OnDemandThroughput "
        "PointInTimeRecoverySpecification ResourcePolicy SSESpecification TableClass WarmThroughput",
    ),
    "AWS::Lambda::Alias": _served(
        "lambda.CreateAlias", "FunctionName FunctionVersion Name", "", "Description ProvisionedConcurrencyConfig"
    ),
    "AWS::Lambda::EventInvokeConfig": _served(
        "lambda.PutFunctionEventInvokeConfig",
        "FunctionName Qualifier",
        "DestinationConfig MaximumEventAgeInSeconds MaximumRetryAttempts",
    ),
    "AWS::Lambda::Function": _served(
        "lambda.CreateFunction",
        "Code",
        "Environment FunctionName Handler Layers LoggingConfig MemorySize PackageType ReservedConcurrentExecutions "
        "Runtime SnapStart Timeout",
        "Architectures CodeSigningConfigArn Description EphemeralStorage ImageConfig KmsKeyArn RecursiveLoop Role "
        "RuntimeManagementConfig TracingConfig VpcConfig",
    ),
    "AWS::Lambda::LayerVersion": _served(
        "lambda.PublishLayerVersion",
        "Content",
        "LayerName",
        "CompatibleArchitectures CompatibleRuntimes Description LicenseInfo",
    ),
    "AWS::Lambda::Url": _served(
        "lambda.CreateFunctionUrlConfig", "AuthType TargetFunctionArn", "Cors InvokeMode Qualifier"
    ),
    "AWS::Lambda::Version": _served(
        "lambda.PublishVersion", "FunctionName", "", "CodeSha256 Description ProvisionedConcurrencyConfig RuntimePolicy"
    ),
    "AWS::S3::Bucket": _served(
        "",
        "",
        "BucketName CorsConfiguration VersioningConfiguration",
        "AccessControl AnalyticsConfigurations BucketEncryption IntelligentTieringConfigurations "
        "InventoryConfigurations LifecycleConfiguration LoggingConfiguration MetricsConfigurations "
        "OwnershipControls PublicAccessBlockConfiguration",
    ),
    "AWS::SNS::Topic": _served(
        "",
        "",
        "ContentBasedDeduplication FifoTopic TopicName",
        "DataProtectionPolicy DeliveryStatusLogging DisplayName KmsMasterKeyId SignatureVersion TracingConfig",
    ),
    "AWS::SQS::Queue": _served(
        "",
        "",
        "ContentBasedDeduplication DelaySeconds FifoQueue MaximumMessageSize MessageRetentionPeriod QueueName "
        "ReceiveMessageWaitTimeSeconds RedrivePolicy VisibilityTimeout",
        "DeduplicationScope FifoThroughputLimit KmsDataKeyReusePeriodSeconds KmsMasterKeyId RedriveAllowPolicy "
        "SqsManagedSseEnabled",
    ),
    "AWS::SSM::Parameter": _served("", "Type Value", "Name", "AllowedPattern DataType Description Policies Tier"),
    "AWS::SecretsManager::Secret": _served(
        "", "", "GenerateSecretString Name SecretString", "Description KmsKeyId ReplicaRegions Type"
    ),
}

NEEDS_NOTHING: Mapping[str, str] = {
    "AWS::ApiGateway::*": "it is part of a REST API, which is named itself",
    "AWS::ApiGatewayV2::Deployment": "the template as it is now is what is deployed",
    "AWS::ApplicationAutoScaling::*": "nothing has a capacity here",
    "AWS::ApplicationInsights::Application": "nothing is measured here",
    "AWS::Backup::*": "nothing outlives the run",
    "AWS::Budgets::*": "nothing costs anything here",
    "AWS::CDK::Metadata": "it is for the CDK's own statistics",
    "AWS::CloudFormation::WaitConditionHandle": "nothing is waited for",
    "AWS::CloudWatch::*": "nothing is measured here",
    "AWS::CodeDeploy::*": "new code is served at once",
    "AWS::EC2::*": _NO_NETWORK,
    "AWS::IAM::*": "no permission is checked here",
    "AWS::InternetMonitor::*": "nothing is measured here",
    "AWS::Lambda::CodeSigningConfig": "no signature of code is checked here",
    "AWS::Lambda::LayerVersionPermission": "no permission is checked here",
    "AWS::Lambda::Permission": "no permission is checked here",
    "AWS::Logs::*": "the log is in the terminal",
    "AWS::ResourceGroups::*": "it groups what is in an account",
    "AWS::S3::BucketPolicy": "no permission is checked here",
    "AWS::SNS::TopicInlinePolicy": "no permission is checked here",
    "AWS::SNS::TopicPolicy": "no permission is checked here",
    "AWS::SQS::QueueInlinePolicy": "no permission is checked here",
    "AWS::SQS::QueuePolicy": "no permission is checked here",
    "AWS::SecretsManager::ResourcePolicy": "no permission is checked here",
    "AWS::ServiceCatalogAppRegistry::*": "it groups what is in an account",
    "AWS::Signer::*": "no signature of code is checked here",
    "AWS::XRay::*": "nothing is traced here",
}

NOT_SERVED: Mapping[str, str] = {
    "AWS::ApiGateway::RestApi": "REST APIs are not served (HTTP and WebSocket APIs are)",
    "AWS::ApiGatewayV2::ApiMapping": _NO_ADDRESS,
    "AWS::ApiGatewayV2::DomainName": _NO_ADDRESS,
    "AWS::ApiGatewayV2::Model": "messages are not checked against models here",
    "AWS::ApiGatewayV2::VpcLink": "there is no private network to reach",
    "AWS::CertificateManager::*": _NO_ADDRESS,
    "AWS::CloudFormation::CustomResource": "its function is not called, and its attributes are made up",
    "AWS::CloudFront::*": "there is no CDN in front",
    "AWS::Cognito::*": "nobody can sign in here",
    "AWS::EC2::EC2Fleet": _NO_MACHINE,
    "AWS::EC2::Instance": _NO_MACHINE,
    "AWS::EC2::SpotFleet": _NO_MACHINE,
    "AWS::Events::*": "nothing runs by the clock or by events of others here",
    "AWS::IoT::*": "no device's messages arrive here",
    "AWS::KMS::*": "nothing is encrypted here, and moto's KMS has no such key",
    "AWS::Kinesis::*": "nothing streams here",
    "AWS::Lambda::EventSourceMapping": "no queue and no stream is read for a function here",
    "AWS::Logs::SubscriptionFilter": "no log is read for a function here",
    "AWS::Pipes::Pipe": "nothing is piped here",
    "AWS::Route53::*": _NO_ADDRESS,
    "AWS::SNS::Subscription": "a topic's messages are handed to nobody here",
    "AWS::Scheduler::*": "nothing runs by the clock here",
    "AWS::Serverless::*": "this SAM translator does not know it",
    "AWS::StepFunctions::*": "no state machine runs here",
    "AWS::WAFv2::*": "there is no firewall in front",
    "Custom::*": "its function is not called, and its attributes are made up",
}

NOT_SERVED_PROPERTIES: Mapping[tuple[str, str], str] = {
    ("AWS::ApiGatewayV2::Api", "BodyS3Location"): "no document is fetched from S3 (name a file beside the template)",
    ("AWS::ApiGatewayV2::Api", "DisableExecuteApiEndpoint"): "there is no other address",
    ("AWS::ApiGatewayV2::Api", "DisableSchemaValidation"): "messages are not checked against models here",
    ("AWS::ApiGatewayV2::Route", "ModelSelectionExpression"): "messages are not checked against models here",
    ("AWS::ApiGatewayV2::Route", "RequestModels"): "messages are not checked against models here",
    ("AWS::ApiGatewayV2::Route", "ApiKeyRequired"): "API keys of API Gateway's are not checked here",
    ("AWS::ApiGatewayV2::Stage", "DefaultRouteSettings"): _NO_THROTTLE,
    ("AWS::ApiGatewayV2::Stage", "RouteSettings"): _NO_THROTTLE,
    ("AWS::Lambda::Alias", "RoutingConfig"): "all calls go to the alias's own version",
    ("AWS::Lambda::Function", "DeadLetterConfig"): "an event that fails goes nowhere (EventInvokeConfig is served)",
    ("AWS::Lambda::Function", "FileSystemConfigs"): "no file system is mounted here",
    ("AWS::S3::Bucket", "NotificationConfiguration"): "nobody is told of objects here",
    ("AWS::SNS::Topic", "Subscription"): "a topic's messages are handed to nobody here",
}


def classify(kind: str) -> tuple[Class, str]:
    """Return the class of a type, and the reason if it is not served or needs nothing."""
    if kind in SERVED:
        return Class.SERVED, ""
    # Its own name goes before a pattern: AWS::EC2::* needs nothing, and AWS::EC2::Instance is not served.
    if (reason := _found(NOT_SERVED, kind, exact=True)) is not None:
        return Class.NOT_SERVED, reason
    if (reason := _found(NEEDS_NOTHING, kind)) is not None:
        return Class.NEEDS_NOTHING, reason
    return Class.NOT_SERVED, _found(NOT_SERVED, kind) or _NOTHING_LIKE_IT


def property_reason(kind: str, name: str) -> str | None:
    """Return why a property of a served type is not served; None if there is nothing to say about it."""
    served = SERVED[kind]
    if name in served.obeyed or name in served.quiet:
        return None
    return NOT_SERVED_PROPERTIES.get((kind, name), _IGNORED)


def matches(kind: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(kind, pattern)


def _found(table: Mapping[str, str], kind: str, *, exact: bool = False) -> str | None:
    if kind in table or exact:
        return table.get(kind)
    return next((reason for pattern, reason in table.items() if matches(kind, pattern)), None)
