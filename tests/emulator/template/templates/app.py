"""What the templates' functions run."""

import json
from typing import Any


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    return {"statusCode": 200, "body": json.dumps({"version": event.get("version"), "path": event.get("rawPath")})}
