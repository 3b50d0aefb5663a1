"""The meanings of refusals, and of errors that end an answer, by what would mend each. Pure.

| what mends it                 | here                          | what the user can do                         |
|-------------------------------|-------------------------------|----------------------------------------------|
| waiting                       | ``Overloaded``, ``Upstream``  | send the message again                       |
| a shorter or another request  | ``TooLong``, ``Unaccepted``   | nothing: ``mending`` makes it at once        |
| another message               | the same, if that fails, too  | change the message                           |
| the operator                  | ``Denied``                    | wait for the operator                        |

The documented type and code decide. But Anthropic and Bedrock have one type for every invalid request, whatever would
mend it, and OpenAI has one code for limits that pass and for limits that do not. There the sentence decides. An unknown
sentence counts as a refused request, so a service that rewords a sentence costs one request, and no conversation.

Sources, as of 2026-11-27: https://platform.claude.com/docs/en/api/errors, types/shared of SDK 2.12; the errors of
InvokeModelWithResponseStream in Bedrock's reference; https://developers.openai.com/api/docs/guides/error-codes and
ResponseError of openai-python 3.57. Sentences that no page has are from public reports.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatrelay.domain.errors import Denied, Overloaded, Reason, Refused, ReplyError, Said, TooLong, Unaccepted, Upstream

SENTENCE_LENGTH = 500
MOST_FITS = 0.9
"""The largest part of a request that counts as fitting, after the request was refused as too long."""


@dataclass(frozen=True)
class Refusal:
    """What a service said to a request of about `tokens`. `field` is the part of the request that it names, if any."""

    said: Said
    code: str = ""
    field: str = ""
    tokens: int = 0
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Row:
    """Refusals whose code, type (in small letters) or status is in `when`, with a sentence and a field like these.

    Groups in the sentence's pattern have a meaning: the request `has` so many tokens, the service takes at `most` so
    many, `out` of them for the answer. A row with a `rate` only reads refusals of requests with more tokens than that.
    """

    when: set[str | int]
    means: Reason
    sentence: re.Pattern[str] = re.compile("")
    field: re.Pattern[str] = re.compile("")

    def reads(self, refusal: Refusal) -> re.Match[str] | None:
        """Return the match in the sentence of `refusal`; None if this row does not read it."""
        said = refusal.said
        if not (self.when & {refusal.code, said.type.lower(), said.status or 0} and self.field.match(refusal.field)):
            return None
        read = self.sentence.search(said.sentence)
        return read if read and _number(read, "rate", -1) < refusal.tokens else None


def sentence(*beginnings: str) -> re.Pattern[str]:
    """Return a pattern for sentences that have one of these in them."""
    return re.compile("|".join(beginnings), re.IGNORECASE)


def _number(read: re.Match[str], name: str, default: int = 0) -> int:
    return int((read.groupdict().get(name) or str(default)).replace(",", ""))


INVALID: set[str | int] = {"invalid_request_error", "validationexception", 400, 422}
MAY_PASS = {408, 409, 424, 425, 429, 499}
NEVER: set[str | int] = {*range(300, 500)} - MAY_PASS
"""Every other status of a service that has not failed itself, or of a proxy before it: the address is wrong."""

ANTHROPIC = (
    Row(
        {
            "cmek_key_disabled",
            "cmek_key_network_blocked",
            "contract_spend_limit_reached",
            "enforced_spend_limit_reached",
            "linked_organization_billing_unavailable",
            "linked_organization_spend_limit_reached",
            "organization_on_hold",
            "organization_type_not_supported",
        },
        Reason.ACCOUNT,
    ),
    Row({"throttlingexception", 429}, Reason.ACCOUNT, sentence("tokens per day", "reached your API usage limits")),
    # A request over a whole minute's limit never passes. [api/rate-limits]
    Row({"rate_limit_error"}, Reason.TOO_LONG, sentence(r"limit of (?P<rate>\d[\d,]{0,10}) input tokens per minute")),
    Row({"overloaded_error", "rate_limit_error", 429, 503, 529}, Reason.BUSY),
    Row(
        {
            "modelnotreadyexception",
            "servicequotaexceededexception",
            "serviceunavailableexception",
            "throttlingexception",
        },
        Reason.BUSY,
    ),
    Row({"authentication_error", 401}, Reason.KEY),
    Row({"billing_error", 402}, Reason.ACCOUNT),
    Row({"permission_error", "accessdeniedexception", 403}, Reason.PERMISSION),
    Row({"not_found_error", "resourcenotfoundexception", 404}, Reason.MODEL),
    Row(INVALID, Reason.TOO_LONG, sentence(r"prompt is too long: (?P<has>\d{1,9}) tokens > (?P<most>\d{1,9})")),
    Row(
        INVALID,
        Reason.TOO_LONG,
        sentence(r"exceed context limit: (?P<has>\d{1,9}) \+ (?P<out>\d{1,9}) > (?P<most>\d{1,9})"),
    ),
    Row(INVALID, Reason.TOO_LONG, sentence("prompt is too long", "input is too long")),
    Row({"request_too_large", "request_body_too_large_after_decoding", 413}, Reason.TOO_LONG),
    Row(
        INVALID,
        Reason.ACCOUNT,
        sentence("credit balance is too low", "reached your specified", "organization has been disabled"),
    ),
    Row(INVALID, Reason.DECLINED, sentence("output blocked by content filtering")),
    Row(INVALID, Reason.PERMISSION, sentence("^operation not allowed")),
    Row(INVALID, Reason.MODEL, sentence("on-demand throughput isn", "model identifier is invalid")),
    Row(
        INVALID,
        Reason.SETTINGS,
        # The field of the request that the sentence begins with, and what the services say of models.
        sentence(
            r"^(the model returned the following errors: )?"
            r"\W?(max_tokens|model|system|thinking|tools?|tool_choice|output_config|anthropic)\b",
            "adaptive thinking is not supported",
            "does not support tool types",
        ),
    ),
    Row(INVALID, Reason.UNACCEPTED),
    Row(NEVER, Reason.SETTINGS),
)
"""Refusals of Anthropic, and of Bedrock, whose types end in "exception". The first row that reads one decides."""

CODEX = (
    Row({"error"}, Reason.KEY, sentence("not logged in", "401 unauthorized", "log out and sign in")),
    Row({"error"}, Reason.ACCOUNT, sentence("usage limit", "quota exceeded")),
    Row({"error"}, Reason.TOO_LONG, sentence("context window")),
)
"""Sentences of Codex's command line, which has no types: error.rs in github.com/openai/codex, and public reports."""

OPENAI = (
    Row(
        {
            402,
            "billing_hard_limit_reached",
            "billing_not_active",
            "credit_balance_exhausted",
            "insufficient_quota",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
            "usage_not_included",
        },
        Reason.ACCOUNT,
    ),
    Row({"context_length_exceeded", "string_above_max_length", 413}, Reason.TOO_LONG),
    Row(
        {"rate_limit_exceeded"},
        Reason.TOO_LONG,
        sentence(r"^request too large.*Limit (?P<most>\d{1,9}), Requested (?P<has>\d{1,9})", "^request too large"),
    ),
    Row({"bio_policy", "cyber_policy", "invalid_prompt", "misalignment_policy_violation"}, Reason.UNACCEPTED),
    Row({"rate_limit_exceeded", "server_is_overloaded", "slow_down", 429, 503}, Reason.BUSY),
    Row({"invalid_api_key", 401}, Reason.KEY),
    Row({"model_not_found", 404}, Reason.MODEL),
    Row({"data_residency_mismatch", "unsupported_country_region_territory", 403}, Reason.PERMISSION),
    Row(INVALID, Reason.SETTINGS, field=re.compile("(?!input)[a-z]")),
    Row(INVALID, Reason.UNACCEPTED),
    Row(NEVER, Reason.SETTINGS),
)
"""Refusals of OpenAI's Responses API. The first row that reads one decides."""

DENIED = {
    Reason.KEY: "{agent} does not accept the relay's key.",
    Reason.PERMISSION: "The relay may not ask {agent}.",
    Reason.ACCOUNT: "The relay's account with {agent}'s service is used up or closed.",
    Reason.MODEL: "{agent}'s service does not have the model that the relay asks for.",
    Reason.SETTINGS: "{agent} is not set up right in this relay.",
}


def meaning(agent: str, rows: Sequence[Row], refusal: Refusal) -> ReplyError:
    """Return the error that a `refusal` of the service behind `agent` means. A refusal that no row reads may pass."""
    for row in rows:
        if (read := row.reads(refusal)) is not None:
            break
    else:
        return Upstream("The model's service could not answer.", said=refusal.said)
    match row.means:
        case Reason.BUSY:
            sentence = f"{agent} is very busy at the moment."
            return Overloaded(sentence, retry_after_s=refusal.retry_after_s, said=refusal.said)
        case Reason.TOO_LONG:
            has, most = _number(read, "has", refusal.tokens), _number(read, "most", _number(read, "rate"))
            fits = max(most - _number(read, "out"), 1) / has if has and most else 0.5  # if the service does not say
            return too_long(agent, fits, refusal.said)
        case Reason.UNACCEPTED:
            return Unaccepted(f"{agent} does not take this message. Change it, or leave it out.", said=refusal.said)
        case Reason.DECLINED:
            return Refused(f"{agent} declined to answer this.", said=refusal.said)
    return denied(agent, row.means, refusal.said)


def said(status: int, kind: object, sentence: object, request_id: object) -> Said:
    """Return what a service said. Any part may be null or of another type."""
    kind, sentence, request_id = (each if isinstance(each, str) else "" for each in (kind, sentence, request_id))
    return Said(status, kind, sentence[:SENTENCE_LENGTH], request_id)  # a proxy's page may be of any length


def denied(agent: str, reason: Reason, said: Said | None = None) -> Denied:
    """Return the error for a deployment that is refused, for one of the reasons in ``DENIED``."""
    sentence = f"{DENIED[reason].format(agent=agent)} Only whoever runs the relay can mend that."
    return Denied(sentence, reason=reason, said=said)


def too_long(agent: str, fits: float, said: Said) -> TooLong:
    """Return the error for a request that is too long. The service takes about the part `fits` of it."""
    return TooLong(f"This message is too long for {agent}.", fits=min(fits, MOST_FITS), said=said)
