"""`python -m tests.scenarios`: plays every scenario, prints what came of it. Exit status 1 if anything went wrong."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator

import psutil

from tests.builders.deployments import Relay, deployments
from tests.scenarios.plays import SCENARIOS, Scenario, name_of, run
from tests.scenarios.stage import GATEWAY, Row

GONE_S = 10.0
ENOUGH = 10
"""Fewer times than that have no percentiles worth the name."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further run takes the next")
    parser.add_argument("--repeat", type=int, default=1, help="how often each scenario runs")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the heavy scenarios is played")
    parser.add_argument(
        "--invocation",
        choices=["gateway", "function"],
        default="gateway",
        help="who calls the function that answers (default: %(default)s, as it is deployed)",
    )
    parser.add_argument("words", nargs="*", help="only scenarios whose name has one of these words")
    options = parser.parse_args()
    chosen = [each for each in SCENARIOS if not options.words or any(word in name_of(each) for word in options.words)]
    with deployments() as start:
        relay = start(*GATEWAY, "--parameter", f"MessageInvocation={options.invocation}")
        print(_line("scenario", "runs", "faults", "lost", "doubled", "out of order", "worst resume", "took"))
        seeds = range(options.seed, options.seed + options.repeat)
        rows = [_play(each, relay, seeds, options.scale) for each in chosen]
        started = psutil.Process(relay.process.pid).children(recursive=True)
    _, left = psutil.wait_procs(started, GONE_S)
    print(*(line for row in rows for line in _measured(row)), sep="\n")
    flaws = [flaw for row in rows for flaw in row.flaws] + [f"a process is left: {process}" for process in left]
    print(*flaws, sep="\n")
    return int(bool(left) or not all(row.clean for row in rows))


def _play(scenario: Scenario, relay: Relay, seeds: range, scale: float) -> Row:
    began_s = time.monotonic()
    total = Row(name_of(scenario))
    for seed in seeds:
        total.add(asyncio.run(run(scenario, relay, seed, scale)))
    resume = f"{max(total.resumes_s):.2f} s" if total.resumes_s else "-"
    counts = map(str, (total.runs, total.faults, total.lost, total.doubled, total.out_of_order))
    print(_line(total.name, *counts, resume, f"{time.monotonic() - began_s:.1f} s"), flush=True)
    return total


def _measured(row: Row) -> Iterator[str]:
    for what, times_s in (("resumes", sorted(row.resumes_s)), ("cancels", sorted(row.cancels_s))):
        if len(times_s) >= ENOUGH:
            half, nearly_all = (times_s[int(share * (len(times_s) - 1))] for share in (0.5, 0.99))
            figures = f"p50 {half:.2f} s, p99 {nearly_all:.2f} s, worst {times_s[-1]:.2f} s"
            yield f"{row.name}: {len(times_s)} {what}, {figures}"


def _line(name: str, *columns: str) -> str:
    return f"{name:48}" + "".join(f"{column:>14}" for column in columns)


if __name__ == "__main__":
    sys.exit(main())
