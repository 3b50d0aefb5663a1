"""`python -m emulator.services.moto_server FD PORT`: moto's server at a socket that listens already.

It takes only what is signed with the credentials of its environment: of moto's own interface, which knows no signature,
no other part is open either. And its DynamoDB takes one request at a time.

moto answers each request in a thread of its own, and a transaction that is cancelled puts back the whole table as it
was when it began: with it goes whatever others have written meanwhile. DynamoDB's transactions are serializable. Where
DynamoDB would cancel one for a conflict with another, this one waits; a fault plan has the conflicts.

So that nobody waits long, a transaction keeps what was in the partitions that it touches, and a query looks into its
partition. moto would copy the whole table for each write of a transaction, and sort the whole table for each query.
"""

import copy
import datetime
import inspect
import io
import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.datastructures import EnvironHeaders
from werkzeug.serving import make_server
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from emulator.limits import Limits
from emulator.services import post_policy
from emulator.services.signature import Credentials, Received, Refused, verify
from emulator.serving.guard import Names


class Handler(MotoRequestHandler):
    """Lets go of who sends nothing for so long."""

    timeout = Limits.headers_s


class Serialized(DomainDispatcherApplication):
    """moto's WSGI application."""

    def __init__(self, names: Names, credentials: Credentials) -> None:
        super().__init__(create_backend_app)
        self._names = names
        self._credentials = credentials
        self._dynamodb = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        refused = self._refusal(environ)
        if refused is not None:
            return refused(environ, start_response)
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return self._answer(environ, start_response)
        with self._dynamodb:
            return self._answer(environ, start_response)

    def _refusal(self, environ: dict[str, Any]) -> Response | None:
        if not self._names.own(environ.get("HTTP_HOST", ""), "http"):
            return _refuse(environ, 421, "MisdirectedRequest", "This is none of the names that it has here.")
        if environ["PATH_INFO"].startswith("/moto-api"):
            return _refuse(environ, 403, "AccessDenied", "There is no interface but that of AWS.")
        body = get_input_stream(environ).read()
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        path, _, query = environ["REQUEST_URI"].partition("?")
        received = Received(environ["REQUEST_METHOD"], path, query, list(EnvironHeaders(environ)), body)
        try:
            self._verify(received, datetime.datetime.now(datetime.UTC))
        except Refused as refused:
            return _refuse(environ, 403, refused.code, str(refused))
        return None

    def _verify(self, received: Received, now: datetime.datetime) -> None:
        if post_policy.is_form(received):
            post_policy.verify(received, received.path.split("/")[1], self._credentials, now)
        else:
            verify(received, None, self._credentials, now)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = super().__call__(environ, start_response)
        return answer


def _refuse(environ: dict[str, Any], status: int, code: str, message: str) -> Response:
    """All that a browser sees of it, for none can sign: not even that in a frame. SDKs read it as the service's own."""
    headers = {"x-amzn-ErrorType": code, "X-Frame-Options": "DENY"}
    is_query = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if is_query or "/s3/" in environ.get("HTTP_AUTHORIZATION", ""):
        told = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
        return Response(told, status, headers, content_type="application/xml")
    return Response(json.dumps({"__type": code, "message": message}), status, headers, content_type="application/json")


def keep_partitions_only() -> None:
    """From now on a transaction copies no more of a table than what it may have to put back."""
    write_together = DynamoDBBackend.transact_write_items

    def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        touched = {_partition(backend, write) for write in transact_items}

        def kept(table: Table, _: dict[int, Any]) -> Table:
            changing = {key: copy.deepcopy(table.items[key]) for key in touched & table.items.keys()}
            snapshot = copy.copy(table)
            snapshot.items = defaultdict(dict, {**table.items, **changing})
            return snapshot

        Table.__deepcopy__ = kept  # type: ignore[attr-defined]
        try:
            write_together(backend, transact_items)
        finally:
            del Table.__deepcopy__  # type: ignore[attr-defined]

    DynamoDBBackend.transact_write_items = transact_write_items  # type: ignore[assignment, method-assign]


def query_one_partition() -> None:
    """From now on a query of a table, not of an index, sees no more of it than one partition."""
    query = Table.query
    arguments = inspect.signature(query)

    def query_partition(table: Table, *positional: Any, **named: Any) -> Any:
        asked = arguments.bind(table, *positional, **named)
        key = asked.arguments["hash_key"]
        if asked.arguments.get("index_name") is None and key in table.items:
            asked.arguments["self"] = seen = copy.copy(table)
            seen.items = defaultdict(dict, {key: table.items[key]})
        return query(*asked.args, **asked.kwargs)

    Table.query = query_partition  # type: ignore[assignment, method-assign]


def _partition(backend: DynamoDBBackend, write: dict[str, Any]) -> DynamoType:
    (operation,) = write.values()
    table = backend.get_table(operation["TableName"])
    return DynamoType(operation.get("Item", operation.get("Key"))[table.hash_key_attr])


if __name__ == "__main__":
    keep_partitions_only()
    query_one_partition()
    descriptor, port = map(int, sys.argv[1:])
    application = Serialized(Names(f"127.0.0.1:{port}"), Credentials.of(os.environ))
    make_server("127.0.0.1", port, application, threaded=True, request_handler=Handler, fd=descriptor).serve_forever()
