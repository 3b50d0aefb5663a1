"""Fault plans: their grammar, and what they decide. No gateway here."""

from typing import Any

import pytest

from emulator.faults import plan as faults
from emulator.faults.decisions import Decisions, Fate
from emulator.faults.plan import PlanError, Span, parse, read


def decisions(seed: int = 0, **sections: Any) -> Decisions:
    return Decisions(parse({"seed": seed, **sections}), lambda _: None)


def dropped(course: Decisions, posts: int, connection: str = "a", text: str = "x") -> list[int]:
    """Return which of so many posts to a connection are hit by any fault."""
    return [n for n in range(1, posts + 1) if course.post(connection, "v1", text).fault is not None]


# --- grammar ---


def test_json_and_yaml_give_the_same_plan() -> None:
    written = read('{"seed": 7, "posts": [{"do": "delay", "nth": [2, 4], "seconds": [0.1, 0.5]}]}')
    assert written == read("seed: 7\nposts:\n  - {do: delay, nth: [2, 4], seconds: [0.1, 0.5]}\n")
    assert written.seed == 7
    assert written.faults == {"posts[0]": faults.DelayPost(nth=(2, 4), seconds=Span(0.1, 0.5))}


def test_empty_plan_has_no_faults() -> None:
    assert read("{}") == read("") == faults.Plan()


def test_example_in_the_documentation_is_a_plan_with_every_fault() -> None:
    documentation = str(faults.__doc__)
    example = documentation[documentation.index("    seed:") : documentation.index("Which occurrences")]
    plan = read(example)
    assert {type(fault) for fault in plan.faults.values()} == {
        faults.DropPost,
        faults.DelayPost,
        faults.RepeatPost,
        faults.ReorderPost,
        faults.RefusePost,
        faults.LoseAnswer,
        faults.CloseSocket,
        faults.LoseDisconnect,
        faults.RepeatEvent,
        faults.DelayEvent,
        faults.KillAtCall,
        faults.PauseAtCall,
        faults.KillAfter,
        faults.Shorten,
        faults.Throttle,
        faults.Conflict,
        faults.Silence,
        faults.DelayCall,
    }


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"post": []}, "post: no such section"),
        ({"seed": "7"}, "seed: wants a whole number"),
        ({"posts": {}}, "posts: wants a list"),
        ({"posts": ["drop"]}, r"posts\[0\]: wants an object"),
        ({"posts": [{}]}, r"posts\[0\].do: wants one of drop, delay"),
        ({"posts": [{"do": "drop"}, {"do": "kill_after"}]}, r"posts\[1\].do: wants one of"),
        ({"posts": [{"do": "drop", "second": 1}]}, r"posts\[0\].second: drop has no such field"),
        ({"posts": [{"do": "delay"}]}, r"posts\[0\].seconds: is missing"),
        ({"posts": [{"do": "delay", "seconds": -1}]}, r"posts\[0\].seconds: wants a number that is not negative"),
        ({"posts": [{"do": "delay", "seconds": [2, 1]}]}, r"posts\[0\].seconds: wants a number, or a pair"),
        ({"posts": [{"do": "delay", "seconds": True}]}, r"posts\[0\].seconds: wants a number"),
        ({"posts": [{"do": "drop", "nth": 0}]}, r"posts\[0\].nth: wants a whole number from 1, not 0"),
        ({"posts": [{"do": "drop", "nth": [1, "2"]}]}, r"posts\[0\].nth: wants a whole number"),
        ({"posts": [{"do": "drop", "every": 1.5}]}, r"posts\[0\].every: wants a whole number"),
        ({"posts": [{"do": "drop", "probability": 2}]}, r"posts\[0\].probability: wants a number from 0 to 1"),
        ({"posts": [{"do": "drop", "nth": 1, "every": 2}]}, r"posts\[0\]: wants at most one of nth, every"),
        ({"posts": [{"do": "refuse", "status": 403}]}, r"posts\[0\].status: wants one of 410, 429, 500, not 403"),
        ({"posts": [{"do": "drop", "contains": 1}]}, r"posts\[0\].contains: wants a text"),
        ({"sockets": [{"do": "close"}]}, r"sockets\[0\]: wants either posts or seconds"),
        ({"sockets": [{"do": "close", "posts": 1, "seconds": 1}]}, r"sockets\[0\]: wants either posts or seconds"),
        ({"sockets": [{"do": "close", "posts": 1, "code": 1006}]}, r"sockets\[0\].code: wants a code that"),
        ({"sockets": [{"do": "close", "posts": 1, "abort": "yes"}]}, r"sockets\[0\].abort: wants true or false"),
        ({"workers": [{"do": "kill_at_call", "moment": "during"}]}, r"workers\[0\].moment: wants one of before"),
        ({"workers": [{"do": "pause_at_call", "moment": "after"}]}, r"workers\[0\].seconds: is missing"),
        ({"workers": [{"do": "shorten"}]}, r"workers\[0\].seconds: is missing"),
        (
            {"calls": [{"do": "throttle", "operation": []}, {"do": "silence", "operation": [1]}]},
            r"calls\[1\].operation",
        ),
        ([], "is an object"),
    ],
)
def test_mistake_in_a_plan_is_named(written: Any, named: str) -> None:
    with pytest.raises(PlanError, match=named):
        parse(written)


@pytest.mark.parametrize("text", ["{", "posts: [", "- drop"])
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        read(text)


# --- which occurrences ---


def test_nth_takes_these_and_every_takes_multiples() -> None:
    assert dropped(decisions(posts=[{"do": "drop", "nth": 3}]), 10) == [3]
    assert dropped(decisions(posts=[{"do": "drop", "nth": [2, 5]}]), 10) == [2, 5]
    assert dropped(decisions(posts=[{"do": "drop", "every": 4}]), 10) == [4, 8]
    assert dropped(decisions(posts=[{"do": "drop"}]), 3) == [1, 2, 3]


def test_times_is_the_most_in_all() -> None:
    course = decisions(posts=[{"do": "drop", "every": 2, "times": 3}])
    assert dropped(course, 5, "a") == [2, 4]
    assert dropped(course, 5, "b") == [2]


def test_probability_is_about_so_many_and_0_and_1_are_certain() -> None:
    assert 400 < len(dropped(decisions(posts=[{"do": "drop", "probability": 0.5}]), 1000)) < 600
    assert dropped(decisions(posts=[{"do": "drop", "probability": 0}]), 100) == []
    assert len(dropped(decisions(posts=[{"do": "drop", "probability": 1}]), 100)) == 100


def test_posts_are_counted_for_each_connection() -> None:
    course = decisions(posts=[{"do": "drop", "nth": 2}])
    assert [course.post(connection, "v1", "x").fault is not None for connection in "abba"] == [False, False, True, True]


def test_only_what_fits_the_filters_is_counted() -> None:
    course = decisions(posts=[{"do": "drop", "contains": "end", "nth": 2}])
    fates = [course.post("a", "v1", text).fault for text in ("end", "x", "x", "the end", "end")]
    assert [fate is not None for fate in fates] == [False, False, False, True, False]
    assert course.post("a", "v1", "end").fault is None


def test_several_texts_have_all_to_be_there() -> None:
    course = decisions(
        posts=[{"do": "drop", "contains": ["the", "end"]}],
        calls=[{"do": "throttle", "contains": ["the", "end"]}],
    )
    texts = ("end", "the", "end of the", "the end")
    assert [course.post("a", "v1", text).fault is not None for text in texts] == [False, False, True, True]
    assert [course.call("f", "PutItem", text).fault is not None for text in texts] == [False, False, True, True]


def test_connection_is_named_by_its_number_or_its_id_and_by_its_stage() -> None:
    course = decisions(posts=[{"do": "drop", "connection": 2}, {"do": "repeat", "connection": "c"}])
    kinds = [type(course.post(connection, "v1", "x").fault) for connection in "abca"]
    assert kinds == [type(None), faults.DropPost, faults.RepeatPost, type(None)]
    course = decisions(posts=[{"do": "drop", "stage": "v2"}])
    assert [course.post("a", stage, "x").fault is None for stage in ("v1", "v2")] == [True, False]


def test_function_is_named_with_or_without_its_stack() -> None:
    course = decisions(events=[{"do": "delay", "function": "Worker", "seconds": 2}])
    names = ("local-Worker", "Worker", "local-OtherWorker", "local-Worker-2")
    assert [course.event(name, "{}").delay_s for name in names] == [2, 2, 0, 0]


def test_function_with_a_name_of_its_own_is_named_by_its_logical_id_too() -> None:
    plan = parse({"events": [{"do": "delay", "function": "Worker", "seconds": 2}]})
    course = Decisions(plan, lambda _: None, {"local-named": "Worker", "local-other": "Other"})
    assert [course.event(name, "{}").delay_s for name in ("local-named", "local-other", "named")] == [2, 0, 0]


def test_events_and_invocations_and_calls_are_counted_for_each_function() -> None:
    course = decisions(
        events=[{"do": "repeat", "nth": 2, "seconds": 3}],
        workers=[{"do": "kill_after", "nth": 2, "seconds": 4}],
        calls=[{"do": "throttle", "nth": 2}],
    )
    for function in ("a", "b"):
        assert course.event(function, "{}") == Fate()
        assert course.event(function, "{}").seconds == 3
        assert course.invocation(function, "{}") is None
        kill = course.invocation(function, "{}")
        assert kill is not None
        assert kill.seconds == 4
        assert course.call(function, "PutItem", "{}") == Fate()
        assert isinstance(course.call(function, "PutItem", "{}").fault, faults.Throttle)


def test_calls_are_chosen_by_operation_and_conflicts_are_of_transactions_only() -> None:
    course = decisions(calls=[{"do": "throttle", "operation": ["PutItem", "Query"], "nth": 2}, {"do": "conflict"}])
    operations = ("PutItem", "GetItem", "Query", "TransactWriteItems")
    kinds = [type(course.call("f", operation, "{}").fault) for operation in operations]
    assert kinds == [type(None), type(None), faults.Throttle, faults.Conflict]


def test_calls_of_the_gateway_itself_are_for_faults_of_workers_only() -> None:
    course = decisions(
        calls=[{"do": "throttle"}, {"do": "delay", "seconds": 1}],
        workers=[{"do": "kill_at_call", "moment": "before", "nth": 3}],
    )
    fates = [course.call("f", operation, "{}") for operation in ("PostToConnection", "PutItem", "Invoke")]
    assert [(type(fate.fault), fate.delay_s) for fate in fates] == [
        (type(None), 0),
        (faults.Throttle, 1),
        (faults.KillAtCall, 0),
    ]


# --- several at once ---


def test_delays_add_up_and_the_first_other_fault_counts() -> None:
    course = decisions(
        posts=[
            {"do": "delay", "seconds": 1},
            {"do": "drop", "nth": 1},
            {"do": "repeat", "nth": [1, 2]},
            {"do": "delay", "seconds": 2},
        ]
    )
    first, second = course.post("a", "v1", "x"), course.post("a", "v1", "x")
    assert (first.delay_s, type(first.fault)) == (3, faults.DropPost)
    assert (second.delay_s, type(second.fault)) == (3, faults.RepeatPost)
    assert [entry["applied"] for entry in _entries(course)] == [2, 1, 1, 2]


def test_first_fault_of_an_invocation_counts() -> None:
    shorten, kill = {"do": "shorten", "seconds": 5}, {"do": "kill_after", "nth": 1, "seconds": 4}
    first = decisions(workers=[kill, shorten])
    hits = [first.invocation("f", "{}") for _ in range(2)]
    assert [type(hit and hit.fault) for hit in hits] == [faults.KillAfter, faults.Shorten]
    assert [entry["chosen"] for entry in _entries(first)] == [1, 1]


def test_kill_at_a_call_goes_before_what_the_service_would_answer() -> None:
    plan = {"calls": [{"do": "throttle"}], "workers": [{"do": "kill_at_call", "moment": "before"}]}
    assert isinstance(Decisions(parse(plan), lambda _: None).call("f", "PutItem", "").fault, faults.KillAtCall)


# --- ends ---


def test_connection_ends_with_its_nth_post() -> None:
    course = decisions(sockets=[{"do": "close", "posts": 2, "nth": 1}])
    assert [course.post("a", "v1", "x").end is not None for _ in range(3)] == [False, True, False]
    assert [course.post("b", "v1", "x").end is not None for _ in range(3)] == [False, False, False]


def test_first_end_of_a_connection_counts() -> None:
    course = decisions(sockets=[{"do": "close", "posts": 2}, {"do": "close", "posts": 1}])
    assert [course.post("a", "v1", "x").end is not None for _ in range(2)] == [False, True]
    assert [entry["chosen"] for entry in _entries(course)] == [1, 0]


def test_end_is_decided_once_and_drawn_for_each_connection() -> None:
    course = decisions(sockets=[{"do": "close", "seconds": [1, 9]}])
    ends = [course.meet(connection, "v1") for connection in "abab"]
    seconds = [end.seconds for end in ends if end is not None and end.seconds is not None]
    assert all(1 <= each <= 9 for each in seconds)
    assert seconds[0] != seconds[1]
    assert seconds[:2] == seconds[2:]


def test_only_ends_of_connections_that_the_plan_has_met_are_lost_or_of_one_it_names() -> None:
    course = decisions(sockets=[{"do": "lose_disconnect", "nth": 1}, {"do": "lose_disconnect", "connection": "named"}])
    course.meet("a", "v1")
    assert [course.loses_disconnect(each, "v1") for each in ("old", "named", "a", "a")] == [False, True, True, False]


# --- replay ---

_MIXED = {
    "posts": [
        {"do": "drop", "probability": 0.3},
        {"do": "delay", "probability": 0.5, "seconds": [0.1, 0.9]},
        {"do": "reorder", "every": 3},
    ],
    "sockets": [{"do": "close", "posts": [1, 9], "probability": 0.5}],
    "events": [{"do": "repeat", "probability": 0.5, "seconds": [0, 5]}],
    "workers": [{"do": "kill_after", "probability": 0.5, "seconds": [0, 5]}],
    "calls": [{"do": "throttle", "probability": 0.5}],
}


def course_of(seed: int, connections: str) -> tuple[list[str], list[Any]]:
    """Return what was told and decided in a fixed sequence of calls."""
    told: list[str] = []
    course = Decisions(parse({"seed": seed, **_MIXED}), told.append)
    decided: list[Any] = []
    for _ in range(20):
        decided += [course.post(connection, "v1", "x") for connection in connections]
        decided += [course.event("f", "{}"), course.invocation("f", "{}"), course.call("f", "PutItem", "{}")]
    return told, decided


def test_same_plan_and_calls_give_the_same_faults_whatever_the_ids_are() -> None:
    told, decided = course_of(7, "ab")
    other_told, other = course_of(7, "xy")
    assert told == other_told
    assert decided == other
    assert len(told) > 20


def test_another_seed_gives_other_faults() -> None:
    assert course_of(7, "ab")[1] != course_of(8, "ab")[1]


def test_what_one_connection_does_changes_nothing_for_another() -> None:
    plan = [{"do": "drop", "probability": 0.5}]
    alone, beside = decisions(posts=plan), decisions(posts=plan)
    beside.meet("a", "v1")
    expected = dropped(alone, 40)
    interleaved = []
    for n in range(1, 41):
        if beside.post("a", "v1", "x").fault is not None:
            interleaved.append(n)
        beside.post("b", "v1", "x")
    assert interleaved == expected
    assert dropped(beside, 40, "c") != expected


def test_each_choice_is_one_readable_line() -> None:
    told: list[str] = []
    course = Decisions(parse({"posts": [{"do": "delay", "nth": 2, "seconds": 0.25}]}), told.append)
    course.post("L0SM9cOFvHcCIhw=", "v1", "secret")
    course.post("L0SM9cOFvHcCIhw=", "v1", "secret")
    assert told == ["posts[0] delay: post 2 of connection 1, 0.250 s"]


def test_report_counts_what_is_chosen_and_what_has_happened() -> None:
    course = decisions(9, sockets=[{"do": "close", "seconds": 5}])
    end = course.meet("a", "v1")
    assert end is not None
    assert _entries(course) == [{"place": "sockets[0]", "do": "close", "chosen": 1, "applied": 0}]
    course.applied(end.place)
    assert course.report() == {
        "seed": 9,
        "faults": [{"place": "sockets[0]", "do": "close", "chosen": 1, "applied": 1}],
    }


def _entries(course: Decisions) -> list[dict[str, Any]]:
    entries = course.report()["faults"]
    assert isinstance(entries, list)
    return entries
