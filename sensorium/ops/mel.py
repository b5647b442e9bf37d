"""Mel spectra: frames, windows, Fourier transforms and banks of triangular filters, as described by data.

The variants are those of librosa (Slaney's scale), of HTK and torchaudio, and of Kaldi; the numbers are those of
`transformers.audio_utils`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Scale = Literal["slaney", "htk", "kaldi"]

BLOCK = 256  # frames that are transformed together: what is made of more leaves a processor's cache
ALONE = 1 << 18  # multiply-adds of the largest product that OpenBLAS computes in the thread that asks for it


@dataclass(frozen=True)
class Mel:
    """How samples become the energies of mel bands.

    Attributes:
        rate: samples per second.
        bands: number of bands.
        width: samples of a window.
        hop: samples from one frame to the next.
        size: samples of a Fourier transform; each frame is filled up to it with zeros.
        window: `hann`, `hamming` or `povey`; with `periodic` the window of a periodic signal.
        low, high: the range of the bands, in Hz.
        scale: of the bands; with `area` the triangles are of equal area instead of equal height, and with `warped`
            they are triangles on the mel scale instead of in Hz.
        centre: how the sound is continued at both ends, so that frames are centred (`reflect`, `constant`), or None.
        framed: whether a frame has as many samples as the transform, with the window in its middle.
        speech: as Kaldi does, each frame loses its mean, and its high frequencies are emphasised by this much.
        single: whether the filters are rounded to single precision.
        rounded: whether the spectrum is, as in `transformers.audio_utils`.
        power: of the spectrum, before it is gathered in bands: 2 for energies, 1 for magnitudes.
    """

    rate: int
    bands: int
    width: int
    hop: int
    size: int
    window: str = "hann"
    periodic: bool = True
    low: float = 0.0
    high: float | None = None
    scale: Scale = "slaney"
    area: bool = True
    warped: bool = False
    centre: Literal["reflect", "constant"] | None = "reflect"
    framed: bool = False
    speech: float | None = None
    single: bool = False
    rounded: bool = True
    power: int = 2

    def frames(self, samples: int) -> int:
        """How many frames so many samples give."""
        around = 2 * (self.frame // 2) if self.centre else 0
        return max(0, 1 + (samples + around - self.frame) // self.hop)

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return self.size if self.framed else self.width


def kaldi(rate: int, bands: int, window: str = "povey") -> Mel:
    """Frames of 400 samples every 160, as Kaldi's filter banks have them at 16 kHz."""
    return Mel(rate, bands, 400, 160, 512, window, False, 20, rate // 2, "kaldi", False, True, None, speech=0.97)


def energies(samples: np.ndarray, how: Mel) -> Doubles:
    """(bands, frames) energies of the mel bands."""
    if how.centre is not None:
        half = how.frame // 2
        samples = np.pad(samples, half, mode=how.centre)
    shape = window(how.window, how.width, how.periodic)
    if how.framed:
        start = (how.size - how.width) // 2
        shape = np.pad(shape, (start, how.size - how.width - start))
    bank = filters(how)
    if len(samples) < how.frame:
        return np.zeros((how.bands, 0))
    pieces = np.lib.stride_tricks.sliding_window_view(samples, how.frame)[:: how.hop]
    found = np.empty((how.bands, len(pieces)))
    for first in range(0, len(pieces), BLOCK):
        block = pieces[first : first + BLOCK].astype(np.float64)
        if how.speech is not None:
            block -= block.mean(axis=1, keepdims=True)
            block[:, 1:] -= how.speech * block[:, :-1]
            block[:, 0] *= 1 - how.speech
        spectrum = np.fft.rfft(block * shape, how.size)
        if how.rounded:
            spectrum = spectrum.astype(np.complex64).astype(np.complex128)
        squares = spectrum.real**2 + spectrum.imag**2
        found[:, first : first + BLOCK] = product(squares if how.power == 2 else np.sqrt(squares), bank).T
    return found


def product(rows: Doubles, matrix: Doubles) -> Doubles:
    """`rows @ matrix`, by the calling thread alone: the threads that OpenBLAS takes for a larger product go on spinning
    for tens of milliseconds, on the cores that the network needs next.
    """
    size = max(1, ALONE // matrix.size)
    lacking = -len(rows) % size
    parts = np.pad(rows, ((0, lacking), (0, 0))).reshape(-1, size, len(matrix))
    return np.asarray((parts @ matrix).reshape(-1, matrix.shape[1])[: len(rows)])


@lru_cache(16)
def window(name: str, width: int, periodic: bool = True) -> Doubles:
    """A window of so many samples, 0..1."""
    length = width + 1 if periodic else width
    if name == "hamming":
        shape = np.hamming(length)
    else:
        shape = np.hanning(length) ** (0.85 if name == "povey" else 1.0)
    return np.asarray(shape[:width], np.float64)


@lru_cache(16)
def filters(how: Mel) -> Doubles:
    """(bins, bands) triangular filters."""
    bins, high = how.size // 2 + 1, how.rate / 2 if how.high is None else how.high
    ends = to_mel(np.array([how.low, high], np.float64), how.scale)
    mels = np.linspace(ends[0], ends[1], how.bands + 2)
    edges = to_hertz(mels, how.scale)
    frequencies: Doubles = np.linspace(0, how.rate // 2, bins, dtype=np.float64)
    if how.warped:
        edges, frequencies = mels, to_mel(np.arange(bins, dtype=np.float64) * (how.rate / how.size), how.scale)
    slopes = edges[None, :] - frequencies[:, None]
    widths = np.diff(edges)
    bank: Doubles = np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    area = 2 / (edges[2:] - edges[:-2]) if how.area else np.ones(how.bands)
    if how.single:
        return (bank.astype(np.float32) * area.astype(np.float32)).astype(np.float64)
    return bank * area


def to_mel(hertz: Doubles, scale: Scale) -> Doubles:
    """Frequencies on a mel scale."""
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    if scale == "kaldi":
        return np.asarray(1127.0 * np.log(1.0 + hertz / 700.0))
    high = 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, high)


def to_hertz(mels: Doubles, scale: Scale) -> Doubles:
    """The inverse of `to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * (np.power(10, mels / 2595.0) - 1.0))
    if scale == "kaldi":
        return np.asarray(700.0 * (np.exp(mels / 1127.0) - 1.0))
    return np.where(mels < 15, 200 * mels / 3, 1000 * np.exp(np.log(6.4) / 27 * (np.maximum(mels, 15) - 15)))
