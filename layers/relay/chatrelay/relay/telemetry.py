"""The operator's view of the relay: how every reply ended, why one failed, and every internal error.

The log and the metrics never have the text of a message or of a reply, nor a credential.
"""

from dataclasses import asdict

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from chatrelay.domain.errors import ReplyError
from chatrelay.domain.outcome import ReplyOutcome


class Telemetry:
    """The log and the metrics of one function."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def reply_failed(self, reply: str, problem: ReplyError, agent: str | None = None) -> None:
        """Record a reply that has ended with `problem`, once, with what the model's service said."""
        said, cause = problem.said, problem.__cause__  # of the cause its type alone: a sentence may quote the message
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

    def reply_ended(self, outcome: ReplyOutcome) -> None:
        """Record how a reply went, once for each."""
        metrics = Metrics()
        metrics.add_dimension("status", outcome.status.value)
        metrics.add_metric("Replies", MetricUnit.Count, 1)
        metrics.add_metric("Posts", MetricUnit.Count, outcome.posts)
        metrics.add_metric("ReadersLeft", MetricUnit.Count, outcome.readers_left)
        if outcome.first_text_s is not None:
            metrics.add_metric("FirstText", MetricUnit.Seconds, outcome.first_text_s)
        metrics.flush_metrics()
        self._logger.info("reply ended", status=outcome.status.value, length=outcome.length, posts=outcome.posts)

    def superseded(self) -> None:
        """Record that a reply was ended by another worker, or deleted."""
        self._logger.warning("the reply was ended by somebody else")
