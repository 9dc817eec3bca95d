"""From embeddings back to tokens: the nearest allowed row of the vocabulary for each vector.

`allow_tokens` says which ids may be chosen, `nearest_tokens` chooses them by the Euclidean
distance or by the cosine, `TokenPrompts` holds ids with the tokenizer that they belong to,
`round_trip` tells what decoding and encoding again changes, and `export_prompts` writes text, ids
and embeddings into a folder. Only text goes to another model: ids of one vocabulary mean nothing
in another.

That optimised vectors are replaced by nearest tokens is in the abstract of Yao et al.,
"Transferable text data distillation by trajectory matching", arXiv 2504.09818, which is what we
had of the paper; metric, allowed tokens and reports here are a reconstruction.
"""

from harness.kit.trajectories.token_projection.allowed import (
    AllowedTokens,
    allow_tokens,
    tokenizer_digest,
)
from harness.kit.trajectories.token_projection.export import (
    ExportedPrompts,
    export_prompts,
    read_export,
    read_texts,
)
from harness.kit.trajectories.token_projection.nearest import Metric, NearestTokens, nearest_tokens
from harness.kit.trajectories.token_projection.round_trip import (
    RoundTrip,
    TokenPrompts,
    round_trip,
    token_drift,
)

__all__ = [
    "AllowedTokens",
    "ExportedPrompts",
    "Metric",
    "NearestTokens",
    "RoundTrip",
    "TokenPrompts",
    "allow_tokens",
    "export_prompts",
    "nearest_tokens",
    "read_export",
    "read_texts",
    "round_trip",
    "token_drift",
    "tokenizer_digest",
]
