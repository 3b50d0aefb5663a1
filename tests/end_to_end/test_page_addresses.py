"""What pages are given, by the address that they were loaded from."""

import httpx

from tests.conftest import Relay


def test_the_key_is_given_to_pages_of_this_machine_only(relay: Relay) -> None:
    url = f"http://{relay.address}/page/config.json"
    assert httpx.get(url).json()["key"] == relay.key
    assert httpx.get(url, headers={"Host": "rebound.example"}).json()["key"] is None


def test_what_was_pushed_is_shown_to_this_machine_only(relay: Relay) -> None:
    url = f"http://{relay.address}/pushes/"
    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers={"Host": "rebound.example"}).status_code == 403


def test_the_page_is_at_the_address_that_files_have(relay: Relay) -> None:
    sent_on = httpx.get(f"http://{relay.address}/", headers={"Host": "localhost:8080"})
    assert sent_on.headers["location"] == "http://127.0.0.1:8080/"
