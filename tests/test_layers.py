"""The layers hold: nothing outside training/ needs PyTorch, importing is quick, and the base install stays small."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import sensorium


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(sensorium.__path__, "sensorium.")]
    return [m for m in found if not m.startswith("sensorium.training") and m != "sensorium.__main__"]


def test_everything_outside_training_imports_without_the_extras() -> None:
    blocked = ["torch", "transformers", "sklearn", "skimage", "cv2", "onnx", "safetensors", "scipy", "matplotlib"]
    optional = {m for m in modules() if m.startswith("sensorium.serving")}
    wanted = [m for m in modules() if m not in optional]
    run(f"import sys\nfor n in {blocked!r}: sys.modules[n] = None\nimport importlib\n"
        f"for n in {wanted!r}: importlib.import_module(n)")  # fmt: skip


def test_importing_the_package_imports_next_to_nothing() -> None:
    loaded = run("import sys; import sensorium; print(' '.join(sorted(sys.modules)))").split()
    heavy = {"numpy", "onnxruntime", "PIL", "tokenizers", "torch", "soundfile"} & set(loaded)
    assert not heavy


def test_predicting_text_loads_no_picture_nor_sound_libraries_needlessly() -> None:
    loaded = run("import sys; import sensorium.predictor; print(' '.join(sorted(sys.modules)))").split()
    assert not {"soundfile", "soxr", "cv2", "tokenizers", "torch"} & set(loaded)


def test_the_exported_names_are_the_verbs() -> None:
    assert sorted(sensorium.__all__) == [
        "__version__", "bench", "compare", "convert", "evaluate", "export", "inspect", "load", "open_data", "pull",
        "serve", "tasks", "train", "tune", "verify",
    ]  # fmt: skip
    for name in sensorium.__all__:
        assert getattr(sensorium, name) is not None
    assert callable(sensorium.tasks)
