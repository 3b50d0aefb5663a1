"""What a template asks for and does not get here: named when the gateway starts, each with its reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NAMED = 4


class NotServed(Exception):
    """A function or a route cannot be served here; the message says why."""


@dataclass(frozen=True)
class Omission:
    """What is not served. `where`: a resource's logical id or a section. `what`: its type, property or route."""

    where: str
    what: str
    reason: str


def lines(omissions: Iterable[Omission]) -> Iterator[str]:
    """Yield a line for each reason and kind of thing: a large template has many of a kind."""
    groups: dict[tuple[str, str], dict[str, None]] = {}  # mappings in place of sets, which keep no order
    for omission in omissions:
        groups.setdefault((omission.what, omission.reason), {})[omission.where] = None
    for (what, reason), places in groups.items():
        named = [*places][:_NAMED]
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        yield f"Not served: {', '.join(named)}{more} ({what}): {reason}"
