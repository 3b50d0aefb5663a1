"""Files all the way: uploaded, quoted in a message, read by the model, and nobody else's.

Which files and calls are refused, and what other devices hear of a file, the recorded session has (``scenes.files``).
"""

import base64
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.builders.deployments import Relay
from tests.builders.phone import Frame, Phone
from tests.system.conftest import services_of

PNG = b"\x89PNG\r\n\x1a\n" + b"a picture"
PDF = b"%PDF-1.7 a document \xff"
TEXT = "Grüße 早上".encode()
MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
NAMES = ["../../x", "..%2fx", "..\\x", "/etc/passwd", "a\0b.png", ".", "漢字 😀 \u202egpj.exe", "x" * 255]


@pytest.fixture
def http(relay: Relay) -> Any:
    with httpx.Client(base_url=f"http://{relay.address}", headers={"X-API-Key": relay.key}, timeout=60) as client:
        yield client


def upload(http: httpx.Client, filename: str, content: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    answer = http.post("/api/files/upload", data={"type": "image"}, files={"file": (filename, content, mime_type)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def multipart(filename: str, *content: bytes) -> Iterator[bytes]:
    """The body of an upload, piece by piece, with the name to the letter."""
    yield f'--x\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
    yield from content
    yield b"\r\n--x--\r\n"


def post_by_form(http: httpx.Client, filename: str, content: bytes, mime_type: str) -> str:
    wanted = {"filename": filename, "mime_type": mime_type, "size": len(content)}
    given = http.post("/api/files", json=wanted).json()
    posted = httpx.post(given["upload"]["url"], data=given["upload"]["fields"], files={"file": content})
    assert posted.status_code == 204, posted.text
    return str(given["url"])


def delete(worker: dict[str, str], url: str) -> None:
    """As the bucket's lifecycle does."""
    bucket = services_of(worker).resource("s3").Bucket(worker["FILES_BUCKET"])
    (doomed,) = (each for each in bucket.objects.all() if url[-32:] in each.key)
    doomed.delete()


def get(http: httpx.Client, url: str, key: str) -> tuple[int, Any]:
    answer = http.get(url, headers={"X-API-Key": key})
    return answer.status_code, answer.json()


def post(http: httpx.Client, path: str, body: dict[str, Any], key: str | None = None) -> tuple[int, Any]:
    answer = http.post(path, json=body, headers={"X-API-Key": key} if key else None)
    return answer.status_code, answer.json()


async def ask(relay: Relay, conversation: str, text: str, *urls: str, key: str | None = None) -> list[Frame]:
    async with Phone.connected(relay.websocket, key or relay.key) as phone:
        attachments = [{"url": url} for url in urls]
        return await phone.ask(text, id=f"m {text}", conversation=conversation, attachments=attachments)


def told(relay: Relay, prompt: str) -> list[dict[str, Any]]:
    """The blocks of the last user's turn when the model was asked `prompt`."""
    blocks: list[dict[str, Any]] = relay.requests_for(prompt)[-1].body["messages"][-1]["content"]
    return blocks


def in_base64(content: bytes, mime_type: str) -> dict[str, str]:
    return {"type": "base64", "media_type": mime_type, "data": base64.b64encode(content).decode()}


def test_an_upload_is_had_again_at_its_url(http: httpx.Client) -> None:
    uploaded = upload(http, "../../Grüße 早上.png", PNG)
    assert (uploaded["filename"], uploaded["size"]) == ("../../Grüße 早上.png", len(PNG))

    redirect = http.get(uploaded["url"])
    file = http.get(uploaded["url"], follow_redirects=True)
    assert redirect.status_code == 302
    assert redirect.headers["location"].startswith(f"{http.base_url}/s3/"), "the way that clients come by"
    assert httpx.get(redirect.headers["location"].partition("?")[0]).status_code == 403
    assert (file.status_code, file.content, file.headers["content-type"]) == (200, PNG, "image/png")
    assert file.headers["content-disposition"].endswith("''..%2F..%2FGr%C3%BC%C3%9Fe%20%E6%97%A9%E4%B8%8A.png")


def test_the_way_to_the_storage_leads_nowhere_else(relay: Relay) -> None:
    target = f"/s3%2F@{relay.address}/playground/config.json?X-Amz-Signature=1"
    answer = httpx.get(f"http://{relay.address}{target}")
    assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)


async def test_the_model_sees_pictures_documents_and_texts(relay: Relay, http: httpx.Client, conversation: str) -> None:
    picture = upload(http, "photo.jpg", PNG, "image/jpeg")["url"]
    document = post_by_form(http, "paper.pdf", PDF, "application/pdf")
    text = upload(http, "notes.md", TEXT, "text/markdown")["url"]

    frames = await ask(relay, conversation, "look at these", picture, document, text)
    assert frames[-1]["type"] == "complete"
    assert told(relay, "look at these") == [
        {"type": "image", "source": in_base64(PNG, "image/png")},
        {"type": "document", "source": in_base64(PDF, "application/pdf"), "title": "paper.pdf"},
        {"type": "text", "text": "notes.md:\n\nGrüße 早上"},
        {"type": "text", "text": "look at these"},
    ]
    await ask(relay, conversation, "", text)
    assert told(relay, "notes.md:\n\nGrüße 早上") == [{"type": "text", "text": "notes.md:\n\nGrüße 早上"}], (
        "needs no words"
    )
    await ask(relay, conversation, "and again")
    first = relay.requests_for("look at these")[-1].body["messages"]
    assert relay.requests_for("and again")[-1].body["messages"][:1] == first


async def test_another_users_file_is_no_file(
    relay: Relay, http: httpx.Client, conversation: str, stranger: str
) -> None:
    url = upload(http, "secret.png", PNG)["url"]
    nothing = url[:-32] + "0" * 32

    refused = (403, {"error": "There is no such file.", "code": "forbidden"})
    for each in (url, nothing):
        assert get(http, each, stranger) == refused
        said = {"id": "m1", "content": "steal", "attachments": [{"url": each}]}
        assert post(http, f"/api/conversations/{conversation}/messages", said, stranger) == refused
    for each in (url, nothing):
        end = (await ask(relay, conversation, f"steal {each[-9:]}", each, key=stranger))[-1]
        assert (end["code"], end["content"]) == ("forbidden", "There is no such file.")
        assert relay.requests_for(f"steal {each[-9:]}") == []


def test_a_name_is_a_name_and_leads_nowhere(http: httpx.Client, worker: dict[str, str]) -> None:
    for name in NAMES:
        body = multipart(name, b"in the name")
        posted = http.post("/api/files/upload", content=b"".join(body), headers=MULTIPART)
        assert (posted.status_code, posted.json()["filename"]) == (200, name)
        for url in (posted.json()["url"], post_by_form(http, name, b"in the name", "text/plain")):
            assert http.get(url, follow_redirects=True).content == b"in the name"
    bucket = services_of(worker).resource("s3").Bucket(worker["FILES_BUCKET"])
    keys = [each.key for each in bucket.objects.all()]
    assert [key for key in keys if not re.fullmatch(r"\w+/[0-9a-f]{32}/[\w%~-]+", key)] == []


def test_an_address_that_is_no_files_leads_nowhere(http: httpx.Client) -> None:
    file = upload(http, "photo.png", PNG)["url"][-32:]
    tricks = ["..%2f..%2fx", "%2e%2e", "..%5cx", "%00", "%252e%252e%252f", "%F0%9F%98%80", "%20", "x" * 2000]
    for name in (*tricks, f"{file}%00", f"{file}%2f..", f"..%2f{file}", file.upper(), file[:-1]):
        assert http.get(f"/api/files/{name}").status_code in (403, 404), name


async def test_a_url_of_others_is_refused_and_not_fetched(relay: Relay, conversation: str) -> None:
    before = len(relay.model.requests)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for url in (f"{relay.model_url}/v1/messages", "file:///etc/passwd", "/api/files/../health", 7):
            end = (await phone.ask("fetch", id="m1", conversation=conversation, attachments=[{"url": url}]))[-1]
            assert end["code"] == "invalid_message", url
            assert end["content"] == "attachments: must each have the url that its upload to this relay gave", url
    assert len(relay.model.requests) == before


async def test_a_conversation_survives_its_files(
    relay: Relay, http: httpx.Client, conversation: str, worker: dict[str, str]
) -> None:
    url = upload(http, "photo.png", PNG)["url"]
    await ask(relay, conversation, "keep this", url)
    delete(worker, url)
    assert (await ask(relay, conversation, "still there?"))[-1]["type"] == "complete"
    first = relay.requests_for("still there?")[-1].body["messages"][0]["content"]
    gone = "[photo.png was attached here and is no longer available.]"
    assert [block["text"] for block in first] == [gone, "keep this"]
