"""Serves a SAM template's WebSocket and HTTP APIs and its Python functions on this machine: no AWS, no Docker.

Start it with `python -m infra.local`. What it copies from AWS is written in `tests/infra/local`, one test a fact.
"""
