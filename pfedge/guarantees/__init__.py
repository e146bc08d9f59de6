"""What forgetting promises: `shared`, `isolated` or `exact`, one folder each, found through one registry.

    run, metrics = train(ExactConfig(dataset="digits", model_name="builtin:micro"), settings, console)
    model = load_model(run)
    guarantee_of(run).static_graph(model)

`guarantee` says what a guarantee must bring along, `registry` which there are; a further one is a folder and a line in
the registry. The modules beside them are what several guarantees share: rows, scores, masking, white boxes, shadows.

It may import `pfedge.training` and what lies below, and knows nothing of evaluation, export or audit.
"""

from pfedge.guarantees.exact import ExactConfig
from pfedge.guarantees.guarantee import Guarantee, Model
from pfedge.guarantees.isolated import IsolatedConfig
from pfedge.guarantees.loading import backbone_of
from pfedge.guarantees.registry import (
    GUARANTEES,
    add_to,
    find_guarantee,
    guarantee_of,
    load_model,
    train,
)
from pfedge.guarantees.rows import RowLabels
from pfedge.guarantees.scores import IndependentScores, Scores
from pfedge.guarantees.shadows import Say, Shadows, memberships
from pfedge.guarantees.shared import SharedConfig
from pfedge.guarantees.subject import BATCH, EMBEDDING, LAST_CLS, Features, Index, NewRow, Subject
from pfedge.guarantees.white_box import WhiteBox

__all__ = [
    "BATCH",
    "EMBEDDING",
    "GUARANTEES",
    "LAST_CLS",
    "ExactConfig",
    "Features",
    "Guarantee",
    "IndependentScores",
    "Index",
    "IsolatedConfig",
    "Model",
    "NewRow",
    "RowLabels",
    "Say",
    "Scores",
    "Shadows",
    "SharedConfig",
    "Subject",
    "WhiteBox",
    "add_to",
    "backbone_of",
    "find_guarantee",
    "guarantee_of",
    "load_model",
    "memberships",
    "train",
]
