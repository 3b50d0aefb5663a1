from tests.bench.cost import CONCURRENCY, REQUESTS, Chat, Prices, idle_month, peak, reply

FREE = Prices(0, 0, 0, 0, 0, 0, 0)


def test_a_reply_costs_what_its_posts_its_worker_and_its_items_cost() -> None:
    chat = Chat(reply_s=10, deltas_a_second=100, memory_gb=0.5)

    assert reply(chat, Prices(1, 0, 0, 0, 0, 0))["frames"] == 3 + 250
    assert reply(chat, Prices(1, 0, 0, 0, 0, 0), one_post_a_delta=True)["frames"] == 3 + 1000
    assert reply(chat, Prices(0, 0, 0, 1, 0, 0))["Lambda"] == 5
    assert reply(chat, Prices(0, 0, 0, 0, 1, 0))["DynamoDB"] == 18 + 8 + 1 + 40
    assert sum(idle_month(FREE).values()) == 0


def test_the_worst_second_is_worse_than_the_mean_and_grows_with_the_users() -> None:
    chat = Chat(reply_s=30)
    few, many = peak(1_000, chat), peak(100_000, chat)

    mean = 1_000 * 0.3 * 6 / 3600 * 30
    assert mean < few.needs[CONCURRENCY] < 3 * mean
    assert 50 * few.needs[CONCURRENCY] < many.needs[CONCURRENCY] < 100 * few.needs[CONCURRENCY]
    assert few.over == []
    assert {CONCURRENCY, REQUESTS} == {*many.over}
