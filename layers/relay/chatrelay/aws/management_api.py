"""The API Gateway Management API: posts of frames to connections, and what its refusals mean."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatrelay.aws.session import client
from chatrelay.domain.errors import Gone, NotDelivered, PostError, Throttled
from chatrelay.domain.retry import retry
from chatrelay.wire.outbound import Outbound

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

CONCURRENT_POSTS = 50
PAUSES_S = (0.1, 0.3, 0.9)


class ManagementApi:
    """The sockets behind one deployed WebSocket API. Safe to use from several threads at once."""

    def __init__(self, client: "ApiGatewayManagementApiClient") -> None:
        self._client = client

    @classmethod
    def connect(cls, endpoint: str) -> "ManagementApi":
        """Return the sockets at `endpoint`, ``https://<api>.execute-api.<region>.amazonaws.com/<stage>``."""
        config = Config(
            connect_timeout=3,  # botocore's 60 s would block a sender for as long
            read_timeout=3,
            retries={"total_max_attempts": 1},  # botocore's retries can repeat a post that has arrived
            max_pool_connections=CONCURRENT_POSTS,  # botocore keeps 10, and would dial anew for every further thread
        )
        return cls(client("apigatewaymanagementapi", config, endpoint))

    def post(self, connection_id: str, frame: bytes) -> None:
        """Post one frame. Raise ``Gone``, ``Throttled`` or ``NotDelivered``."""
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=frame)
        except (ClientError, BotoCoreError) as refusal:
            raise self._meaning(refusal) from refusal

    def deliver(self, connection_id: str, frame: bytes) -> None:
        """Post one frame with a few tries, so it may arrive twice. Raise ``Gone``, or the error of the last try."""
        retry(lambda: self.post(connection_id, frame), PAUSES_S, on=(Throttled, NotDelivered))

    def deliver_frame(self, connection_id: str, frame: Outbound) -> None:
        """Deliver `frame` with the present time. Raise as ``deliver`` does."""
        self.deliver(connection_id, frame.encode(datetime.now(UTC)))

    def close(self, connection_id: str) -> None:
        """Close the socket. Idempotent."""
        try:
            self._client.delete_connection(ConnectionId=connection_id)
        except (ClientError, BotoCoreError) as refusal:
            if not isinstance(meaning := self._meaning(refusal), Gone):
                raise meaning from refusal

    def _meaning(self, refusal: ClientError | BotoCoreError) -> PostError:
        exceptions = self._client.exceptions
        if isinstance(refusal, exceptions.GoneException):
            return Gone()
        if isinstance(refusal, exceptions.LimitExceededException):
            return Throttled()
        return NotDelivered(type(refusal).__name__)
