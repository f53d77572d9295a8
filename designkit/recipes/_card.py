"""The README of a trained model, written from its card."""

from __future__ import annotations

from typing import Any


def card_text(name: str, card: dict[str, Any]) -> str:
    """Markdown: what the model is, where it comes from, and how good it was measured to be."""
    training = card["training"]
    kind = "prior" if card["kind"] == "diffusion" else "predictor"
    lines = [f"# {name}", "", f"A {kind} of {card['alphabet']['name']} sequences."]
    if card["summary"]:
        lines += ["", card["summary"]]
    if card.get("notes"):
        lines += ["", card["notes"]]
    split = training["split"]
    lines += [
        "",
        "## Data",
        "",
        f"Source: {card['source'] or 'not stated'}",
        "",
        f"Licence: {card['licence'] or 'not stated'}",
        "",
        *(f"- `{file}`, sha256 {digest[:16]}" for file, digest in training["data"].items()),
        "- rows: " + ", ".join(f"{number} {what}" for what, number in training["rows"].items()),
        f"- split by {split['by']}, part {split['part'][0]:g} to {split['part'][1]:g} of the "
        "groups; no group is in two of: "
        + ", ".join(
            f"{part} {split[part]['rows']} rows in {split[part]['groups']} groups"
            for part in ("train", "valid", "test")
        ),
        "",
        "## Held-out figures",
        "",
    ]
    test = card["metrics"]["test"]
    lines += _prior_table(test) if kind == "prior" else _predictor_tables(test)
    if "classes" in card:
        lines += _class_tables(card["classes"], test["classes"])
    if "calibration" in card["metrics"]:
        lines += _calibration_tables(card)
    if "audit" in card["metrics"]:
        lines += _audit_tables(card)
    return "\n".join(lines) + "\n"


def _prior_table(test: dict[str, Any]) -> list[str]:
    return [
        f"On {test['sequences']} test sequences in {test['groups']} groups, with {test['draws']} "
        "noisy versions each:",
        "",
        "| model | bits per letter |",
        "|---|---|",
        f"| this prior (upper bound) | {test['bits_per_letter']:.4f} "
        f"± {test['standard_error_bits']:.4f} |",
        f"| Markov order 3 | {test['markov_3_bits_per_letter']:.4f} |",
        f"| Markov order 0 | {test['markov_0_bits_per_letter']:.4f} |",
        "",
        f"Perplexity {test['perplexity']:.3f}; gain over order 3 "
        f"{test['gain_over_markov_3_bits']:.4f} ± {test['gain_over_markov_3_standard_error']:.4f} "
        "bits per letter (standard error over groups).",
    ]


def _class_tables(classes: dict[str, Any], test: dict[str, Any]) -> list[str]:
    edges = [f"{edge:.6g}" for edge in classes["edges"]]
    lines = [
        "",
        "## Classes",
        "",
        f"By column `{classes['column']}`"
        + (f", cut at {', '.join(edges)}" if edges else "")
        + f"; {100 * classes['dropout']:.6g} % of the training examples were shown without their "
        "class. The figures above are of the model without a class. On test sequences of each "
        "class, bits per letter:",
        "",
        "| class | training rows | test sequences | told the class | not told | gain |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in classes["rows"].items():
        found = test.get(name)
        figures = "| 0 | | | |"
        if found:
            figures = (
                f"| {found['sequences']} in {found['groups']} groups "
                f"| {found['bits_per_letter']:.4f} "
                f"| {found['unconditional_bits_per_letter']:.4f} "
                f"| {found['gain_bits']:.4f} ± {found['gain_standard_error']:.4f} |"
            )
        lines.append(f"| `{name}` | {rows['train']} {figures}")
    return lines


def _predictor_tables(test: dict[str, Any]) -> list[str]:
    lines = []
    for output, figures in test.items():
        lines += [
            f"`{output}`, {figures['rows']} test rows (95 % bootstrap intervals):",
            "",
            "| figure | this predictor | ridge on k-mers |",
            "|---|---|---|",
        ]
        for metric in ("spearman", "pearson", "r_squared"):
            found = figures[metric]
            lines.append(
                f"| {metric} | {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f}) "
                f"| {figures['ridge'][metric]:.3f} |"
            )
        lines.append("")
        for key, groups in figures.items():
            if key.startswith("spearman_by_"):
                column = key.removeprefix("spearman_by_")
                lines += [f"| {column} | rows | spearman |", "|---|---|---|"]
                lines += [
                    f"| {group} | {found['rows']} | {found['spearman']:.3f} |"
                    for group, found in groups.items()
                ]
                lines.append("")
    return lines


def _calibration_tables(card: dict[str, Any]) -> list[str]:
    lines = [
        "## Stated errors",
        "",
        "The variance of the error is a s² + b, s being the standard deviation over the members; "
        "a and b are fitted on validation rows. On test rows:",
        "",
        "| output | a | b | deviation | mean -log likelihood | within 68 % | within 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for fitted, (output, figures) in zip(
        card["calibration"], card["metrics"]["calibration"].items(), strict=True
    ):
        for name, what in (("before", "s"), ("after", "calibrated")):
            found = figures[name]
            lines.append(
                f"| {output} | {fitted['factor']:.3g} | {fitted['constant']:.3g} | {what} "
                f"| {found['nll']:.3f} | {100 * found['coverage_68']:.0f} % "
                f"| {100 * found['coverage_95']:.0f} % |"
            )
    return [*lines, ""]


def _audit_tables(card: dict[str, Any]) -> list[str]:
    adversarial = card["training"]["settings"].get("adversarial")
    lines = ["## Audit", ""]
    if adversarial:
        lines += [
            f"Trained with degenerate sequences ({adversarial['share']:g} of each batch): repeats "
            "and truncated sequences are not to be predicted above quantile "
            f"{adversarial['ceiling']:g} of the training labels, shuffled ones not above "
            f"{adversarial['shuffled_ceiling']:g}. This is a margin of safety, not a measurement: "
            "some repeats may truly be good. The audit asks about these same kinds; it does not "
            "show that nothing else fools the predictor.",
            "",
        ]
    for output, found in card["metrics"]["audit"].items():
        lines += [
            f"`{output}`: {found['sentence']}. Natural ones: {found['natural']}.",
            "",
            "| class | sequences | median | best | beyond the percentile |",
            "|---|---|---|---|---|",
        ]
        for name, figures in found["classes"].items():
            share, median, best = figures["share"], figures["median"], figures["best"]
            if share["count"]:
                lines.append(
                    f"| {name} | {share['count']} | {median:.3g} | {best:.3g} "
                    f"| {100 * share['share']:.1f} % |"
                )
        lines.append("")
    return lines
