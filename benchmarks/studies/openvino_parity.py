"""The exported graph in an engine that nobody here wrote: OpenVINO at float32 against ONNX Runtime.

python benchmarks/studies/openvino_parity.py BUNDLE IMAGES...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from pfedge_export.parity import bank_sizes
from pfedge_runtime import Bundle, PromptBank, read_image
from pfedge_runtime.engines import OnnxRuntimeEngine
from pfedge_runtime.inputs import find_files

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, nargs="+", help="files or folders")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    files = [file for path in options.images for file in find_files(path, "image").files]
    images = np.stack([bundle.manifest.preprocess(read_image(file)) for file in files])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(bundle.graph_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(bank: PromptBank) -> NDArray[np.float32]:
        rows = {name: np.array(getattr(bank, name)) for name in ("prompts", "head_weight", "head_bias")}
        return np.concatenate(
            [compiled({"images": images[i : i + BATCH], **rows})["logits"] for i in range(0, len(images), BATCH)]
        )

    reference = OnnxRuntimeEngine(bundle.graph_path)
    print(f"OpenVINO {openvino.__version__.split('-')[0]}, float32, {len(images)} images")
    for words, bank in bank_sizes(bundle.bank()).items():
        expected = np.concatenate(
            [reference.run(images[i : i + BATCH], bank).logits for i in range(0, len(images), BATCH)]
        )
        logits = run(bank)
        agree = (logits.argmax(1) == expected.argmax(1)).mean()
        print(f"  {words:<22} decisions agree {agree:.2%}   largest difference {np.abs(logits - expected).max():.1e}")


if __name__ == "__main__":
    main()
