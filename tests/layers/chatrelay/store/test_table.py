import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier
from typing import Any, TypeVar

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from chatrelay.store.attribute_values import Item
from chatrelay.store.table import IF_ABSENT, IF_EXISTS, Delete, Put, Table, Update, Write

T = TypeVar("T")
RIVALS = 20


def race(rival: Callable[[int], T]) -> list[T]:
    """What each of the rivals, who all begin at the same moment, has got."""
    start = Barrier(RIVALS)

    def run(number: int) -> T:
        start.wait()
        return rival(number)

    with ThreadPoolExecutor(RIVALS) as pool:
        return list(pool.map(run, range(RIVALS)))


def item(pk: str = "p", sk: str = "s", **attributes: object) -> Item:
    return {"pk": pk, "sk": sk, **attributes}


def sort_keys(table: Table, first: str, last: str, pk: str = "p") -> list[str]:
    return [found["sk"] for found in table.query(pk, first, last)]


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_that_dynamodb_cancels_for_a_passing_reason_is_tried_again(table: Table, reason: str) -> None:
    sent: list[str] = []

    def cancelled_once(request: Any, **_: Any) -> Any:
        sent.append(request.url)
        if len(sent) > 1:
            return None
        fault = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
        body = json.dumps({"__type": fault, "CancellationReasons": [{"Code": "None"}, {"Code": reason}]}).encode()
        return AWSResponse(request.url, 400, HTTPHeaders(), Raw(body))

    table.client.meta.events.register("before-send.dynamodb.TransactWriteItems", cancelled_once)
    try:
        assert table.transact(Put(item(sk="a")), Put(item(sk="b"))) == []
    finally:
        table.client.meta.events.unregister("before-send.dynamodb.TransactWriteItems", cancelled_once)
    assert (len(sent), sort_keys(table, "a", "b")) == (2, ["a", "b"])


def test_a_deletion_that_meets_a_transaction_is_tried_again(table: Table) -> None:
    table.put(item(sk="a"))
    sent: list[str] = []

    def refused_once(request: Any, **_: Any) -> Any:
        sent.append(request.url)
        if len(sent) > 1:
            return None
        body = json.dumps({"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException"}).encode()
        return AWSResponse(request.url, 400, HTTPHeaders(), Raw(body))

    table.client.meta.events.register("before-send.dynamodb.DeleteItem", refused_once)
    try:
        assert table.delete("p", "a") == item(sk="a")
    finally:
        table.client.meta.events.unregister("before-send.dynamodb.DeleteItem", refused_once)
    assert (len(sent), sort_keys(table, "a", "b")) == (2, [])


class Raw(BytesIO):
    """A body as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    "value",
    ["", "早上 🌅 \x00", 0, 2**100, True, None, [], {}, {"a=": {"v.w": [1, "x", None, False]}}],
    ids=["no text", "any script", "zero", "31 digits", "a flag", "nothing", "no list", "no map", "nested"],
)
def test_a_value_comes_back_as_it_was(table: Table, value: object) -> None:
    table.put(item(value=value))

    assert table.get("p", "s") == item(value=value)


def test_an_item_that_never_was_is_none(table: Table) -> None:
    table.put(item())

    assert (table.get("p", "S"), table.get("P", "s")) == (None, None)


def test_an_item_that_is_put_leaves_nothing_of_the_one_before(table: Table) -> None:
    table.put(item(old=1))
    table.put(item(new=2))

    assert table.get("p", "s") == item(new=2)


def test_an_update_makes_the_item_that_it_misses(table: Table) -> None:
    assert table.update("p", "s", "SET word = :word", {":word": "x"})

    assert table.get("p", "s") == item(word="x")


def test_an_update_whose_condition_does_not_hold_changes_nothing(table: Table) -> None:
    table.put(item(word="x", epoch=1))

    assert not table.update("p", "s", "SET word = :word", {":word": "y", ":two": 2}, condition="epoch = :two")

    assert table.get("p", "s") == item(word="x", epoch=1)


def test_an_update_of_a_known_item_makes_none(table: Table) -> None:
    assert not table.update("p", "s", "SET word = :word", {":word": "x"}, condition=IF_EXISTS)

    assert table.get("p", "s") is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("epoch < :five", True),
        ("epoch >= :five", False),
        ("epoch IN (:four, :five)", True),
        ("epoch IN (:five, :five)", False),
        ("absent = :five", False),
        ("absent <> :five", True),
        ("absent < :five OR epoch = :four", True),
        ("attribute_not_exists(absent) AND (epoch = :five OR epoch = :four)", True),
    ],
)
def test_a_condition_holds_or_does_not(table: Table, condition: str, holds: bool) -> None:
    table.put(item(epoch=4))
    values = {name: value for name, value in {":four": 4, ":five": 5}.items() if name in condition}

    assert table.update("p", "s", "SET seen = :seen", {":seen": True, **values}, condition=condition) is holds


def test_what_is_there_already_may_be_kept(table: Table) -> None:
    for title in ("first", "second"):
        table.update("p", "s", "SET title = if_not_exists(title, :title)", {":title": title})

    assert table.get("p", "s") == item(title="first")


@pytest.mark.parametrize("member", ["a=", "x.y", "#", ":v", "with space", "漢"])
def test_one_member_of_a_map_can_be_set_and_removed(table: Table, member: str) -> None:
    table.put(item(members={"other": 1}))
    names = {"#member": member}

    assert table.update("p", "s", "SET members.#member = :offset", {":offset": 7}, names=names)
    assert table.get("p", "s") == item(members={"other": 1, member: 7})

    removal = "REMOVE members.#member"
    assert not table.update("p", "s", removal, {":was": 6}, condition="members.#member = :was", names=names)
    assert table.update("p", "s", removal, {":was": 7}, condition="members.#member = :was", names=names)
    assert table.get("p", "s") == item(members={"other": 1})


def test_a_member_of_a_map_that_is_not_there_cannot_be_set(table: Table) -> None:
    table.put(item())

    with pytest.raises(ClientError, match="ValidationException"):
        table.update("p", "s", "SET members.#member = :offset", {":offset": 7}, names={"#member": "a="})


def test_an_exchange_gives_the_item_as_it_was_or_is(table: Table) -> None:
    table.put(item(epoch=1))

    was = table.update_returning("p", "s", "SET epoch = :two", {":two": 2}, IF_EXISTS, "ALL_OLD")
    now = table.update_returning("p", "s", "SET epoch = :three", {":three": 3}, IF_EXISTS, "ALL_NEW")

    assert (was, now) == (item(epoch=1), item(epoch=3))


def test_an_exchange_whose_condition_does_not_hold_is_none(table: Table) -> None:
    assert table.update_returning("p", "s", "SET epoch = :two", {":two": 2}, IF_EXISTS, "ALL_NEW") is None
    assert table.update_returning("p", "s", "SET epoch = :two", {":two": 2}, IF_ABSENT, "ALL_OLD") == {}, (
        "there was none"
    )


def test_a_deleted_item_is_given_once(table: Table) -> None:
    table.put(item(epoch=1))

    assert [table.delete("p", "s"), table.delete("p", "s"), table.get("p", "s")] == [item(epoch=1), None, None]


def test_a_query_has_both_its_ends_and_nothing_of_others(table: Table) -> None:
    for sk in ("A#1", "A#2", "A#2#", "A#3", "A", "a#2"):
        table.put(item(sk=sk))
    table.put(item("p2", "A#2"))

    assert sort_keys(table, "A#1", "A#2") == ["A#1", "A#2"]
    assert sort_keys(table, "A#", "A#~") == ["A#1", "A#2", "A#2#", "A#3"]
    assert sort_keys(table, "B", "B") == []


def test_sort_keys_are_ordered_by_their_bytes_in_utf_8(table: Table) -> None:
    in_order = ["#", "0", "10", "2", "Z", "a", "~", "é", "漢", "\uffee", "😀"]
    for sk in reversed(in_order):
        table.put(item(sk=sk))

    assert sort_keys(table, "#", "😀") == in_order


def test_more_than_a_page_is_read_whole(table: Table) -> None:
    """A page is a megabyte."""
    for number in range(4):
        table.put(item(sk=f"{number}", text="x" * 350_000))

    assert sort_keys(table, "0", "9") == ["0", "1", "2", "3"]


def test_the_last_item_is_the_last_of_its_prefix(table: Table) -> None:
    for sk in ("TURN#1", "TURN#2", "UNTIL", "TURN"):
        table.put(item(sk=sk))

    assert table.last("p", "TURN#") == item(sk="TURN#2")
    assert table.last("p", "TURN#3") is None


def test_of_updates_that_race_for_a_condition_one_holds(table: Table) -> None:
    table.put(item(holder="nobody"))

    def claim(number: int) -> bool:
        values = {":me": f"rival-{number}", ":nobody": "nobody"}
        return table.update("p", "s", "SET holder = :me", values, condition="holder = :nobody")

    held = race(claim)

    assert held.count(True) == 1
    assert table.get("p", "s") == item(holder=f"rival-{held.index(True)}")


def test_of_updates_that_race_to_make_an_item_one_makes_it(table: Table) -> None:
    made = race(lambda number: table.update("p", "s", "SET maker = :me", {":me": number}, condition=IF_ABSENT))

    assert made.count(True) == 1
    assert table.get("p", "s") == item(maker=made.index(True))


def test_of_exchanges_that_race_every_one_sees_what_another_left(table: Table) -> None:
    table.put(item(turn=-1))
    seen = race(
        lambda number: table.update_returning("p", "s", "SET turn = :me", {":me": number}, IF_EXISTS, "ALL_OLD")
    )

    left = [int((was or {})["turn"]) for was in seen]
    last = table.get("p", "s") or {}
    assert sorted([*left, int(last["turn"])]) == list(range(-1, RIVALS))


def test_additions_that_race_are_all_counted(table: Table) -> None:
    race(lambda number: table.update("p", "s", "ADD many :number", {":number": number}))

    assert table.get("p", "s") == item(many=sum(range(RIVALS)))


def test_of_deletions_that_race_one_gets_the_item(table: Table) -> None:
    table.put(item(epoch=1))

    assert [found for found in race(lambda _: table.delete("p", "s")) if found is not None] == [item(epoch=1)]


def test_members_that_are_set_at_the_same_time_are_all_there(table: Table) -> None:
    table.put(item(members={}))
    race(lambda n: table.update("p", "s", "SET members.#who = :n", {":n": n}, names={"#who": f"{n}="}))

    assert table.get("p", "s") == item(members={f"{number}=": number for number in range(RIVALS)})


def everything(table: Table) -> list[Item]:
    return [*table.query("p", "!", "~"), *table.query("q", "!", "~")]


def test_what_is_written_together_is_all_there(table: Table) -> None:
    table.put(item(sk="changed", word="x"))
    table.put(item(sk="removed"))

    refused = table.transact(
        Put(item("q", "put")),
        Update("p", "changed", "SET word = :word", {":word": "y"}, condition="word <> :word"),
        Update("p", "made", "ADD many :two", {":two": 2}),
        Delete("p", "removed", condition=IF_EXISTS),
    )

    assert refused == []
    assert everything(table) == [item(sk="changed", word="y"), item(sk="made", many=2), item("q", "put")]


@pytest.mark.parametrize(
    "refused",
    [
        Put(item(sk="known"), condition=IF_ABSENT),
        Update("p", "known", "SET word = :word", {":word": "x"}, condition="word = :word"),
        Update("p", "unknown", "SET word = :word", {":word": "x"}, condition=IF_EXISTS),
        Delete("p", "unknown", condition=IF_EXISTS),
    ],
    ids=["put", "update", "update of nothing", "delete"],
)
def test_a_condition_that_does_not_hold_undoes_what_stands_around_it(table: Table, refused: Write) -> None:
    before = [item(sk="changed", epoch=1), item(sk="known"), item(sk="removed")]
    for each in before:
        table.put(each)

    assert table.transact(
        Put(item("q", "put")),
        Update("p", "changed", "ADD epoch :one", {":one": 1}),
        refused,
        Delete("p", "removed"),
    ) == [refused]

    assert everything(table) == before


def test_all_conditions_that_do_not_hold_are_told(table: Table) -> None:
    table.put(item())
    put, holds, delete = (
        Put(item(), condition=IF_ABSENT),
        Update("p", "other", "ADD many :one", {":one": 1}, condition=IF_ABSENT),
        Delete("q", "s", condition=IF_EXISTS),
    )

    assert table.transact(put, holds, delete) == [put, delete]


def test_of_transactions_that_race_one_writes_all_and_the_others_nothing(table: Table) -> None:
    def claim(number: int) -> bool:
        refused = table.transact(
            Put(item("q", f"{number:02}")),
            Put(item(winner=number), condition=IF_ABSENT),
            Update("p", "other", "SET winner = :me", {":me": number}),
        )
        return refused == []

    written = race(claim)

    assert written.count(True) == 1
    winner = written.index(True)
    other = item(sk="other", winner=winner)
    assert everything(table) == [other, item(winner=winner), item("q", f"{winner:02}")]


def test_of_a_condition_and_its_opposite_that_race_one_holds(table: Table) -> None:
    """One enters if the door is ajar; the other shuts it if nobody is in."""
    table.put(item(sk="door", ajar=True))
    table.put(item(sk="room", people=0))

    def enter_or_shut(number: int) -> bool:
        if number % 2:
            door = Update("p", "door", "SET seen = :yes", {":yes": True}, condition="ajar = :yes")
            return table.transact(door, Update("p", "room", "ADD people :one", {":one": 1})) == []
        room = Update("p", "room", "SET seen = :none", {":none": 0}, condition="people = :none")
        return table.transact(room, Update("p", "door", "SET ajar = :no", {":no": False})) == []

    held = race(enter_or_shut)

    door, room = table.get("p", "door") or {}, table.get("p", "room") or {}
    assert room["people"] == held[1::2].count(True)
    assert door["ajar"] is (room["people"] > 0)


def test_transactions_that_race_for_the_same_items_in_another_order_do_not_mix(table: Table) -> None:
    def write(number: int) -> list[Write]:
        puts = [Put(item(sk="a", writer=number)), Put(item(sk="b", writer=number))]
        return table.transact(*(puts if number % 2 else reversed(puts)))

    assert race(write) == [[]] * RIVALS
    first, second = everything(table)
    assert first["writer"] == second["writer"]


def test_a_transaction_and_a_plain_write_that_race_are_both_counted(table: Table) -> None:
    def add(number: int) -> None:
        one = {":one": 1}
        if number % 2:
            assert table.update("p", "s", "ADD many :one", one)
        else:
            assert table.transact(Update("p", "s", "ADD many :one", one), Put(item("q", f"{number:02}"))) == []

    race(add)

    assert table.get("p", "s") == item(many=RIVALS)
    assert len(everything(table)) == 1 + RIVALS / 2


def test_the_first_item_is_the_first_of_its_prefix(table: Table) -> None:
    for sk in ("TURN#2", "TURN#1", "THE", "TURN"):
        table.put(item(sk=sk))

    assert table.first("p", "TURN#") == item(sk="TURN#1")
    assert table.first("p", "TURN#3") is None
