"""Threads that predict while classes are forgotten: what a prediction names is what it was computed with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.engines import OnnxRuntimeEngine

GOING = ("3", "5", "0", "7")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_eight_threads_predict_while_four_classes_go(bundle_path, golden, device):
    if device == "openvino":
        pytest.importorskip("openvino")
    bundle = Bundle.open(bundle_path)
    full = bundle.bank()
    alone, engine = {}, OnnxRuntimeEngine(bundle.graph_path)
    for gone in range(len(GOING) + 1):
        bank = full.drop({int(class_id) for class_id in GOING[:gone]})
        alone[bank.class_ids] = engine.run(golden["images"], bank).logits
    classifier, over = Classifier.open(bundle_path, device=device, use_thresholds=False), threading.Event()

    def predict():
        epoch, batches = 0, 0
        while not over.is_set() or batches == 0:
            predictions = classifier.predict(golden["images"])
            scores = np.array([prediction.scores for prediction in predictions])
            assert np.abs(scores - alone[predictions[0].coverage]).max() < 1e-3
            assert {prediction.coverage for prediction in predictions} == {predictions[0].coverage}
            assert predictions[0].epoch >= epoch, "a row came back"
            epoch, batches = predictions[0].epoch, batches + 1
        return epoch

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(predict) for _ in range(8)]
        try:
            for gone, class_id in enumerate(GOING, start=1):
                forget(bundle_path, class_id)
                assert classifier.predict(golden["images"])[0].epoch == gone
        finally:
            over.set()
        assert max(thread.result() for thread in threads) <= len(GOING)
    assert classifier.predict(golden["images"])[0].epoch == len(GOING)
