"""What a model has used, as far as its service says so intelligibly. Pure."""

from collections.abc import Mapping

MOST = 2**53 - 1
"""The largest number that every JSON reader keeps exactly; many times what anybody uses."""


def counted(told: object, *names: str) -> dict[str, int]:
    """Those of the numbers of tokens in `told` that are some, by their names."""
    counts: Mapping[str, object] = told if isinstance(told, Mapping) else {}
    return {name: count for name in names if type(count := counts.get(name)) is int and 0 <= count <= MOST}
