"""CoNLL, SQuAD, BEIR, pairs of sentences, series of numbers."""

from __future__ import annotations

import json

import pytest

from sensorium.data import open_data
from sensorium.errors import InputError
from tests import tiny


def test_conll(tmp_path):
    (tmp_path / "dev.conll").write_text(
        "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nBonn NNP I-NP B-LOC\n"
    )
    (tmp_path / "train.txt").write_text("New York\tB-LOC\nis\tO\n\t\nbroken\n" + "there\tO\n" * 30)
    found = open_data(tmp_path, task="token-classification")
    assert found.format == "conll"
    assert found.splits() == {"train": 2, "val": 2}
    assert found.examples[0].fields == {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}
    assert found.examples[2].fields["tokens"] == ["New York", "is"]
    assert [f.where for f in found.findings] == ["train.txt:4"]
    assert found.classes == ("B-LOC", "B-ORG", "O")


def test_squad(tmp_path):
    tiny.asked(tmp_path / "data")
    found = open_data(tmp_path / "data", task="question-answering")
    assert found.format == "squad"
    assert found.examples[0].fields["answers"]["text"] == ["twenty one"]
    assert found.examples[-1].fields["answers"]["text"] == []
    wrong = {"context": "abc", "qas": [{"id": "1", "question": "q", "answers": [{"text": "c", "answer_start": 0}]}, {}]}
    (tmp_path / "bad.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": [wrong]}]}))
    found = open_data(tmp_path / "bad.json")
    assert sorted(f.kind for f in found.findings) == ["answer", "row"]
    assert found.examples[0].group == "t"


def test_beir(tmp_path):
    tiny.handbook(tmp_path / "data")
    with open(tmp_path / "data" / "qrels" / "test.tsv", "a") as file:
        file.write("q-none\tx\t1\nbroken\n")
    found = open_data(tmp_path / "data", task="feature-extraction")
    assert found.format == "beir"
    assert found.splits() == {"test": 12}
    assert list(found.examples[0].fields["relevant"]["documents"].values()) == [1.0]
    assert sorted(f.kind for f in found.findings) == ["missing", "row"]


def test_pairs(tmp_path):
    tiny.likened(tmp_path / "pairs.tsv")
    assert len(open_data(tmp_path / "pairs.tsv", task="sentence-similarity").examples) == 24
    (tmp_path / "test.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "label": 2}\n{"sentence1": "a"}\n')
    found = open_data(tmp_path / "test.jsonl", task="sentence-similarity")
    assert found.examples[0].fields == {"source_sentence": "a", "sentences": ["b"], "score": 2.0}
    assert len(found.findings) == 1


def test_series(tmp_path):
    (tmp_path / "wide.csv").write_text("Date,a,b,name\n2026-01,1,4,x\n2026-02,,5,y\n2026-03,3,6,z\n")
    found = open_data(tmp_path / "wide.csv", task="time-series-forecasting")
    assert [e.fields["series"] for e in found.examples] == [[1, None, 3], [4, 5, 6]]
    (tmp_path / "long.csv").write_text("item_id,timestamp,target\nu,2026-02,2\nu,2026-01,1\nv,2026-01,9\nv,2026-02,8\n")
    found = open_data(tmp_path / "long.csv")
    assert (found.format, [e.fields["series"] for e in found.examples]) == ("series", [[1, 2], [9, 8]])
    (tmp_path / "words.csv").write_text("a,b\nx,y\nz,w\n")
    with pytest.raises(InputError):
        open_data(tmp_path / "words.csv", task="time-series-forecasting")


def test_only_a_line_feed_ends_a_row(tmp_path):
    """JSON may hold the other line separators of Unicode as they are."""
    row = {"sentence1": "one\u2028two", "sentence2": "one\x85two", "score": 1}
    path = tmp_path / "test.jsonl"
    path.write_bytes(f"{json.dumps(row, ensure_ascii=False)}\r\n\r\n".encode())
    found = open_data(path, task="sentence-similarity")
    assert found.examples[0].fields["sentences"] == [row["sentence2"]]
    assert not found.findings
    path.write_text('{"sentence1": "a", "sentence2": "b", "score": 2}\n{"sentence1": \n')
    with pytest.raises(InputError, match=r"test\.jsonl:2: not valid JSON"):
        open_data(path, task="sentence-similarity")


def test_documents_that_cannot_be_read(tmp_path):
    from sensorium.tasks.feature_extraction import Task

    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"_id": "1", "text": "\xff"}\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl: cannot be read; .* UTF-8"):
        Task(None).documents(str(path), {})
