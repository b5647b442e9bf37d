from __future__ import annotations

import pytest
import torch

from sensorium.training.networks.speech_recognizer import SpeechRecognizer


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_filling_changes_nothing(factor):
    torch.manual_seed(0)
    network = SpeechRecognizer(8, 5, factor, 16, 2, 5, 1, 0.0).eval()
    x, mask = torch.randn(3, 41, 8), torch.ones(3, 41, dtype=torch.long)
    lengths = [41, 17, 6]
    for row, length in enumerate(lengths):
        mask[row, length:] = 0
    together = network(x, mask)  # what stands in the filling does not matter
    for row, length in enumerate(lengths):
        frames = int(network.frames(torch.tensor(length)))
        alone = network(x[row : row + 1, :length], mask[row : row + 1, :length])
        assert alone.shape[1] == frames
        torch.testing.assert_close(together[row, :frames], alone[0], atol=1e-5, rtol=0)
