"""The pictures of a run."""

from __future__ import annotations

from types import SimpleNamespace

from PIL import Image
from tokenizers import Tokenizer, models

from sensorium.inference import Evaluation
from sensorium.media import lettering
from sensorium.tasks import Tally
from sensorium.tasks.object_detection import Box, Detection
from sensorium.tasks.object_detection import Task as Detector
from sensorium.tasks.text_classification import Label
from sensorium.tasks.text_classification import Task as Reader
from sensorium.tasks.translation import Task as Translator
from sensorium.tasks.translation import Translation
from sensorium.training import pictures

TOKENIZER = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str()


def sheet(task, source, answer, truth):
    tallies = [Tally(1.0, None)] * 5
    found = Evaluation("t", "val", {}, {}, list("abcde"), [source] * 5, [answer] * 5, [truth] * 5, tallies)
    return pictures.answers(SimpleNamespace(task=task), found, range(5))


def test_the_truth_is_marked_in_the_answer_or_drawn_beside_it():
    labels = ["yes", "no"]
    reader = Reader.load({"config.json": {"id2label": {"0": "yes", "1": "no"}}, "tokenizer.json": TOKENIZER})
    one = sheet(reader, "a text", [Label("yes", 0.6), Label("no", 0.4)], "no")
    colours = {pixel for _, pixel in one.getcolors(1 << 24)}
    assert {lettering.GOOD, lettering.BAD} <= colours
    found = [Detection("yes", 0.9, Box(2, 2, 30, 30))]
    beside = sheet(Detector(labels, {}), Image.new("RGB", (640, 480)), found, [{"label": "no", "box": [2, 2, 20, 20]}])
    assert beside.width > one.width


def test_a_translation_is_drawn_with_its_reference():
    config = {"source_language": "en", "target_language": "ja", "pad_token_id": 0, "decoder_start_token_id": 1}
    task = Translator.load({"config.json": config, "tokenizer.json": TOKENIZER})
    pair = {"en": "a cat", "ja": "猫"}
    assert task.draw(pair, Translation("犬"), pair).height > task.draw(pair, Translation("犬")).height
