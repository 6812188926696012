"""The rules by name, and how many updates they need."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping

from shared.aggregation.blocks import AggregationRule
from shared.aggregation.centers import centered_clipping, geometric_median
from shared.aggregation.coordinates import coordinate_median, trimmed_mean
from shared.aggregation.fltrust import fltrust
from shared.aggregation.krum import bulyan, bulyan_needs, krum, krum_needs, multikrum
from shared.aggregation.means import mean, norm_clipped_mean

AGGREGATIONS: Mapping[str, AggregationRule] = types.MappingProxyType(
    {
        "mean": mean,
        "norm-clip": norm_clipped_mean,
        "median": coordinate_median,
        "trimmed-mean": trimmed_mean,
        "krum": krum,
        "multikrum": multikrum,
        "bulyan": bulyan,
        "geometric-median": geometric_median,
        "centered-clipping": centered_clipping,
        "fltrust": fltrust,
    }
)

# How many updates a rule needs to withstand f hostile ones; rules that are not here give a result for any number.
UPDATES_NEEDED: Mapping[str, Callable[[int], int]] = types.MappingProxyType(
    {"krum": krum_needs, "multikrum": krum_needs, "bulyan": bulyan_needs}
)
NEEDS_TRUSTED_UPDATE = frozenset({"fltrust"})
