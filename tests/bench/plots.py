"""The plots of the bench, one for a light page and one for a dark one."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.bench.hot_path import Run

THEMES = {"light": {"ink": "#1f2328", "grid": "#d8dee4"}, "dark": {"ink": "#e6edf3", "grid": "#30363d"}}
COLOURS = {"one post a delta": "#d1242f", "a queue and a thread": "#bf8700", "ours": "#1a7f37"}
BAND_S = 0.25
"""The lags of so long a time are drawn as one: from the least to the most."""
DASHES = {"one post a delta": (0, (1, 0)), "a queue and a thread": (0, (5, 4)), "ours": (0, (1, 0))}


def lag(runs: Mapping[str, Run], folder: Path) -> None:
    """Draw each technique's lag over the time of the reply, into ``lag-light.svg`` and ``lag-dark.svg``."""
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "lag", "font.family": "sans-serif", "font.size": 11}
    for theme, colours in THEMES.items():
        ink = colours["ink"]
        figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        for name, run in runs.items():
            times_s, least_s, most_s = zip(*_bands(run), strict=True)
            axes.fill_between(times_s, least_s, most_s, color=COLOURS[name], alpha=0.35, linewidth=0)
            axes.plot(times_s, most_s, color=COLOURS[name], linestyle=DASHES[name], linewidth=2, label=name)
        axes.set_yscale("log")
        axes.set_yticks([0.02, 0.1, 1, 10, 60], ["20 ms", "100 ms", "1 s", "10 s", "1 min"], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("when the model wrote the character, in seconds", color=ink)
        axes.set_ylabel("how much later it is on the phone", color=ink)
        axes.tick_params(colors=ink)
        axes.grid(color=colours["grid"], linewidth=0.6)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.legend(frameon=False, labelcolor=ink, loc="center right")
        figure.savefig(folder / f"lag-{theme}.svg", metadata={"Date": None})
        plt.close(figure)


def _bands(run: Run) -> Iterator[tuple[float, float, float]]:
    written_s = (delta.at_s for delta in run.deltas for _ in delta.text)
    for number, band in groupby(zip(written_s, run.lags_s, strict=True), lambda each: int(each[0] / BAND_S)):
        lags_s = [lag_s for _, lag_s in band]
        yield number * BAND_S, min(lags_s), max(lags_s)
