"""HTTP APIs: routes, payload formats, answers, CORS.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import binascii
import functools
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator import log
from emulator.gateway import authorizers, events, ids, integrations
from emulator.gateway.integrations import IntegrationFailed, IntegrationTimedOut, NotServed
from emulator.lambda_.invoke import Invoker
from emulator.limits import Limits
from emulator.template.apis import PATH_VARIABLE, Authorizer, Cors, HttpApi, Route


@dataclass(frozen=True)
class Match:
    route: Route
    path_parameters: Mapping[str, str]


class HttpApis:
    """The endpoint of all HTTP APIs. `apis` by stage; `$default` is served at the root."""

    def __init__(self, apis: Mapping[str, HttpApi], domain: str, invoker: Invoker, limits: Limits) -> None:
        self._apis = apis
        self._domain = domain
        self._invoker = invoker
        self._limits = limits

    async def answer(self, request: Request) -> Response:
        began = time.monotonic()
        response = await self._answer(request)
        log.request(request.method, request.scope["path"], response.status_code, time.monotonic() - began)
        return response

    async def _answer(self, request: Request) -> Response:
        # A path names its stage first, but for the default stage's.
        _, first, *rest = request.scope["path"].split("/", 2)
        named = first in self._apis
        stage, path = (first, "/" + "".join(rest)) if named else ("$default", request.scope["path"])
        api = self._apis.get(stage)
        if api is None:
            return _message(404, "Not Found")
        # Source: the Fetch standard, "CORS-preflight request".
        if api.cors and request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(status_code=204, headers=cors_headers(api.cors, request.headers))
        match = match_route(api.routes, request.method, path)
        response = await self._route(request, api, stage, match) if match else _message(404, "Not Found")
        if api.cors:
            response.headers.update(cors_headers(api.cors, request.headers))
        return response

    async def _route(self, request: Request, api: HttpApi, stage: str, match: Match) -> Response:
        body, limit_bytes = bytearray(), self._limits.http_body_bytes
        # The rest is read and dropped: a client that is still sending would not hear the answer.
        async for piece in request.stream():
            body += piece[: limit_bytes + 1 - len(body)]
        if len(body) > limit_bytes:
            return _message(413, "Request Entity Too Large")
        call = _call(request, api, stage, self._domain, bytes(body))
        is_first = match.route.integration.payload == "1.0"
        event_of = events.http_first if is_first else events.http
        event = event_of(call, ids.new_event_ids(), match.route.key, match.path_parameters)
        payload = json.dumps(event).encode()
        # Lambda's own limit, for which Base64 counts.
        if len(payload) > self._limits.invoke_payload_bytes:
            return _message(413, "Request Entity Too Large")
        if match.route.authorizer is None:
            return await self._integrate(match.route, payload)
        answer = await self._authorize(match.route.authorizer, call, match.route.key)
        if isinstance(answer, Response):
            return answer
        event["requestContext"]["authorizer"] = answer if is_first else {"lambda": answer}
        return await self._integrate(match.route, json.dumps(event).encode())

    async def _integrate(self, route: Route, payload: bytes) -> Response:
        limit_s = self._limits.http_timeout_s
        timeout_s = min(route.integration.timeout_s or limit_s, limit_s)
        try:
            integrations.serve(route.integration)
            answered = await integrations.call(self._invoker, route.integration.function, payload, timeout_s)
            return response_of(answered.value)
        except NotServed as reason:
            return _message(501, str(reason))
        except IntegrationTimedOut:
            return _message(503, "Service Unavailable")
        except IntegrationFailed:
            return _message(500, "Internal Server Error")

    async def _authorize(self, authorizer: Authorizer, call: events.Call, route: str) -> dict[str, Any] | Response:
        """Return the authorizer's context, or the answer for the client if it says no."""
        sources = [_identity(source, call) for source in authorizer.identity_sources]
        if None in sources:
            return _message(401, "Unauthorized")
        identity = [source for source in sources if source is not None]
        is_first = authorizer.payload == "1.0"
        event_of = events.http_first_authorization if is_first else events.http_authorization
        event = event_of(call, ids.new_event_ids(), route, identity)
        payload, limit_s = json.dumps(event).encode(), self._limits.http_timeout_s
        try:
            answered = await integrations.call(self._invoker, authorizer.function, payload, limit_s)
            return _context(authorizer, answered.value, events.route_arn(call, route))
        except authorizers.Denied:
            return _message(403, "Forbidden")
        except NotServed as reason:
            return _message(501, str(reason))
        except IntegrationFailed as failed:
            # The one word by which a function says 401; whatever else it raises is its failure.
            unauthorized = failed.error_message == "Unauthorized"
            return _message(401, "Unauthorized") if unauthorized else _message(500, "Internal Server Error")
        except (IntegrationTimedOut, authorizers.Malformed):
            return _message(500, "Internal Server Error")


def match_route(routes: Mapping[str, Route], method: str, path: str) -> Match | None:
    """Return the most specific route: no greedy variable, then few variables, then a named method; `$default` last."""
    named = [key for key in routes if " " in key]
    for key in sorted(named, key=lambda key: ("+}" in key, key.count("{"), key.startswith("ANY "))):
        verb, _, template = key.partition(" ")
        pattern, names = _pattern(template)
        found = pattern.fullmatch(path) if verb in (method, "ANY") else None
        if found:
            return Match(routes[key], dict(zip(names, found.groups(), strict=True)))
    return Match(routes["$default"], {}) if "$default" in routes else None


def response_of(answer: Any) -> Response:
    """Turn what a function returned into a response. Raise IntegrationFailed if it cannot be one.

    `{"statusCode", "headers"?, "cookies"?, "body"?, "isBase64Encoded"?}`, or anything else: 200 with that as JSON.
    Payload format 1.0 has `multiValueHeaders?` instead of cookies.
    """
    if not isinstance(answer, dict) or "statusCode" not in answer:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return Response(text, media_type="application/json")
    headers = {str(name).lower(): _header(value) for name, value in (answer.get("headers") or {}).items()}
    headers.setdefault("content-type", "text/plain;charset=UTF-8")
    headers.pop("content-length", None)  # a wrong one would cut the body; Starlette counts
    content, status = _content(answer), answer["statusCode"]
    if not isinstance(status, int) or not 100 <= status < 600:
        raise IntegrationFailed("statusCode is no HTTP status")
    response = Response(content, status_code=status, headers=headers)
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        # Where both name a header, these count. Source: API Gateway's guide, "Output format of a Lambda function".
        del response.headers[str(name)]
        for value in values if isinstance(values, list) else [values]:
            response.headers.append(str(name).lower(), _header(value))
    for cookie in answer.get("cookies") or ():
        response.headers.append("set-cookie", cookie)
    return response


def cors_headers(cors: Cors, request: Mapping[str, str]) -> dict[str, str]:
    """Return the `Access-Control-*` headers for a request that names an allowed `Origin`."""
    origin = request.get("origin", "")
    if not origin or not ("*" in cors.origins or origin in cors.origins):
        return {}
    headers = {
        "access-control-allow-origin": "*" if "*" in cors.origins else origin,
        "access-control-allow-methods": ",".join(cors.methods),
        "access-control-allow-headers": ",".join(cors.headers),
        "access-control-expose-headers": ",".join(cors.exposed),
        "access-control-allow-credentials": "true" if cors.credentials else "",
        "access-control-max-age": "" if cors.max_age_s is None else str(cors.max_age_s),
    }
    return {name: value for name, value in headers.items() if value}


@functools.cache
def _pattern(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Return the pattern of a path, and the names of its variables, which need not be names to `re`.

    `/items/{id}` takes one segment, `/{proxy+}` takes all that are left.
    """
    parts, names, at = [], [], 0
    for variable in PATH_VARIABLE.finditer(template):
        name, greedy = variable.groups()
        names.append(name)
        parts += [re.escape(template[at : variable.start()]), "((?s:.+))" if greedy else "([^/]+)"]
        at = variable.end()
    return re.compile("".join(parts) + re.escape(template[at:])), tuple(names)


def _header(value: Any) -> str:
    try:
        return authorizers.as_string(value)
    except authorizers.Malformed as error:
        raise IntegrationFailed("a header is no string") from error


def _content(answer: Mapping[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise IntegrationFailed("body is no string")
    if not answer.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise IntegrationFailed("body is not base64") from error


def _call(request: Request, api: HttpApi, stage: str, domain: str, body: bytes) -> events.Call:
    query = request.scope["query_string"].decode("latin-1")
    address = request.client.host if request.client else ""
    caller = events.Caller(address, request.headers.get("user-agent"), request.scope["scheme"])
    return events.Call(
        api=api.id,
        stage=stage,
        stage_variables=api.stages[stage],
        domain=domain,
        method=request.method,
        path=request.scope["path"],
        query=query,
        query_items=parse_qsl(query, keep_blank_values=True),
        headers=events.forwarded(list(request.headers.items()), caller, ids.new_event_ids()),
        body=body,
        caller=caller,
        http_version=request.scope["http_version"],
    )


def _identity(source: str, call: events.Call) -> str | None:
    """Return what `$request.header.name` or `$request.querystring.name` stands for, if it is there."""
    kind, _, name = source.removeprefix("$request.").partition(".")
    pairs: Iterator[tuple[str, str]] = iter(call.headers if kind == "header" else call.query_items)
    return next((value for key, value in pairs if key.lower() == name.lower()), None)


def _context(authorizer: Authorizer, answer: Any, arn: str) -> dict[str, Any]:
    """Return the context that an authorizer's answer gives. Raise Denied, Malformed."""
    if not authorizer.simple_answers:
        return authorizers.allowed_by_policy(answer, arn)
    if not isinstance(answer, dict) or not isinstance(answer.get("isAuthorized"), bool):
        raise authorizers.Malformed("a simple answer has isAuthorized")
    if not answer["isAuthorized"]:
        raise authorizers.Denied
    return dict(answer.get("context") or {})


def _message(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status_code=status)
