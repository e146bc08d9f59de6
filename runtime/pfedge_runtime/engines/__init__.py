"""What evaluates the graph, on which device, and whether it still gives what it gave at export.

    engine = open_engine(bundle, "cpu")
    logits, embedding = engine.run(images, bundle.bank())      # uint8 [B, H, W, 3] -> float32 [B, R], [B, E] or None

May import: `bundle`, `bank`, `files`, `errors`.
"""

from pfedge_runtime.engines.engine import BANK_INPUTS, ROW_MASK, Engine, Outputs
from pfedge_runtime.engines.engine_file import ENGINES, PLAN, EngineAbout, list_engines, read_engine, write_engine
from pfedge_runtime.engines.onnxruntime_engine import OnnxRuntimeEngine
from pfedge_runtime.engines.opening import driver_version, gpu_models, open_engine
from pfedge_runtime.engines.openvino_engine import OpenVinoEngine
from pfedge_runtime.engines.profile import Profile
from pfedge_runtime.engines.providers import ExecutionDevice
from pfedge_runtime.engines.selftest import run_selftest
from pfedge_runtime.engines.static_engine import PaddedBank, StaticEngine
from pfedge_runtime.engines.threads import usable_threads

__all__ = [
    "BANK_INPUTS",
    "ENGINES",
    "PLAN",
    "ROW_MASK",
    "Engine",
    "EngineAbout",
    "ExecutionDevice",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "Outputs",
    "PaddedBank",
    "Profile",
    "StaticEngine",
    "driver_version",
    "gpu_models",
    "list_engines",
    "open_engine",
    "read_engine",
    "run_selftest",
    "usable_threads",
    "write_engine",
]
