"""What the operator's commands act on: the store and the sockets of a deployed stack."""

from functools import cached_property

from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.limits import Limits
from chatrelay.relay.revocation import Revocation
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from infra.stack import Stack


class Deployment:
    """A deployed relay. The stack is asked, and clients are made, on first use.

    `table` is the name of the table itself, instead of the stack's; None: the stack's.
    """

    def __init__(self, stack: Stack, table: str | None) -> None:
        self._stack = stack
        self._table = table

    @cached_property
    def store(self) -> Store:
        """The store, in which nobody has limits but those of his own."""
        name = self._table or self._stack.output("TableName")
        return Store.over(Table(self._stack.session.client("dynamodb"), name))

    @cached_property
    def revocation(self) -> Revocation:
        url = self._stack.output("ManagementUrl")
        client = self._stack.session.client("apigatewaymanagementapi", endpoint_url=url)
        return Revocation(self.store, ManagementApi(client))

    @cached_property
    def limits(self) -> Limits:
        """The limits of users without any of their own."""
        return Limits.parse(self._stack.output("Limits"))
