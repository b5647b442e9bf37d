from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data import open_data, table
from sensorium.data.table import has_header, sniff
from sensorium.errors import InputError


def rows(data):
    return [tuple(e.fields.values()) for e in data.examples]


def test_tsv_without_header(tmp_path, write):
    write("sms.tsv", 'ham\tOk lar..., see "you"\nspam\t"WIN a prize\nham\t"quoted" at first\nham\tyes\n')
    data = open_data(tmp_path)
    assert data.format == "table"
    assert rows(data) == [
        ('Ok lar..., see "you"', "ham"),
        ('"WIN a prize', "spam"),
        ('"quoted" at first', "ham"),
        ("yes", "ham"),
    ]
    assert [e.id for e in data.examples] == [f"sms.tsv:{i}" for i in range(1, 5)]


def test_csv_with_header_and_cells_of_several_lines(tmp_path, write):
    write("train.csv", 'id,text,label\n1,"one, two\nthree",a\n2,"say ""hi""",b\n3,plain,a\n')
    write("test.csv", "id,text,label\n1,x,b\n")
    data = open_data(tmp_path)
    assert rows(data) == [("x", "b"), ("one, two\nthree", "a"), ('say "hi"', "b"), ("plain", "a")]
    assert [e.id for e in data.examples] == ["test.csv:2", "train.csv:2", "train.csv:4", "train.csv:5"]
    assert data.splits() == {"train": 3, "test": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_encodings(tmp_path, write, encoding):
    write("t.csv", "text,label\nsmörgås,a\nbrød,b\nplain words,a\nmore plain words here,b\n", encoding)
    data = open_data(tmp_path)
    assert rows(data)[:2] == [("smörgås", "a"), ("brød", "b")]
    assert [f.kind for f in data.findings] == (["encoding"] if encoding == "latin-1" else [])
    if encoding == "latin-1":
        assert data.findings[0].where == "t.csv:2"


def test_json_lines(tmp_path, write):
    lines = [{"text": "a b", "label": 3}, {"text": "c", "label": 0}]
    write("d.jsonl", "\n".join(map(json.dumps, lines)) + "\n\nnot json\n")
    data = open_data(tmp_path)
    assert rows(data) == [("a b", "3"), ("c", "0")]
    assert [(f.where, f.severity) for f in data.findings] == [("d.jsonl:4", "warning")]


def test_translations(tmp_path, write):
    write("a/t.csv", "en,ja\nhello,こんにちは\nbye,さようなら\n")
    pair = {"en": "hello", "ja": "こんにちは"}
    assert open_data(tmp_path / "a").examples[0].fields == {"translation": pair}
    write("b/t.tsv", "source\ttarget\nhello\tsalut\nbye\tadieu\n")
    assert rows(open_data(tmp_path / "b"))[1] == ({"source": "bye", "target": "adieu"},)
    pairs = [{"de": "ja", "en": "yes"}, {"de": "nein", "en": ""}]
    write("c/t.jsonl", "\n".join(json.dumps({"translation": pair}) for pair in pairs))
    data = open_data(tmp_path / "c")
    assert rows(data) == [({"de": "ja", "en": "yes"},)]
    assert data.findings[0].where == "t.jsonl:2"
    write("d/t.tsv", "hello there\tbonjour toi\nhow are you\tcomment vas tu\ngood\tbon\n")
    assert open_data(tmp_path / "d").fields == ("translation",)


def test_pictures_and_sounds_named_in_a_table(tmp_path, picture, sound, write):
    picture("a/images/1.png")
    picture("a/images/2.png")
    table = ["file_name,label,patient", "images/1.png,cat,p1", "images/2.png,dog,p2", "images/3.png,dog,p2"]
    write("a/labels.csv", "\n".join(table))
    data = open_data(tmp_path / "a")
    assert data.fields == ("image", "label")
    assert [(e.fields["image"], e.group) for e in data.examples] == [
        (str(tmp_path / "a/images/1.png"), "p1"),
        (str(tmp_path / "a/images/2.png"), "p2"),
    ]
    found = [(f.kind, f.severity, f.where) for f in data.findings]
    assert found == [("missing-file", "error", "labels.csv:4")]
    sound("b/x.wav")
    sound("b/y.wav")
    lines = [{"audio_filepath": "x.wav", "text": "ex"}, {"audio_filepath": "y.wav", "text": "why"}]
    write("b/m.jsonl", "\n".join(map(json.dumps, lines)))
    assert rows(open_data(tmp_path / "b"))[1] == (str(tmp_path / "b/y.wav"), "why")


def test_splits_may_name_rows_or_pictures(tmp_path, picture, write):
    picture("1.png")
    picture("2.png")
    write("t.csv", "image,label\n1.png,a\n2.png,b\n")
    assert open_data(tmp_path, splits={"train": ["t.csv:2"], "dev": ["2.png"]}).splits() == {
        "train": 1,
        "val": 1,
    }


def test_large_tables_are_read_from_disk(tmp_path, write, monkeypatch):
    body = "".join(f'{"ab"[i % 2]},"text {i}\nsecond"\n' for i in range(2500))
    write("train.csv", "label,text\n" + body)
    write("test.csv", "label,text\na,x\nb\na,y\n")
    eager = open_data(tmp_path)
    monkeypatch.setattr(table, "EAGER_BYTES", 10)
    lazy = open_data(tmp_path)
    assert not isinstance(lazy.examples, list)
    assert list(lazy.examples) == eager.examples
    assert [lazy.examples[i] for i in (0, 1, 2, 1700, -1)] == [eager.examples[i] for i in (0, 1, 2, 1700, -1)]
    assert lazy.splits() == eager.splits() == {"train": 2500, "test": 2}
    assert list(lazy.subset("test")) == eager.subset("test")
    again = open_data(tmp_path, splits={"val": ["train.csv:2"], "train": ["test.csv:2"]})
    assert again.splits() == {"train": 1, "val": 1}
    assert [e.id for e in again.subset("val")] == ["train.csv:2"]


letters = st.characters(codec="utf-8", exclude_characters="\x1f", exclude_categories=("Cc", "Cs", "Zl", "Zp"))
cell = st.text(letters, max_size=12)
label = st.sampled_from(["ham", "spam"])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(",;\t|"),
    st.lists(st.tuples(cell, st.sampled_from(["yes", "no"]), cell), min_size=5, max_size=20),
)
def test_what_csv_writes_is_read_back(separator, body):
    """Whatever a proper writer writes, with all cells quoted, is sniffed and read back."""
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [(f"{a}{separator}", b, c) for a, b, c in body]
    )
    found, quoted = sniff(out.getvalue(), ".csv")
    assert (found, quoted) == (separator, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(label, cell), min_size=4, max_size=30))
def test_tabs_and_stray_quotation_marks(body):
    text = "".join(f'{label}\t"{words}\n' for label, words in body if not words.endswith('"'))
    if text.count("\n") > 2:
        assert sniff(text, ".tsv") == ("\t", False)


def test_header():
    assert has_header([["text", "label"], ["a b", "x"]])
    assert has_header([["name", "score"], ["x", "1"], ["y", "2.5"]])
    assert not has_header([["ham", "see you"], ["spam", "win"], ["ham", "ok"]])
    assert not has_header([["1", "2"], ["3", "4"]])
    assert not has_header([])


def test_columns_that_mean_nothing(tmp_path, write):
    write("t.csv", "1.5,2.5\n3.25,4.5\n6.5,7.5\n")
    with pytest.raises(InputError, match="columns"):
        open_data(tmp_path)


def test_a_header_and_nothing_below_it(tmp_path, write):
    write("data.csv", "text,label\n")
    with pytest.raises(InputError, match=r"data\.csv: has a header \(text, label\) and no rows"):
        open_data(tmp_path / "data.csv")
