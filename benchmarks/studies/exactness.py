"""Is a bank that forgot the bank that never knew? Compare their SHA-256, each trained in a process of its own.

    python benchmarks/studies/exactness.py ../shared/data/blood112 ../shared/weights/vit-small-patch14-112 --subsets 20

One process trains on all classes and forgets, in turn, every class and random sets of classes. Another one trains
without them from the start, on data in another order and with another --batch-size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from pfedge.data import Dataset, Split
from pfedge.guarantees import ExactConfig, load_model, train
from pfedge.runs import TrainConfig
from pfedge.training import TrainSettings, open_dataset, session
from pfedge_runtime.bank import StatisticsBank


def bank_of(config: TrainConfig, data_root: str | None) -> StatisticsBank:
    """Train and return the bank."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(
            out=Path(folder) / "run", save_dir=Path(folder), data_root=data_root and Path(data_root)
        )
        run, _ = train(config, settings, Console(quiet=True))
        return load_model(run).bank()


def sha256(bank: StatisticsBank) -> str:
    """Return the digest of the bank's file."""
    return hashlib.sha256(bank.to_bytes()).hexdigest()


def shuffled(config: TrainConfig, settings: TrainSettings, backbone: object) -> Dataset:
    """Open the data set with every split in another order."""

    def mix(split: Split, seed: int) -> Split:
        order = np.random.default_rng(seed).permutation(len(split))
        return Split(split.labels[order], lambda position: split.item(int(order[position])))

    dataset = open_dataset(config, settings, backbone)
    return replace(dataset, train=mix(dataset.train, 1), val=mix(dataset.val, 2), test=dataset.test.sample(16))


def train_without(config: TrainConfig, data_root: str | None) -> None:
    """Read sets of class ids, one a line, and print the digest of a bank trained without each."""
    session.open_dataset = shuffled
    for line in sys.stdin:
        bank = bank_of(replace(config, exclude=tuple(line.split()), batch_size=7), data_root)
        print(sha256(bank), flush=True)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("model_name")
    parser.add_argument("--data-root")
    parser.add_argument("--subsets", type=int, default=20)
    parser.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = ExactConfig(dataset=options.dataset, model_name=options.model_name)
    if options.without:
        train_without(config, options.data_root)
        return
    whole = bank_of(config, options.data_root)
    rng, ids = np.random.default_rng(0), whole.class_ids
    sets = [(class_id,) for class_id in ids]
    while len(sets) < len(ids) + options.subsets:
        size = int(rng.integers(2, len(ids)))
        sets.append(tuple(sorted(rng.choice(ids, size, replace=False).tolist())))
    other = subprocess.Popen([sys.executable, *sys.argv, "--without"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    equal = 0
    for forgotten in sets:
        other.stdin.write((" ".join(map(str, forgotten)) + "\n").encode())
        other.stdin.flush()
        never, forgot = other.stdout.readline().decode().strip(), sha256(whole.drop(forgotten))
        equal += never == forgot
        print(
            f"without {forgotten}: {forgot[:16]} {'equal' if never == forgot else 'DIFFERS from ' + never[:16]}",
            flush=True,
        )
    other.stdin.close()
    other.wait()
    print(json.dumps({"sets": len(sets), "equal": equal}))
    sys.exit(equal != len(sets))


if __name__ == "__main__":
    main()
