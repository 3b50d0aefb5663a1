"""One façade over the table: a part for each kind of thing in it."""

import time
from collections.abc import Callable
from functools import cached_property

from chatrelay.domain.limits import UNLIMITED, Limits
from chatrelay.store.accounts import Accounts
from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.archive import Archive
from chatrelay.store.connections import Connections
from chatrelay.store.conversations import Conversations
from chatrelay.store.devices import Devices
from chatrelay.store.leases import Leases
from chatrelay.store.pushes import Pushes
from chatrelay.store.replies import Replies
from chatrelay.store.table import Table
from chatrelay.store.usages import Usages


class Store:
    """All parts of the store. Each is made on first use, and so is what it reads and writes through.

    `impatient_table` opens the same table with short time-outs, for what a worker does at every heartbeat: a heartbeat
    that takes long has missed its point, and the next one is due. `limits` hold for users without any of their own.
    """

    def __init__(
        self,
        table: Callable[[], Table],
        impatient_table: Callable[[], Table],
        limits: Callable[[], Limits] = Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open_table = table
        self._open_impatient_table = impatient_table
        self._limits = limits
        self._clock = clock

    @classmethod
    def over(cls, table: Table, clock: Callable[[], float] = time.time, limits: Limits = UNLIMITED) -> "Store":
        """Return a store whose parts all share `table`."""
        return cls(lambda: table, lambda: table, lambda: limits, clock)

    def open(self) -> None:
        """Make the clients now: a worker that is warmed up must not make them for its first message."""
        _ = self._table, self._impatient_table

    @cached_property
    def connections(self) -> Connections:
        return Connections(self._table, self.accounts, self._clock)

    @cached_property
    def conversations(self) -> Conversations:
        return Conversations(self._table, self.leases, self.replies, self.accounts, self.usages, self._clock)

    @cached_property
    def archive(self) -> Archive:
        return Archive(self._table, self.leases, self.replies, self.accounts, self.usages)

    @cached_property
    def leases(self) -> Leases:
        return Leases(self._impatient_table, self._clock)

    @cached_property
    def replies(self) -> Replies:
        return Replies(self._impatient_table, self._clock)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self._table, self._limits(), self._clock)

    @cached_property
    def usages(self) -> Usages:
        return Usages(self._table, self._clock)

    @cached_property
    def api_keys(self) -> ApiKeys:
        return ApiKeys(self._table, self._clock)

    @cached_property
    def devices(self) -> Devices:
        return Devices(self._table, self.accounts, self._clock)

    @cached_property
    def pushes(self) -> Pushes:
        return Pushes(self._table, self._clock)

    @cached_property
    def _table(self) -> Table:
        return self._open_table()

    @cached_property
    def _impatient_table(self) -> Table:
        return self._open_impatient_table()
