"""PyTorch's scaled_dot_product_attention at a scale so large that softmax becomes hardmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import Contestant

# The last bit of a score near 1 becomes about 100, so softmax keeps only equal rounded scores; a
# power of two leaves the scores' digits as they are.
_SCALE = {torch.float32: 2.0**30, torch.float64: 2.0**60}


def load(threads: int) -> Contestant:
    torch.set_num_threads(threads)

    def attend(
        query: NDArray[Any],
        key: NDArray[Any],
        value: NDArray[Any],
        attn_mask: NDArray[np.bool_] | None,
        is_causal: bool,
    ) -> NDArray[Any]:
        # The fused CPU kernel is taken for 4-D inputs only.
        lead = query.shape[:-2]
        wide = (1,) * (4 - query.ndim)
        q, k, v = (torch.from_numpy(a).reshape(*wide, *a.shape) for a in (query, key, value))
        mask = None if attn_mask is None else torch.from_numpy(attn_mask)
        with torch.no_grad():
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=is_causal, scale=_SCALE[q.dtype]
            )
        return out.reshape(*lead, *out.shape[-2:]).numpy()

    return Contestant(
        title="PyTorch, scaled_dot_product_attention",
        version=torch.__version__,
        ties="means of equal rounded scores",
        note="scale 2^30 in float32, 2^60 in float64",
        attend={"": attend},
    )
