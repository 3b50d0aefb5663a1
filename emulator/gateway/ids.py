"""New ids and the time: the inputs that `events` wants from outside, in AWS's shapes."""

import base64
import os
import re
import time
import uuid

from emulator.gateway.events import EventIds

# Eleven bytes in base64, as `L0SM9cOFvHcCIhw=`.
CONNECTION_ID = re.compile(r"^[A-Za-z0-9_-]{15}=$")


def new_event_ids() -> EventIds:
    trace = f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}"
    return EventIds(now_ms(), str(uuid.uuid4()), new_id(), trace)


def new_id() -> str:
    """Return a connection id, a message id or an extended request id: they look alike."""
    return base64.urlsafe_b64encode(os.urandom(11)).decode()


def now_ms() -> int:
    return int(time.time() * 1000)
