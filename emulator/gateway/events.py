"""The events that API Gateway gives to functions. Pure: time and ids are passed in.

Sources: the event structures in API Gateway's and Lambda's developer guides, and recorded events.
"""

import base64
import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.account import ACCOUNT, REGION

Pairs = Sequence[tuple[str, str]]
_FORWARDED = ("forwarded", "x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto")


@dataclass(frozen=True)
class EventIds:
    """What is new for every request: `time_ms` since the epoch, and its ids."""

    time_ms: int
    request_id: str
    extended_id: str
    trace_id: str


@dataclass(frozen=True)
class Caller:
    """A client. `scheme`: what it speaks, `http` or `https`."""

    source_ip: str
    user_agent: str | None
    scheme: str = "http"


@dataclass(frozen=True)
class Socket:
    """What stays the same for all events of one connection. `authorizer`: principalId and the context's values."""

    api: str
    stage: str
    stage_variables: Mapping[str, str]
    domain: str
    connection_id: str
    connected_ms: int
    caller: Caller
    authorizer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request to an HTTP API, names of headers as they came."""

    api: str
    stage: str
    stage_variables: Mapping[str, str]
    domain: str
    method: str
    path: str
    query: str
    query_items: Pairs
    headers: Pairs
    body: bytes
    caller: Caller
    http_version: str


def connect(socket: Socket, event_ids: EventIds, headers: Pairs, query: Pairs) -> dict[str, Any]:
    context = _socket_context(socket, event_ids, "$connect", "CONNECT")
    event = _headers(headers)
    if query:
        event |= {"queryStringParameters": dict(query), "multiValueQueryStringParameters": _grouped(query)}
    event |= {"requestContext": context, "isBase64Encoded": False}
    return event | _stage_variables(socket)


def message(socket: Socket, event_ids: EventIds, route: str, message_id: str, body: str) -> dict[str, Any]:
    # Without `headers`: API Gateway sends them with the handshake only.
    context = _socket_context(socket, event_ids, route, "MESSAGE") | {"messageId": message_id}
    return {"requestContext": context, "body": body, "isBase64Encoded": False} | _stage_variables(socket)


def disconnect(socket: Socket, event_ids: EventIds, code: int, reason: str) -> dict[str, Any]:
    context = _socket_context(socket, event_ids, "$disconnect", "DISCONNECT")
    context |= {"disconnectStatusCode": code, "disconnectReason": reason}
    # All that is left of the handshake's, with these empty values. Source: recorded events.
    headers = [("Host", socket.domain), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", "")]
    event = {**_headers(headers), "requestContext": context, "isBase64Encoded": False}
    return event | _stage_variables(socket)


def authorization(socket: Socket, event_ids: EventIds, headers: Pairs, query: Pairs) -> dict[str, Any]:
    """Return the event of a WebSocket API's REQUEST authorizer."""
    return {
        "type": "REQUEST",
        "methodArn": method_arn(socket),
        **_headers(headers),
        "queryStringParameters": dict(query),
        "multiValueQueryStringParameters": _grouped(query),
        "stageVariables": dict(socket.stage_variables),
        "requestContext": _socket_context(socket, event_ids, "$connect", "CONNECT"),
    }


def method_arn(socket: Socket) -> str:
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{socket.api}/{socket.stage}/$connect"


def forwarded(headers: Pairs, caller: Caller, event_ids: EventIds) -> list[tuple[str, str]]:
    """Put in place of the client's headers what API Gateway knows better. A function believes them."""
    return [
        *((name, value) for name, value in headers if name.lower() not in _FORWARDED),
        ("X-Amzn-Trace-Id", event_ids.trace_id),
        ("X-Forwarded-For", caller.source_ip),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", caller.scheme),  # so that the addresses that functions make of it are good here
    ]


def http(call: Call, event_ids: EventIds, route: str, path_parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a request as an event in payload format 2.0."""
    event = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": call.path,
        "rawQueryString": call.query,
        "cookies": [each for name, value in call.headers if name.lower() == "cookie" for each in value.split("; ")],
        "headers": _joined((name.lower(), value) for name, value in call.headers if name.lower() != "cookie"),
        "queryStringParameters": _joined(call.query_items),
        "requestContext": {
            **_reached(call),
            "http": {
                "method": call.method,
                "path": call.path,
                "protocol": f"HTTP/{call.http_version}",
                "sourceIp": call.caller.source_ip,
                "userAgent": call.caller.user_agent or "",
            },
            "requestId": event_ids.extended_id,
            "routeKey": route,
            "time": request_time(event_ids.time_ms),
            "timeEpoch": event_ids.time_ms,
        },
        "pathParameters": dict(path_parameters),
        "stageVariables": dict(call.stage_variables),
        **_body(call),
    }
    # Format 2.0 leaves out what is empty, where 1.0 has null.
    return {name: value for name, value in event.items() if value not in ({}, []) or name == "headers"}


def http_authorization(call: Call, event_ids: EventIds, route: str, sources: Sequence[str]) -> dict[str, Any]:
    """Return the event of an HTTP API's REQUEST authorizer in payload format 2.0. `sources`: the identity's values."""
    event = http(call, event_ids, route, {})
    return {
        **{name: value for name, value in event.items() if name not in ("body", "isBase64Encoded")},
        "type": "REQUEST",
        "routeArn": route_arn(call, route),
        "identitySource": list(sources),
    }


def http_first(call: Call, event_ids: EventIds, route: str, path_parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a request as an event in payload format 1.0.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    body = _body(call)
    return {
        "version": "1.0",
        "resource": route.partition(" ")[2] or route,
        "path": call.path,
        "httpMethod": call.method,
        **_headers(call.headers),
        "queryStringParameters": dict(call.query_items) or None,
        "multiValueQueryStringParameters": _grouped(call.query_items) or None,
        "requestContext": {
            **_reached(call),
            "extendedRequestId": event_ids.extended_id,
            "httpMethod": call.method,
            "identity": identity(call.caller),
            "path": call.path,
            "protocol": f"HTTP/{call.http_version}",
            "requestId": event_ids.extended_id,
            "requestTime": request_time(event_ids.time_ms),
            "requestTimeEpoch": event_ids.time_ms,
            "resourceId": route,
            "resourcePath": route.partition(" ")[2] or route,
        },
        "pathParameters": dict(path_parameters) or None,
        "stageVariables": dict(call.stage_variables) or None,
        "body": body.get("body"),
        "isBase64Encoded": body["isBase64Encoded"],
    }


def http_first_authorization(call: Call, event_ids: EventIds, route: str, sources: Sequence[str]) -> dict[str, Any]:
    """Return the event of an HTTP API's REQUEST authorizer in payload format 1.0."""
    event = http_first(call, event_ids, route, {})
    identity = ",".join(sources)
    return {
        **{name: value for name, value in event.items() if name not in ("body", "isBase64Encoded")},
        "type": "REQUEST",
        "methodArn": route_arn(call, route),
        "identitySource": identity,
        "authorizationToken": identity,
    }


def route_arn(call: Call, route: str) -> str:
    method, _, path = route.partition(" ")
    resource = f"{call.method}{path}" if path else method
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{call.api}/{call.stage}/{resource}"


def request_time(time_ms: int) -> str:
    """Return a time as `01/Jul/2026:15:31:13 +0000`."""
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def _socket_context(socket: Socket, event_ids: EventIds, route: str, event_type: str) -> dict[str, Any]:
    authorizer = dict(socket.authorizer)
    # Only CONNECT has it, as the one number among texts. Source: recorded events.
    if event_type != "CONNECT":
        authorizer.pop("integrationLatency", None)
    context = {
        "routeKey": route,
        "eventType": event_type,
        "extendedRequestId": event_ids.extended_id,
        "requestTime": request_time(event_ids.time_ms),
        "messageDirection": "IN",
        "stage": socket.stage,
        "connectedAt": socket.connected_ms,
        "requestTimeEpoch": event_ids.time_ms,
        "identity": identity(socket.caller),
        "requestId": event_ids.request_id,
        "domainName": socket.domain,
        "connectionId": socket.connection_id,
        "apiId": socket.api,
    }
    return context | {"authorizer": authorizer} if authorizer else context


def identity(caller: Caller) -> dict[str, str]:
    agent = {} if caller.user_agent is None else {"userAgent": caller.user_agent}
    return {**agent, "sourceIp": caller.source_ip}


def _reached(call: Call) -> dict[str, Any]:
    """Return what a context of either payload format says of the API."""
    return {
        "accountId": ACCOUNT,
        "apiId": call.api,
        "domainName": call.domain,
        "domainPrefix": call.domain.split(".", 1)[0],
        "stage": call.stage,
    }


def _headers(headers: Pairs) -> dict[str, Any]:
    return {"headers": dict(headers), "multiValueHeaders": _grouped(headers)}


def _stage_variables(socket: Socket) -> dict[str, Any]:
    return {"stageVariables": dict(socket.stage_variables)} if socket.stage_variables else {}


def _grouped(pairs: Pairs) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: ",".join(values) for name, values in _grouped(list(pairs)).items()}


def _body(call: Call) -> dict[str, Any]:
    if not call.body:
        return {"isBase64Encoded": False}
    kind = _joined((name.lower(), value) for name, value in call.headers).get("content-type", "")
    media_type = kind.partition(";")[0].strip().lower()
    family, _, subtype = media_type.partition("/")
    structured = family == "application" and subtype.rpartition("+")[2] in ("json", "javascript", "xml")
    # An HTTP API encodes everything else, forms too.
    if not media_type or family == "text" or structured:
        return {"body": call.body.decode(errors="replace"), "isBase64Encoded": False}
    return {"body": base64.b64encode(call.body).decode(), "isBase64Encoded": True}
