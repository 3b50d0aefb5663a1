"""Clients of AWS's services, from botocore itself: importing boto3 takes longer than all of a light function."""

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.session import Session


def client(service: str, config: Config, endpoint_url: str | None = None) -> Any:
    """Return a client of `service` in our Region, with our credentials, as the environment has them."""
    return session().create_client(service, config=config, endpoint_url=endpoint_url)


@cache
def session() -> Session:
    """Return what all clients of this execution environment share."""
    return botocore.session.get_session()
