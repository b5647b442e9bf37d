"""The places of a picture among the words of a prompt."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sensorium.errors import InputError
from sensorium.media import viewer
from sensorium.media.writer import Writer

TOKENS = (
    *("<s>", "</s>", "<image>", "<boi>", "<eoi>", "<img>", "</img>", "<fake_token_around_image>", "<global-img>"),
    *("<row_1_col_1>", "<row_1_col_2>", "what", "is", "it", "\n"),
    *("<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_1", "TILE_GLOBAL", "[IMG_BREAK]", "[IMG_END]"),
)


def writer(model_type: str, template: str | None = None, **config: Any) -> Writer:
    own = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token="</s>"))
    own.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    own.add_special_tokens([token for token in TOKENS if token[0] in "<["] + ["\n"])
    own.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    told = {"bos_token": "<s>", "start_image_token": "<img>", "end_image_token": {"content": "</img>"}}
    files = {"config.json": {"model_type": model_type, "image_token_id": 2, **config}, "tokenizer.json": own.to_str()}
    files["tokenizer_config.json"] = told if template is None else {**told, "chat_template": template}
    return Writer.load(files, "image-to-text")


def words(writer: Writer, prompt: str | None, count: int, **arrays: Any) -> str:
    ids = viewer.tokens_of(writer, prompt, count, arrays)
    return " ".join(json.dumps(TOKENS[i])[1:-1] for i in ids)


def test_a_prompt_has_as_many_places_as_the_picture_has_vectors() -> None:
    llava = writer("llava")
    assert words(llava, "what is it", 3) == "<s> <image> <image> <image> what is it"
    assert words(llava, "what is <image> it", 2) == "<s> what is <image> <image> it"
    assert words(llava, None, 1) == "<s> <image>"
    with pytest.raises(InputError, match="2 places for its one picture"):
        words(llava, "<image> what <image>", 1)


def test_a_chat_template_says_where_the_picture_is() -> None:
    template = "{{ bos_token }}{% for part in messages[0].content %}{{ part.text or '<image>' }} {% endfor %}it"
    assert words(writer("llava", template), "what is", 2) == "<s> <image> <image> what is it"


def test_families_write_the_place_in_their_own_way() -> None:
    gemma = writer("gemma3", boi_token_index=3, eoi_token_index=4)
    assert words(gemma, "what", 2) == r"<s> \n \n <boi> <image> <image> <eoi> \n \n what"
    assert words(writer("internvl"), "what", 2) == "<s> <img> <image> <image> </img> what"
    assert words(writer("paligemma"), "what is", 2) == r"<image> <image> <s> what is \n"
    assert words(writer("blip-2"), "what", 2) == "<image> <image> <s> what"
    fake, whole = "<fake_token_around_image>", "<global-img>"
    assert words(writer("smolvlm"), "it", 1, tiles=np.array([0, 0])) == f"<s> {fake} {whole} <image> {fake} it"
    tiles = rf"<s> {fake} <row_1_col_1> <image> {fake} <row_1_col_2> <image> \n \n {fake} {whole} <image> {fake} it"
    assert words(writer("idefics3"), "it", 3, tiles=np.array([1, 2])) == tiles
    aya, patch = writer("aya_vision", image_token_id=TOKENS.index("<|IMG_PATCH|>")), "<|IMG_PATCH|>"
    tiles = f"<s> <|START_OF_IMG|> TILE_1 {patch} TILE_GLOBAL {patch} <|END_OF_IMG|> it"
    assert words(aya, "it", 2, pixel_values=np.zeros((2, 3, 4, 4))) == tiles
    rows = "<s> <image> <image> [IMG_BREAK] <image> <image> [IMG_END] it"
    eye = {"model_type": "pixtral", "patch_size": 4}
    for model_type, side in (("mistral3", 8), ("llava", 4)):  # the one makes one vector of four
        pixels = np.zeros((3, 2 * side, 2 * side))
        assert words(writer(model_type, vision_config=eye), "it", 4, pixel_values=pixels) == rows


def test_places_by_frame_row_and_column() -> None:
    found = viewer.three_axes(np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0], bool), 2, 3)
    assert found.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


def test_tiles_are_packed_without_their_black_edges() -> None:
    """Two tiles of 2 x 2 places, side by side, of a picture that fills their middle row by row."""
    seen = np.arange(3 * 4, dtype=np.float32).reshape(3, 4, 1)
    arrays = {"tiles": np.array([1, 2]), "image_sizes": np.array([50, 100])}
    found = viewer.packed(seen, arrays, newline=np.array([-1], np.float32))[:, 0]
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, -1, 6, 7, 10, 11, -1]
    narrow = viewer.packed(seen, arrays | {"image_sizes": np.array([100, 100])})[:, 0]
    assert narrow.tolist() == [0, 1, 2, 3, 5, 8, 7, 10]
    small = viewer.packed(seen, arrays | {"image_sizes": np.array([50, 100])}, "anyres_max_1")[:, 0]
    assert small.shape == (4 + 2,)


class Net:
    """A network of given inputs."""

    def __init__(self, answer: Any, **inputs: int) -> None:
        self.answer = answer
        kinds = {"pixel_attention_mask": bool, "input_ids": np.int64}
        self.inputs = {name: (["free"] * rank, kinds.get(name, np.float32)) for name, rank in inputs.items()}
        self.outputs = ["logits"]
        self.asked: list[dict[str, np.ndarray]] = []

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append(feeds)
        return dict(self.answer(feeds))


def test_the_vectors_of_a_picture_take_the_places_of_its_tokens() -> None:
    """Also of a folder whose network takes pictures of several prompts, with masks."""
    encoder = Net(lambda feeds: {"image_features": np.full((1, 2, 1), 50)}, pixel_values=5, pixel_attention_mask=4)
    embed = Net(lambda feeds: {"inputs_embeds": feeds["input_ids"][..., None].astype(np.float32)}, input_ids=2)
    ends = np.eye(len(TOKENS), dtype=np.float32)[[11, 1]]  # `what`, and the end

    def decide(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        said = feeds["inputs_embeds"].shape[1] > 4
        return {"logits": np.repeat(ends[None, int(said) :][:, :1], feeds["inputs_embeds"].shape[1], axis=1)}

    decoder = Net(decide, inputs_embeds=3, attention_mask=2)
    nets = {"vision_encoder": encoder, "embed_tokens": embed, "decoder_model_merged": decoder}
    assert viewer.sees(nets)
    pixels = np.zeros((3, 4, 5), np.float32)
    asked = writer("llava", eos_token_id=1)
    found = viewer.write(nets, asked, {"pixel_values": pixels}, "is", {"max_new_tokens": 5})
    assert found == [11, 1]
    assert encoder.asked[0]["pixel_values"].shape == (1, 1, 3, 4, 5)
    assert encoder.asked[0]["pixel_attention_mask"].shape == (1, 1, 4, 5)
    assert decoder.asked[0]["inputs_embeds"][0, :, 0].tolist() == [0, 50, 50, 12]
    assert decoder.asked[1]["inputs_embeds"][0, :, 0].tolist() == [0, 50, 50, 12, 11]  # there is no cache


def test_a_writer_with_a_template_is_loaded_from_its_files() -> None:
    made = writer("llava", "{{ messages }}")
    assert made.templates == {"default": "{{ messages }}"}
    assert Writer.load(made.files(), "image-to-text") == made
