"""`python -m infra.local.moto_server PORT`: moto's server, whose DynamoDB takes one request at a time.

moto answers each request in a thread of its own, and a transaction that is cancelled puts back the whole table as it
was when it began: with it goes whatever others have written meanwhile. DynamoDB's transactions are serializable. Where
DynamoDB would cancel one for a conflict with another, this one waits; a fault plan has the conflicts.
"""

import sys
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class Serialized(DomainDispatcherApplication):
    """moto's WSGI application."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self._dynamodb = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return self._answer(environ, start_response)
        with self._dynamodb:
            return self._answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = super().__call__(environ, start_response)
        return answer


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Serialized(), threaded=True, request_handler=MotoRequestHandler)
