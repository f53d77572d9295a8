"""The figure of the landscape benchmark: closeness to the target against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS = {
    "reward": "expected reward",
    "divergence": "divergence of letters (nats)",
    "top_decile": "mass on the best tenth",
}
MARKERS = "osD^vPX"
COLOURS = (
    "black", "tab:brown", "tab:blue", "tab:orange", "tab:green", "tab:cyan", "tab:red",
    "tab:pink", "tab:purple", "tab:olive", "tab:gray", "gold",
)  # fmt: skip
DASHES = ("-", ":", "--", "-.")
TICKS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
"""Of divergences."""

WIDTH, HEIGHT = 3.7, 2.9  # inches, of a panel
LEGEND = 2.3


@dataclass(frozen=True)
class Point:
    """A method with one of its settings.

    Args:
        method: name of the sampler.
        value: how it estimates values, in a word or two; may be empty.
        aims: whether the target is what it aims at.
        cost: denoiser rows of a run, which makes a design or a population.
        means: by metric.
        errors: standard errors by metric.
    """

    method: str
    value: str
    aims: bool
    cost: float
    means: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Panel:
    """What is measured at one temperature.

    Args:
        title: of the row of panels.
        points: the measurements.
        levels: values by metric of laws that are computed; the first is the target.
    """

    title: str
    points: Sequence[Point]
    levels: Mapping[str, Mapping[str, float]]


def draw_figure(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write a PNG: a row for each temperature, a column for each metric."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = [point for panel in panels for point in panel.points]
    methods = list(dict.fromkeys(point.method for point in points))
    values = list(dict.fromkeys(point.value for point in points))
    colours = dict(zip(methods, COLOURS, strict=False))
    markers = dict(zip(values, MARKERS, strict=False))
    figure, axes = plt.subplots(
        len(panels), len(METRICS), squeeze=False, sharex=True, layout="constrained",
        figsize=(WIDTH * len(METRICS) + LEGEND, HEIGHT * len(panels)),
    )  # fmt: skip
    for row, panel in zip(axes, panels, strict=True):
        for axis, (metric, label) in zip(row, METRICS.items(), strict=True):
            draw_panel(axis, panel, metric, colours, markers)
            axis.set_title(f"{panel.title}: {label}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("denoiser rows of a run", fontsize=9)
    line = plt.Line2D
    entries = [line([], [], color=colours[m], linewidth=2.5, label=m) for m in methods]
    entries += [
        line([], [], color="0.3", marker=markers[value], linestyle="", label=value)
        for value in values
        if value
    ]
    entries.append(
        line([], [], color="0.3", marker="o", linestyle="", fillstyle="none", label="an optimiser")
    )
    entries += [
        line([], [], color="0.3", linestyle=dash, linewidth=1, label=label)
        for dash, label in zip(DASHES, panels[0].levels, strict=False)
    ]
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=entries, loc="outside right center", fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_panel(
    axis: Any, panel: Panel, metric: str, colours: Mapping[str, Any], markers: Mapping[str, str]
) -> None:
    """One metric at one temperature."""
    shown = [point.means[metric] for point in panel.points]
    for dash, level in zip(DASHES, panel.levels.values(), strict=False):
        axis.axhline(level[metric], color="0.3", linestyle=dash, linewidth=1, zorder=0)
        shown.append(level[metric])
    for method, value in dict.fromkeys((point.method, point.value) for point in panel.points):
        same = [point for point in panel.points if (point.method, point.value) == (method, value)]
        same.sort(key=lambda point: point.cost)
        colour = colours[method]
        axis.errorbar(
            [point.cost for point in same], [point.means[metric] for point in same],
            [point.errors[metric] for point in same], color=colour, marker=markers[value],
            markersize=5, markerfacecolor=colour if same[0].aims else "white",
            markeredgecolor=colour, linewidth=0.8, elinewidth=1, alpha=0.9,
        )  # fmt: skip
    axis.set_xscale("log")
    if metric == "divergence":
        axis.set_yscale("log")
        axis.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.set_yticks([], minor=True)
        axis.set_ylim(0.7 * min(shown), 1.4 * max(shown))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)
    axis.tick_params(labelsize=8)
