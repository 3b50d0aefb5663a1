"""The readable pages of the contract."""

import re

from starlette.applications import Starlette
from starlette.testclient import TestClient

from emulator.protocol_pages import calls, frames, routes
from tests.builders.contract import HTTP, PROTOCOL, SOCKET


def test_a_page_has_every_frame_every_call_and_the_documents() -> None:
    with TestClient(Starlette(routes=routes())) as client:
        page = client.get("/protocol")
        assert page.headers["content-type"].startswith("text/html")
        sections = re.findall(r'<section id="(\w+)">', page.text)
        answered = (each for path in HTTP["paths"].values() for each in path.values() if "responses" in each)
        operations = [each["operationId"] for each in answered]
        assert sorted(sections) == sorted([*SOCKET["components"]["messages"], *operations])
        for name in ("asyncapi.yaml", "openapi.yaml", "vectors/in-order.json"):
            assert client.get(f"/protocol/{name}").content == (PROTOCOL / name).read_bytes()
        assert client.get("/protocol/../README.md").status_code == 404


def test_a_frame_has_the_fields_of_all_that_it_is_made_of() -> None:
    (_, said), (_, heard) = frames(SOCKET)
    assert [entry.anchor for entry in said][:2] == ["hello", "send"]
    fields = {field.name: field for field in next(each for each in heard if each.anchor == "tool").tables[0][1]}
    assert list(fields) == [
        *("type", "content", "timestamp", "conversation", "reply", "epoch", "part", "offset"),
        *("size", "call", "name", "by"),
    ]
    assert (fields["type"].type, fields["by"].is_required) == ('"tool"', True)
    assert fields["by"].type == '"model", "deployment", "client"'
    ready = {field.name for field in next(each for each in heard if each.anchor == "ready").tables[0][1]}
    assert {"limits", "limits.frame_bytes", "active"} <= ready


def test_a_call_has_its_bodies_and_examples() -> None:
    _, entries = calls(HTTP)
    page = next(entry for entry in entries if entry.anchor == "listMessages")
    assert page.description.startswith("403 `forbidden`")
    ((title, fields),) = page.tables
    assert title.startswith("200: A page of at most 50")
    assert "turns[].reply.parts[].content" in {field.name for field in fields}
    assert '"status": "complete"' in page.examples[0][1]
