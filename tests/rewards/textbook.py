"""Edit distance by the recurrence of Wagner and Fischer 1974."""

from __future__ import annotations


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and substitutions."""
    row = list(range(len(second) + 1))
    for place, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(second, start=1):
            cost = diagonal + (letter != other)
            diagonal = row[column]
            row[column] = min(cost, row[column] + 1, row[column - 1] + 1)
    return row[-1]
