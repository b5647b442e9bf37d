from __future__ import annotations

import pytest

from sensorium.data import moses, open_data
from sensorium.errors import InputError


def test_moses(tmp_path, write):
    for split, n in (("train", 3), ("dev", 1), ("test", 2)):
        write(f"{split}.ja", "".join(f"文 {i}\n" for i in range(n)))
        write(f"{split}.en", "".join(f"line {i}\r\n" for i in range(n)))
    write("README.md", "hello")
    data = open_data(tmp_path)
    assert data.format == "moses"
    assert data.splits() == {"train": 3, "val": 1, "test": 2}
    assert data.subset("train")[2].fields == {"translation": {"en": "line 2", "ja": "文 2"}}
    assert data.subset("train")[2].id == "train.en:3"


def test_the_name_may_say_which_is_the_source(tmp_path, write):
    write("corpus.fr-en.en", "yes")
    write("corpus.fr-en.fr", "oui")
    assert list(open_data(tmp_path).examples[0].fields["translation"].items()) == [
        ("fr", "oui"),
        ("en", "yes"),
    ]


def test_unequal_lengths(tmp_path, write):
    write("train.en", "a\nb\n")
    write("train.de", "a\n")
    with pytest.raises(InputError, match=r"train.de has 1 lines and train.en 2"):
        open_data(tmp_path)


def test_large_files_are_read_from_disk(tmp_path, write, monkeypatch):
    for name, n in (("a", 5), ("train", 1500), ("z.test", 2)):
        write(f"{name}.de", "".join(f"ä {name} {i}\n" for i in range(n)))
        write(f"{name}.en", "".join(f"line {i}\n" for i in range(n)))
    eager = open_data(tmp_path)
    monkeypatch.setattr(moses, "EAGER_BYTES", 10)
    lazy = open_data(tmp_path)
    assert not isinstance(lazy.examples, list)
    assert list(lazy.examples) == eager.examples
    assert lazy.examples[1504] == eager.examples[1504]
    assert lazy.splits() == eager.splits()
    assert lazy.subset("test")[1] == eager.subset("test")[1]
