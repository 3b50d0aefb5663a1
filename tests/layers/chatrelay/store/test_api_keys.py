import time

import pytest

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.connections import Connection
from chatrelay.store.store import Store
from chatrelay.store.table import PAGE, Table
from chatrelay.wire.dialects import VERSION_1
from tests.builders.layer import by_key, scanned


def user_of(keys: ApiKeys, key: str) -> str | None:
    identity = keys.identity_of(key)
    return None if identity is None else identity.user


@pytest.fixture
def keys(table: Table) -> ApiKeys:
    return ApiKeys(table)


def test_a_key_is_its_users(keys: ApiKeys) -> None:
    keys.add("crk_alice", "alice")
    keys.add("crk_bob", "bob")

    assert [user_of(keys, key) for key in ("crk_alice", "crk_bob", "crk_carol")] == ["alice", "bob", None]


@pytest.mark.parametrize("key", ["", "crk_alic", "crk_alice ", "CRK_ALICE", "\ud83d", "x" * 100_000])
def test_what_is_not_quite_a_key_is_nobodys(keys: ApiKeys, key: str) -> None:
    keys.add("crk_alice", "alice")

    assert user_of(keys, key) is None


def test_a_keys_hash_is_no_key(keys: ApiKeys, table: Table) -> None:
    keys.add("crk_alice", "alice")
    (item,) = scanned(table)
    digest = item["pk"].removeprefix("KEY#")

    assert user_of(keys, digest) is None


def test_only_hashes_are_kept(keys: ApiKeys, table: Table) -> None:
    keys.add("crk_alice-is-secret", "alice", "phone")

    kept = repr(scanned(table))
    assert "alice-is-secret" not in kept
    assert "aacd937d2d7321c24538aaa0dc0a6fe40eee2af218014d7b6f2e5e0c02f8cac2" in kept


def test_a_user_may_have_several_keys(keys: ApiKeys) -> None:
    keys.add("crk_1", "alice", "phone")
    keys.add("crk_2", "alice", "tablet")

    assert sorted((key.user, key.label) for key in keys.all()) == [("alice", "phone"), ("alice", "tablet")]


def test_the_list_says_when_a_key_was_made(keys: ApiKeys) -> None:
    before_ms = int(time.time() * 1000)
    keys.add("crk_1", "alice")

    assert [before_ms <= key.created_at_ms <= time.time() * 1000 for key in keys.all()] == [True]


def test_the_list_is_whole_and_the_latest_comes_first(keys: ApiKeys) -> None:
    many = PAGE + 20
    for number in range(many):
        keys.add(f"crk_{number}", "alice", str(number))

    made = list(keys.all())

    assert {key.label for key in made} == {str(number) for number in range(many)}
    assert [key.created_at_ms for key in made] == sorted((key.created_at_ms for key in made), reverse=True)


def test_the_list_has_keys_only(keys: ApiKeys, table: Table) -> None:
    Store.over(table).connections.open(Connection("a=", "claude", VERSION_1, 1, by_key("alice")))
    table.put({"pk": "CONVERSATION#KEYS#a", "sk": "CONVERSATION", "owner_id": "KEYS", "updated_at": 1})

    assert list(keys.all()) == []


def test_a_removed_key_is_nobodys_and_the_others_stay(keys: ApiKeys) -> None:
    keys.add("crk_1", "alice", "phone")
    keys.add("crk_2", "alice", "tablet")
    phone = next(key.id for key in keys.all() if key.label == "phone")

    assert [owner.user for owner in keys.owners(phone)] == ["alice"]
    for _ in range(2):
        keys.remove(phone)
    assert keys.owners(phone) == []
    assert [user_of(keys, key) for key in ("crk_1", "crk_2")] == [None, "alice"]


@pytest.mark.parametrize("key_id", ["", "0", "#", "crk_1"])
def test_what_is_no_keys_name_removes_nothing(keys: ApiKeys, key_id: str) -> None:
    keys.add("crk_1", "alice")

    keys.remove(key_id)
    assert user_of(keys, "crk_1") == "alice"


@pytest.mark.parametrize("user", ["alice", "a", "A.b_c@d-e", "x" * 64])
def test_a_users_name_may_be_an_address(keys: ApiKeys, user: str) -> None:
    keys.add("crk_1", user)

    assert user_of(keys, "crk_1") == user


@pytest.mark.parametrize("user", ["", "a#b", "a b", "x" * 65, "alice\n", "é", "漢", "a/b"])
def test_a_users_name_that_could_not_be_part_of_a_key_is_refused(keys: ApiKeys, user: str) -> None:
    with pytest.raises(ValueError, match="user: must be 1 to 64 of the characters"):
        keys.add("crk_1", user)

    assert user_of(keys, "crk_1") is None
