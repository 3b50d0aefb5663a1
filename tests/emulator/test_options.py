"""What is given to `python -m emulator`, and what would match nothing or everything."""

import argparse

import pytest

from emulator.__main__ import host_name, listen, origin


@pytest.mark.parametrize("host", ["", "0", "0.0", "0x0", "0.0.0.0", "::", "::0"])
def test_every_address_at_once_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(ValueError, match="--host is one address"):
        listen(host, 0)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("https://app.example/", "https://app.example"),
        ("https://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://*.app.example", "https://*.app.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_known_as_browsers_write_it(given: str, known: str) -> None:
    assert origin(given) == known


@pytest.mark.parametrize(
    "given", ["app.example", "https://", "https://app.example/page", "https://a@b", "https:app", ""]
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="an origin is as"):
        origin(given)


@pytest.mark.parametrize(
    ("given", "known"),
    [("Tunnel.Example", "tunnel.example"), ("a.example.:8443", "a.example:8443"), ("[::1]", "[::1]")],
)
def test_a_name_is_known_as_requests_are_compared(given: str, known: str) -> None:
    assert host_name(given) == known


@pytest.mark.parametrize("given", ["https://tunnel.example", "tunnel.example/", "a b", ""])
def test_what_is_no_name_is_refused(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a name is NAME"):
        host_name(given)
