"""API keys of a deployed relay: ``python -m infra.keys create alice``. Only a key's hash is stored."""

import argparse
import sys
from datetime import UTC, datetime

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from chatrelay.wire.identity import new_key
from infra import stack


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says. Return the exit status: 1 if it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.keys", description=__doc__)
    stack.add_options(parser)
    parser.add_argument("--table", help="the table itself, instead of the stack's")
    commands = parser.add_subparsers(required=True, metavar="create | list | revoke")
    create = commands.add_parser("create", help="make a key for a user and print it, this once")
    create.add_argument("user", help="up to 64 of the characters A-Z a-z 0-9 . _ @ -")
    create.add_argument("--label", default="", help="to tell keys apart, e.g. the device")
    create.set_defaults(do=_create)
    commands.add_parser("list", help="show whose keys there are").set_defaults(do=_list)
    revoke = commands.add_parser("revoke", help="remove a key")
    revoke.add_argument("id", help="as `list` shows it")
    revoke.set_defaults(do=_revoke)
    options = parser.parse_args(arguments)
    try:
        deployed = stack.chosen(options)
        table = Table(deployed.session.client("dynamodb"), options.table or deployed.output("TableName"))
        return int(options.do(ApiKeys(table), options))
    except stack.PROBLEMS as problem:
        print(f"infra.keys: {stack.told(problem)}", file=sys.stderr)
        return 1


def _create(keys: ApiKeys, options: argparse.Namespace) -> int:
    key = new_key()
    keys.add(key, options.user, options.label)
    print(key)  # this once: only its hash is stored
    return 0


def _list(keys: ApiKeys, _: argparse.Namespace) -> int:
    for key in keys.all():
        made = datetime.fromtimestamp(key.created_at_ms / 1000, UTC).date()
        print(f"{key.id}  {made}  {key.user}  {key.label}".rstrip())
    return 0


def _revoke(keys: ApiKeys, options: argparse.Namespace) -> int:
    if not keys.revoke(options.id):
        raise LookupError(f"there is no key {options.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
