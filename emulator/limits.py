"""AWS's limits, and this machine's. Tests shorten them; everything else leaves them alone."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Limits:
    """The limits in force. Source: the quota pages of API Gateway and Lambda, unless a field says otherwise."""

    integration_timeout_s: float = 29.0
    idle_s: float = 600.0
    life_s: float = 7200.0
    frame_bytes: int = 32 * KIB
    message_bytes: int = 128 * KIB
    # How much a client may leave unread before a post is refused with 429. AWS gives no number.
    client_buffer_bytes: int = 256 * KIB
    http_timeout_s: float = 30.0
    # How long a client may take from connecting to the end of a request's headers. AWS gives no number.
    headers_s: float = 10.0
    http_body_bytes: int = 10 * MIB
    invoke_payload_bytes: int = 6 * MIB
    event_payload_bytes: int = 1 * MIB
    # The first retry of an event comes after this, the second after twice this.
    retry_delay_s: float = 60.0
    # A throttled event is tried again after this, then after twice as long, up to five minutes.
    throttle_delay_s: float = 1.0
    # An environment may take this long to start, and then once more its function's time-out.
    init_s: float = 10.0
    # This machine's limit, not AWS's: events beyond it wait for an environment, none is refused.
    max_environments: int = 10


def override(limits: Limits, settings: Iterable[str]) -> Limits:
    """Apply `name=number` settings. Raise ValueError that names a setting it cannot use."""
    kinds = {field.name: type(getattr(limits, field.name)) for field in fields(limits)}
    changed = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in kinds:
            raise ValueError(f"No limit {name!r}. There are: {', '.join(kinds)}")
        changed[name] = kinds[name](value)
    return replace(limits, **changed)
