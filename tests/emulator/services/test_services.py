"""The services behind the functions, where they must do as AWS does and moto alone would not."""

import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from starlette.applications import Starlette
from starlette.routing import Route

from emulator.services import services
from emulator.services.services import Services
from emulator.services.signature import Credentials
from emulator.services.storage_door import StorageDoor
from tests.builders.deployments import CREDENTIALS

WRITERS = 4
ROUNDS = 20
ITEMS = 1000
TABLE = {
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Services]:
    with services.running(CREDENTIALS) as running:
        yield running


@pytest.fixture
def table(aws: Services, request: pytest.FixtureRequest) -> str:
    """With so many items in it that moto takes a while to copy it, which it does for every transaction."""
    name = aws.create("AWS::DynamoDB::Table", request.node.name, TABLE).ref
    with aws.resource("dynamodb").Table(name).batch_writer() as batch:
        for n in range(ITEMS):
            batch.put_item({"pk": f"item {n}"})
    return name


def count(client: Any, table: str, item: int) -> int:
    """Add one to the number in an item, and give it."""
    counted = change(table, item, "ADD counted :one", {":one": {"N": "1"}})
    return int(client.update_item(**counted, ReturnValues="UPDATED_NEW")["Attributes"]["counted"]["N"])


def claim(client: Any, table: str, writer: int, *items: int) -> bool:
    """Become the owner of all these items; of none if the first has one."""
    first, *others = [change(table, item, "SET owned_by = :me", {":me": {"N": f"{writer}"}}) for item in items]
    first["ConditionExpression"] = "attribute_not_exists(owned_by)"
    try:
        client.transact_write_items(TransactItems=[{"Update": each} for each in (first, *others)])
    except client.exceptions.TransactionCanceledException:
        return False
    return True


def change(table: str, item: int, expression: str, values: Any) -> dict[str, Any]:
    key = {"pk": {"S": f"item {item}"}}
    return {"TableName": table, "Key": key, "UpdateExpression": expression, "ExpressionAttributeValues": values}


def owner(client: Any, table: str, item: int) -> int:
    return int(client.get_item(TableName=table, Key={"pk": {"S": f"item {item}"}})["Item"]["owned_by"]["N"])


def test_cancelled_transaction_undoes_nothing_of_others(aws: Services, table: str) -> None:
    client = aws.client("dynamodb")
    assert claim(client, table, 0, WRITERS)

    def write(writer: int) -> list[int]:
        return [_count_and_fail(client, table, writer) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(WRITERS) as threads:
        assert list(threads.map(write, range(WRITERS))) == [list(range(1, ROUNDS + 1))] * WRITERS


def _count_and_fail(client: Any, table: str, writer: int) -> int:
    counted = count(client, table, writer)
    assert not claim(client, table, writer, WRITERS)
    return counted


def test_one_of_racing_transactions_wins_and_keeps_all_of_its_items(aws: Services, table: str) -> None:
    client = aws.client("dynamodb")
    with ThreadPoolExecutor(WRITERS) as threads:
        for n in range(0, 2 * ROUNDS, 2):
            racing = [threads.submit(claim, client, table, writer, n, n + 1) for writer in range(WRITERS)]
            won = [writer for writer, race in enumerate(racing) if race.result()]
            assert len(won) == 1
            assert [owner(client, table, item) for item in (n, n + 1)] == won * 2


# --- the stack that they serve ---


def test_cloudformation_describes_the_stack_that_is_served(aws: Services) -> None:
    outputs = {"Url": "http://127.0.0.1:8080/v1?a=b&c=<d>", "Name": "漢字 + 1%"}
    aws.describe("local", outputs)

    (stack,) = aws.client("cloudformation").describe_stacks(StackName="local")["Stacks"]

    assert {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]} == outputs
    assert (stack["StackName"], stack["StackStatus"]) == ("local", "CREATE_COMPLETE")


def test_every_other_stack_is_as_moto_has_it(aws: Services) -> None:
    aws.describe("local", {})
    client = aws.client("cloudformation")
    with pytest.raises(ClientError, match="Stack with id other does not exist"):
        client.describe_stacks(StackName="other")
    topic, outputs = {"Topic": {"Type": "AWS::SNS::Topic"}}, {"Topic": {"Value": {"Ref": "Topic"}}}

    for name, template in (
        ("json", json.dumps({"Resources": topic, "Outputs": outputs})),
        ("yaml", "Resources: {Topic: {Type: AWS::SNS::Topic}}\nOutputs: {Topic: {Value: !Ref Topic}}"),
    ):
        client.create_stack(StackName=name, TemplateBody=template)
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
        assert stack["Outputs"][0]["OutputValue"].startswith("arn:aws:sns:")


# --- who may ask them, and the way to their files from outside ---

DOOR = "http://127.0.0.1:8080"
NAMED = "https://app.example"
CORS = {"CorsRules": [{"AllowedOrigins": [NAMED], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}]}
METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS"]


@pytest.fixture
async def door(aws: Services) -> AsyncIterator[httpx.AsyncClient]:
    """Asks what is at `/s3`, in which there is one bucket without rules for other origins, and one with."""
    for bucket, properties in (("plain", {}), ("open", {"CorsConfiguration": CORS})):
        aws.create("AWS::S3::Bucket", bucket, properties)
        aws.client("s3").put_object(Bucket=bucket, Key="a b.txt", Body=b"kept")
    storage = StorageDoor(aws)
    application = Starlette(routes=[Route("/s3/{path:path}", storage.answer, methods=METHODS)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url=DOOR) as client:
        yield client
    await storage.stop()


def client_of(service: str, credentials: Credentials = CREDENTIALS, url: str = f"{DOOR}/s3") -> Any:
    """Signs for what is at `url`, which need not be there."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=Config(signature_version="s3v4") if service == "s3" else None,
    )


def address(bucket: str, key: str = "a b.txt", operation: str = "get_object", **more: Any) -> str:
    return str(client_of("s3", **more).generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key}))


async def test_what_this_run_has_signed_is_had_at_the_door(door: httpx.AsyncClient, aws: Services) -> None:
    got = await door.get(address("plain"))
    assert (got.status_code, got.content) == (200, b"kept")
    assert (got.headers["content-security-policy"], got.headers["x-content-type-options"]) == ("sandbox", "nosniff")
    assert (await door.put(address("plain", "new", "put_object"), content=b"new")).status_code == 200
    form = client_of("s3").generate_presigned_post("plain", "posted", Conditions=[["content-length-range", 1, 4]])
    assert (await door.post(form["url"], data=form["fields"], files={"file": b"1234"})).status_code == 204
    assert [aws.client("s3").get_object(Bucket="plain", Key=key)["Body"].read() for key in ("new", "posted")] == [
        b"new",
        b"1234",
    ]
    assert (await door.post(form["url"], data=form["fields"], files={"file": b"12345"})).status_code == 403
    elsewhere = form["url"].replace("plain", "open")
    assert (await door.post(elsewhere, data=form["fields"], files={"file": b"1234"})).status_code == 403


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("GET", "/s3/plain/a%20b.txt", {}, 403),
        ("GET", "/s3/plain/a%20b.txt?X-Amz-Signature=1", {}, 403),
        ("GET", address("plain", credentials=Credentials.new()), {}, 403),
        ("GET", address("plain").replace("a%20b", "c"), {}, 403),
        ("PUT", address("plain"), {}, 403),
        ("GET", address("plain"), {"X-Amz-Target": "secretsmanager.GetSecretValue"}, 403),
        ("GET", address("plain"), {"Authorization": "AWS4-HMAC-SHA256 x/secretsmanager/aws4_request"}, 403),
        ("POST", "/s3/", {"Authorization": "AWS4-HMAC-SHA256 a, q=/s3/aws4_request", "X-Amz-Target": "a.B"}, 403),
        ("GET", "/s3/moto-api/data.json?X-Amz-Signature=1", {}, 404),
        ("POST", "/s3/moto-api/reset?X-Amz-Signature=1", {}, 404),
        ("GET", address("moto-api", "data.json"), {}, 404),
        ("POST", address("moto-api", "reset", "put_object"), {}, 404),
        ("GET", address("plain").replace("/s3/plain", "/s3/..%2fplain"), {}, 403),
        ("GET", address("plain").replace("/s3/", "/s3//"), {}, 403),
        ("GET", "/s3/", {}, 403),
        ("GET", "/s3/latest/meta-data/", {}, 404),
        ("OPTIONS", "/s3/moto-api/data.json", {"Origin": NAMED, "Access-Control-Request-Method": "GET"}, 404),
    ],
)
async def test_the_door_leads_nowhere_else(
    door: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], status: int
) -> None:
    assert (await door.request(method, url, headers=headers)).status_code == status


async def test_what_is_signed_for_another_service_does_not_pass(door: httpx.AsyncClient) -> None:
    url = f"{DOOR}/s3/plain"
    for service, status in (("s3", 200), ("secretsmanager", 403)):
        request = AWSRequest("GET", url)
        signer = S3SigV4Auth(ReadOnlyCredentials(*astuple(CREDENTIALS)), service, "us-east-1")
        signer.add_auth(request)
        assert (await door.get(url, headers=dict(request.headers.items()))).status_code == status


async def test_pages_of_other_origins_read_what_the_bucket_s_own_rules_say(door: httpx.AsyncClient) -> None:
    def readable(answer: httpx.Response) -> str | None:
        allowed: str | None = answer.headers.get("access-control-allow-origin")
        return allowed

    for origin, may in ((NAMED, NAMED), ("https://evil.example", None)):
        wish = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        assert readable(await door.options(address("open", "k", "put_object"), headers=wish)) == may
        assert readable(await door.get(address("open"), headers={"Origin": origin})) == may
        assert readable(await door.options(address("plain", "k", "put_object"), headers=wish)) is None
        assert readable(await door.get(address("plain"), headers={"Origin": origin})) is None


async def test_the_door_knows_which_origins_buckets_name(aws: Services, door: httpx.AsyncClient) -> None:
    assert (await door.get(address("open"))).status_code == 200
    opened = StorageDoor(aws)
    assert not opened.lets_in(NAMED)
    await opened.look()
    assert opened.lets_in(NAMED)
    assert not opened.lets_in("https://evil.example")


def test_the_services_answer_to_this_run_only(aws: Services) -> None:
    assert client_of("sts", url=aws.endpoint).get_caller_identity()["Account"]
    with pytest.raises(ClientError, match=r"\(InvalidClientTokenId\).*names their file"):
        client_of("sts", Credentials.new(), aws.endpoint).get_caller_identity()
    for method, path in (("GET", "/moto-api/data.json"), ("POST", "/moto-api/reset"), ("GET", "/"), ("GET", "/plain")):
        answer = httpx.request(method, f"{aws.endpoint}{path}", headers={"Origin": NAMED})
        assert (answer.status_code, answer.headers["x-frame-options"]) == (403, "DENY")
        assert "access-control-allow-origin" not in answer.headers
    assert httpx.get(aws.endpoint, headers={"Host": "evil.example"}).status_code == 421
