"""Held against boto3, which has the same for whoever can afford to import it."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.store.attribute_values import decode, decode_item, encode, encode_item

SCALARS = st.none() | st.booleans() | st.text() | st.integers(-(10**37), 10**37)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sets(st.text(min_size=1), min_size=1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_what_is_stored_is_what_boto3_would_store_and_comes_back(item: dict[str, Any]) -> None:
    expected = {name: TypeSerializer().serialize(value) for name, value in item.items()}

    encoded = encode_item(item)

    assert _unordered(encoded) == _unordered(expected)
    assert decode_item(encoded) == item


def _unordered(encoded: Any) -> Any:
    """A set has no order; boto3's is any."""
    match encoded:
        case {"SS": texts}:
            return {"SS": sorted(texts)}
        case dict():
            return {name: _unordered(value) for name, value in encoded.items()}
        case list():
            return list(map(_unordered, encoded))
    return encoded


@pytest.mark.parametrize("number", ["0", "-1", "12345678901234567890", "1.5", "-0.001"])
def test_a_number_comes_back_as_it_is(number: str) -> None:
    value = decode({"N": number})

    assert value == TypeDeserializer().deserialize({"N": number})
    assert isinstance(value, Decimal if "." in number else int)
    assert encode(value) == {"N": number}


@pytest.mark.parametrize("value", [1.5, b"bytes", set(), {1, 2}, object, [1.5], {"a": {"b": 1.5}}], ids=repr)
def test_what_nobody_stores_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_what_nobody_has_stored_is_not_read() -> None:
    with pytest.raises(TypeError, match="NS is nothing that is stored"):
        decode({"NS": ["1"]})
