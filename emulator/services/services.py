"""The AWS services behind the functions: moto's server in a process of its own, filled from the template."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from emulator.account import ACCOUNT, REGION
from emulator.processes import die_with_parent
from emulator.services import stacks
from emulator.services.signature import Credentials
from emulator.serving import server
from emulator.template.conversions import Fitted, as_json_text, as_number
from emulator.template.data_services import Deployed
from emulator.template.intrinsics import TemplateError, as_text, kind_of

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_S = 60.0


class Services:
    """DynamoDB, S3, SQS, SNS, SSM and Secrets Manager at one address. Made by `running`.

    An empty `endpoint` is AWS's own addresses, which moto can stand in for within one process.
    """

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._session = boto3.Session(
            region_name=REGION,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
        )
        self._own: dict[str, Any] = {}
        self._makers: Mapping[str, Callable[[str, Mapping[str, Any]], Deployed]] = {
            "AWS::DynamoDB::GlobalTable": self._global_table,
            "AWS::DynamoDB::Table": self._table,
            "AWS::S3::Bucket": self._bucket,
            "AWS::SQS::Queue": self._queue,
            "AWS::SNS::Topic": self._topic,
            "AWS::SSM::Parameter": self._parameter,
            "AWS::SecretsManager::Secret": self._secret,
        }

    def client(self, service: str, config: Config | None = None) -> Any:
        """Return a boto3 client for what the template declared, as the functions will see it."""
        endpoint = self.endpoint or None
        return self._session.client(service, endpoint_url=endpoint, config=config)  # type: ignore[call-overload]

    def resource(self, service: str) -> Any:
        """Return a boto3 resource, with the same view as `client`."""
        return self._session.resource(service, endpoint_url=self.endpoint or None)  # type: ignore[call-overload]

    def holds(self, kind: str) -> bool:
        return kind in self._makers

    def create(self, kind: str, name: str, properties: Mapping[str, Any]) -> Deployed:
        """Create a resource of CloudFormation type `kind`; `name` is for one that the template does not name.

        Raise TemplateError with the service's own words if it refuses.
        """
        return self._makers[kind](name, properties)

    def describe(self, stack: str, outputs: Mapping[str, str]) -> None:
        """Let CloudFormation describe a stack with these outputs."""
        self._client("cloudformation").create_stack(StackName=stack, TemplateBody=stacks.template(outputs))

    def parameter(self, reference: str) -> str | None:
        """Return the value of a parameter, named as `name` or `name:version`; None if there is none."""
        name = reference.partition(":")[0]
        try:
            return str(self._client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
        except (BotoCoreError, ClientError):
            return None

    def secret_value(self, reference: str) -> str | None:
        """Return what `id:SecretString:key` stands for, key optional; None if there is none."""
        name, _, rest = reference.partition(":SecretString")
        try:
            secret = str(self._client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
            key = rest.removeprefix(":").partition(":")[0]
            return str(json.loads(secret)[key]) if key else secret
        except (BotoCoreError, ClientError, LookupError, TypeError, ValueError):
            return None

    def _client(self, service: str) -> Any:
        """Return the client of a service, the same one each time."""
        # Making one takes longer than what it is made for.
        if service not in self._own:
            self._own[service] = self.client(service)
        return self._own[service]

    def _call(self, service: str, operation: str, parameters: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """Call a service, each parameter as its type wants it. Return its answer, and the parameters it does not know.

        Raise TemplateError.
        """
        client = self._client(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        fitted = Fitted(parameters, shape)
        try:
            return getattr(client, xform_name(operation))(**fitted.properties), tuple(fitted.ignored)
        except (BotoCoreError, ClientError) as error:
            raise TemplateError(f"{service} refuses it: {' '.join(str(error).split())}") from error

    def _table(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        table = {"TableName": name, **properties}
        ttl = table.pop("TimeToLiveSpecification", None)
        # The API wants StreamEnabled, which CloudFormation does not have.
        if isinstance(stream := table.get("StreamSpecification"), dict):
            table["StreamSpecification"] = {"StreamEnabled": True, **stream}
        made, ignored = self._call("dynamodb", "CreateTable", table)
        description = made["TableDescription"]
        if ttl is not None:  # DynamoDB sets it by a call of its own
            whose = {"TableName": description["TableName"], "TimeToLiveSpecification": ttl}
            self._call("dynamodb", "UpdateTimeToLive", whose)
        attributes = {"Arn": description["TableArn"], "StreamArn": description.get("LatestStreamArn", "")}
        return Deployed(description["TableName"], attributes, ignored)

    def _global_table(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        """Create a global table in this one Region."""
        # Its capacity is said for each Region, and counts for nothing here.
        return self._table(name, {**properties, "BillingMode": "PAY_PER_REQUEST"})

    def _bucket(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        bucket = as_json_text(properties.get("BucketName", name.lower()))  # S3 takes no capitals
        self._call("s3", "CreateBucket", {"Bucket": bucket})
        rules = _part(_part(properties, "CorsConfiguration", {}), "CorsRules", [])
        if rules:
            # CloudFormation's names for what S3's API calls otherwise.
            names = {"Id": "ID", "MaxAge": "MaxAgeSeconds", "ExposedHeaders": "ExposeHeaders"}
            renamed = [
                {names.get(key, key): value for key, value in rule.items()} for rule in rules if isinstance(rule, dict)
            ]
            cors = {"CORSRules": renamed}
            self._call("s3", "PutBucketCors", {"Bucket": bucket, "CORSConfiguration": cors})
        if versioning := properties.get("VersioningConfiguration"):
            self._call("s3", "PutBucketVersioning", {"Bucket": bucket, "VersioningConfiguration": versioning})
        domain = f"{bucket}.s3.amazonaws.com"
        regional = f"{bucket}.s3.{REGION}.amazonaws.com"
        return Deployed(bucket, {"Arn": f"arn:aws:s3:::{bucket}", "DomainName": domain, "RegionalDomainName": regional})

    def _queue(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        attributes = {key: _queue_attribute(key, value) for key, value in properties.items() if key != "QueueName"}
        fifo = attributes.get("FifoQueue", "").lower() == "true"
        if not fifo:  # SQS refuses the attribute then. Source: https://github.com/aws/aws-sdk-php/issues/1331
            attributes.pop("FifoQueue", None)
        # The name of a FIFO queue has to end so. Source: CreateQueue, QueueName.
        queue = as_json_text(properties.get("QueueName", f"{name}.fifo" if fifo else name))
        made, _ = self._call("sqs", "CreateQueue", {"QueueName": queue, "Attributes": attributes})
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
        return Deployed(made["QueueUrl"], {"Arn": arn, "QueueName": queue, "QueueUrl": made["QueueUrl"]})

    def _topic(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        attributes = {key: as_json_text(value) for key, value in properties.items() if key != "TopicName"}
        fifo = attributes.get("FifoTopic", "").lower() == "true"
        topic = as_json_text(properties.get("TopicName", f"{name}.fifo" if fifo else name))
        arn = self._call("sns", "CreateTopic", {"Name": topic, "Attributes": attributes})[0]["TopicArn"]
        return Deployed(arn, {"TopicArn": arn, "TopicName": topic})

    def _parameter(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        parameter = as_json_text(properties.get("Name", name))
        value = as_json_text(properties["Value"])
        self._call("ssm", "PutParameter", {"Name": parameter, "Value": value, "Type": properties["Type"]})
        return Deployed(parameter, {"Value": value, "Type": properties["Type"]})

    def _secret(self, name: str, properties: Mapping[str, Any]) -> Deployed:
        secret = properties.get("SecretString")
        if secret is None:
            # Made as the template asks. Source: AWS::SecretsManager::Secret GenerateSecretString.
            settings = _part(properties, "GenerateSecretString", {})
            own = ("SecretStringTemplate", "GenerateStringKey")
            rules = {key: value for key, value in settings.items() if key not in own}
            secret = str(self._call("secretsmanager", "GetRandomPassword", rules)[0]["RandomPassword"])
            if "GenerateStringKey" in settings:
                key, template = as_json_text(settings["GenerateStringKey"]), settings.get("SecretStringTemplate")
                try:
                    secret = json.dumps({**json.loads(as_json_text(template)), key: secret})
                except (TypeError, ValueError):
                    raise TemplateError("SecretStringTemplate must be the text of a JSON object") from None
        wanted = {"Name": properties.get("Name", name), "SecretString": secret}
        arn = self._call("secretsmanager", "CreateSecret", wanted)[0]["ARN"]
        return Deployed(arn, {"Id": arn})


@contextlib.contextmanager
def running(credentials: Credentials) -> Iterator[Services]:
    """Run moto's server, for whoever signs with `credentials`, until the block ends, or until this process does."""
    with server.listen("127.0.0.1", 0) as listening:
        port, listens_at = listening.getsockname()[1], listening.fileno()
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "emulator.services.moto_server", str(listens_at), str(port)],
            cwd=_REPOSITORY,
            # Not as arguments, which every user of this machine can read.
            # And without moto's own CORS, which would let every page read its answers.
            env={**os.environ, **credentials.variables, "MOTO_DISABLE_GLOBAL_CORS": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the gateway, which ends it last
            pass_fds=[listens_at],
            preexec_fn=die_with_parent(),
        )
    # Only the child listens from here on: if it ends, its port closes, and nobody waits for an answer.
    try:
        services = Services(f"http://127.0.0.1:{port}", credentials)
        wait_until_up(services)
        yield services
    finally:
        process.kill()
        process.wait()


def wait_until_up(services: Services) -> None:
    """Wait until moto's server answers. Raise OSError if it ends before."""
    # One attempt is enough: it listens already, and answers once it has started.
    config = Config(connect_timeout=_START_S, read_timeout=_START_S, retries={"total_max_attempts": 1})
    try:
        services.client("sts", config).get_caller_identity()
    except BotoCoreError as error:
        raise OSError("moto's server did not start. Remove .venv, and run the same again") from error


def _queue_attribute(name: str, value: Any) -> str:
    """Return a queue's attribute as SQS takes it: as text that reads as a number, a flag or JSON.

    Raise TemplateError.
    """
    if name == "RedrivePolicy":
        return as_json_text(value)
    if name in ("ContentBasedDeduplication", "FifoQueue"):
        return as_text(value)
    return str(int(as_number(value, name)))


def _part(properties: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """Return a part of properties that is of the same kind as `otherwise`, its default. Raise TemplateError."""
    value = properties.get(name, otherwise)
    if not isinstance(value, type(otherwise)):
        wanted = "a list" if isinstance(otherwise, list) else "a mapping"
        raise TemplateError(f"{name} must be {wanted}, and is {kind_of(value)}")
    return value
