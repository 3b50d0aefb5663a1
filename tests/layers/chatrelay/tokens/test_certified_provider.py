"""Tokens and keys of a provider that was written and certified elsewhere: oidc-provider, on Node."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chatrelay.domain.errors import Unauthorized
from tests.builders.doubles import Clock
from tests.builders.patience import PATIENCE_S
from tests.builders.push_services import Authority
from tests.builders.started import until_ready
from tests.layers.chatrelay.tokens.conftest import Build, Log

JAVASCRIPT = Path(__file__).resolve().parents[3] / "javascript"
NODE = shutil.which("node")
MISSING = NODE is None or not (JAVASCRIPT / "node_modules" / "oidc-provider").is_dir()
pytestmark = pytest.mark.skipif(
    MISSING and "CI" not in os.environ, reason="no oidc-provider on this machine; CI has one"
)


@pytest.fixture(scope="module")
def issuer(authority: Authority) -> Iterator[str]:
    assert NODE is not None
    command = [NODE, str(JAVASCRIPT / "oidc_provider.mjs"), str(authority.certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        url, _ = until_ready(process, process.stdout, re.compile(r"^Ready: (\S+)$"), PATIENCE_S)
        yield url
        process.terminate()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_what_a_certified_provider_issues_is_taken_for_its_audience_alone(
    issuer: str, authority: Authority, build: Build, log: Log, clock: Clock, algorithm: str
) -> None:
    audience = f"https://api.example/{algorithm}"
    form = {"grant_type": "client_credentials", "resource": audience, "scope": "chat"}
    answer = httpx.post(f"{issuer}/token", data=form, auth=("robot", "s"), verify=authority.trust).raise_for_status()
    token = answer.json()["access_token"]

    clock.now_s = time.time()
    identity = build(OIDC_ISSUER=f"app={issuer}", OIDC_AUDIENCE=f"app={audience}").verify(token)
    assert identity.user == "app:robot"
    assert identity.expires_at == identity.issued_at + answer.json()["expires_in"]

    with pytest.raises(Unauthorized):
        build(OIDC_ISSUER=f"app={issuer}", OIDC_AUDIENCE="app=https://api.example/").verify(token)
    assert log.reason == "audience"
