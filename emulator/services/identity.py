"""What one run is known by: credentials and a certificate, new each time, where only the run's user may read them."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi
import trustme

from emulator.account import REGION
from emulator.services.signature import Credentials

# What boto3 signs for S3 in this Region alone would be of Version 2, if it is not told otherwise.
_CONFIGURATION = """\
[default]
s3 =
  signature_version = s3v4
"""


@dataclass(frozen=True)
class Identity:
    """What a run is known by.

    `credentials_file` is what AWS_SHARED_CREDENTIALS_FILE may name for the AWS command line and every SDK.
    """

    credentials: Credentials
    credentials_file: Path
    configuration_file: Path
    authorities: Path
    tls: ssl.SSLContext

    @property
    def variables(self) -> Mapping[str, str]:
        """A worker's variables: it signs as this run, and trusts this run's certificate beside the public ones.

        The public ones are those of the shell's ``SSL_CERT_FILE``, if it has one.
        """
        bundle = str(self.authorities)
        # botocore's, the one of httpx and of Python itself, and that of requests.
        return self.credentials.variables | {
            "AWS_CONFIG_FILE": str(self.configuration_file),
            "AWS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
        }

    def write_credentials(self, endpoint: str) -> None:
        """Write the credentials file, for clients of the services at `endpoint`."""
        values = {name.lower(): value for name, value in self.credentials.variables.items()}
        values |= {"region": REGION, "endpoint_url": endpoint}
        _write(self.credentials_file, "\n".join(["[default]", *map(" = ".join, values.items()), ""]))


@contextlib.contextmanager
def issued(host: str) -> Iterator[Identity]:
    """Issue an identity for a run, with a certificate for the address `host`. Its files end with the block."""
    with tempfile.TemporaryDirectory(prefix="emulator-") as folder:  # which nobody else may enter
        credentials = Credentials.new()
        file, configuration, authorities = (
            Path(folder) / name for name in ("credentials", "config", "authorities.pem")
        )
        _write(configuration, _CONFIGURATION)
        authority = trustme.CA(organization_name="Emulator")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Each name once: `host` may be one of the others.
        authority.issue_cert(*dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))).configure_cert(tls)
        public = Path(os.environ.get("SSL_CERT_FILE") or certifi.where())
        _write(authorities, public.read_text(encoding="ascii") + authority.cert_pem.bytes().decode())
        yield Identity(credentials, file, configuration, authorities, tls)


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)  # while there is nothing in it to read
    file.write_text(text, encoding="ascii")
