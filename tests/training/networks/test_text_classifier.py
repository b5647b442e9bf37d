from __future__ import annotations

import itertools
import re
from collections import Counter

import torch
from sklearn.feature_extraction.text import CountVectorizer

from sensorium.training.networks.text_classifier import NGrams, TextClassifier, character_kinds, view_codes

CHARACTERS = ["[PAD]", *"abcdefghiJKLéß0123 .,!'_\t\n日本"]
TEXTS = ["ab abc,  a", "Jé 0 \t éß!", "ab", " a ", "日本 日本abc", "a_b c.d a_b", "", "!!", "abcdefghi" * 5]


def encode(texts):
    longest = max(map(len, texts)) or 1
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([CHARACTERS.index(c) for c in text], dtype=torch.long)
        mask[row, : len(text)] = 1
    return ids, mask


def ngrams(longest, words, view="fold"):
    codes = view_codes(CHARACTERS, view)
    return NGrams(codes, character_kinds(CHARACTERS), longest, words, 1 << 40, 0)


def sizes(numbers, valid):
    """How often each different n-gram occurs, without their names."""
    return sorted(Counter(numbers[valid > 0].tolist()).values())


def test_character_ngrams_are_those_of_scikit_learn():
    numbers, valid = ngrams(5, 0)(*encode(TEXTS))
    for n in range(1, 6):
        seen = {}
        for row, text in enumerate(TEXTS):
            analyze = CountVectorizer(analyzer="char_wb", ngram_range=(n, n)).build_analyzer()
            # scikit-learn counts the space around a word as a 1-gram, and a word shorter than n as one n-gram.
            expected = Counter(g for g in analyze(text) if g.strip() and len(g) == n)
            assert sizes(numbers[row, :, n - 1], valid[row, :, n - 1]) == sorted(expected.values()), (n, text)
            for g, c in expected.items():
                seen.setdefault(g, set()).add((row, c))
        assert len(set(numbers[..., n - 1][valid[..., n - 1] > 0].tolist())) == len(seen)


def test_words_and_pairs():
    texts = [t for t in TEXTS if len(t) < 30]
    numbers, valid = ngrams(1, 2)(*encode(texts))
    words = [re.findall(r"\w+", t.lower()) for t in texts]
    pairs = [list(itertools.pairwise(w)) for w in words]
    for kind, expected in ((1, words), (2, pairs)):
        names = {}
        for row, found in enumerate(expected):
            got = numbers[row, :, kind][valid[row, :, kind] > 0].tolist()
            assert len(got) == len(found)
            for number, name in zip(got, found):
                assert names.setdefault(name, number) == number
        assert len(set(names.values())) == len(names)


def test_views():
    assert view_codes(["a", "A"], "fold")[0] == view_codes(["a", "A"], "fold")[1]
    assert len(set(view_codes(["a", "A"], "raw"))) == 2
    shape = view_codes(["a", "b", "A", "0", "7", "!"], "shape")
    assert shape[0] == shape[1]
    assert shape[3] == shape[4]
    assert len(set(shape)) == 4


def test_padding_changes_nothing():
    torch.manual_seed(0)
    network = TextClassifier(CHARACTERS, 3, ["fold", "shape"], 5, 2, 1 << 12)
    torch.nn.init.normal_(network.table.weight)
    together = network(*encode(TEXTS))
    for row, text in enumerate(TEXTS):
        assert torch.allclose(network(*encode([text]))[0], together[row], atol=1e-6)
