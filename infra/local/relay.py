"""What this project adds to the gateway when it serves this repository's own template.yaml."""

from infra.local.extras import Extras


def extras(address: str) -> Extras:
    """`address` is the gateway's `host:port`. See `Extras` for what may be added and when it is used."""
    del address
    return Extras()
