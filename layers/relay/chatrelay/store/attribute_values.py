"""DynamoDB's attribute values: a Python value and its type, as the API has them in JSON. Pure.

Source: AttributeValue in DynamoDB's API reference. What nobody here stores it does not know: bytes, floats, sets of
numbers.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Item = dict[str, Any]
AttributeValue = dict[str, Any]


def encode_item(item: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return each attribute of `item` with its type. Raise ``TypeError``."""
    return {name: encode(value) for name, value in item.items()}


def decode_item(item: Mapping[str, Mapping[str, Any]]) -> Item:
    """Return the values of what ``encode_item`` has made of an item."""
    return {name: decode(value) for name, value in item.items()}


def encode(value: Any) -> AttributeValue:
    """Return `value` with its type. Raise ``TypeError`` for a value of a type that DynamoDB or this module lacks."""
    match value:
        case None:
            return {"NULL": True}
        case str():
            return {"S": value}
        case bool():  # to Python, true is a number
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(value)}
        case Mapping():
            return {"M": encode_item(value)}
        case list() | tuple():
            return {"L": [encode(each) for each in value]}
        case set() if value and all(isinstance(each, str) for each in value):  # DynamoDB has no empty sets
            return {"SS": sorted(value)}
    raise TypeError(f"{value!r} is nothing that is stored")


def decode(value: Mapping[str, Any]) -> Any:
    """Return the value of what ``encode`` has made; whole numbers as ``int``, others as ``Decimal``."""
    ((kind, content),) = value.items()
    match kind:
        case "S" | "BOOL":
            return content
        case "N":
            number = Decimal(content)
            return int(number) if number == number.to_integral_value() else number
        case "NULL":
            return None
        case "M":
            return decode_item(content)
        case "L":
            return [decode(each) for each in content]
        case "SS":
            return set(content)
    raise TypeError(f"{kind} is nothing that is stored")
