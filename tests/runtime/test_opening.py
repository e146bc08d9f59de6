from __future__ import annotations

import pytest

from pfedge_runtime import Bundle
from pfedge_runtime.engines import Profile, driver_version, gpu_models, open_engine
from pfedge_runtime.engines import opening as devices_module
from pfedge_runtime.engines.opening import provider_key
from pfedge_runtime.errors import ProviderError, UsageError


def test_each_device_has_its_engine(bundle_path):
    bundle = Bundle.open(bundle_path)
    assert type(open_engine(bundle)).__name__ == "OnnxRuntimeEngine"
    pytest.importorskip("openvino")
    assert type(open_engine(bundle, "openvino")).__name__ == "OpenVinoEngine"
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        open_engine(bundle, "tpu")


@pytest.mark.parametrize("device", ["tensorrt", "rtx:1"])
def test_a_device_that_is_not_there_leaves_nothing_behind(bundle_path, device):
    bundle = Bundle.open(bundle_path)
    with pytest.raises(ProviderError, match="ExecutionProvider is not in the installed ONNX Runtime"):
        open_engine(bundle, device)
    assert not (bundle_path / "engines").exists()


def test_tensorrt_gets_the_range_of_all_rows_and_a_folder_of_its_own(bundle_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(devices_module, "OnnxRuntimeEngine", lambda _, **options: asked.update(options))
    open_engine(Bundle.open(bundle_path), "tensorrt", max_batch=4)
    assert asked["profile"].largest["prompts"][0] == 10
    assert asked["profile"].smallest["prompts"][0] == 1
    assert asked["profile"].largest["images"][0] == 4
    assert asked["cache"].parent == bundle_path / "engines"


def test_engines_of_another_graph_shape_or_machine_are_kept_apart(monkeypatch):
    inputs = {"head_weight": {"dtype": "float32", "shape": ["R", 4]}}
    small, large = (Profile.of(inputs, max_batch=1, max_rows=rows) for rows in (2, 3))
    keys = {provider_key("a", small, "tensorrt"), provider_key("b", small, "tensorrt")}
    keys |= {provider_key("a", large, "tensorrt"), provider_key("a", small, "tensorrt:1")}
    for what, other in (("driver_version", "999"), ("gpu_models", ["another"])):
        with monkeypatch.context() as patch:
            patch.setattr(devices_module, what, lambda other=other: other)
            keys.add(provider_key("a", small, "tensorrt"))
    assert len(keys) == 6
    assert isinstance(driver_version(), str)
    assert isinstance(gpu_models(), list)
