"""The README of a value network, written from its card."""

from __future__ import annotations

from typing import Any


def value_card_text(name: str, card: dict[str, Any]) -> str:
    """Markdown: what it values, how it was trained, how well it tells held-out rewards."""
    training, prior = card["training"], card["prior"]
    test = card["metrics"]["test"]
    what = {
        "linex": "the soft value alpha log E[exp(r / alpha) | x_t], by LINEX regression",
        "soft_q": "the soft value alpha log E[exp(r / alpha) | x_t], from its values of children",
        "mse": "the mean E[r | x_t], by least squares",
    }[card["objective"]]
    lines = [
        f"# {name}",
        "",
        f"A value network of half-decoded {card['alphabet']['name']} sequences: {what}.",
    ]
    lines += ["", card["summary"]] if card["summary"] else []
    lines += ["", card["notes"]] if card["notes"] else []
    lines += [
        "",
        "## Of what",
        "",
        f"- prior `{prior['ref']}`, sha256 {prior['sha256'][:16]}",
        *(f"- reward `{one['column']}`, version {one['version'][:16]}" for one in card["rewards"]),
        f"- alpha {card['temperature']:g}",
        "- roll-outs: "
        + ", ".join(f"{number} {what}" for what, number in training["rows"].items()),
        f"- licence: {card['licence'] or 'not stated'}",
        "",
        "It belongs to this prior, reward and alpha: train another where one of them changes.",
        "",
        "## Held-out figures",
        "",
        f"On {test['rollouts']} roll-outs that it did not see, by the share of positions that are "
        "noise. No network can tell the end from a state where much is undecided. The mean of "
        "exp((r - v) / alpha) is 1 for the exact soft value.",
        "",
        "| noise | Spearman | R² | mean of r - v, in deviations | mean of exp((r - v) / alpha) |",
        "|---|---|---|---|---|",
    ]
    for level, found in test["by_share_gone"].items():
        lines.append(
            f"| {100 * float(level):g} % | {_figure(found['spearman'])} "
            f"| {_figure(found['r_squared'])} | {found['bias']:.2f} "
            f"| {found['exponential_moment']:.3g} ± {found['exponential_moment_se']:.2g} |"
        )
    return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
