"""PyTorch on the CPU: blocks of scores, then argmax."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import Contestant
from .tiles import Crew, rows_per_block


def load(threads: int) -> Contestant:
    crew = Crew(threads)

    def winners(
        query: NDArray[Any], key: NDArray[Any], mebibytes: float, inside: bool
    ) -> NDArray[np.int64]:
        rows = rows_per_block(len(key), key.itemsize, mebibytes)
        q, columns = torch.from_numpy(query), torch.from_numpy(key).T
        result = torch.empty(len(q), dtype=torch.int64)

        def answer(starts: range) -> None:
            scores = torch.empty((min(rows, len(q)), len(key)), dtype=q.dtype)
            for start in starts:
                block = q[start : start + rows]
                torch.mm(block, columns, out=scores[: len(block)])
                torch.argmax(scores[: len(block)], 1, out=result[start : start + rows])

        torch.set_num_threads(threads if inside else 1)
        if inside:
            answer(range(0, len(q), rows))
        else:
            crew.run(answer, len(q), rows)
        return result.numpy()

    return Contestant(
        title="PyTorch, blocked product + argmax",
        version=torch.__version__,
        ties="one, unspecified",
        winners={
            f"{mebibytes} MiB blocks, {'its' if inside else 'own'} threads": partial(
                winners, mebibytes=mebibytes, inside=inside
            )
            for mebibytes, inside in ((2, False), (4, True), (16, True))
        },
    )
