"""OpenVINO: quicker than ONNX Runtime on many processors, and able to compute in bfloat16."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import InputError, need
from sensorium.nets.ort import available_cores, fed
from sensorium.vetting import vet

Arrays = dict[str, np.ndarray]


class OpenVinoNet:
    """One ONNX file as a function from named arrays to named arrays, all with a batch axis.

    Args:
        path: the file.
        threads: of one run; None for all cores this process may use.
        bf16: compute in bfloat16 where the processor can.

    Attributes:
        inputs: name to (shape, dtype); a free axis of a shape is None.
        outputs: names, in the order of the file.

    Raises:
        MissingError: OpenVINO is not installed.
        InputError: the file is not a network that OpenVINO can run.
    """

    def __init__(self, path: Path, threads: int | None = None, bf16: bool = False) -> None:
        # Its import reports itself to its maker, unless the package that does so cannot be found.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        openvino = need("openvino", "openvino")
        self.path = path
        vet(path)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        try:
            read = openvino.Core().read_model(str(path))
            # Compiling may give an input further names, those of casts that follow it.
            names = [[port.get_any_name() for port in ports] for ports in (read.inputs, read.outputs)]
            self._model = openvino.Core().compile_model(read, "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError with many lines
            reason = " ".join(str(error).split())[-200:]
            raise InputError(f"{path}: not a network that OpenVINO {openvino.__version__} can run: {reason}") from None
        self.inputs: dict[str, tuple[list[Any], Any]] = {
            name: (
                [d.get_length() if d.is_static else None for d in port.partial_shape],
                port.element_type.to_dtype(),
            )
            for name, port in zip(names[0], self._model.inputs)
        }
        self.outputs: list[str] = names[1]

    def __call__(self, feeds: Arrays) -> Arrays:
        """Run the network; arrays it does not ask for are left out, types are brought to those it asks for.

        Raises:
            InputError: an input is missing or has a shape that the network does not take.
        """
        ready = fed(self.path, self.inputs, feeds)
        try:
            # A request of its own for each call: several threads may ask at once.
            given = {port: ready[name] for name, port in zip(self.inputs, self._model.inputs)}
            found = self._model.create_infer_request().infer(given)
            return {name: np.array(found[port]) for name, port in zip(self.outputs, self._model.outputs)}
        except Exception as error:  # OpenVINO raises many kinds for what it cannot run
            shapes = ", ".join(f"{name} {array.shape}" for name, array in ready.items())
            reason = " ".join(str(error).split())[-200:]
            raise InputError(f"{self.path.name} cannot be run on {shapes}: {reason}") from None
