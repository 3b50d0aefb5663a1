"""Comes from a layer. `WORKER` tells one process from another."""

import uuid

WORKER = uuid.uuid4().hex
