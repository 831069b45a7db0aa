"""Starts runs that are killed: for each line on stdin a child, ended by SIGKILL after a delay.

Reads "METHOD DIRECTORY SECONDS"; answers with what waitpid says: 0 for a run that was quicker. A
child appends the number of each layer that it recorded to DIRECTORY.log.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from fasthardmax import TrajectoryStore, resume, simulate

CHECKPOINT = 7
N_LAYERS = 120
ALPHA = 0.03  # points settle over some 90 layers
MATRIX = np.diag([1.0, 4.0])


def cloud() -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(24, 2))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def work(method: str, path: str) -> None:
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    add = TrajectoryStore.add

    def add_and_tell(self: TrajectoryStore, layer: int, *rest: object) -> None:
        add(self, layer, *rest)
        os.write(log, f"{layer}\n".encode())

    TrajectoryStore.add = add_and_tell
    if os.path.exists(path):
        resume(path)
        return
    store = TrajectoryStore(path, checkpoint=CHECKPOINT)
    options = {"alpha": ALPHA, "A": MATRIX, "n_layers": N_LAYERS, "method": method}
    simulate(cloud(), record=store, engine="compiled", **options)


def main() -> None:
    import fasthardmax._zarr_layers  # noqa: F401  # now, and not once in each child

    for line in sys.stdin:
        method, path, seconds = line.split()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(method, path)
                status = 0
            finally:
                os._exit(status)
        time.sleep(float(seconds))
        os.kill(pid, signal.SIGKILL)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
