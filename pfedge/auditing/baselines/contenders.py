"""Other ways to forget, on the same data and under the same attacks: `pfedge audit --compare`.

    comparison = contend(subjects, train, config, attacks, folder, ...)

The networks that these methods start from are ordinary ones, all of whose weights were trained; a model of pfedge
stands beside them, and the network retrained without the class is what each of them should be like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pfedge.auditing.attacks import OTHERS, SHOTS, Subjects, f1, probe, singled_out
from pfedge.auditing.baselines.baselines import METHODS, BaselineData, Method, OrdinaryModel, baselines
from pfedge.auditing.report import ComparedMethod, Comparison
from pfedge.auditing.statistics import (
    Attack,
    BeforeAfterReference,
    Estimate,
    Statistic,
    compare,
    loss_threshold,
    phi,
)
from pfedge.data import Split
from pfedge.guarantees import BATCH, Index
from pfedge.ranking import auc
from pfedge.runs import TrainConfig
from pfedge_runtime.files import write_atomic

PLOT = "recovery F1, 5 shots"
OURS = {  # what our own attacks call the same measure
    "retained accuracy": ("utility", "accuracy on the other classes"),
    "named as the class": ("utility", "share named as the forgotten class"),
    "membership AUC": ("membership", "AUC, loss threshold"),
    **{f"recovery F1, {shots} shots": ("representation", f"recovery F1, {{}}, {shots} shots") for shots in SHOTS},
    "neighbour AUC": ("neighbour", "AUC, learned from all probabilities"),
}


def contend(
    subjects: Subjects,
    train: Split,
    config: TrainConfig,
    attacks: Sequence[Attack],
    folder: Path,
    *,
    epochs: int,
    forgetting_seconds: float | None,
    train_seconds: float,
    device: torch.device,
    say: Callable[[str], None],
) -> Comparison:
    """Train, forget and attack each contender; compare what they leave.

    Args:
        subjects: gives the inputs.
        train: the training data.
        config: the run's recipe: guarantee and backbone.
        attacks: what they found on the run itself, which stands in the table too.
        folder: where each line is kept, for an audit that is interrupted.
        epochs: of the ordinary network.
        forgetting_seconds: what forgetting takes under pfedge; None if it was done already.
        train_seconds: what training the reference took.
        device: where.
        say: told about progress.
    """
    ids, forgotten = subjects.before.class_ids, subjects.forgotten
    data = BaselineData(train, ids, forgotten, config.model_name, config.image_size, config.seed, config.preprocessor)
    rows: dict[str, ComparedMethod] = {}
    for method in METHODS:
        with suppress(OSError, ValueError, KeyError, TypeError):  # what is not there, or damaged, is done again
            rows[method.name] = ComparedMethod.from_json(json.loads(_path(folder, method, epochs).read_text()))
    missing = [method for method in METHODS if method.name not in rows]
    for outcome in baselines(data, epochs=epochs, device=device, methods=missing, on_progress=say):
        row = _row(outcome.method, outcome.seconds, _attack(outcome.model, subjects))
        write_atomic(_path(folder, outcome.method, epochs), json.dumps(row.to_json()).encode())
        rows[outcome.method.name] = row
    own = Method(f"pfedge {config.guarantee}, row dropped", "pfedge forget", False, False)  # noqa: FBT003 -- by name above
    again = Method(
        f"pfedge {config.guarantee}, retrained", "the reference", needs_class_data=False, needs_other_data=True
    )
    ours = [
        _row(own, forgetting_seconds, _ours(attacks, "after")),
        _row(again, train_seconds, _ours(attacks, "reference")),
    ]
    theirs = [rows[method.name] for method in METHODS if method.name in rows]
    return Comparison((*ours, *theirs), PLOT, epochs)


def _path(folder: Path, method: Method, epochs: int) -> Path:
    return folder / f"contender-{epochs}-{method.name.replace(' ', '-')}.json"


def _row(method: Method, seconds: float | None, measures: dict[str, Estimate]) -> ComparedMethod:
    return ComparedMethod(**asdict(method), seconds=seconds, measures=measures)


def _ours(attacks: Sequence[Attack], model: str) -> dict[str, Estimate]:
    """Return what the attacks found on the run itself, under the names of the table."""
    by_key = {attack.key: {measure.name: measure for measure in attack.measures} for attack in attacks}
    found = {}
    for name, (key, own) in OURS.items():
        for features in ("last-layer CLS", "embedding"):  # `exact` has the embedding only
            measure = by_key.get(key, {}).get(own.format(features))
            if measure is not None and name not in found:
                found[name] = getattr(measure, model)
    return found


def _attack(model: OrdinaryModel, subjects: Subjects) -> dict[str, Estimate]:
    """Return what the attacks find on an ordinary network, which keeps an output for the class."""
    own = model.class_ids.index(subjects.forgotten)
    members, held_out = subjects.members(), subjects.held_out()
    others, test = subjects.train_of_others(OTHERS), subjects.test_of_others(len(subjects.pool))
    tested = subjects.tested()
    parts = {
        name: _outputs(model, subjects, index)
        for name, index in (
            ("members", members),
            ("others", others),
            ("held out", held_out),
            ("test", test),
            ("tested", tested),
        )
    }
    seed, found = subjects.seed, {}

    def measure(statistic: Statistic, values: Any, strata: Any) -> Estimate:  # noqa: ANN401 -- arrays
        return compare("", statistic, BeforeAfterReference(None, values, values), strata, seed=seed).after

    mean: Statistic = lambda values: float(values.mean())  # noqa: E731 -- two uses
    position = {class_id: at for at, class_id in enumerate(model.class_ids)}
    right = parts["test"][0].argmax(1) == np.array([position[int(c)] for c in subjects.pool.labels[test]])
    found["retained accuracy"] = measure(mean, right[:, None], np.zeros(len(test), dtype=np.int64))
    named = parts["tested"][0].argmax(1) == own
    found["named as the class"] = measure(mean, named[:, None], np.zeros(len(tested), dtype=np.int64))
    logits = np.concatenate([parts["members"][0], parts["held out"][0]])
    strata = np.repeat([0, 1], [len(members), len(held_out)])
    others_only = np.delete(logits, own, axis=1)  # as in a model of pfedge, which has no output of the class
    area = lambda values, positive: auc(values[:, 0], positive)  # noqa: E731 -- two uses
    if others_only.shape[1] > 1:
        scores = loss_threshold(phi(others_only, others_only.argmax(axis=1)))
        found["membership AUC"] = measure(partial(area, positive=strata == 0), scores[:, None], strata)
    strata = np.repeat([0, 1], [len(held_out), len(test)])
    features = [parts[name][1] for name in ("members", "others", "held out", "test")]
    for shots in (shots for shots in SHOTS if shots <= len(members)):
        recovered = probe(features, shots, seed)
        found[f"recovery F1, {shots} shots"] = measure(partial(f1, positive=strata == 0), recovered, strata)
    rest = np.delete(np.concatenate([parts["held out"][0], parts["test"][0]]), own, axis=1)
    if rest.shape[1] > 1:
        single = singled_out(rest, strata == 0, seed)
        found["neighbour AUC"] = measure(partial(area, positive=strata == 0), single[:, None], strata)
    return found


@torch.no_grad()
def _outputs(model: OrdinaryModel, subjects: Subjects, index: Index) -> tuple[Any, Any]:
    """Return logits `[n, K]` and last-layer CLS `[n, D]`."""
    model.eval()
    device = model.head.weight.device
    features = [
        model.features(torch.from_numpy(subjects.pool.inputs[index[at : at + BATCH]]).to(device))
        for at in range(0, len(index), BATCH)
    ]
    whole = torch.cat(features)
    return model.head(whole).cpu().numpy(), whole.cpu().numpy()
