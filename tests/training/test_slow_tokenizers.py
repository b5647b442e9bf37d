from __future__ import annotations

import pytest
import transformers

from sensorium.training.pretrained.slow_tokenizers import converted

RESIDUES = "<cls> <pad> <eos> <unk> L A G V S E R T K M - . <mask>"


@pytest.mark.filterwarnings("ignore")
def test_tokenizers_of_python_become_files(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(RESIDUES.replace(" ", "\n"))
    esm = transformers.EsmTokenizer(str(vocabulary))
    for theirs in (esm, transformers.ByT5Tokenizer(), transformers.PerceiverTokenizer()):
        ours = converted(theirs)
        assert ours is not None
        for text in ("MKTVLA", "A<mask>GB é\n東京 🙂", " "):
            assert ours.encode(text).ids == theirs(text)["input_ids"]
    assert converted(object()) is None
