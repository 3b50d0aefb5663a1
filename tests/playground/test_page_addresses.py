"""What pages are given, by the address that they were loaded from."""

import httpx

from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=PATIENCE_S)


def test_a_rebound_name_is_told_nothing_whatever_it_asks(relay: Relay) -> None:
    of_the_page = ("", "playground/config.json", "playground/app.js", "clients/js/client.js", "pushes/")
    for path in (*of_the_page, "api/health", "v1", "s3/", "x/@connections/y"):
        url = f"http://{relay.address}/{path}"
        assert get(url, {"Host": "rebound.example"}).status_code == 421, path
        assert get(url, {"Host": "localhost:1"}).status_code == 421, path
        assert get(url).status_code != 421, path


def test_the_key_is_given_to_pages_of_this_machine_only(relay: Relay) -> None:
    url = f"http://{relay.address}/playground/config.json"
    assert get(url).json()["key"] == relay.key
    for site in ("cross-site", "same-site"):
        assert get(url, {"Sec-Fetch-Site": site}).status_code == 403


def test_the_page_is_at_the_address_that_files_have(relay: Relay) -> None:
    port = relay.address.rpartition(":")[2]
    sent_on = get(f"http://localhost:{port}/")
    assert sent_on.headers["location"] == f"http://{relay.address}/"


def test_only_the_page_s_own_files_are_its_scripts(relay: Relay) -> None:
    for path in ("", "playground/index.html"):
        policies = get(f"http://{relay.address}/{path}").headers.get_list("content-security-policy")
        assert policies == [
            f"script-src http://{relay.address}/playground/ http://{relay.address}/clients/",
            "frame-ancestors 'none'",
        ]
