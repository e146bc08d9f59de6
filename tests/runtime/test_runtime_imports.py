"""The floors hold at run time too, in fresh processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "onnx", "medmnist", "peft", "sklearn", "pfedge", "pfedge_export")


def loaded_by(code, *arguments):
    report = "import sys; print('\\n'.join(sys.modules))"
    outcome = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in outcome.stdout.splitlines()}


def test_the_runtime_predicts_and_forgets_without_any_heavy_package(bundle_path, golden, tmp_path):
    from PIL import Image

    Image.fromarray(golden["images"][0]).save(tmp_path / "image.png")
    code = (
        "import sys; from pathlib import Path; from pfedge_runtime import Classifier, forget\n"
        "classifier = Classifier.open(sys.argv[1])\n"
        "list(classifier.predict_files([Path(sys.argv[2])])); forget(sys.argv[1], ['3'])\n"
        "list(classifier.predict_files([Path(sys.argv[2])]))"
    )
    assert not loaded_by(code, bundle_path, tmp_path / "image.png") & set(HEAVY)


@pytest.mark.parametrize("verb", ["predict", "forget", "inspect"])
def test_device_verbs_import_no_torch(bundle_path, golden, tmp_path, verb):
    from PIL import Image

    Image.fromarray(golden["images"][0]).save(tmp_path / "image.png")
    arguments = {
        "predict": [tmp_path / "image.png"],
        "forget": ["--class", "3", "--yes"],
        "inspect": ["--selftest"],
    }[verb]
    code = (
        f"import sys; from pfedge.cli.app import app\napp(['{verb}', '--bundle', *sys.argv[1:]], standalone_mode=False)"
    )
    assert not loaded_by(code, bundle_path, *arguments) & (set(HEAVY) - {"pfedge"})


def test_the_runtime_imports_without_onnxruntime():
    assert "onnxruntime" not in loaded_by("import pfedge_runtime")


def test_public_names_are_pinned():
    import pfedge_export
    import pfedge_runtime

    assert pfedge_runtime.__all__ == [
        "AudioPreprocess", "Bundle", "Classifier", "Forgetting", "ImagePreprocess", "PfedgeError", "Prediction",
        "PromptBank", "StatisticsBank", "forget", "plan_forget", "read_image", "read_sound",
    ]  # fmt: skip
    assert pfedge_export.__all__ == ["BundleDescription", "ParityError", "ParityReport", "export_bundle"]
    for package in (pfedge_runtime, pfedge_export):
        for name in package.__all__:
            assert hasattr(package, name)


def test_all_three_packages_have_one_version():
    import tomllib
    from pathlib import Path

    import pfedge
    import pfedge_export
    import pfedge_runtime

    root = Path(__file__).parents[2]
    declared = {
        tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]["version"]
        for folder in (".", "export", "runtime")
    }
    assert declared == {pfedge.__version__, pfedge_export.__version__, pfedge_runtime.__version__}
    assert len(declared) == 1
