"""Version 1 of the wire protocol: its names and its limits."""

VERSION = 1
SUBPROTOCOL = "chatrelay.v1"
FRAME_LIMIT_BYTES = 31 * 1024
"""API Gateway closes a socket over a frame of more than 32 KB, or perhaps of as many; it meters by that size."""
CONTENT_LIMIT_BYTES = 300_000
"""A message has to fit into one item of DynamoDB."""
HEARTBEAT_S = 480
"""How rarely a client that waits for nothing may ping: API Gateway closes a socket that was idle for 10 minutes."""
ID_LIMIT = 64
CONVERSATION_LIMIT = 128
DEVICE_LIMIT = 128
CREDENTIAL_LIMIT = 7 * 1024
"""API Gateway takes headers of 10,240 bytes together, and a subprotocol makes four bytes of three."""
OFFSET_LIMIT = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
AGENTS = ("claude", "codex")  # the first answers where a client names none
