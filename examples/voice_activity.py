"""When somebody speaks: Silero VAD (the ONNX file inside the PyPI package `silero-vad`) on a sound of any kind.

python examples/voice_activity.py silero_vad.onnx talk.mp3
0.10 1.58
2.02 3.94

The network hears 32 ms at a time and remembers what came before. Speech begins where it is sure enough, ends where it
has been unsure for a while; what is too short is left out. The times are those of the package's own
`get_speech_timestamps` with its defaults.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sensorium.media import audio
from sensorium.nets.ort import OrtNet

RATE, WINDOW, CONTEXT = 16000, 512, 64
SURE, UNSURE = 0.5, 0.35
SHORTEST, PAUSE, MARGIN = 0.25, 0.1, 0.03  # seconds: of speech, between two parts of it, around it


def chances(net: OrtNet, samples: np.ndarray) -> list[float]:
    """How likely each window is to be speech."""
    filled = np.pad(samples, (CONTEXT, -len(samples) % WINDOW))
    state = np.zeros((2, 1, 128), np.float32)
    found = []
    for start in range(0, len(filled) - CONTEXT, WINDOW):
        heard = filled[None, start : start + CONTEXT + WINDOW]
        outputs = net({"input": heard, "state": state, "sr": np.array(RATE, np.int64)})
        state = outputs["stateN"]
        found.append(float(outputs["output"][0, 0]))
    return found


def parts(found: list[float], length: int) -> list[tuple[int, int]]:
    """Beginning and end of each part that is speech, in samples."""
    spoken: list[tuple[int, int]] = []
    start = pause = None
    for number, chance in enumerate(found):
        place = number * WINDOW
        if chance >= SURE:
            start, pause = place if start is None else start, None
        elif chance < UNSURE and start is not None:
            pause = place if pause is None else pause
            if place - pause >= PAUSE * RATE:
                spoken.append((start, pause))
                start = pause = None
    if start is not None:
        spoken.append((start, length))
    spoken = [(a, b) for a, b in spoken if b - a > SHORTEST * RATE]
    edges = [0, *(place for part in spoken for place in part), length]
    for i in range(0, len(edges), 2):  # the silences share themselves between their neighbours
        silence, margin = edges[i + 1] - edges[i], int(MARGIN * RATE)
        inside = 0 < i < len(edges) - 2
        room = min(margin, silence // 2) if inside else min(margin, silence)
        edges[i] += room if i else 0
        edges[i + 1] -= room if i < len(edges) - 2 else 0
    return list(zip(edges[1:-1:2], edges[2:-1:2]))


def main(network: Path, source: Path) -> None:
    sound = audio.load(source, RATE)
    for start, end in parts(chances(OrtNet(network, 1), sound.samples), len(sound.samples)):
        print(f"{start / RATE:.2f} {end / RATE:.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
