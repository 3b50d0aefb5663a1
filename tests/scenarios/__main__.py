"""`python -m tests.scenarios`: plays every scenario, prints what came of it. Exit status 1 if anything went wrong."""

import argparse
import asyncio
import sys
import time

import psutil

from tests.conftest import Relay, deployments
from tests.scenarios.plays import SCENARIOS, Scenario, name_of, run
from tests.scenarios.stage import GATEWAY, Row

GONE_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further run takes the next")
    parser.add_argument("--repeat", type=int, default=1, help="how often each scenario runs")
    parser.add_argument("words", nargs="*", help="only scenarios whose name has one of these words")
    options = parser.parse_args()
    chosen = [each for each in SCENARIOS if not options.words or any(word in name_of(each) for word in options.words)]
    with deployments() as start:
        relay = start(*GATEWAY)
        print(_line("scenario", "runs", "faults", "lost", "doubled", "out of order", "worst resume", "took"))
        rows = [_play(each, relay, range(options.seed, options.seed + options.repeat)) for each in chosen]
        started = psutil.Process(relay.process.pid).children(recursive=True)
    _, left = psutil.wait_procs(started, GONE_S)
    flaws = [flaw for row in rows for flaw in row.flaws] + [f"a process is left: {process}" for process in left]
    print(*flaws, sep="\n")
    return int(bool(left) or not all(row.clean for row in rows))


def _play(scenario: Scenario, relay: Relay, seeds: range) -> Row:
    began_s = time.monotonic()
    total = Row(name_of(scenario))
    for seed in seeds:
        total.add(asyncio.run(run(scenario, relay, seed)))
    resume = f"{max(total.resumes_s):.2f} s" if total.resumes_s else "-"
    counts = map(str, (total.runs, total.faults, total.lost, total.doubled, total.out_of_order))
    print(_line(total.name, *counts, resume, f"{time.monotonic() - began_s:.1f} s"), flush=True)
    return total


def _line(name: str, *columns: str) -> str:
    return f"{name:36}" + "".join(f"{column:>14}" for column in columns)


if __name__ == "__main__":
    sys.exit(main())
