"""API Gateway: WebSocket and HTTP APIs, the Management API, and the guard in front of them."""
