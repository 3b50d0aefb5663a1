"""What a model has used, as far as its service reports it in numbers. Pure."""

from collections.abc import Mapping

MOST = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly; many times what anybody uses."""


def counted(usage: object, *names: str) -> dict[str, int]:
    """Return the token counts in `usage` that have these names, without those that are no count."""
    counts: Mapping[str, object] = usage if isinstance(usage, Mapping) else {}
    # Not `isinstance`: to Python, true is an integer.
    return {name: count for name in names if type(count := counts.get(name)) is int and 0 <= count <= MOST}
