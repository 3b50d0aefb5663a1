"""HTTP API: routes, payload format 2.0, answers, CORS."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.parser.models import APIGatewayProxyEventV2Model

from emulator.gateway.http_api import match_route
from emulator.template.apis import Integration, Route
from tests.builders.patience import PATIENCE_S
from tests.builders.serving import Serving


@pytest_asyncio.fixture
async def http(gateway: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.http(""), timeout=PATIENCE_S) as client:
        yield client


async def seen(http: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
    """Return the event that a request becomes."""
    params = {"do": '{"describe": true}', **more.pop("params", {})}
    answer = await http.request(method, path, params=params, **more)
    return answer.json()["event"]


async def answered(http: httpx.AsyncClient, answer: Any) -> httpx.Response:
    return await http.post("/act", json={"do": {"return": answer}})


async def test_event_is_what_powertools_expects(http: httpx.AsyncClient, gateway: Serving) -> None:
    event = await seen(http, "GET", "/items/7", headers={"X-One": "1", "Cookie": "a=1; b=2"}, params={"q": "x"})
    parsed = APIGatewayProxyEventV2Model.model_validate(event)
    assert parsed.requestContext.http.method == "GET"
    assert APIGatewayProxyEventV2(event).path == "/items/7"
    assert event["version"] == "2.0"
    assert event["routeKey"] == event["requestContext"]["routeKey"] == "GET /items/{id}"
    assert event["rawPath"] == "/items/7"
    assert event["rawQueryString"].endswith("&q=x")
    assert event["queryStringParameters"]["q"] == "x"
    assert event["pathParameters"] == {"id": "7"}
    assert event["headers"]["x-one"] == "1"
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]
    assert event["isBase64Encoded"] is False
    assert "body" not in event
    assert event["requestContext"]["stage"] == "$default"
    assert event["requestContext"]["domainName"] == gateway.address


async def test_repeated_headers_and_parameters_are_joined(http: httpx.AsyncClient) -> None:
    headers = httpx.Headers([("x-two", "1"), ("x-two", "2")])
    answer = await http.get('/items/7?do={"describe":true}&q=a&q=b', headers=headers)
    event = answer.json()["event"]
    assert event["headers"]["x-two"] == "1,2"
    assert event["queryStringParameters"]["q"] == "a,b"


async def test_text_body_is_text_and_other_bodies_are_base64(http: httpx.AsyncClient) -> None:
    text = await seen(http, "POST", "/act", content='{"grüße": 1}', headers={"content-type": "application/json"})
    assert (text["body"], text["isBase64Encoded"]) == ('{"grüße": 1}', False)
    binary = await seen(http, "POST", "/act", files={"file": ("a.bin", b"\x00\xff")}, data={"type": "x"})
    assert binary["isBase64Encoded"] is True
    assert b"\x00\xff" in base64.b64decode(binary["body"])


async def test_most_specific_route_wins(http: httpx.AsyncClient) -> None:
    assert (await seen(http, "GET", "/items/something-entirely-new"))["routeKey"] == "GET /items/something-entirely-new"
    assert (await seen(http, "GET", "/items/old"))["routeKey"] == "GET /items/{id}"


async def test_greedy_variable_takes_the_rest_and_any_takes_every_method(http: httpx.AsyncClient) -> None:
    event = await seen(http, "PUT", "/files/a/b.txt")
    assert event["routeKey"] == "ANY /files/{path+}"
    assert event["pathParameters"] == {"path": "a/b.txt"}


async def test_greedy_variable_takes_line_ends_too(http: httpx.AsyncClient) -> None:
    answer = await http.get('/files/a%0Ab%0D?do={"describe":true}')
    assert answer.json()["event"]["pathParameters"] == {"path": "a\nb\r"}


async def test_path_is_decoded_and_its_query_is_not(http: httpx.AsyncClient) -> None:
    answer = await http.get('/files/a%20b%3Fc?do={"describe":true}&q=%26')
    event = answer.json()["event"]
    assert event["rawPath"] == "/files/a b?c"
    assert event["pathParameters"] == {"path": "a b?c"}
    assert event["rawQueryString"].endswith("&q=%26")
    assert event["queryStringParameters"]["q"] == "&"


@pytest.mark.parametrize(
    ("path", "key", "parameters"),
    [
        ("/7", "GET /{1x}", {"1x": "7"}),
        ("/ok/b", "GET /ok/{b}", {"b": "b"}),
        ("/items/7", "GET /items/{item-id}", {"item-id": "7"}),
        ("/a/b", "GET /{x}/{x}", {"x": "b"}),
        ("/a/b/c", "ANY /a/{rest.of+}", {"rest.of": "b/c"}),
    ],
)
def test_variables_of_a_path_need_be_no_names_to_python(path: str, key: str, parameters: dict[str, str]) -> None:
    keys = ("GET /{1x}", "GET /ok/{b}", "GET /items/{item-id}", "GET /{x}/{x}", "ANY /a/{rest.of+}")
    match = match_route({each: Route(each, Integration("", proxy=True)) for each in keys}, "GET", path)
    assert match is not None
    assert (match.route.key, match.path_parameters) == (key, parameters)


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("POST", "/items/7"), ("GET", "/files/")])
async def test_no_route_is_404(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


async def test_structured_answer_is_sent_as_it_says(http: httpx.AsyncClient) -> None:
    answer = await answered(
        http,
        {"statusCode": 201, "headers": {"X-Kind": "made"}, "cookies": ["a=1", "b=2"], "body": "ok"},
    )
    assert (answer.status_code, answer.headers["x-kind"], answer.text) == (201, "made", "ok")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_base64_answer_is_sent_as_bytes(http: httpx.AsyncClient) -> None:
    body = base64.b64encode(b"\x00\xff").decode()
    answer = await answered(http, {"statusCode": 200, "body": body, "isBase64Encoded": True})
    assert answer.content == b"\x00\xff"


@pytest.mark.parametrize(("value", "text"), [({"a": 1}, '{"a": 1}'), ([1], "[1]"), ("plain", "plain")])
async def test_other_answers_are_200_and_json(http: httpx.AsyncClient, value: Any, text: str) -> None:
    answer = await answered(http, value)
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "answer",
    [{"statusCode": "abc"}, {"statusCode": 200, "body": {"no": "string"}}, {"statusCode": 200, "headers": {"x": []}}],
)
async def test_answer_that_cannot_be_read_is_500(http: httpx.AsyncClient, answer: Any) -> None:
    response = await answered(http, answer)
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


async def test_exception_is_500(http: httpx.AsyncClient) -> None:
    answer = await http.post("/act", json={"do": {"raise": "no"}})
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})


async def test_no_answer_in_time_is_503(http: httpx.AsyncClient) -> None:
    answer = await http.post("/act", json={"do": {"sleep": 7}})
    assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})


async def test_payload_over_6_mb_is_413_and_base64_counts(http: httpx.AsyncClient) -> None:
    binary = {"content-type": "application/octet-stream"}
    fits = await http.post("/act", content=b"x" * 4_000_000, headers=binary)
    assert fits.status_code == 200
    answer = await http.post("/act", content=b"x" * 5_000_000, headers=binary)
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Entity Too Large"})


async def test_simple_authorizer_allows_with_context_denies_or_misses_its_identity(http: httpx.AsyncClient) -> None:
    assert (await http.get("/private")).status_code == 401
    denied = await http.get("/private?as=deny", headers={"x-token": "t"})
    assert (denied.status_code, denied.json()) == (403, {"message": "Forbidden"})
    event = await seen(http, "GET", "/private", headers={"x-token": "t"})
    assert event["requestContext"]["authorizer"] == {"lambda": {"user": "ada", "number": 7}}


async def test_preflight_is_answered_without_a_function(http: httpx.AsyncClient) -> None:
    wish = {"origin": "https://page.example", "access-control-request-method": "POST"}
    answer = await http.options("/act", headers=wish)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert answer.headers["access-control-allow-methods"] == "GET,POST"
    assert answer.headers["access-control-allow-headers"] == "x-token"
    assert answer.headers["access-control-max-age"] == "60"


async def test_other_origins_get_no_cors_headers(http: httpx.AsyncClient) -> None:
    answer = await http.get("/items/7", headers={"origin": "https://other.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_path_of_a_websocket_stage_is_no_route_of_the_http_api(http: httpx.AsyncClient) -> None:
    assert (await http.get("/plain")).status_code == 404


async def test_answer_of_a_function_stays_json_for_unicode(http: httpx.AsyncClient) -> None:
    answer = await answered(http, {"statusCode": 200, "body": json.dumps({"a": "😀"}, ensure_ascii=False)})
    assert json.loads(answer.text) == {"a": "😀"}
