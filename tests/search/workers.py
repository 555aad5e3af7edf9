"""A worker on a study, for tests in processes of their own: small enough to start four of in a moment.

    python workers.py STORAGE NAME SEEDS TRIALS PAUSE_S ACCOUNT

Each trial that the storage has taken is also written into the file ACCOUNT, so that a test knows what must still be there.
"""

from __future__ import annotations

import os
import sys
import time

CHOICES = {"x": tuple(range(12)), "y": tuple(range(12))}


def main(storage: str, name: str, seeds: int, trials: int, pause_s: float, account: str) -> None:
    import optuna

    from workbench.search._storage import opened
    from workbench.search._study import _sampler
    from workbench.search._workers import search

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=opened(storage), study_name=name, directions=["minimize", "minimize"], load_if_exists=True
    )
    finished = os.open(account, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    before: list[int] = []

    def objective(trial):
        for number in before:  # it was told before this one was asked for
            os.write(finished, f"{number}\n".encode())
        before[:] = [trial.number]
        x, y = (trial.suggest_categorical(key, values) for key, values in CHOICES.items())
        trial.set_constraint("sum", x + y - 12)
        time.sleep(pause_s)
        return float(x), float(y * y)

    first = [{"x": k % 12, "y": k // 12} for k in range(seeds)]
    search(study, objective, storage=storage, first=first, trials=trials, sampler=_sampler, seed=0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), sys.argv[6])
