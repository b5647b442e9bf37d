"""Token sequences from a network that says what comes next: greedy, beam search and sampling.

Token for token what `generate` of Hugging Face transformers gives, in numpy, over any network with the inputs
and outputs that Optimum and transformers.js use for decoders, with or without a cache of keys and values.
"""

from sensorium.ops.generation.decoder import Decoder
from sensorium.ops.generation.rules import Rule
from sensorium.ops.generation.search import beam_search, generate, greedy, steps
from sensorium.ops.generation.settings import Settings

__all__ = ["Decoder", "Rule", "Settings", "beam_search", "generate", "greedy", "steps"]
