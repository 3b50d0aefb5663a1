from chatrelay.domain.keys import ConversationKey
from chatrelay.store.store import Store
from chatrelay.store.table import Table

PARTS = (
    "accounts",
    "api_keys",
    "archive",
    "connections",
    "conversations",
    "devices",
    "leases",
    "pushes",
    "replies",
    "usages",
)


def test_a_table_is_opened_once_and_by_the_first_part_that_needs_it(table: Table) -> None:
    opened: list[str] = []

    def opening(name: str) -> Table:
        opened.append(name)
        return table

    store = Store(lambda: opening("table"), lambda: opening("impatient table"))
    assert opened == []

    assert store.api_keys.identity_of("nobody's") is None
    assert opened == ["table"]

    assert store.leases.get(ConversationKey("alice", "talk")).writer is None
    assert opened == ["table", "impatient table"]

    assert all(getattr(store, part) is getattr(store, part) for part in PARTS)
    assert opened == ["table", "impatient table"]


def test_the_parts_over_one_table_see_what_the_others_write(table: Table) -> None:
    store = Store.over(table, lambda: 1_700_000_000.25)

    store.api_keys.add("secret", "alice")

    [key] = store.api_keys.all()
    assert (key.user, key.created_at_ms) == ("alice", 1_700_000_000_250)
