"""What a reply costs: by the file, and by what an operator says in its place."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.errors import SettingError
from chatrelay.domain.prices import COUNTS, Prices

PROMPT = {"input_tokens": 100_000}
MINE = Prices.read(
    "mine=0.25/2/0.025/0.3 mine-large=3/15 free=0/0 eu.anthropic.claude-opus-5=1/2 anthropic.mine-20260101=7/8"
)


@pytest.mark.parametrize(
    ("model", "usage", "cost"),
    [
        # 1,000 × 3 + 200 × 15 + 10,000 × 0.30 + 2,000 × 3.75, by Anthropic's price page.
        (
            "claude-sonnet-4-6",
            dict(zip(COUNTS, (1_000, 200, 10_000, 2_000), strict=True)),
            3_000 + 3_000 + 3_000 + 7_500,
        ),
        # 1,000 × 5 + 200 × 30 + 10,000 × 0.50, by OpenAI's.
        ("gpt-5.5", dict(zip(COUNTS, (1_000, 200, 10_000, 0), strict=True)), 5_000 + 6_000 + 5_000),
        ("mine", dict(zip(COUNTS, (4, 4, 4, 4), strict=True)), 1 + 8 + 1 + 1),  # 10.3
        ("mine-large", dict(zip(COUNTS, (1, 1, 1, 1), strict=True)), 3 + 15 + 3 + 3),
        ("mine", {"output_tokens": 3, "other_tokens": 9}, 6),
        ("mine", {"input_tokens": 1}, 1),
        ("mine", {}, 0),
        ("free", {"input_tokens": 5}, 0),
        ("mine-large", {"output_tokens": 2**53 - 1}, 15 * (2**53 - 1)),
        ("nobody's", {"input_tokens": 5}, None),
    ],
)
def test_a_reply_costs_what_its_tokens_do_rounded_up(model: str, usage: Mapping[str, int], cost: int | None) -> None:
    assert MINE.cost(model, usage) == cost


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-sonnet-4-6-20260101", 3),
        ("claude-sonnet-4-6@20260101", 3),
        ("claude-opus-4-20250514", 15),
        ("claude-opus-4-5-20251101", 5),
        ("gpt-5.5-2026-04-01", 5),
        ("gpt-4o-2024-08-06", 2.5),
        ("gpt-4o-2024-05-13", 5),  # older, and dearer: a name that is known in whole
        ("us.anthropic.claude-sonnet-4-6", 3.3),
        ("apac.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 3),
        ("global.anthropic.claude-sonnet-4-6", 3),
        ("eu.anthropic.claude-opus-5-v1:0", 1),
        ("us.anthropic.claude-opus-5-v1:0", 5.5),
        ("us.anthropic.mine-20260101-v1:0", 7),
        ("us.anthropic.mine-20260102-v1:0", None),
        ("mine-20260101", 0.25),
        ("mine-small", None),
        ("mine-v2", None),
        ("mine:8b", None),
        ("min", None),
        ("gpt-5.55", None),
        ("gpt-5.5-small", None),
        ("gpt-5.5-2026", None),
        ("claude-sonnet-4-6-v1:0", None),
        ("claude-v1", None),
        ("global.us.anthropic.claude-sonnet-4-6", None),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", None),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6", None),
        ("codex", None),
        ("", None),
        ("\n", None),
    ],
)
def test_a_name_may_have_a_date_or_at_bedrock_a_region_and_a_version(model: str, dollars: float | None) -> None:
    assert MINE.cost(model, PROMPT) == (None if dollars is None else round(dollars * 100_000))


@pytest.mark.parametrize(
    ("fresh", "read", "created", "price"),
    [(100_000, 0, 0, 0.1), (100_001, 0, 0, 0.5), (1, 100_000, 0, 0.5), (1, 0, 100_000, 0.5)],
)
def test_a_long_prompt_raises_the_price_of_all_tokens(fresh: int, read: int, created: int, price: float) -> None:
    usage = dict(zip(COUNTS, (fresh, 1_000_000, read, created), strict=True))

    cost = Prices.read("").cost("claude-haiku-5-5", usage)

    assert cost == pytest.approx(price * (fresh + 5_000_000 + read / 10 + created * 1.25), abs=1)


def test_an_operators_price_replaces_that_of_the_file_and_its_rise() -> None:
    assert (
        Prices.read(" gpt-5.5=1/2 \n my/model=0.000001/0 ").cost("gpt-5.5-2026-04-23", {"input_tokens": 300_000})
        == 300_000
    )
    assert Prices.read("my/model=0.000001/0").cost("my/model", {"input_tokens": 3_000_000}) == 3
    assert Prices.read("arn:aws:x:y/z=2/3").cost("arn:aws:x:y/z", PROMPT) == 200_000


@pytest.mark.parametrize(
    "entry",
    [
        "mine", "mine=", "=1/2", "mine=1", "mine=1/2/3", "mine=1/2/3/4/5", "mine=1/", "mine=-1/2", "mine=1e3/2",
        "mine=NaN/2", "mine=.5/2", "mine=1./2", "mine=0.0000001/2", "mine=1000000/2", "mine=1,5/2", "mine=٣/2",
        "mine=$1/2", "a=b=1/2", "mine=1/2;yours=1/2",
    ],
)  # fmt: skip
def test_an_entry_of_another_shape_is_named(entry: str) -> None:
    with pytest.raises(SettingError, match="MODEL_PRICES") as raised:
        Prices.read(f"fine=1/2 {entry}")

    assert repr(entry) in str(raised.value)
    assert "input/output" in str(raised.value)


@given(
    st.sampled_from(["mine", "claude-haiku-5-5", "gpt-5.5", "free"]),
    st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 2**53 - 1)),
)
def test_no_cost_is_negative_and_more_tokens_never_cost_less(model: str, usage: dict[str, int]) -> None:
    cost = MINE.cost(model, usage)
    more = MINE.cost(model, {name: count + 1 for name, count in usage.items()})

    assert cost is not None
    assert more is not None
    assert 0 <= cost <= more
