"""Comes back to data that was kept: ``python -m infra.restore TABLE`` copies an earlier table into the stack's.

What the stack's table has under the same key is replaced. Twice does no harm.
"""

import argparse
import sys

from infra import stack

SHOWN_EVERY = 1000


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says. Return the exit status: 1 if it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.restore", description=__doc__)
    stack.add_options(parser)
    parser.add_argument("table", help="the earlier one, which stays as it is")
    options = parser.parse_args(arguments)
    try:
        deployed = stack.named(options)
        dynamodb = deployed.session.resource("dynamodb")
        copied = 0
        with dynamodb.Table(deployed.output("TableName")).batch_writer() as batch:
            for page in dynamodb.meta.client.get_paginator("scan").paginate(TableName=options.table):
                for item in page["Items"]:
                    batch.put_item(item)  # replaces what has the same key, so a copy that broke off is begun again
                    copied += 1
                    if copied % SHOWN_EVERY == 0:
                        print(f"{copied} ...", flush=True)
        files = deployed.output("FilesBucket")
        print(f"{copied} items copied. The files: aws s3 sync s3://<the earlier bucket> s3://{files}")
    except stack.PROBLEMS as problem:
        print(f"infra.restore: {stack.told(problem)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
