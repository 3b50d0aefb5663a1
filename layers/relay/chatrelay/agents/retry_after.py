"""How long a service asks its callers to wait. Pure."""

import math
from collections.abc import Mapping


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``retry-after-ms`` or ``retry-after``; None if it is missing or no number."""
    name, unit_s = ("retry-after-ms", 0.001) if "retry-after-ms" in headers else ("retry-after", 1.0)
    try:
        wait_s = float(headers[name]) * unit_s
    except (KeyError, ValueError):
        return None
    return wait_s if 0 <= wait_s < math.inf else None  # `float` reads "nan" and "inf", too
