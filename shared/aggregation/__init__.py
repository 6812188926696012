"""How updates become one model: pure rules that the server and the mesh share.

A rule is a function ``(updates, num_examples, context, state) -> (result, state)``. ``updates`` are the clients' full
models in a fixed order (by client), ``context.base`` is the model they all started from. Rules compute on the *deltas*
``update - base`` in float64, a block of coordinates at a time, so that memory does not grow with the model, and with
operations whose order is fixed or does not matter, so that every machine computes the same bits.

To add a rule: write the function, cite the paper, give it a line in ``AGGREGATIONS``. A rule that remembers something
between rounds (a momentum) returns it as named arrays; they are handed back the next time and stored in checkpoints.
"""

from shared.aggregation.blocks import NO_STATE as NO_STATE
from shared.aggregation.blocks import AggregationContext as AggregationContext
from shared.aggregation.blocks import AggregationResult as AggregationResult
from shared.aggregation.blocks import AggregationRule as AggregationRule
from shared.aggregation.blocks import AggregationState as AggregationState
from shared.aggregation.catalog import AGGREGATIONS as AGGREGATIONS
from shared.aggregation.catalog import NEEDS_TRUSTED_UPDATE as NEEDS_TRUSTED_UPDATE
from shared.aggregation.catalog import UPDATES_NEEDED as UPDATES_NEEDED
