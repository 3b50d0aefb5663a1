"""`python -m tests.bench`: measures the relay beside what others do, and writes tables and plots to docs/bench/.

Every figure is a count, a ratio within one run, or exact by virtual time: the next machine has the same ones.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emulator.stand_ins.fake_anthropic import serving_in_thread
from tests.bench import cold_start, cost, fairness, first_text, hot_path, load, plots, profiles, round_trips, scaling
from tests.builders.deployments import REPOSITORY, deployments
from tests.scenarios.stage import GATEWAY

DOCS = REPOSITORY / "docs"
LAYERS = REPOSITORY / ".nightly"
INTRODUCTION = (
    "Written by `make bench`. Lags by technique are exact by virtual time, calls are counted, processor times are",
    "ratios within one run. The first text, the worker's processor time and the load are times on the machine that",
    "measured: here two shared cores that play AWS, the model and all clients, too. They differ by a factor.",
)
LIGHT_MOST, MESSAGE_MOST, LAYER_MOST_MB = 1.4, 0.55, 60
WHOLE_CORE_MB = 1769
"""Source: AWS's page about the memory of functions."""


@dataclass(frozen=True)
class Target:
    """What is meant to be reached, and what was."""

    what: str
    meant: str
    is_now: str
    reached: bool

    @property
    def row(self) -> list[str]:
        return [self.what, self.meant, self.is_now, "" if self.reached else "**missed**"]


@dataclass(frozen=True)
class Part:
    """What one measurement gives: a heading, lines of Markdown, and targets."""

    heading: str
    lines: list[str]
    targets: list[Target]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--docs", type=Path, default=DOCS, help="where tables and plots go (default: %(default)s)")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these parts, and nothing is written")
    options = parser.parse_args()
    parts, failed = [], False
    for name in options.parts or PARTS:
        began_s = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            parts.append(PARTS[name](options.docs))
        except Exception as problem:  # noqa: BLE001 - a part that fails takes no other down
            traceback.print_exception(problem)
            parts.append(Part(name.capitalize(), [f"**Not measured: {type(problem).__name__}.**"], []))
            failed = True
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    page = "\n".join(_page(parts))
    print(page)
    if not options.parts:
        (options.docs / "bench" / "README.md").write_text(page + "\n", encoding="utf-8")
        (options.docs / "scaling.md").write_text("\n".join(scaling.page(table)) + "\n", encoding="utf-8")
    return int(failed)


def _page(parts: Iterable[Part]) -> Iterator[str]:
    parts = list(parts)
    yield "# How fast it is"
    yield ""
    yield from INTRODUCTION
    yield ""
    yield from table(
        ["target", "meant", "is", ""],
        (
            [each.what, each.meant, each.is_now, "" if each.reached else "**missed**"]
            for p in parts
            for each in p.targets
        ),
    )
    for part in parts:
        yield from ("", f"## {part.heading}", "", *part.lines)


def table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (heads, ["---"] * len(heads), *rows)]


def ms(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


# --- the parts ---


def lag(docs: Path) -> Part:
    """Each character's lag, by technique."""
    (docs / "bench").mkdir(parents=True, exist_ok=True)
    rows, most_a_second = [], 0.0
    for shape in (hot_path.even, hot_path.bursty):
        for rate in hot_path.RATES:
            for post_s in hot_path.POSTS_S:
                deltas = shape(rate, 10.0)
                runs = [hot_path.ran(technique, deltas, post_s) for technique in hot_path.TECHNIQUES.values()]
                most_a_second = max(most_a_second, runs[-1].posts_a_second)
                cells = [" / ".join(ms(lag_s) for lag_s in (r.lag_s(0.5), r.lag_s(0.99), r.last_lag_s)) for r in runs]
                posts = " / ".join(str(len(run.posts_s)) for run in (runs[0], runs[-1]))
                rows.append([shape.__name__, str(rate), ms(post_s), *cells, posts])
    whole = {name: hot_path.ran(each, hot_path.even(200), 0.020) for name, each in hot_path.TECHNIQUES.items()}
    plots.lag(whole, docs / "bench")
    ours, best = whole["ours"], min(run.last_lag_s for name, run in whole.items() if name != "ours")
    window_s = 0.040
    targets = [
        Target(
            "lag, 99th percentile, 200 deltas a second, posts of 20 ms",
            f"≤ {ms(2 * 0.020 + window_s)}: two posts and the window",
            ms(ours.lag_s(0.99)),
            ours.lag_s(0.99) <= 2 * 0.020 + window_s + 1e-6,
        ),
        Target(
            "last character of a reply of 30 s, against the better of the usual ways",
            "20 times earlier",
            f"{best / ours.last_lag_s:,.0f} times",
            best >= 20 * ours.last_lag_s,
        ),
        Target("posts of text a second, whatever the rate", "≤ 25", f"{most_a_second:.1f}", most_a_second <= 25.0001),
    ]
    lines = [
        "<picture>",
        '  <source media="(prefers-color-scheme: dark)" srcset="lag-dark.svg">',
        '  <img alt="Lag of each character: a reply of 30 s, 200 deltas a second, posts of 20 ms" src="lag-light.svg">',
        "</picture>",
        "",
        "Median / 99th percentile / last character, for streams of 10 s. The floor is one post: what is read from the",
        "model and posted at once. The model's stream is played by virtual time, so these figures are exact.",
        "",
        *table(["stream", "deltas a second", "a post takes", *hot_path.TECHNIQUES, "posts, one a delta / ours"], rows),
    ]
    return Part("Lag of each character", lines, targets)


def processor(_docs: Path) -> Part:
    """Processor time a stream, with botocore and real posts."""
    found = dict(zip(hot_path.TECHNIQUES, _processor(hot_path.TECHNIQUES), strict=True))
    used = {name: each["processor_s"] / each["deltas"] * 1000 for name, each in found.items()}
    rows = [[name, f"{used[name] / used['one post a delta']:.2f}"] for name in hot_path.TECHNIQUES]
    share = used["ours"] / used["one post a delta"]
    target = Target("processor time for 1,000 deltas, against one post a delta", "≤ 0.50", f"{share:.2f}", share <= 0.5)
    lines = [
        "200 deltas a second for 10 s, over botocore, to a service that takes 20 ms a post.",
        "",
        *table(["technique", "processor time, one post a delta = 1"], rows),
    ]
    return Part("What a stream costs its worker", lines, [target])


def _processor(techniques: Iterable[str]) -> list[dict[str, float]]:
    async def post(_: Request) -> Response:
        await asyncio.sleep(0.020)
        return Response()

    app = Starlette(routes=[Route("/@connections/{id:path}", post, methods=["POST"])])
    shell = cold_start.VARIABLES | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'layers' / 'relay'}"}
    found = []
    with serving_in_thread(app) as url:
        for technique in techniques:  # one after the other: they would disturb each other
            command = [sys.executable, "-m", "tests.bench.processor", technique, url, "200", "10"]
            ran = subprocess.run(command, env=shell, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)  # noqa: S603
            found.append(json.loads(ran.stdout))
    return found


def trips(_docs: Path) -> Part:
    """Calls of AWS, for every frame and HTTP call; and the first text, with AWS's latencies put in."""
    with deployments() as start:
        relay = start(*GATEWAY)
        costs = asyncio.run(round_trips.counted(relay))
        first = asyncio.run(first_text.measured(relay))
    rows = [
        [
            name,
            *(
                ("–" if each is None else str(each))
                for each in (
                    *(c.in_all, c.reads, c.writes, c.invocations, c.posts),
                    *(c.chain, c.before_frame, c.before_model),
                )
            ),
        ]
        for name, c in costs.items()
    ]
    sent = costs["`send`, a later one"]
    targets = [
        Target(
            "calls that follow one another before `typing`",
            "≤ 3",
            str(sent.before_frame),
            (sent.before_frame or 9) <= 3,
        ),
        Target("… before the model's request", "≤ 4", str(sent.before_model), (sent.before_model or 9) <= 4),
        Target("calls a message in all", "≤ 9", str(sent.in_all), sent.in_all <= 9),
        Target(
            "first text after the SDK asked directly, AWS's latencies put in",
            f"≤ {ms(0.060 + first_text.POST_S)}: 60 ms and a post",
            f"{ms(first.added_s)}, {ms(first.latencies_s)} of it latencies",
            first.added_s <= 0.060 + first_text.POST_S,
        ),
        Target(
            "processor time of the worker a message, without its deltas",
            "≤ 35 ms",
            ms(first.processor_s),
            first.processor_s <= 0.035,
        ),
    ]
    lines = [
        "Counted by the emulator, for one frame of at most 31 KB or one call. Posts of frames are apart, heartbeats",
        "left out. A test holds each to a ceiling; [limits](../deploy.md#what-a-user-may-use) say how many a user has.",
        "",
        *table(
            [
                *("what a client does", "calls", "reads", "writes", "invocations", "posts"),
                *("longest chain", "… before the first frame", "… before the model"),
            ],
            rows,
        ),
        "",
        f"A message without its deltas keeps its worker busy with {profiles.told(first.profile)}.",
    ]
    return Part("Calls of AWS", lines, targets)


def starts(_docs: Path) -> Part:
    """Cold starts: built by `make layers`, and as SAM's own builder would."""
    python = _python()
    ours = [LAYERS / each / "python" for each in ("dependencies", "relay")]
    with tempfile.TemporaryDirectory() as folder:
        plain = cold_start.plain(python, Path(folder))
        found = cold_start.starts(python, ours, plain)
        imported = {name: cold_start.imports(python, ours, name) for name in ("connect", "message")}
    (bare,) = (start.processor_s for start in found.pop("bare"))
    rows = [
        [
            f"`{name}`",
            f"{mine.processor_s / bare:.2f}",
            f"{theirs.processor_s / bare:.2f}",
            f"{mine.processor_s / theirs.processor_s:.2f}",
            ms(mine.processor_s),
            ms(mine.processor_s * WHOLE_CORE_MB / cold_start.memory_mb(name)),
        ]
        for name, (mine, theirs) in found.items()
    ]
    light = max(found[name][0].processor_s for name in cold_start.LIGHT) / bare
    message = found["message"][0].processor_s / found["message"][1].processor_s
    size_mb = sum(path.stat().st_size for path in ours[0].rglob("*") if path.is_file()) / 1e6
    targets = [
        Target(
            "start of a light function, against a bare interpreter with boto3",
            f"≤ {LIGHT_MOST}",
            f"{light:.2f}",
            light <= LIGHT_MOST,
        ),
        Target(
            "start of `message`, against SAM's own layer",
            f"≤ {MESSAGE_MOST}",
            f"{message:.2f}",
            message <= MESSAGE_MOST,
        ),
        Target(
            "layer of the dependencies, unzipped",
            f"≤ {LAYER_MOST_MB} MB",
            f"{size_mb:.0f} MB",
            size_mb <= LAYER_MOST_MB,
        ),
    ]
    lines = [
        "Processor time from a new process to its first answer. A bare interpreter that asks DynamoDB by boto3 is 1.",
        f"A Lambda of {WHOLE_CORE_MB:,} MB has one core: the last column is what this machine would take with the part",
        "of a core that the function's memory gives (scaled, not measured).",
        "",
        *table(["function", "ours", "with SAM's own layer", "ours / SAM's", "here, one core", "here, its part"], rows),
        "",
        *(f"`{name}` imports {profiles.told(shares)}." for name, shares in imported.items()),
        "",
        f"What memory buys `message`, which has {cold_start.memory_mb('message'):,} MB:",
        "",
        *_sizes(found["message"][0].processor_s),
    ]
    return Part("Cold starts", lines, targets)


def _sizes(start_s: float) -> list[str]:
    """Return a table of what a worker costs and how long it takes to start, by memory."""
    model = cost.model(cost.Chat(), cost.Prices())
    rows = []
    for memory_mb in (256, 512, 1024, WHOLE_CORE_MB, 3008):
        chat = cost.Chat(memory_gb=memory_mb / 1024)
        dollars = cost.reply(chat, cost.Prices())["Lambda"]
        part = min(1.0, memory_mb / WHOLE_CORE_MB)  # more than one core is no use to one thread
        rows.append(
            [f"{memory_mb:,} MB", f"{part:.2f}", ms(start_s / part), f"${dollars * 1000:.2f}", f"{dollars / model:.1%}"]
        )
    return table(
        ["memory", "of a core", "start (scaled)", f"1,000 replies of {chat.reply_s:.0f} s", "of the model's price"],
        rows,
    )


def _python() -> str:
    """Return where the Python is that Lambda runs: ``pyenv`` has a command of that name which is none."""
    asked = ["/usr/bin/env", "python3.13", "-c", "import sys; print(sys.executable)"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def many(docs: Path) -> Part:
    """Many streams at once."""
    measured = asyncio.run(load.loads(docs / "bench" / "worker.svg"))
    found = measured.loads
    one, ten, fifty = (next(each for each in found if each.streams == number) for number in (1, 10, 50))
    rows = [
        [
            str(each.streams),
            ms(each.lag_s(0.5)),
            ms(each.lag_s(0.99)),
            f"{each.typing_s[-1] / one.typing_s[-1]:.1f}",
            f"{each.memory_mb:.0f} MB",
            f"{each.cores:.1f}",
        ]
        for each in found
    ]
    ratio = ten.typing_s[-1] / one.typing_s[-1]
    targets = [
        Target(
            "lag of 50 streams at once, 99th percentile", "≤ 500 ms", ms(fifty.lag_s(0.99)), fifty.lag_s(0.99) <= 0.5
        ),
        Target("`typing` of ten at once, against one", "≤ 4 times", f"{ratio:.1f} times", ratio <= 4),
    ]
    lines = [
        "Streams of 30 deltas a second for 10 s, each with a worker of its own. The whole emulator, its services, the",
        "model and the clients share this machine's cores with the workers.",
        "",
        *table(
            ["streams", "lag, median", "lag, 99th percentile", "last `typing`, one = 1", "memory a stream", "cores"],
            rows,
        ),
        "",
        f"This machine has {os.cpu_count()} cores. Where all are busy, characters and first frames wait for one.",
        "Nothing else is waited for before `typing`: ten at once take five times as long on two cores at best, and",
        "all ask the one process that plays DynamoDB. On AWS each worker has its own part of a core, and API Gateway",
        f"and DynamoDB have machines of their own. {fifty.streams} streams that each get what one alone gets want",
        f"{fifty.streams * one.cores:.1f} cores.",
        "",
        "Who uses the processor meanwhile:",
        "",
        *table(["streams", *one.processor_s], ([str(each.streams), *_shares(each.processor_s)] for each in found)),
        "",
        f"A worker that writes spends its time with {profiles.told(measured.worker)} ([flame graph](worker.svg)).",
        f"The gateway: {profiles.told(measured.gateway)}.",
    ]
    return Part("Load", lines, targets)


def fair(_docs: Path) -> Part:
    """What one user waits for while another one does their worst."""
    with deployments() as start:
        found = asyncio.run(fairness.measured(start(*fairness.OPTIONS)))
    ratio = found.beside_s / found.alone_s
    lines = [
        f"One user has {fairness.SOCKETS} sockets, of which some say {fairness.FRAMES_PER_MINUTE} frames a minute. The",
        f"others send a message whenever one may be: {fairness.AT_ONCE} replies may be owed at once, and so",
        f"{found.refused} messages were refused. {fairness.ENVIRONMENTS} environments answer. Another user sends one",
        "now and then.",
        "",
        *table(
            ["the other user's first text", "s"],
            [["alone", f"{found.alone_s:.2f}"], ["beside it", f"{found.beside_s:.2f}"]],
        ),
    ]
    worst = Target("first text beside another user's worst, alone being 1", "≤ 3", f"{ratio:.1f}", ratio <= 3)
    return Part("Fairness", lines, [worst])


def _shares(times_s: Mapping[str, float]) -> Iterator[str]:
    return (f"{each / sum(times_s.values()):.0%}" for each in times_s.values())


PARTS: dict[str, Callable[[Path], Part]] = {
    "lag": lag,
    "processor": processor,
    "trips": trips,
    "starts": starts,
    "load": many,
    "fair": fair,
}


if __name__ == "__main__":
    sys.exit(main())
