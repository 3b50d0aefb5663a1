"""The AWS services behind the functions: moto's server in a process of its own, filled from the template."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from infra.local import server
from infra.local.processes import die_with_parent
from infra.local.signature import Credentials
from infra.local.template import ACCOUNT, REGION

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_S = 60.0


@dataclass(frozen=True)
class Deployed:
    """What `Ref` and `Fn::GetAtt` of a resource give."""

    ref: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Services:
    """DynamoDB, S3, SQS, SNS, SSM and Secrets Manager at one address. Made by `running`."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._session = boto3.Session(
            region_name=REGION,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
        )
        self._makers: Mapping[str, Callable[[str, Mapping[str, Any]], Deployed]] = {
            "AWS::DynamoDB::Table": self._table,
            "AWS::S3::Bucket": self._bucket,
            "AWS::SQS::Queue": self._queue,
            "AWS::SNS::Topic": self._topic,
            "AWS::SSM::Parameter": self._parameter,
            "AWS::SecretsManager::Secret": self._secret,
        }

    def client(self, service: str, config: Config | None = None) -> Any:
        """Give a boto3 client for what the template declared, as the functions will see it."""
        return self._session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """The same as a boto3 resource."""
        return self._session.resource(service, endpoint_url=self.endpoint)  # type: ignore[call-overload]

    def holds(self, kind: str) -> bool:
        return kind in self._makers

    def create(self, kind: str, name: str, properties: Mapping[str, Any]) -> Deployed:
        """Create a resource of CloudFormation type `kind`; `name` is for one that the template does not name."""
        return self._makers[kind](name, properties)

    def _table(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        client = self.client("dynamodb")
        table = {key: properties[key] for key in _TABLE_PROPERTIES if key in properties}
        table.setdefault("TableName", name)
        if stream := properties.get("StreamSpecification"):
            table["StreamSpecification"] = {"StreamEnabled": True, **stream}
        made = client.create_table(**table)["TableDescription"]
        if ttl := properties.get("TimeToLiveSpecification"):
            client.update_time_to_live(TableName=made["TableName"], TimeToLiveSpecification=ttl)
        return Deployed(made["TableName"], {"Arn": made["TableArn"], "StreamArn": made.get("LatestStreamArn", "")})

    def _bucket(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        client = self.client("s3")
        bucket = properties.get("BucketName", name.lower())
        client.create_bucket(Bucket=bucket)
        if rules := properties.get("CorsConfiguration", {}).get("CorsRules"):
            client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(map(_cors_rule, rules))})
        domain = f"{bucket}.s3.amazonaws.com"
        regional = f"{bucket}.s3.{REGION}.amazonaws.com"
        return Deployed(bucket, {"Arn": f"arn:aws:s3:::{bucket}", "DomainName": domain, "RegionalDomainName": regional})

    def _queue(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        queue = properties.get("QueueName", f"{name}.fifo" if properties.get("FifoQueue") else name)
        attributes = {key: _text(properties[key]) for key in _QUEUE_PROPERTIES if key in properties}
        url = self.client("sqs").create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
        return Deployed(url, {"Arn": arn, "QueueName": queue, "QueueUrl": url})

    def _topic(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        topic = properties.get("TopicName", name)
        arn = self.client("sns").create_topic(Name=topic)["TopicArn"]
        return Deployed(arn, {"TopicArn": arn, "TopicName": topic})

    def _parameter(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        parameter = properties.get("Name", name)
        value, kind = _text(properties["Value"]), properties.get("Type", "String")
        self.client("ssm").put_parameter(Name=parameter, Value=value, Type=kind)
        return Deployed(parameter, {"Value": value, "Type": kind})

    def _secret(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        client = self.client("secretsmanager")
        secret = properties.get("SecretString")
        if secret is None:
            secret = _generated(client, properties.get("GenerateSecretString") or {})
        arn = client.create_secret(Name=properties.get("Name", name), SecretString=secret)["ARN"]
        return Deployed(arn, {"Id": arn})


_TABLE_PROPERTIES = (
    "TableName",
    "AttributeDefinitions",
    "KeySchema",
    "LocalSecondaryIndexes",
    "GlobalSecondaryIndexes",
    "BillingMode",
    "ProvisionedThroughput",
)
_QUEUE_PROPERTIES = (
    "ContentBasedDeduplication",
    "DelaySeconds",
    "FifoQueue",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "VisibilityTimeout",
)


@contextlib.contextmanager
def running(credentials: Credentials) -> Iterator[Services]:
    """Run moto's server, for whoever signs with `credentials`, until the block ends, or until this process does."""
    with server.listen("127.0.0.1", 0) as listening:
        port, listens_at = listening.getsockname()[1], listening.fileno()
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "infra.local.moto_server", str(listens_at), str(port)],
            cwd=_REPOSITORY,
            # Not as arguments, which every user of this machine can read.
            env={**os.environ, **credentials.variables, "MOTO_DISABLE_GLOBAL_CORS": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[listens_at],
            preexec_fn=die_with_parent(),
        )
    try:
        services = Services(f"http://127.0.0.1:{port}", credentials)
        _wait_until_up(services)
        yield services
    finally:
        process.kill()
        process.wait()


def _wait_until_up(services: Services) -> None:
    """It listens already, and answers once it has started; if it does not, its end closes the port."""
    config = Config(connect_timeout=_START_S, read_timeout=_START_S, retries={"total_max_attempts": 1})
    try:
        services.client("sts", config).get_caller_identity()
    except BotoCoreError as error:
        raise RuntimeError("moto's server did not start: is moto[server] installed?") from error


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cors_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = {"Id": "ID", "MaxAge": "MaxAgeSeconds", "ExposedHeaders": "ExposeHeaders"}
    return {names.get(key, key): value for key, value in rule.items()}


def _generated(client: Any, settings: Mapping[str, Any]) -> str:
    """Source: AWS::SecretsManager::Secret GenerateSecretString."""
    own = ("SecretStringTemplate", "GenerateStringKey")
    rules = {key: value for key, value in settings.items() if key not in own}
    password = str(client.get_random_password(**rules)["RandomPassword"])
    if "GenerateStringKey" not in settings:
        return password
    return json.dumps(json.loads(settings["SecretStringTemplate"]) | {settings["GenerateStringKey"]: password})
