"""ONNX Runtime."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from sensorium.errors import InputError, MissingError
from sensorium.nets.mapped import LARGE, without_weights
from sensorium.nets.winograd import rewritten
from sensorium.vetting import vet

Arrays = dict[str, np.ndarray]
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
# What ONNX Runtime (1.31) makes worse: zeros around a picture are moved into a MaxPool, which then fills up with minus
# infinity; and the sum and its normalisation in one step take ten times as long as one after the other.
NOT_USED = ["Pad_Fusion", "SkipLayerNormFusion"]
FOLDER = "session.model_external_initializers_file_folder_path"  # where the data of a model without a path lie
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}


def available_cores() -> int:
    """Cores that this process may use (an affinity mask or a container's limit counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def session_options(threads: int | None = None, once: bool = False) -> ort.SessionOptions:
    """How a network is run: with so many threads (None for all cores), which sleep when there is nothing to do.

    Args:
        once: it is run once, so that weights are not rearranged first for runs that are twice as quick.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    # A pool that spins halves the speed of whatever else runs on the machine; one that sleeps at once wakes up late.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    options.add_session_config_entry("session.disable_prepacking", str(int(once)))
    return options


def fed(path: Path, inputs: Mapping[str, tuple[list[Any], Any]], feeds: Mapping[str, Any]) -> Arrays:
    """What a network asks for, of what there is, in the types that it asks for.

    Raises:
        InputError: an input is missing.
    """
    missing = [name for name in inputs if name not in feeds]
    if missing:
        raise InputError(f"{path.name} needs the input '{missing[0]}', which this task does not prepare")
    return {name: np.asarray(feeds[name], dtype=dtype, order="C") for name, (_, dtype) in inputs.items()}


def _opened(path: Path, options: ort.SessionOptions, provider: str, as_it_is: bool) -> ort.InferenceSession:
    """A session of a vetted file; the weights of a large one are mapped, not read.

    Args:
        as_it_is: not to be written out in other operators, which takes time that several runs on a processor win back.
    """

    def session(model: str | bytes) -> ort.InferenceSession:
        return ort.InferenceSession(model, options, providers=[provider], disabled_optimizers=NOT_USED)

    # Elsewhere a file that is mapped cannot be replaced.
    small = without_weights(path.resolve()) if os.name == "posix" else None
    content = small[0] if small else path.read_bytes() if path.stat().st_size < LARGE else b""
    if content:
        options.add_session_config_entry(FOLDER, str(path.resolve().parent))
    written = None if as_it_is else rewritten(content)
    for model in (written, small and content):
        if model:
            with contextlib.suppress(Exception):  # what needs its data to be opened is read as a whole
                found = session(model)
                if small is None or os.path.samestat(os.stat(path), small[1]):
                    return found
    return session(str(path))


class OrtNet:
    """One ONNX file as a function from named arrays to named arrays, all with a batch axis.

    Args:
        path: the file.
        threads: of one run; None for all cores this process may use.
        device: a key of `PROVIDERS`.
        once: it will be run once only, and is not prepared for more.
        options: of the session, in place of ours; the network is then run as its file has it.

    Attributes:
        inputs: name to (shape, dtype); a free axis of a shape is its name or None.
        outputs: names, in the order of the file.
        pieces: whether a batch of large examples is computed quicker by the few: ONNX Runtime computes layer by layer,
            and on a processor the values between two of them should stay in its cache.

    Raises:
        InputError: the file is not a network that ONNX Runtime can run.
        MissingError: the installed ONNX Runtime does not know the device.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        device: str = "cpu",
        once: bool = False,
        options: ort.SessionOptions | None = None,
    ) -> None:
        if PROVIDERS[device] not in ort.get_available_providers():
            has = ", ".join(name for name, provider in PROVIDERS.items() if provider in ort.get_available_providers())
            raise MissingError(
                f"the installed onnxruntime cannot use {device} (it can use {has}); install the one for {device}"
            )
        as_it_is = once or device != "cpu" or options is not None
        options = options or session_options(threads, once)
        self.path = path
        self.pieces = device == "cpu"
        vet(path)
        try:
            self._session = _opened(path, options, PROVIDERS[device], as_it_is)
            self.inputs: dict[str, tuple[list[Any], Any]] = {
                i.name: (i.shape, DTYPES.get(i.type, np.float32)) for i in self._session.get_inputs()
            }
            self.outputs: list[str] = [o.name for o in self._session.get_outputs()]
        except Exception as error:  # ONNX Runtime raises many kinds for a file it cannot read
            reason = str(error).split("\n", 1)[0].split(" : ")[-1][:200]
            raise InputError(f"{path}: not a network that ONNX Runtime {ort.__version__} can run: {reason}") from None

    def __call__(self, feeds: Arrays) -> Arrays:
        """Run the network; arrays it does not ask for are left out, types are brought to those it asks for.

        Raises:
            InputError: an input is missing or has a shape that the network does not take.
        """
        ready = fed(self.path, self.inputs, feeds)
        try:
            return dict(zip(self.outputs, self._session.run(None, ready)))
        except Exception as error:  # ONNX Runtime raises many kinds for what it cannot run
            shapes = ", ".join(f"{name} {array.shape}" for name, array in ready.items())
            reason = str(error).split("\n", 1)[0].split(" : ")[-1][:200]
            raise InputError(f"{self.path.name} cannot be run on {shapes}: {reason}") from None

    def step(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        """Run a network that is fed with its own outputs, for these outputs only.

        They stay where the engine has them: values to feed to the next step as they are, or to read by `.numpy()`.

        Raises:
            InputError: as for a call.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.path.name} needs the input '{missing[0]}', which this task does not prepare")
        ready = {
            name: feed
            if isinstance(feed := feeds[name], ort.OrtValue)
            else ort.OrtValue.ortvalue_from_numpy(np.asarray(feed, dtype, order="C"))
            for name, (_, dtype) in self.inputs.items()
        }
        try:
            return dict(zip(outputs, self._session.run_with_ort_values(list(outputs), ready)))
        except Exception as error:  # ONNX Runtime raises many kinds for what it cannot run
            shapes = ", ".join(f"{name} {value.shape()}" for name, value in ready.items())
            reason = str(error).split("\n", 1)[0].split(" : ")[-1][:200]
            raise InputError(f"{self.path.name} cannot be run on {shapes}: {reason}") from None
