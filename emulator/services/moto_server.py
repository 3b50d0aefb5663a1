"""`python -m emulator.services.moto_server FD PORT`: moto's server at a socket that listens already.

It takes only what is signed with the credentials of its environment: of moto's own interface, which knows no signature,
no other part is open either. And its DynamoDB takes one request at a time.

A transaction of moto's that is cancelled puts back the whole table as it was when it began: with it goes whatever
others have written meanwhile. DynamoDB's transactions are serializable. Where DynamoDB would cancel one for a conflict
with another, this one waits; a fault plan has the conflicts.

So that nobody waits long, a transaction keeps what the items that it touches were, and a query looks into its
partition. moto would copy the whole table for each write of a transaction, and sort the whole table for each query.
"""

import copy
import datetime
import inspect
import io
import json
import os
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from cheroot import wsgi
from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest
from moto.core.serialize import SERVICE_SPECIFIC_SERIALIZERS, JSONSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.datastructures import EnvironHeaders
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from emulator.limits import KIB, Limits
from emulator.services import post_policy
from emulator.services.signature import Credentials, Received, Refused, verify
from emulator.services.stacks import Stacks
from emulator.serving.guard import Names

# A thread is taken for as long as a request lasts: a poll of a queue lasts up to 20 s, and there may be several.
_THREADS = 32
# Every worker and every client in it keeps some: beyond this many, each request has a connection of its own.
_KEPT_CONNECTIONS = 1000
# Python's own server would take as much in one line. AWS gives no number for all of its services.
_HEADERS_BYTES = 64 * KIB


class _Headers(HeaderReader):
    """A reader that leaves out names with an underscore."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = super().__call__(rfile, hdict)
        # WSGI cannot tell `x_amz_date` from `x-amz-date`, which may be signed.
        # cheroot's own reader that drops such names fails at the first header (11.1.2).
        for name in [name for name in headers if b"_" in name]:
            del headers[name]
        return headers


class _Request(HTTPRequest):
    header_reader = _Headers()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request


class Server(wsgi.Server):
    """A server that keeps connections, answers in a few threads, and lets go of whoever sends nothing for a while."""

    ConnectionClass = _Connection
    keep_alive_conn_limit = _KEPT_CONNECTIONS
    max_request_header_size = _HEADERS_BYTES

    def __init__(self, listening: socket.socket, application: Any) -> None:
        self._listening = listening
        super().__init__(
            listening.getsockname(),
            application,
            numthreads=_THREADS,
            timeout=int(Limits.headers_s),
            request_queue_size=socket.SOMAXCONN,
        )

    def bind(self, *_: Any) -> socket.socket:
        """Take the socket that listens already."""
        self.socket = self._listening
        return self._listening


class Dispatcher(DomainDispatcherApplication):
    """moto's services. Which of them a host is, is looked up once: moto lists its folders for it, at every request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self._known: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._known:
            self._known[host] = super().get_backend_for_host(host)
        return self._known[host]


class Serialized:
    """moto's WSGI application, behind a check of who asks."""

    def __init__(self, names: Names, credentials: Credentials) -> None:
        self._moto = Dispatcher()
        self._names = names
        self._credentials = credentials
        self._stacks = Stacks()
        self._dynamodb = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = get_input_stream(environ).read()
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ.pop("HTTP_TRANSFER_ENCODING", None)  # the body that moto reads is whole
        path, _, query = environ["REQUEST_URI"].partition("?")
        # cheroot leaves `%2F` as it is; moto expects both as Werkzeug's server gives them.
        environ |= {"PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "RAW_URI": environ["REQUEST_URI"]}
        received = Received(environ["REQUEST_METHOD"], path, query, list(EnvironHeaders(environ)), body)
        refused = self._refusal(environ, received)
        if refused is not None:
            return refused(environ, start_response)
        if "/cloudformation/" in environ.get("HTTP_AUTHORIZATION", "") and (told := self._stacks.answer(body)):
            return Response(told, content_type="text/xml")(environ, start_response)
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return self._answer(environ, start_response)
        with self._dynamodb:
            return self._answer(environ, start_response)

    def _refusal(self, environ: dict[str, Any], received: Received) -> Response | None:
        if not self._names.own(environ.get("HTTP_HOST", ""), "http"):
            return _refuse(environ, 421, "MisdirectedRequest", "This is none of the names that it has here.")
        if environ["PATH_INFO"].startswith("/moto-api"):  # which knows no signature
            return _refuse(environ, 403, "AccessDenied", "There is no interface but that of AWS.")
        now = datetime.datetime.now(datetime.UTC)
        try:
            if post_policy.is_form(received):
                post_policy.verify(received, received.path.split("/")[1], self._credentials, now)
            else:
                verify(received, None, self._credentials, now)
        except Refused as refused:
            return _refuse(environ, 403, refused.code, str(refused))
        return None

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer


def _refuse(environ: dict[str, Any], status: int, code: str, message: str) -> Response:
    """Return a refusal that SDKs read as the service's own."""
    # No browser can sign, so this is all that one sees of the port, and not even this in a frame.
    headers = {"x-amzn-ErrorType": code, "X-Frame-Options": "DENY"}
    is_query = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if is_query or "/s3/" in environ.get("HTTP_AUTHORIZATION", ""):
        text = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
        return Response(text, status, headers, content_type="application/xml")
    return Response(json.dumps({"__type": code, "message": message}), status, headers, content_type="application/json")


def keep_touched_items_only() -> None:
    """Have a transaction copy no more of a table than the items that it may have to put back, and once."""
    write_together = DynamoDBBackend.transact_write_items

    def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        operations = [operation for write in transact_items for operation in write.values()]
        snapshots: dict[str, Table] = {}

        def kept(table: Table, _: dict[int, Any]) -> Table:
            # moto copies a table once for each write, all before the first one is done.
            if table.name not in snapshots:
                keys = [each.get("Item", each.get("Key")) for each in operations if each["TableName"] == table.name]
                snapshots[table.name] = _snapshot(table, keys)
            return snapshots[table.name]

        # For a moment, for every table: the lock around all of DynamoDB lets nobody else copy one meanwhile.
        Table.__deepcopy__ = kept  # type: ignore[attr-defined]
        try:
            write_together(backend, transact_items)
        finally:
            del Table.__deepcopy__  # type: ignore[attr-defined]

    DynamoDBBackend.transact_write_items = transact_write_items  # type: ignore[assignment, method-assign]


def _snapshot(table: Table, keys: Iterable[dict[str, Any]]) -> Table:
    """Return a table that keeps its items at these keys as they are now. It shares all others with `table`."""
    snapshot = copy.copy(table)
    snapshot.items = defaultdict(dict, table.items)
    for key in keys:
        items: dict[Any, Any] = snapshot.items
        place = DynamoType(key[table.hash_key_attr])
        if table.range_key_attr is not None:
            snapshot.items[place] = items = dict(items[place])
            place = DynamoType(key[table.range_key_attr])
        if place in items:
            items[place] = copy.deepcopy(items[place])
    return snapshot


def query_one_partition() -> None:
    """Have a query of a table, not of an index, see no more of it than one partition."""
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


class AttributeValueSerializer(JSONSerializer):
    """A serializer that looks for the one alternative that an attribute value of DynamoDB has.

    moto's own looks for each of the ten, under every name that a Python attribute might have. That is two thirds of all
    that it does for a request.
    """

    def _serialize_type_structure(self, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name != "AttributeValue":
            return super()._serialize_type_structure(serialized, value, shape, key)
        ((kind, content),) = value.items()
        wrapper: dict[str, Any] = {}
        self._serialize(wrapper, content, shape.members[kind], kind)
        self._default_serialize(serialized, wrapper, shape, key)
        return None


def serialize_one_alternative() -> None:
    """Have DynamoDB's answers serialized by ``AttributeValueSerializer``."""
    SERVICE_SPECIFIC_SERIALIZERS["dynamodb"] = {"json": AttributeValueSerializer}


PATCHED_MOTO = "5.2.5"
"""The version of moto that the patches were last held against. None of them has a public way: moto has no setting."""
PATCHES = (keep_touched_items_only, query_one_partition, serialize_one_alternative)


if __name__ == "__main__":
    for patch in PATCHES:
        patch()
    descriptor, port = map(int, sys.argv[1:])
    application = Serialized(Names(f"127.0.0.1:{port}"), Credentials.of(os.environ))
    Server(socket.socket(fileno=descriptor), application).start()
