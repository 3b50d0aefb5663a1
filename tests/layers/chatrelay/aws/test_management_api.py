import socket

import pytest

from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.errors import Gone, NotDelivered, PostError, Throttled
from tests.builders.doubles import Sockets


def test_a_frame_is_posted_as_it_is(api: ManagementApi, sockets: Sockets) -> None:
    api.post("aB-_c=", '{"content":"早上 🌅"}'.encode())

    assert sockets.texts("aB-_c=") == ['{"content":"早上 🌅"}']


@pytest.mark.parametrize(
    ("status", "error"),
    [(410, Gone), (429, Throttled), (413, NotDelivered), (500, NotDelivered)],
    ids=["gone", "too many", "too large", "failure"],
)
def test_a_refusal_is_told_by_what_it_means_and_not_repeated(
    api: ManagementApi, sockets: Sockets, status: int, error: type[PostError]
) -> None:
    sockets.refusals["c="] = [status]

    with pytest.raises(error):
        api.post("c=", b"hi")

    assert sockets.posts["c="] == []
    assert sockets.refusals["c="] == ([410] if status == 410 else [])


@pytest.mark.usefixtures("api")
def test_a_gateway_that_is_not_there_delivers_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(NotDelivered):
        ManagementApi.connect(f"http://127.0.0.1:{port}").post("c=", b"hi")


def test_a_socket_is_closed(api: ManagementApi, sockets: Sockets) -> None:
    api.close("c=")

    assert sockets.closed == ["c="]


def test_closing_a_socket_that_is_closed_is_no_error(api: ManagementApi, sockets: Sockets) -> None:
    sockets.refusals["c="] = [410]

    api.close("c=")

    assert sockets.closed == []
