"""What each service's refusals mean: a row a kind, with the sentence where it was documented or seen in public."""

from typing import Any

import pytest

from chatrelay.agents.refusals import ANTHROPIC, OPENAI, Refusal, meaning, said
from chatrelay.domain.errors import Denied, Overloaded, Reason, Refused, ReplyError, TooLong, Unaccepted, Upstream

INVALID = "invalid_request_error"
CLAUDE: list[tuple[int, str, str, str, type[ReplyError], Reason]] = [
    # status, type, code, sentence: waiting mends it
    (529, "overloaded_error", "", "Overloaded", Overloaded, Reason.BUSY),
    (200, "overloaded_error", "", "Overloaded", Overloaded, Reason.BUSY),
    (429, "rate_limit_error", "", "This request would exceed your organization's rate limit", Overloaded, Reason.BUSY),
    (429, "rate_limit_error", "ramp_limit_exceeded", "", Overloaded, Reason.BUSY),
    (429, "", "", "", Overloaded, Reason.BUSY),
    (503, "", "", "<h1>Busy</h1>", Overloaded, Reason.BUSY),
    (500, "api_error", "", "Internal server error", Upstream, Reason.FAILED),
    (504, "timeout_error", "", "", Upstream, Reason.FAILED),
    (409, "conflict_error", "", "", Upstream, Reason.FAILED),
    (502, "", "", "", Upstream, Reason.FAILED),
    (200, "brand_new_error", "", "", Upstream, Reason.FAILED),
    # a shorter request
    (400, INVALID, "", "prompt is too long: 260001 tokens > 200000 maximum", TooLong, Reason.TOO_LONG),
    (200, INVALID, "", "Prompt is too long", TooLong, Reason.TOO_LONG),
    (
        400,
        INVALID,
        "",
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length",
        TooLong,
        Reason.TOO_LONG,
    ),
    (413, "request_too_large", "", "Request exceeds the maximum size", TooLong, Reason.TOO_LONG),
    (413, "", "", "", TooLong, Reason.TOO_LONG),
    # another request, or another message
    (400, INVALID, "", "messages.1.content.0: Invalid `signature` in `thinking` block", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "", "messages: text content blocks must be non-empty", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "image_dimensions_too_large", "", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "", "The PDF specified is password protected.", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "", "a sentence of next year", Unaccepted, Reason.UNACCEPTED),
    (422, "", "", "", Unaccepted, Reason.UNACCEPTED),
    # another message: it is the answer that was not let through
    (400, INVALID, "", "Output blocked by content filtering policy", Refused, Reason.DECLINED),
    (200, INVALID, "", "Output blocked by content filtering policy", Refused, Reason.DECLINED),
    # the operator
    (401, "authentication_error", "", "invalid x-api-key", Denied, Reason.KEY),
    (403, "permission_error", "", "", Denied, Reason.PERMISSION),
    (403, "", "", "<h1>Forbidden</h1>", Denied, Reason.PERMISSION),
    *((status, "", "", "<h1>No.</h1>", Denied, Reason.SETTINGS) for status in (302, 405, 410, 411, 415, 421, 431, 451)),
    (404, "not_found_error", "", "model: claude-sonnet-4-5", Denied, Reason.MODEL),
    (402, "billing_error", "", "", Denied, Reason.ACCOUNT),
    (400, INVALID, "", "Your credit balance is too low to access the Anthropic API.", Denied, Reason.ACCOUNT),
    (400, INVALID, "", "You have reached your specified API usage limits.", Denied, Reason.ACCOUNT),
    (400, INVALID, "", "This organization has been disabled.", Denied, Reason.ACCOUNT),
    (400, INVALID, "organization_on_hold", "", Denied, Reason.ACCOUNT),
    (429, "rate_limit_error", "enforced_spend_limit_reached", "", Denied, Reason.ACCOUNT),
    (400, INVALID, "", "max_tokens: 100000 > 64000, which is the maximum allowed", Denied, Reason.SETTINGS),
    (400, INVALID, "", "`max_tokens` must be greater than `thinking.budget_tokens`", Denied, Reason.SETTINGS),
    (400, INVALID, "", '"thinking.type.enabled" is not supported for this model.', Denied, Reason.SETTINGS),
    (400, INVALID, "", "adaptive thinking is not supported on this model", Denied, Reason.SETTINGS),
    (400, INVALID, "", "tools.0: web search is not enabled", Denied, Reason.SETTINGS),
    (400, INVALID, "", "'claude-x' does not support tool types: web_search_20250305", Denied, Reason.SETTINGS),
    (400, INVALID, "", "system: text content blocks must contain non-whitespace text", Denied, Reason.SETTINGS),
    # Bedrock
    (400, "ValidationException", "", "Operation not allowed", Denied, Reason.PERMISSION),
    (
        400,
        "ValidationException",
        "",
        "The model returned the following errors: max_tokens: 100000 > 64000",
        Denied,
        Reason.SETTINGS,
    ),
    (429, "ThrottlingException", "", "Too many tokens, please wait before trying again.", Overloaded, Reason.BUSY),
    (200, "throttlingException", "", "", Overloaded, Reason.BUSY),
    (400, "ServiceQuotaExceededException", "", "", Overloaded, Reason.BUSY),
    (429, "ModelNotReadyException", "", "", Overloaded, Reason.BUSY),
    (200, "serviceUnavailableException", "", "", Overloaded, Reason.BUSY),
    (424, "ModelErrorException", "", "", Upstream, Reason.FAILED),
    (200, "modelStreamErrorException", "", "", Upstream, Reason.FAILED),
    (408, "ModelTimeoutException", "", "", Upstream, Reason.FAILED),
    (200, "", "", "", Upstream, Reason.FAILED),
    (400, "ValidationException", "", "Input is too long for requested model.", TooLong, Reason.TOO_LONG),
    (
        400,
        "ValidationException",
        "",
        "Too much media: 0 document pages + 102 images > 100",
        Unaccepted,
        Reason.UNACCEPTED,
    ),
    (
        400,
        "ValidationException",
        "",
        "Invocation of model ID anthropic.claude with on-demand throughput isn't supported.",
        Denied,
        Reason.MODEL,
    ),
    (400, "ValidationException", "", "The provided model identifier is invalid.", Denied, Reason.MODEL),
    (
        403,
        "AccessDeniedException",
        "",
        "Model access is denied due to IAM user or service role",
        Denied,
        Reason.PERMISSION,
    ),
    (404, "ResourceNotFoundException", "", "Model use case details have not been submitted", Denied, Reason.MODEL),
    (
        429,
        "ThrottlingException",
        "",
        "Too many tokens per day, please wait before trying again.",
        Denied,
        Reason.ACCOUNT,
    ),
]
CODEX: list[tuple[int, str, str, str, str, type[ReplyError], Reason]] = [
    # status, type, code, param, sentence
    (
        429,
        "tokens",
        "rate_limit_exceeded",
        "",
        "Rate limit reached for gpt-5: Limit 10000, Used 7047",
        Overloaded,
        Reason.BUSY,
    ),
    (200, "", "rate_limit_exceeded", "", "", Overloaded, Reason.BUSY),
    (503, "service_unavailable_error", "server_is_overloaded", "", "", Overloaded, Reason.BUSY),
    (429, "rate_limit_error", "slow_down", "", "", Overloaded, Reason.BUSY),
    (500, "server_error", "", "", "", Upstream, Reason.FAILED),
    (200, "", "server_error", "", "", Upstream, Reason.FAILED),
    (200, "", "vector_store_timeout", "", "", Upstream, Reason.FAILED),
    (
        200,
        INVALID,
        "context_length_exceeded",
        "input",
        "Your input exceeds the context window",
        TooLong,
        Reason.TOO_LONG,
    ),
    (400, INVALID, "string_above_max_length", "input[0].content", "", TooLong, Reason.TOO_LONG),
    (413, "", "", "", "", TooLong, Reason.TOO_LONG),
    (
        429,
        "tokens",
        "rate_limit_exceeded",
        "",
        "Request too large for gpt-5 on tokens per min (TPM): Limit 30000, Requested 36741. The input must be reduced",
        TooLong,
        Reason.TOO_LONG,
    ),
    (400, INVALID, "invalid_prompt", "", "Invalid prompt: your prompt was flagged", Unaccepted, Reason.UNACCEPTED),
    (200, "", "cyber_policy", "", "", Unaccepted, Reason.UNACCEPTED),
    (200, "", "misalignment_policy_violation", "", "", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "", "", "", Unaccepted, Reason.UNACCEPTED),
    (400, INVALID, "invalid_value", "input[1].content[0]", "", Unaccepted, Reason.UNACCEPTED),
    (429, "insufficient_quota", "credit_balance_exhausted", "", "", Denied, Reason.ACCOUNT),
    (429, "insufficient_quota", "a_new_code", "", "", Denied, Reason.ACCOUNT),
    (200, "", "organization_spend_limit_exceeded", "", "", Denied, Reason.ACCOUNT),
    (429, "billing_not_active", "billing_not_active", "", "", Denied, Reason.ACCOUNT),
    (400, INVALID, "billing_hard_limit_reached", "", "", Denied, Reason.ACCOUNT),
    (402, "", "", "", "", Denied, Reason.ACCOUNT),
    *((status, "", "", "", "", Denied, Reason.SETTINGS) for status in (302, 405, 410, 411, 415, 421, 431, 451)),
    *((status, "", "", "", "", Upstream, Reason.FAILED) for status in (408, 409, 424, 499)),
    (401, INVALID, "invalid_api_key", "", "", Denied, Reason.KEY),
    (401, INVALID, "", "", "", Denied, Reason.KEY),
    (403, "request_forbidden", "unsupported_country_region_territory", "", "", Denied, Reason.PERMISSION),
    (403, "", "model_not_found", "", "", Denied, Reason.MODEL),
    (404, INVALID, "model_not_found", "", "", Denied, Reason.MODEL),
    (400, INVALID, "integer_below_min_value", "max_output_tokens", "", Denied, Reason.SETTINGS),
    (
        400,
        INVALID,
        "unsupported_value",
        "stream",
        "Your organization must be verified to stream",
        Denied,
        Reason.SETTINGS,
    ),
    (400, INVALID, "", "model", "The requested model 'X' does not exist.", Denied, Reason.SETTINGS),
]
RETRYABLE = {Overloaded, Upstream}
CODE = {
    Overloaded: "overloaded",
    Upstream: "upstream",
    TooLong: "too_large",
    Unaccepted: "refused",
    Refused: "refused",
    Denied: "upstream",
}


@pytest.mark.parametrize(("status", "kind", "code", "sentence", "error", "reason"), CLAUDE)
def test_what_claude_means(
    status: int, kind: str, code: str, sentence: str, error: type[ReplyError], reason: Reason
) -> None:
    heard = said(status, kind, sentence, "req_1")

    must_mean(meaning("Claude", ANTHROPIC, Refusal(heard, code)), heard, error, reason)


@pytest.mark.parametrize(("status", "kind", "code", "param", "sentence", "error", "reason"), CODEX)
def test_what_openai_means(
    status: int, kind: str, code: str, param: str, sentence: str, error: type[ReplyError], reason: Reason
) -> None:
    heard = said(status, kind, sentence, "req_1")

    must_mean(meaning("Codex", OPENAI, Refusal(heard, code, param)), heard, error, reason)


def must_mean(problem: ReplyError, heard: Any, error: type[ReplyError], reason: Reason) -> None:
    assert (type(problem), problem.reason) == (error, reason)
    assert (problem.code, problem.retryable, problem.said) == (CODE[error], error in RETRYABLE, heard)
    assert heard.sentence == "" or heard.sentence not in str(problem), "its words may have the operator's names in them"


@pytest.mark.parametrize(
    ("sentence", "fits"),
    [
        ("prompt is too long: 400000 tokens > 100000 maximum", 0.25),
        ("input length and `max_tokens` exceed context limit: 100000 + 50000 > 100000", 0.5),
        ("prompt is too long: 100 tokens > 100000 maximum", 0.9),
        ("prompt is too long: 0 tokens > 0 maximum", 0.5),
        ("input length and `max_tokens` exceed context limit: 1000 + 90000 > 90000", 0.001),
        ("prompt is too long: 99999999999999999999 tokens > 1 maximum", 0.5),
    ],
)
def test_a_service_that_names_its_limit_is_believed_within_reason(sentence: str, fits: float) -> None:
    problem = meaning("Claude", ANTHROPIC, Refusal(said(400, INVALID, sentence, None)))

    assert isinstance(problem, TooLong)
    assert problem.fits == pytest.approx(fits)


@pytest.mark.parametrize(("tokens", "error"), [(29_999, Overloaded), (30_000, Overloaded), (60_000, TooLong)])
def test_what_a_whole_minute_has_no_room_for_is_too_long(tokens: int, error: type[ReplyError]) -> None:
    sentence = (
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute. For details, "
        "refer to: https://platform.claude.com/docs/en/api/rate-limits. Please reduce the prompt length."
    )

    problem = meaning("Claude", ANTHROPIC, Refusal(said(429, "rate_limit_error", sentence, None), tokens=tokens))

    assert type(problem) is error
    assert not isinstance(problem, TooLong) or problem.fits == pytest.approx(0.5)


def test_a_wait_is_handed_on_and_what_is_no_text_is_none() -> None:
    problem = meaning("Claude", ANTHROPIC, Refusal(said(429, None, ["?"], 5), retry_after_s=17.0))

    assert (problem.retry_after_s, problem.said) == (17.0, said(429, "", "", ""))
    assert len(said(400, "", "x" * 10_000, "").sentence) == 500
