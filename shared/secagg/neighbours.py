"""Who masks with whom: a random ring in which each knows its nearest, or everybody in a small cohort.

Bell et al., CCS 2020, section 4 and figure 2: a Harary graph of random order; k in O(log n) neighbours are enough.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_ALL_UP_TO = 16  # clients, below which a full graph costs next to nothing


def num_neighbours(cohort: int) -> int:
    """Return how many neighbours each client of a cohort has; even where they are not all."""
    if cohort <= _ALL_UP_TO:
        return cohort - 1
    return min(cohort - 1, 2 * math.ceil(2 * math.log2(cohort)))


def threshold_of(degree: int) -> int:
    """Return how many neighbours' shares give a secret.

    More than half: of two lists of who is left, only one can be answered by enough honest neighbours.
    """
    return degree // 2 + 1


def neighbours(nodes: Sequence[int], seed: int) -> dict[int, list[int]]:
    """Return each node's neighbours, sorted; the relation is mutual."""
    ring = sorted(nodes)
    random.Random(seed).shuffle(ring)  # noqa: S311 - no secret, and drawn after the keys came
    degree = num_neighbours(len(ring))
    near: dict[int, set[int]] = {node: set() for node in ring}
    for place, node in enumerate(ring):
        for step in range(1, (degree + 1) // 2 + 1):
            other = ring[(place + step) % len(ring)]
            if other != node:
                near[node].add(other)
                near[other].add(node)
    return {node: sorted(others) for node, others in near.items()}
