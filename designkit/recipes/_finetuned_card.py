"""The README of a tuned model, written from its card."""

from __future__ import annotations

import math
from typing import Any

_FIGURES = {
    "reward": "reward, median",
    "holdout": "held-out reward, median",
    "log_likelihood": "log-likelihood under the prior, nats",
    "path_kl": "KL from the prior over paths, nats",
    "hamming": "diversity: share of positions at which two designs differ",
    "distinct": "share of different designs",
    "long_runs": "share with a run of 6 equal letters or more",
    "without_score": "share without a reward",
}


def finetuned_card_text(name: str, card: dict[str, Any]) -> str:
    """Markdown: what was tuned towards what, and what its designs are like."""
    metrics, settings = card["metrics"], card["training"]["settings"]
    lines = [f"# {name}", "", f"A tuned prior of {card['alphabet']['name']} sequences."]
    lines += ["", card["summary"]]
    lines += ["", card["notes"]] if card["notes"] else []
    rewards = [(one, "reward") for one in card["rewards"]]
    rewards += [(one, "held-out reward") for one in card["holdout"]]
    chosen = "by the held-out reward" if card["holdout"] else "they are the last ones"
    lines += [
        "",
        "## How",
        "",
        f"- prior `{card['prior']['ref']}`, sha256 {card['prior']['sha256'][:16]}",
        *(f"- {what} `{one['column']}`, version {one['version'][:16]}" for one, what in rewards),
        f"- method `{card['method']}`, alpha {card['temperature']:g}",
        f"- {settings['optimizer']['updates']} updates of {settings['optimizer']['batch_size']} "
        f"designs; the weights are those of update {metrics['best_update']}: {chosen}",
        f"- licence: {card.get('licence') or 'not stated'}",
        "",
        "## Figures",
        "",
        f"Of {metrics['designs']} designs of each model, drawn after tuning with noise of their "
        "own. The reward that was raised says nothing of how good designs are; a held-out one may.",
        "",
        "| figure | prior | tuned |",
        "|---|---|---|",
    ]
    for key, what in _FIGURES.items():
        if key in metrics["after"]:
            before, after = (_figure(metrics[side][key]) for side in ("before", "after"))
            lines.append(f"| {what} | {before} | {after} |")
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4g}"
