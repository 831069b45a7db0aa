"""Problems for which an engine is chosen."""

import numpy as np

from fasthardmax._assemble import attention_problem
from fasthardmax.engines import _choice


def problem_of(points, **options):
    every = {
        "attn_mask": None, "is_causal": False, "ties": "mean", "enable_gqa": False,
        "num_threads": 1,
    }  # fmt: skip
    return attention_problem(points, points, points, **every | options)[0]


def problem(n, d):
    return problem_of(np.zeros((n, d)))


def chosen(problem, calls=1):
    return _choice.choose(problem, calls).engine.name
