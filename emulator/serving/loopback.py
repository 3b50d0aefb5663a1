"""What is for this machine only: not for its neighbours, and not for pages of a name that resolves to it."""

from ipaddress import ip_address

from starlette.requests import Request


def is_of_this_machine(request: Request) -> bool:
    """Whether a request came from this machine, and to an address of it."""
    client = request.client.host if request.client else None
    # Both: a name that was rebound to this machine is asked from here, too.
    return is_loopback(client) and is_loopback(request.url.hostname)


def is_loopback(host: str | None) -> bool:
    """Whether a host, with or without brackets, is this machine for whoever is on it."""
    try:
        return host == "localhost" or ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False
