"""What a deployment asks of the services that hold its data resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Deployed:
    """What `Ref` and `Fn::GetAtt` of a resource give. `ignored`: properties that its service does not have here."""

    ref: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


class DataServices(Protocol):
    """Tables, buckets, queues, topics, parameters and secrets."""

    def holds(self, kind: str) -> bool:
        """Whether resources of CloudFormation type `kind` are created here."""

    def create(self, kind: str, name: str, properties: Mapping[str, Any]) -> Deployed:
        """Create a resource; `name` is for one that the template does not name.

        Raise TemplateError with the service's own words if it refuses.
        """

    def parameter(self, reference: str) -> str | None:
        """Return the value of a parameter, named as `name` or `name:version`; None if there is none."""

    def secret_value(self, reference: str) -> str | None:
        """Return what `id:SecretString:key` stands for, key optional; None if there is none."""
