"""How moto is served, and what of its insides is patched."""

import copy
import http.client
import importlib.metadata
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.core.serialize import (
    SERVICE_SPECIFIC_SERIALIZERS,
    JSONSerializer,
    XFormedAttributePicker,
    get_serializer_class,
)
from moto.core.utils import get_service_model
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table

from emulator.services import services
from emulator.services.moto_server import (
    PATCHED_MOTO,
    PATCHES,
    AttributeValueSerializer,
    keep_touched_items_only,
    query_one_partition,
    serialize_one_alternative,
)
from emulator.services.services import Services
from tests.builders.deployments import CREDENTIALS

ITEMS = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk in ("one", "two") for sk in ("a", "b")]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> tuple[DynamoDBBackend, Table]:
    """A table in this process, of a moto that is whole again afterwards."""
    for owner, name in ((DynamoDBBackend, "transact_write_items"), (Table, "query")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    backend = DynamoDBBackend("us-east-1", "123456789012")
    key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    made = backend.create_table(
        name="t",
        schema=key,
        throughput=None,
        attr=attributes,
        global_indexes=None,
        indexes=None,
        streams=None,
        billing_mode="PAY_PER_REQUEST",
        sse_specification=None,
        tags=[],
        deletion_protection_enabled=False,
        warm_throughput=None,
    )
    for item in ITEMS:
        backend.put_item("t", item)
    return backend, made


def test_every_patch_was_held_against_the_moto_that_is_installed() -> None:
    names = ", ".join(patch.__name__ for patch in PATCHES)
    installed = importlib.metadata.version("moto")
    assert installed == PATCHED_MOTO, f"read moto {installed}: are {names} still needed, and right? Then PATCHED_MOTO"


def test_keep_touched_items_only_copies_what_a_transaction_touches(
    table: tuple[DynamoDBBackend, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, _ = table
    keep_touched_items_only()
    copied: list[str] = []

    def record(item: Item, _: dict[int, Any]) -> Item:
        copied.append(item.hash_key.value)
        return copy.copy(item)

    monkeypatch.setattr(Item, "__deepcopy__", record, raising=False)
    backend.transact_write_items([{"Put": {"TableName": "t", "Item": {**ITEMS[0], "new": {"S": "x"}}}}])
    assert set(copied) == {"one"}


def test_keep_touched_items_only_undoes_a_cancelled_transaction(table: tuple[DynamoDBBackend, Table]) -> None:
    backend, _ = table
    keep_touched_items_only()
    writes = [
        {"Put": {"TableName": "t", "Item": {**ITEMS[0], "new": {"S": "x"}}}},
        {"Put": {"TableName": "t", "Item": ITEMS[3], "ConditionExpression": "attribute_not_exists(pk)"}},
    ]
    with pytest.raises(Exception, match="ConditionalCheckFailed"):
        backend.transact_write_items(writes)
    kept = backend.get_item("t", ITEMS[0])
    assert kept is not None
    assert "new" not in kept.attrs


def test_query_one_partition_sees_no_other(
    table: tuple[DynamoDBBackend, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = table
    query_one_partition()
    seen: list[Item] = []
    all_items = Table.all_items

    def record(table: Table) -> Iterator[Item]:
        for item in all_items(table):
            seen.append(item)
            yield item

    monkeypatch.setattr(Table, "all_items", record)
    found, _, _ = made.query(DynamoType({"S": "one"}), None, [], 10, None, True, None)  # type: ignore[arg-type]
    assert [item.attrs["sk"].value for item in found] == ["a", "b"]
    assert {item.hash_key.value for item in seen} == {"one"}


NAMES = st.text(min_size=1, max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.text(max_size=3).map(lambda text: {"S": text}),
        st.integers().map(lambda number: {"N": str(number)}),
        st.binary(max_size=3).map(lambda written: {"B": written}),
        st.booleans().map(lambda truth: {"BOOL": truth}),
        st.just({"NULL": True}),
        st.lists(st.text(max_size=3), min_size=1, max_size=3).map(lambda texts: {"SS": texts}),
        st.lists(st.binary(max_size=3), min_size=1, max_size=3).map(lambda written: {"BS": written}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(NAMES, inner, max_size=3).map(lambda values: {"M": values}),
    ),
)


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_serialize_one_alternative_gives_what_moto_gives(item: dict[str, Any]) -> None:
    operation = get_service_model("dynamodb").operation_model("GetItem")
    mine, theirs = (
        made(operation, value_picker=XFormedAttributePicker()).serialize({"Item": item})
        for made in (AttributeValueSerializer, JSONSerializer)
    )
    assert mine == theirs
    assert json.loads(mine["body"])["Item"].keys() == item.keys()


def test_serialize_one_alternative_is_what_dynamodb_answers_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SERVICE_SPECIFIC_SERIALIZERS, "dynamodb", raising=False)
    serialize_one_alternative()
    assert get_serializer_class("dynamodb", get_service_model("dynamodb").protocol) is AttributeValueSerializer


@pytest.fixture(scope="module")
def aws() -> Iterator[Services]:
    with services.running(CREDENTIALS) as running:
        yield running


def test_a_connection_is_kept_even_by_one_that_is_refused(aws: Services) -> None:
    connection = http.client.HTTPConnection(aws.endpoint.removeprefix("http://"))
    try:
        for host, status in (("evil.example", 421), (connection.host, 421), (None, 403)):
            headers = {} if host is None else {"Host": host}
            connection.request("POST", "/", b"not signed", headers)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.will_close) == (status, False)
    finally:
        connection.close()


def test_a_large_body_and_a_key_with_an_escape_arrive_as_they_were_sent(aws: Services) -> None:
    aws.create("AWS::S3::Bucket", "chunks", {})
    client = aws.client("s3")
    client.put_object(Bucket="chunks", Key="a%2Fb c+ü", Body=b"x" * 300_000)
    assert client.get_object(Bucket="chunks", Key="a%2Fb c+ü")["Body"].read() == b"x" * 300_000
    assert [each["Key"] for each in client.list_objects_v2(Bucket="chunks")["Contents"]] == ["a%2Fb c+ü"]
