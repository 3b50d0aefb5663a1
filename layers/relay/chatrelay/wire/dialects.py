"""The dialects that there are, by name."""

from chatrelay.wire.builderos import BuilderOs
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.version_1 import Version1

VERSION_1 = Version1()
BUILDEROS = BuilderOs()
BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in (VERSION_1, BUILDEROS)}
