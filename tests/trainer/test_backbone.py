from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from pfedge.backbone import load_backbone, transformers4_name
from pfedge.errors import BackboneError
from pfedge_runtime.errors import UsageError
from pfedge_runtime.inputs import AudioPreprocess

PREPROCESSOR = {
    "size": {"height": 14, "width": 14},
    "resample": 3,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}


@pytest.fixture(scope="module")
def tiny_dinov2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino") / "dinov2"
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=7
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    crop = {"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": {"height": 28, "width": 28}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSOR, **crop}))
    return folder


def images(side, count=3):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_equals_the_whole_model_of_transformers(family, tiny_vit, tiny_dinov2):
    """embed and encode, then the final LayerNorm, are what transformers' own forward computes."""
    folder, kind = (tiny_vit, "ViTModel") if family == "vit" else (tiny_dinov2, "Dinov2Model")
    (backbone := load_backbone(str(folder))).eval()
    whole = getattr(transformers, kind).from_pretrained(folder).eval()
    batch = images(backbone.preprocess.height)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    pixels = (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        expected = whole(pixel_values=pixels).last_hidden_state
        actual = whole.layernorm(backbone.encode(backbone.embed(batch)))
    assert torch.allclose(actual, expected, atol=1e-5)


def test_an_audio_transformer_equals_transformers_own(tiny_ast):
    backbone = load_backbone(str(tiny_ast)).eval()
    assert backbone.preprocess == AudioPreprocess(frames=64, mels=16, mean=-4.0, std=4.0)
    assert (backbone.width, backbone.tokens, backbone.image_size) == (32, 2 + 8 * 2, None)
    whole = transformers.ASTModel.from_pretrained(tiny_ast).eval()
    features = torch.randn(3, 64, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = whole(features).last_hidden_state
        actual = whole.layernorm(backbone.encode(backbone.embed(features)))
    assert torch.allclose(actual, expected, atol=1e-5)


def test_an_audio_transformer_has_no_image_size(tiny_ast):
    with pytest.raises(UsageError, match="listens to sounds"):
        load_backbone(str(tiny_ast), image_size=28)


def test_a_feature_extractor_that_does_not_fit_is_refused(tiny_ast, tmp_path):
    folder = shutil.copytree(tiny_ast, tmp_path / "ast")
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**extractor, "max_length": 1024}))
    with pytest.raises(BackboneError, match="takes 64 frames x 16 mel filters"):
        load_backbone(str(folder))
    del extractor["mean"]
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    with pytest.raises(BackboneError, match="lacks mean"):
        load_backbone(str(folder))


def test_names_are_those_of_transformers_4(tiny_vit, tiny_ast):
    for folder in (tiny_vit, tiny_ast):
        names = {transformers4_name(name) for name in load_backbone(str(folder)).vit.state_dict()}
        assert "encoder.layer.1.attention.attention.query.weight" in names
        assert "encoder.layer.0.output.dense.bias" in names
        assert {transformers4_name(name) for name in names} == names


def test_preprocessing_is_read_and_not_guessed(tiny_vit, tiny_dinov2, tmp_path):
    plain = load_backbone(str(tiny_vit)).preprocess
    assert (plain.height, plain.resample, plain.shorter_side) == (14, "bilinear", None)
    cropped = load_backbone(str(tiny_dinov2)).preprocess
    assert (cropped.height, cropped.resample, cropped.shorter_side) == (28, "bicubic", 32)
    bare = shutil.copytree(tiny_vit, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json"):
        load_backbone(str(bare))


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_position_embeddings_are_interpolated_as_transformers_does(family, tiny_vit, tiny_dinov2):
    folder, kind, side = (tiny_vit, "ViTModel", 28) if family == "vit" else (tiny_dinov2, "Dinov2Model", 42)
    backbone = load_backbone(str(folder), image_size=side)
    assert backbone.preprocess.height == side
    whole = getattr(transformers, kind).from_pretrained(folder).eval()
    pixels = backbone.normalize(images(side))
    extra = {"interpolate_pos_encoding": True} if family == "vit" else {}
    with torch.no_grad():
        assert torch.allclose(backbone.embed(images(side)), whole.embeddings(pixels, **extra), atol=1e-5)


def test_query_and_value_are_found_in_every_block(tiny_vit, tiny_dinov2):
    for folder in (tiny_vit, tiny_dinov2):
        names = [name for name, _ in load_backbone(str(folder)).attention_projections()]
        assert names == ["0.query", "0.value", "1.query", "1.value"]


def test_the_backbone_is_frozen_and_its_digest_is_of_its_values(tiny_vit, tiny_dinov2):
    backbone = load_backbone(str(tiny_vit))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.digest == load_backbone(str(tiny_vit)).digest
    assert backbone.digest != load_backbone(str(tiny_dinov2)).digest


def test_an_image_size_that_does_not_fit_is_refused(tiny_vit):
    with pytest.raises(BackboneError, match="15 is not a multiple of the patch size 7"):
        load_backbone(str(tiny_vit), image_size=15)


def test_bad_folders_are_named(tiny_vit, tmp_path):
    with pytest.raises(BackboneError, match="no backbone folder at"):
        load_backbone(str(tmp_path / "missing"))
    with pytest.raises(BackboneError, match="unknown backbone 'builtin:giant'"):
        load_backbone("builtin:giant")
    broken = shutil.copytree(tiny_vit, tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackboneError, match="cannot read the backbone in"):
        load_backbone(str(broken))
    (broken / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="cannot read the backbone in"):
        load_backbone(str(broken))


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BackboneError, match="is a 'bert' model; pfedge handles vit, dinov2"):
        load_backbone(str(tmp_path))


def test_weights_that_are_missing_are_not_made_up(tiny_vit, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_vit, tmp_path / "partial")
    state = load_file(folder / "model.safetensors")
    dropped = next(name for name in state if "dense" in name or "fc1" in name)
    save_file(
        {name: value for name, value in state.items() if name != dropped},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BackboneError, match="lacks weights"):
        load_backbone(str(folder))


def test_an_unreachable_hub_is_one_clear_line(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"nobody/nothing.*hub.*local folder with --model-name") as caught:
        load_backbone("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_the_built_in_backbone_is_small_and_loads():
    backbone = load_backbone("builtin:micro")
    assert backbone.preprocess.height == 28
    assert sum(parameter.numel() for parameter in backbone.parameters()) * 2 <= 4 * 2**20


def test_a_real_pretrained_vit_loads(shared_weights):
    backbone = load_backbone(str(shared_weights))
    assert (backbone.width, backbone.preprocess.height, len(backbone.blocks)) == (384, 112, 12)
    assert next(backbone.vit.parameters()).dtype == torch.float32


def test_attention_spelled_out_computes_the_same(tiny_vit):
    backbone = load_backbone(str(tiny_vit))
    images = torch.randint(0, 256, (2, 14, 14, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fused = backbone.encode(backbone.embed(images))
    backbone.spell_out_attention()
    assert backbone.vit.config._attn_implementation == "eager"
    assert torch.allclose(backbone.encode(backbone.embed(images)), fused, atol=1e-5)
