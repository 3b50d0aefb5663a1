import threading
import time

import pytest
from starlette.responses import Response

from chatrelay.domain.errors import Unavailable
from chatrelay.tokens.documents import LIMIT_BYTES, Documents
from tests.builders.oidc import Provider, dripping
from tests.builders.push_services import Authority
from tests.builders.serving import eventually


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Response("<html>"), "is no JSON$"),
        (Response("[" * 100_000), "is no JSON$"),
        (Response(b"\xff"), "is no JSON$"),
        (Response("[1]"), "is no JSON object"),
        (Response('{"a": 1}', 301, {"location": "/other"}), "status 301"),
        (Response('{"a": 1}', 201), "status 201"),
        (Response('{"a": 1}', 500), "status 500"),
        (Response('{"a": 1}'.ljust(LIMIT_BYTES + 1)), "longer than 262144 bytes"),
        (Response('{"a": 1}', headers={"content-encoding": "gzip"}), None),
        (Response('{"a": 1}'.ljust(LIMIT_BYTES)), None),
    ],
    ids=["HTML", "deep", "no text", "list", "redirect", "created", "down", "huge", "not decoded", "largest"],
)
def test_a_document_is_an_object_that_is_there(
    documents: Documents, provider: Provider, answer: Response, problem: str | None
) -> None:
    provider.answers = {"/document": answer, "/other": Response('{"a": 1}')}

    if problem is None:
        assert documents.fetch(f"{provider.url}/document") == {"a": 1}
    else:
        with pytest.raises(Unavailable, match=problem):
            documents.fetch(f"{provider.url}/document")
    assert provider.fetched == ["/document"]


@pytest.mark.parametrize(
    "at_once", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n{"], ids=["mute", "header", "body"]
)
def test_a_server_that_drips_is_given_up_in_time(authority: Authority, at_once: bytes) -> None:
    with dripping(authority, at_once) as url:
        begun_s = time.monotonic()
        with pytest.raises(Unavailable, match=r"does not answer within 0\.3 s|ReadTimeoutError"):
            Documents(authority.trust, timeout_s=0.3).fetch(url)

        assert time.monotonic() - begun_s < 3


def test_a_body_that_drips_keeps_no_thread(authority: Authority) -> None:
    with dripping(authority, b"HTTP/1.1 200 OK\r\n\r\n{") as url:
        with pytest.raises(Unavailable):
            Documents(authority.trust, timeout_s=0.3).fetch(url)

        eventually(lambda: not any(thread.name.startswith("documents") for thread in threading.enumerate()))


def test_only_services_with_a_trusted_certificate_are_believed(
    provider: Provider, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{provider.url}/document"
    provider.answers["/document"] = Response("{}")

    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Documents().fetch(url)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Documents(authority.trust).fetch(url.replace("127.0.0.1", "localhost"))
    assert provider.fetched == []

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.roots))
    assert Documents().fetch(url) == {}
