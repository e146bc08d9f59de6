"""The backbone that a run was trained on."""

from __future__ import annotations

from pfedge.backbone import Backbone, load_backbone
from pfedge.errors import BackboneError
from pfedge.runs import Run


def backbone_of(run: Run, model_name: str | None = None) -> Backbone:
    """Load the backbone of a run, and check that it is the one trained on.

    Args:
        run: the run.
        model_name: where the backbone is now, if not where it was in training.

    Raises:
        BackboneError: it cannot be loaded, or its weights are not those of training.
    """
    name = model_name or run.config.train.model_name
    try:
        backbone = load_backbone(
            name, image_size=run.config.train.image_size, preprocessor=run.config.train.preprocessor
        )
    except BackboneError as error:
        message = f"{error} (a run needs the backbone it was trained on: say where it is with --model-name)"
        raise BackboneError(message) from error
    if backbone.digest != run.config.backbone_digest:
        message = f"the weights of {name} are not those that {run.folder} was trained on"
        raise BackboneError(message)
    return backbone
