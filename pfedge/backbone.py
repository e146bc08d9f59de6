"""The frozen pretrained transformer.

    backbone = load_backbone("google/vit-base-patch16-224")      # hub name, local folder or builtin:micro
    tokens = backbone.embed(images)                              # uint8 [B, H, W, 3] -> float32 [B, 1 + N, D]
    hidden = backbone.encode(tokens)                             # float32 [B, 1 + N, D], last block's output

Both transformers 4.57 and 5 work: pfedge calls the embeddings and the blocks, never the whole model. As in
the reference implementation of arXiv 2509.15230, the final LayerNorm is not applied.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.errors import BackboneError
from pfedge_runtime.preprocess import RESAMPLING, ImagePreprocess

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEFAULT_BACKBONE = "google/vit-base-patch16-224"
BUILTIN = {"builtin:micro": "micro"}
FAMILIES = {"vit": "ViTModel", "dinov2": "Dinov2Model"}
PREPROCESSOR = "preprocessor_config.json"
PIL_FILTERS = {int(value): name for name, value in RESAMPLING.items()}


class Backbone(nn.Module):
    """A frozen transformer with its preprocessing.

    Attributes:
        name: the hub name, folder or builtin name it was loaded from.
        preprocess: how an image file becomes uint8 `[H, W, 3]`.
        width: D, the width of a token.
        tokens: 1 + N, tokens of an image, CLS included.
        digest: SHA-256 over the shapes and values of its float32 weights, as loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: Any,  # noqa: ANN401 -- a ViTModel or Dinov2Model of either generation
        *,
        name: str,
        preprocess: ImagePreprocess,
        mean: list[float],
        std: list[float],
    ) -> None:
        """Freeze `vit` and keep what its inputs need: channel `mean` and `std` of pixels in [0, 1]."""
        super().__init__()
        self.vit: Any = vit.to(torch.float32).requires_grad_(requires_grad=False)
        self.name = name
        self.preprocess = preprocess
        self.width = int(vit.config.hidden_size)
        self.tokens = (preprocess.height // vit.config.patch_size) ** 2 + 1
        self.digest = _digest(vit)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last, under either generation of transformers."""
        layers: Iterable[nn.Module] = self.vit.layers if hasattr(self.vit, "layers") else self.vit.encoder.layer
        return list(layers)

    def attention_projections(self) -> Iterator[tuple[str, Any]]:
        """Yield `<block>.query` and `<block>.value` with their modules, whatever transformers calls them."""
        alias = {"query": "query", "q_proj": "query", "value": "value", "v_proj": "value"}
        for index, block in enumerate(self.blocks):
            for path, module in block.named_modules():
                name = path.rpartition(".")[2]
                if name in alias:
                    yield f"{index}.{alias[name]}", module

    def embed(self, images: Tensor) -> Tensor:
        """Return the tokens float32 `[B, 1 + N, D]`, CLS first, of uint8 images `[B, H, W, 3]`."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255
        tokens: Tensor = self.vit.embeddings((pixels - self.mean) / self.std)
        return tokens

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the last block's output `[B, S, D]` on any sequence of tokens `[B, S, D]`."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def load_backbone(name: str = DEFAULT_BACKBONE, *, image_size: int | None = None) -> Backbone:
    """Load a `ViTModel` or `Dinov2Model`.

    Args:
        name: a hub name, a local folder in Hugging Face layout, or `builtin:micro`.
        image_size: side in pixels of the images it will see; position embeddings are interpolated
            (bicubic, as Dosovitskiy et al., arXiv 2010.11929, section 3.2) where it differs from its own.

    Raises:
        BackboneError: it cannot be found, downloaded or read, is of another kind, or the size does not fit.
    """
    source = str(files("pfedge") / BUILTIN[name]) if name in BUILTIN else name
    if name.startswith("builtin:") and name not in BUILTIN:
        message = f"unknown backbone {name!r}; built in are {', '.join(BUILTIN)}"
        raise BackboneError(message)
    import huggingface_hub
    import transformers
    from huggingface_hub.errors import HFValidationError
    from safetensors import SafetensorError

    # the hub's retries are noise: the error at the end says it all
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its own lack
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # likewise
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # likewise
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        if config.model_type not in FAMILIES:
            message = f"backbone {name} is a {config.model_type!r} model; pfedge handles {', '.join(FAMILIES)}"
            raise BackboneError(message)
        preprocessor = _read_preprocessor(source)
        architecture = getattr(transformers, FAMILIES[config.model_type])
        extra = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        vit, info = architecture.from_pretrained(
            source, attn_implementation="sdpa", output_loading_info=True, use_safetensors=True, **extra
        )
    except BackboneError:
        raise
    except (OSError, ValueError, HFValidationError, SafetensorError, RuntimeError, KeyError) as error:
        raise BackboneError(_explain(name, error)) from error
    missing = sorted(info["missing_keys"])
    if missing:
        message = f"backbone {name} lacks weights ({missing[0]} and {len(missing) - 1} more): is the file complete?"
        raise BackboneError(message)
    preprocess = _preprocess(name, preprocessor, config, image_size)
    _resize_positions(vit, config, preprocess.height)
    return Backbone(
        vit.eval(),
        name=name,
        preprocess=preprocess,
        mean=preprocessor["image_mean"],
        std=preprocessor["image_std"],
    )


def _read_preprocessor(source: str) -> dict[str, Any]:
    """Read preprocessor_config.json: nobody guesses preprocessing."""
    if Path(source).is_dir():
        path = Path(source) / PREPROCESSOR
    else:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(source, PREPROCESSOR))
    value: dict[str, Any] = json.loads(path.read_text())
    if not {"image_mean", "image_std", "size"} <= set(value):
        message = f"{path} lacks image_mean, image_std or size"
        raise BackboneError(message)
    return value


def _preprocess(
    name: str, preprocessor: dict[str, Any], config: PretrainedConfig, image_size: int | None
) -> ImagePreprocess:
    """Take size, crop and filter from the preprocessor; another `image_size` scales them alike."""
    size, crop = preprocessor["size"], preprocessor.get("crop_size")
    if isinstance(size, int):
        size = {"height": size, "width": size}
    cropped = preprocessor.get("do_center_crop", False) and crop is not None
    native = crop if cropped else size
    own = int(native["height"]) if isinstance(native, dict) and "height" in native else int(config.image_size)
    side = image_size or own
    if side < config.patch_size or side % config.patch_size:
        message = f"image size {side} is not a multiple of the patch size {config.patch_size} of {name}"
        raise BackboneError(message)
    shorter = size.get("shortest_edge")
    return ImagePreprocess(
        height=side,
        width=side,
        resample=PIL_FILTERS.get(int(preprocessor.get("resample", 2)), "bilinear"),
        shorter_side=None if shorter is None else max(side, round(int(shorter) * side / own)),
    )


def _resize_positions(vit: Any, config: PretrainedConfig, side: int) -> None:  # noqa: ANN401 -- either family
    """Interpolate the position embeddings once, so that the exported graph holds them as constants."""
    embeddings = vit.embeddings
    positions = embeddings.position_embeddings.data
    old, new = round((positions.shape[1] - 1) ** 0.5), side // config.patch_size
    if old == new:
        return
    grid = positions[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(1, new * new, -1).to(positions.dtype)
    embeddings.position_embeddings = nn.Parameter(torch.cat([positions[:, :1], grid], dim=1))
    embeddings.image_size = embeddings.patch_embeddings.image_size = (side, side)
    embeddings.patch_embeddings.num_patches = new * new


def _digest(module: nn.Module) -> str:
    """Hash the set of weights: names and order differ between transformers 4 and 5, shapes and values do not."""
    each = (
        hashlib.sha256(f"{list(tensor.shape)}|".encode() + tensor.contiguous().numpy().tobytes()).hexdigest()
        for tensor in module.state_dict().values()
    )
    return hashlib.sha256("|".join(sorted(each)).encode()).hexdigest()


def _explain(name: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if Path(name).is_dir() or name in BUILTIN:
        return f"cannot read the backbone in {name}: {first}"
    if os.sep in name and (name.startswith((".", os.sep)) or Path(name).parent.is_dir()):
        return f"no backbone folder at {name}"
    return (
        f"cannot get the backbone {name} from the Hugging Face hub ({first}); "
        "on a machine without network pass a local folder with --model-name"
    )
