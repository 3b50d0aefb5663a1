"""JSON documents over HTTPS, from a service that may be slow, down or wrong."""

import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

from chatrelay.domain.errors import Unavailable

TIMEOUT_S = 3.0
LIMIT_BYTES = 256 * 1024
HEADERS = {"accept": "application/json", "user-agent": "chat-relay"}
"""Some providers' firewalls refuse the names of HTTP libraries."""
GOOD = 200


class Documents:
    """A way to documents. `trust` says which certificates are valid: those of the system's authorities by default."""

    def __init__(self, trust: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._trust = trust or ssl.create_default_context()
        self._timeout_s = timeout_s

    def fetch(self, url: str) -> dict[str, Any]:
        """Return the JSON object at `url`, which must answer with status 200 and without a redirect.

        Raise ``Unavailable`` with a sentence for the operator.
        """
        # In a thread, because a socket's time-out does not count all: a name that is not resolved, several addresses
        # of which none answers, a header that comes byte by byte. Only the last may outlive its deadline for long.
        thread = ThreadPoolExecutor(1, "documents")
        fetching = thread.submit(self._get, url, time.monotonic() + self._timeout_s)
        thread.shutdown(wait=False)
        try:
            document = json.loads(fetching.result(self._timeout_s))
        except TimeoutError:
            raise Unavailable(f"{url} does not answer within {self._timeout_s:g} s") from None
        except urllib3.exceptions.HTTPError as problem:
            raise Unavailable(f"{url} cannot be reached: {type(problem).__name__} {problem}") from problem
        except (ValueError, RecursionError) as problem:
            raise Unavailable(f"{url} is no JSON") from problem
        if not isinstance(document, dict):
            raise Unavailable(f"{url} is no JSON object")
        return document

    def _get(self, url: str, deadline_s: float) -> bytes:
        content = b""
        # A connection of its own, too: one that is kept breaks when the function is frozen.
        with (
            urllib3.PoolManager(ssl_context=self._trust, timeout=self._timeout_s) as pools,
            pools.request(
                "GET", url, headers=HEADERS, retries=False, redirect=False, preload_content=False
            ) as response,
        ):
            if response.status != GOOD:
                raise Unavailable(f"{url} answers with status {response.status}")
            while piece := response.read1(LIMIT_BYTES, decode_content=False):
                content += piece
                if len(content) > LIMIT_BYTES:
                    raise Unavailable(f"{url} is longer than {LIMIT_BYTES} bytes")
                if time.monotonic() > deadline_s:
                    raise TimeoutError
        return content
