"""Serves a SAM template's WebSocket and HTTP APIs and its Python functions on this machine: no AWS, no Docker.

`python -m emulator` starts it. What it copies from AWS is written in `tests/emulator`, one test a fact.
"""
