"""The frozen pretrained transformer.

    backbone = load_backbone("google/vit-base-patch16-224")      # hub name, local folder or builtin:micro
    tokens = backbone.embed(images)                              # uint8 [B, H, W, 3] -> float32 [B, 1 + N, D]
    hidden = backbone.encode(tokens)                             # float32 [B, 1 + N, D], last block's output

An Audio Spectrogram Transformer takes features float32 `[B, frames, mels]` instead of images, and has a second
token behind CLS, its distillation token, which counts among the N here.

Both transformers 4.57 and 5 work: pfedge calls the embeddings and the blocks, never the whole model. As in
the reference implementation of arXiv 2509.15230, the final LayerNorm is not applied.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.backbone.preprocessor import audio_preprocess, image_preprocess, read_preprocessor
from pfedge.errors import BackboneError
from pfedge_runtime.inputs import Preprocess

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SHORT = 256  # tokens: beyond that the weights of attention, which `spell_out_attention` keeps, are a burden
DEFAULT_BACKBONES = {"image": "google/vit-base-patch16-224", "audio": "MIT/ast-finetuned-audioset-10-10-0.4593"}
BUILTIN = {"builtin:micro": "micro"}
FAMILIES = {"vit": "ViTModel", "dinov2": "Dinov2Model", "audio-spectrogram-transformer": "ASTModel"}
TRANSFORMERS_4 = {
    "layers.": "encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


class PixelNormalize(nn.Module):
    """From uint8 `[B, H, W, 3]` to float32 `[B, 3, H, W]`, scaled to [0, 1], then by channel `mean` and `std`."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        """Keep what the backbone was pretrained with."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise."""
        pixels = images.to(torch.float32)  # first of all: TensorRT takes uint8 into a cast and nothing else
        # contiguous, because products over a permuted layout have other bits at other places of a batch
        return (pixels.permute(0, 3, 1, 2).contiguous() / 255 - self.mean) / self.std


class Backbone(nn.Module):
    """A frozen transformer with its preprocessing.

    Attributes:
        name: the hub name, folder or builtin name it was loaded from.
        preprocess: how a file becomes one input.
        width: D, the width of a token.
        tokens: 1 + N, tokens of an input, CLS included.
        digest: SHA-256 over the shapes and values of its float32 weights, as loaded.
    """

    def __init__(
        self,
        vit: Any,  # noqa: ANN401 -- a ViTModel, Dinov2Model or ASTModel of either generation
        *,
        name: str,
        preprocess: Preprocess,
        normalize: nn.Module,
    ) -> None:
        """Freeze `vit`; `normalize` turns the graph's input into its own."""
        super().__init__()
        self.vit: Any = vit.to(torch.float32).requires_grad_(requires_grad=False)
        self.name = name
        self.preprocess = preprocess
        self.width = int(vit.config.hidden_size)
        self.tokens = int(vit.embeddings.position_embeddings.shape[1])
        self.digest = _digest(vit)
        self.normalize = normalize

    @property
    def image_size(self) -> int | None:
        """Side of its images in pixels; None where it listens to sounds."""
        return getattr(self.preprocess, "height", None)

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return int(self.vit.config.num_attention_heads)

    def first_token(self) -> Tensor:
        """Return the embedded CLS `[1, 1, D]`: the same whatever the input."""
        embeddings = self.vit.embeddings
        first: Tensor = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        return first

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

    def spell_out_attention(self) -> None:
        """Compute attention by plain matrix products from now on, where its weights `[B, heads, S, S]` are no burden.

        Going back through torch's fused one takes longer in bf16 on a CPU without AMX; in float32 it is the faster one.
        """
        if self.tokens <= SHORT:
            self.vit.set_attn_implementation("eager")

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the tokens float32 `[B, 1 + N, D]`, CLS first, of images `[B, H, W, 3]` or features."""
        tokens: Tensor = self.vit.embeddings(self.normalize(inputs))
        return tokens

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the last block's output `[B, S, D]` on any sequence of tokens `[B, S, D]`."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def load_backbone(
    name: str = DEFAULT_BACKBONES["image"],
    *,
    image_size: int | None = None,
    preprocessor: dict[str, Any] | None = None,
) -> Backbone:
    """Load a `ViTModel`, `Dinov2Model` or `ASTModel`.

    Args:
        name: a hub name, a local folder in Hugging Face layout, or `builtin:micro`.
        image_size: side in pixels of the images it will see; position embeddings are interpolated
            (bicubic, as Dosovitskiy et al., arXiv 2010.11929, section 3.2) where it differs from its own.
        preprocessor: in place of its `preprocessor_config.json`, see `plain_preprocessor`.

    Raises:
        BackboneError: it cannot be found, downloaded or read, is of another kind, or the size does not fit.
        UsageError: an image size was given for a backbone that listens to sounds.
    """
    source = str(files("pfedge.backbone") / BUILTIN[name]) if name in BUILTIN else name
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
        if preprocessor is None:
            preprocessor = read_preprocessor(source)
        elif "size" not in preprocessor:
            preprocessor = {**preprocessor, "size": getattr(config, "image_size", None)}
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
    if config.model_type == "audio-spectrogram-transformer":
        sound = audio_preprocess(
            preprocessor, name=name, frames=config.max_length, mels=config.num_mel_bins, image_size=image_size
        )
        return Backbone(vit.eval(), name=name, preprocess=sound, normalize=nn.Identity())
    image = image_preprocess(
        preprocessor, name=name, patch_size=config.patch_size, own_size=config.image_size, image_size=image_size
    )
    _resize_positions(vit, config, image.height)
    normalize = PixelNormalize(preprocessor["image_mean"], preprocessor["image_std"])
    return Backbone(vit.eval(), name=name, preprocess=image, normalize=normalize)


def transformers4_name(name: str) -> str:
    """Return a ViT or AST weight's name of transformers 4, which 5 reads too but no longer writes.

    >>> transformers4_name("layers.0.attention.q_proj.weight")
    'encoder.layer.0.attention.attention.query.weight'
    """
    for new, old in TRANSFORMERS_4.items():
        name = name.replace(new, old) if old not in name else name
    return name


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
