"""What scoring K rows in one pass costs on ONNX Runtime CPU, against a plain forward and against K passes.

    python benchmarks/speed/one_pass.py --rounds 7

For guarantee `isolated`, with random weights (speed does not depend on them). The bound is the token ratio
`(N + K (T + 1)) / N`. Interleaved rounds, medians; the K-pass figure is K times the one-row pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from pfedge.backbone import Backbone, EmbeddingSpec, PixelNormalize
from pfedge.guarantees.isolated import IsolatedModel
from pfedge_export.graph import export_graph
from pfedge_runtime.bank import guarantee
from pfedge_runtime.inputs import ImagePreprocess

MODELS = {
    "ViT-S/14 112": {
        "hidden_size": 384,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "patch_size": 14,
        "image_size": 112,
    },
    "ViT-B/16 224": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "patch_size": 16,
        "image_size": 224,
    },
}


class Plain(nn.Module):
    """The backbone alone: its last CLS."""

    def __init__(self, backbone: Backbone) -> None:
        """Take the backbone."""
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return CLS `[B, D]`."""
        return self.backbone.encode(self.backbone.embed(images))[:, 0]


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure(name: str, sizes: list[int], rounds: int, threads: int) -> list[dict[str, object]]:
    """Time one model."""
    shape = MODELS[name]
    torch.manual_seed(0)
    vit = ViTModel(ViTConfig(**shape), add_pooling_layer=False).eval()
    side = shape["image_size"]
    preprocess = ImagePreprocess(side, side)
    backbone = Backbone(vit, name=name, preprocess=preprocess, normalize=PixelNormalize([0.5] * 3, [0.5] * 3))
    model = IsolatedModel(backbone, class_ids=range(2), spec=EmbeddingSpec()).eval()
    images = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        plain_path, path = Path(folder) / "plain.onnx", Path(folder) / "graph.onnx"
        torch.onnx.export(
            Plain(backbone).eval(), (torch.from_numpy(images),), dynamo=True, opset_version=20, verbose=False
        ).save(plain_path)
        export_graph(model.deployable(), model.bank(), path, preprocess, guarantee("isolated").graph)
        plain, rows = session(plain_path, threads), session(path, threads)
        rng, width = np.random.default_rng(1), model.head_weight.shape[1]
        feeds = {
            k: {
                "images": images,
                "prompts": rng.normal(size=(k, 1, backbone.width)).astype(np.float32),
                "head_weight": rng.normal(size=(k, width)).astype(np.float32),
                "head_bias": np.zeros(k, np.float32),
            }
            for k in sorted({1, *sizes})
        }
        plain_feed = {plain.get_inputs()[0].name: images}
        times: dict[object, list[float]] = {"plain": [], **{k: [] for k in feeds}}
        for round_ in range(rounds + 1):
            for key, run in [
                ("plain", lambda: plain.run(None, plain_feed)),
                *((k, lambda k=k: rows.run(None, feeds[k])) for k in feeds),
            ]:
                started = time.perf_counter()
                run()
                if round_:  # the first warms up
                    times[key].append(time.perf_counter() - started)
    median = {key: statistics.median(values) * 1000 for key, values in times.items()}
    results = []
    for k in sizes:
        tokens = (backbone.tokens + 2 * k) / backbone.tokens
        ratio = median[k] / median["plain"]
        print(
            f"{name}  K={k:<4} {median[k]:8.1f} ms  plain {median['plain']:6.1f} ms  ratio {ratio:5.2f}"
            f"  tokens {tokens:5.2f}  ratio / tokens {ratio / tokens:4.2f}  K passes {k * median[1]:9.1f} ms",
            flush=True,
        )
        results.append({"model": name, "rows": k, "ms": median[k], "plain_ms": median["plain"], "token_ratio": tokens})
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: ONNX Runtime chooses")
    parser.add_argument("--rows", default="1,8,64,512")
    options = parser.parse_args()
    sizes = [int(part) for part in options.rows.split(",")]
    print(json.dumps([result for name in MODELS for result in measure(name, sizes, options.rounds, options.threads)]))


if __name__ == "__main__":
    main()
