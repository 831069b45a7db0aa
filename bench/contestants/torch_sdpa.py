"""PyTorch's scaled_dot_product_attention at a scale so large that softmax becomes hardmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import Contestant

_SCALE = 2.0**20  # a power of two: the scores' digits stay as they are


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
        tensors = [torch.from_numpy(a).reshape(*wide, *a.shape) for a in (query, key, value)]
        mask = None if attn_mask is None else torch.from_numpy(attn_mask)
        with torch.no_grad():
            out = torch.nn.functional.scaled_dot_product_attention(
                *tensors, attn_mask=mask, is_causal=is_causal, scale=_SCALE
            )
        return out.reshape(*lead, *out.shape[-2:]).numpy()

    return Contestant(
        title="PyTorch, scaled_dot_product_attention",
        version=torch.__version__,
        ties="weighs scores closer than about 1e-6 by softmax",
        note="scale 2^20",
        attend={"": attend},
    )
