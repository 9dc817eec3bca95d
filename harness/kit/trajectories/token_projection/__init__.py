"""From embeddings back to tokens: the nearest allowed row of the vocabulary for each vector.

`allow_tokens` says which ids may be chosen, `nearest_tokens` chooses them by the Euclidean
distance or by the cosine, and `token_drift` tells what decoding and encoding again changes.

That optimised vectors are replaced by nearest tokens is known from the abstract of Yao et al.,
"Transferable text data distillation by trajectory matching", arXiv 2504.09818; metric, allowed
tokens and reports here are a reconstruction.
"""

from harness.kit.trajectories.token_projection.allowed import AllowedTokens, allow_tokens
from harness.kit.trajectories.token_projection.nearest import Metric, NearestTokens, nearest_tokens
from harness.kit.trajectories.token_projection.round_trip import token_drift

__all__ = [
    "AllowedTokens",
    "Metric",
    "NearestTokens",
    "allow_tokens",
    "nearest_tokens",
    "token_drift",
]
