from __future__ import annotations

from sensorium.data import open_data


def test_label_and_speaker_in_the_name(tmp_path, sound):
    for digit in "01":
        for speaker in ("ann", "bob"):
            for n in range(2):
                sound(f"{digit}_{speaker}_{n}.wav")
    data = open_data(tmp_path)
    assert data.format == "audio-folder"
    assert data.fields == ("audio", "label", "text")
    first = data.examples[0]
    assert (first.fields["label"], first.fields["text"], first.group) == ("0", "0", "ann")


def test_transcripts_beside(tmp_path, sound, write):
    sound("a.wav")
    sound("b.wav")
    write("a.txt", "hello there\n")
    data = open_data(tmp_path)
    assert [e.fields["text"] for e in data.examples] == ["hello there"]
    assert [(f.kind, f.where) for f in data.findings] == [("sound-without-text", "b.wav")]


def test_librispeech(tmp_path, sound, write):
    sound("dev-clean/84/121/84-121-0000.flac".replace("flac", "wav"))
    write("dev-clean/84/121/84-121.trans.txt", "84-121-0000 GO DO YOU HEAR\n")
    data = open_data(tmp_path)
    example = data.examples[0]
    assert (example.fields["text"], example.group, example.split) == ("GO DO YOU HEAR", "84", "val")


def test_plain_sounds(tmp_path, sound):
    sound("x.wav")
    assert open_data(tmp_path).fields == ("audio",)
