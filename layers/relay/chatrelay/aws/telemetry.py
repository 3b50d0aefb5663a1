"""What the operator sees of the relay: every reply that failed, with the reason, and every internal error.

The log and the metrics never have the text of a message or of a reply, nor a credential.
"""

from dataclasses import asdict

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from chatrelay.domain.errors import ReplyError


class Telemetry:
    """The log and the metrics of one function."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def reply_failed(self, reply: str, problem: ReplyError, agent: str | None = None) -> None:
        """Record a reply that has ended with `problem`, once, with what the model's service said."""
        said, cause = problem.said, problem.__cause__
        self._logger.warning(
            "reply failed",
            agent=agent,
            reply=reply,
            reason=problem.reason.value,
            code=problem.code,
            service_said=asdict(said),
            exception_name=None if cause is None else type(cause).__name__,
        )
        with single_metric("RepliesFailed", MetricUnit.Count, 1) as metric:
            metric.add_dimension("reason", problem.reason.value)

    def internal_error(self) -> None:
        """Count a client that has got an ``Internal``. Whoever caught the exception has logged it."""
        with single_metric("InternalErrors", MetricUnit.Count, 1):
            pass
