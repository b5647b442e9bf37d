"""Decoders that read a picture among the words of their prompt: chat models that see.

The text of a prompt has a token where the picture is; it is repeated as often as the picture has vectors, which take
the places of the vectors of these tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sensorium.errors import CallError, InputError, check_count
from sensorium.media import chat, processors
from sensorium.media.writer import Arrays, Writer
from sensorium.ops import interpolation
from sensorium.ops.generation import Decoder, Settings, generate

NEW_TOKENS = 256
"""Tokens that are written where nothing says how many."""

ARCHITECTURES = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
    "VipLlavaForConditionalGeneration",
    "PaliGemmaForConditionalGeneration",
    "Gemma3ForConditionalGeneration",
    "Idefics3ForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "InternVLForConditionalGeneration",
    "AyaVisionForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "Blip2ForConditionalGeneration",
)
"""The classes of transformers that are such models."""

IMAGE = ("image_token_id", "image_token_index", "media_token_id")


def sees(nets: Mapping[str, Any]) -> bool:
    """Whether these are the networks of such a model."""
    return "vision_encoder" in nets and "encoder_model" not in nets


def name_of(writer: Writer, *names: str) -> str:
    """The text of a special token, which config.json gives by its number or tokenizer_config.json by itself.

    Raises:
        InputError: neither does.
    """
    for name in names:
        number = writer.config.get(name)
        if isinstance(number, int) and (found := writer.tokenizer.id_to_token(number)) is not None:
            return str(found)
        told = writer.tokenizer_config.get(name)
        told = told.get("content") if isinstance(told, Mapping) else told
        if isinstance(told, str):
            return told
    raise CallError(f"neither config.json nor tokenizer_config.json says '{names[0]}'")


def _plain(writer: Writer, image: str, count: int, arrays: Arrays) -> str:
    return image * count


def _between(first: tuple[str, ...], last: tuple[str, ...], around: str = "") -> Callable[..., str]:
    """The picture between two tokens of its own."""

    def made(writer: Writer, image: str, count: int, arrays: Arrays) -> str:
        return f"{around}{name_of(writer, *first)}{image * count}{name_of(writer, *last)}{around}"

    return made


def _tiles(writer: Writer, image: str, count: int, arrays: Arrays) -> str:
    """Idefics 3: tile by tile, row by row, and then the whole."""
    rows, columns = (int(size) for size in arrays["tiles"])
    each = image * (count // (rows * columns + 1))
    edge = "<fake_token_around_image>"
    lines = (
        "".join(f"{edge}<row_{row + 1}_col_{column + 1}>{each}" for column in range(columns)) + "\n"
        for row in range(rows)
    )
    return "".join(lines) + ("\n" if rows else "") + f"{edge}<global-img>{each}{edge}"


def _numbered(writer: Writer, image: str, count: int, arrays: Arrays) -> str:
    """Aya Vision: tile by tile with their numbers, and then the whole."""
    tiles = len(arrays["pixel_values"])
    each = image * (count // tiles)
    lines = "".join(f"TILE_{tile}{each}" for tile in range(1, tiles))
    return f"<|START_OF_IMG|>{lines}TILE_GLOBAL{each}<|END_OF_IMG|>"


def _rows(writer: Writer, image: str, count: int, arrays: Arrays) -> str:
    """Pixtral: row by row, with a token between them and another at the end."""
    across = arrays["pixel_values"].shape[-1] // processors.lattice(writer.config)
    return "[IMG_BREAK]".join([image * across] * (count // across)) + "[IMG_END]"


# How the place of a picture is written, by `model_type`; elsewhere it is the token alone, as often as need be.
PLACES: dict[str, Callable[[Writer, str, int, Arrays], str]] = {
    **dict.fromkeys(
        ("gemma3", "shieldgemma2"),
        _between(("boi_token_id", "boi_token_index"), ("eoi_token_id", "eoi_token_index"), "\n\n"),
    ),
    **dict.fromkeys(("idefics3", "smolvlm"), _tiles),
    "internvl": _between(("start_image_token",), ("end_image_token",)),
    "aya_vision": _numbered,
}
# What stands for a picture before it is written out, where it is another token.
MARKS = dict.fromkeys(("gemma3", "shieldgemma2"), ("boi_token_id", "boi_token_index"))


def place_of(writer: Writer) -> Callable[[Writer, str, int, Arrays], str]:
    """What writes the place of a picture."""
    return _rows if processors.lattice(writer.config) else PLACES.get(writer.model_type, _plain)


def mark_of(writer: Writer) -> str:
    """What stands for a picture before it is written out."""
    if writer.model_type == "aya_vision":  # which its files do not say
        return "<image>"
    return name_of(writer, *MARKS.get(writer.model_type, IMAGE))


def question(writer: Writer, words: str | None) -> str:
    """The prompt's text, with one mark where the picture is: the words alone if they have it, else by the template."""
    mark = mark_of(writer)
    if words and mark in words:
        return words
    if not writer.templates:
        return mark + (words or "")
    content = [{"type": "image"}, *([{"type": "text", "text": words}] if words else [])]
    asked = [{"role": "user", "content": content}]
    return chat.render(writer.templates, asked, writer.special, add_generation_prompt=True)


def tokens_of(writer: Writer, words: str | None, count: int, arrays: Arrays) -> list[int]:
    """Tokens of a prompt about a picture.

    Args:
        count: vectors that the picture has.
        arrays: what it was prepared to.

    Raises:
        InputError: the prompt has not one place for the picture.
    """
    image = name_of(writer, *IMAGE)
    if writer.model_type == "blip-2":  # what begins a text stands after the picture
        return [writer.tokenizer.token_to_id(image)] * count + writer.encode(words or "")
    mark = mark_of(writer)
    text = question(writer, words)
    if text.count(mark) != 1:
        raise InputError(f"the prompt has {text.count(mark)} places for its one picture: write '{mark}' once")
    text = text.replace(mark, place_of(writer)(writer, image, count, arrays))
    bos = writer.special.get("bos_token")
    if writer.model_type == "paligemma":
        end = text.rfind(image) + len(image)
        return writer.encode(f"{text[:end]}{bos or ''}{text[end:]}\n", special=False)
    return writer.encode(text, special=not (bos and text.startswith(bos)))


def write(
    nets: Mapping[str, Any],
    writer: Writer,
    arrays: Arrays,
    words: str | None,
    given: Mapping[str, Any],
) -> list[int]:
    """Tokens of what is written about one picture.

    Args:
        nets: `vision_encoder` (to `image_features`), `embed_tokens` and `decoder_model_merged`.
        arrays: the picture as it was prepared: `pixel_values` (3, H, W), or (tiles, 3, H, W), or what else there is.
        words: of the prompt.
        given: options of generation; None for the model's own.
    """
    for name in ("max_new_tokens", "num_beams"):
        check_count(name, given.get(name))
    encoder = nets["vision_encoder"]
    feeds = {name: array for name, array in arrays.items() if name in encoder.inputs}
    while feeds["pixel_values"].ndim < len(encoder.inputs["pixel_values"][0]):  # of pictures, and of prompts
        feeds["pixel_values"] = feeds["pixel_values"][None]
    if "pixel_attention_mask" in encoder.inputs and "pixel_attention_mask" not in feeds:
        kind = encoder.inputs["pixel_attention_mask"][1]
        feeds["pixel_attention_mask"] = np.ones_like(feeds["pixel_values"][..., 0, :, :], dtype=kind)
    if encoder.inputs["pixel_values"][0][0] == 1:  # it takes one at a time
        each = [encoder({**feeds, "pixel_values": one[None]})["image_features"] for one in feeds["pixel_values"]]
        found = {"image_features": np.concatenate(each)}
    else:
        found = encoder(feeds)
    seen = found["image_features"]
    if "image_sizes" in arrays and writer.model_type in ("llava_next", "llava_onevision"):
        seen = packed(seen, arrays, str(writer.config.get("vision_aspect_ratio") or ""), found.get("image_newline"))
    seen = seen.reshape(-1, seen.shape[-1])
    ids = np.array([tokens_of(writer, words, len(seen), arrays)], np.int64)
    place = writer.tokenizer.token_to_id(name_of(writer, *IMAGE))
    if int((ids == place).sum()) != len(seen):
        raise InputError(f"the prompt has {int((ids == place).sum())} places for a picture of {len(seen)} vectors")
    config = {**writer.settings, **{name: value for name, value in given.items() if value is not None}}
    if not (config.get("max_new_tokens") or config.get("max_length")):
        config["max_new_tokens"] = NEW_TOKENS
    mask = np.ones_like(ids)
    net = Sighted(nets["decoder_model_merged"], nets["embed_tokens"], ids == place, seen, axes_of(writer, arrays))
    net.deep = found.get("deepstack_features")
    decoder = Decoder(net, {"attention_mask": mask}, 1)
    return generate(decoder, ids, Settings.of(config, ids.shape[1], mask=mask, encoder_ids=ids))[0]


def axes_of(writer: Writer, arrays: Arrays) -> tuple[int, int] | None:
    """Rows and columns of a picture's vectors, of a model that numbers places by frame, row and column (Qwen2-VL)."""
    if "image_grid_thw" not in arrays:
        return None
    merge = int((writer.config.get("vision_config") or {}).get("spatial_merge_size", 2))
    _, rows, columns = arrays["image_grid_thw"][0].tolist()
    return rows // merge, columns // merge


def three_axes(places: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The places of a prompt's tokens by frame, row and column, (3, time) int64; those of words are equal.

    Args:
        places: which of them are the picture's, (time,), one after the other.
    """
    first = int(places.argmax())
    numbers = np.tile(np.arange(len(places)), (3, 1))
    count = rows * columns
    across, down = np.arange(count) % columns, np.arange(count) // columns
    numbers[:, first : first + count] = first + np.stack([np.zeros(count, np.int64), down, across])
    rest = len(places) - first - count
    numbers[:, first + count :] = np.arange(rest) + first + max(rows, columns)
    return numbers


def packed(seen: np.ndarray, arrays: Arrays, most: str = "", newline: np.ndarray | None = None) -> np.ndarray:
    """LLaVA-NeXT: the vectors of the whole, then row by row those of the tiles without their black edges.

    Args:
        seen: of the whole and of each tile, (1 + tiles, places, width).
        most: `anyres_max_9`: larger pictures are made as small as so many tiles.
        newline: what ends each row, (width,).

    Returns:
        (places, width).
    """
    rows, columns = (int(size) for size in arrays["tiles"])
    height, width = (int(size) for size in arrays["image_sizes"])
    side = math.isqrt(seen.shape[1])
    grid = seen[1:].reshape(rows, columns, side, side, -1).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(rows * side, columns * side, -1)
    down, across = grid.shape[:2]
    if width / height > across / down:
        edge = (down - int(round(height * (across / width), 7))) // 2
        grid = grid[edge : down - edge]
    else:
        edge = (across - int(round(width * (down / height), 7))) // 2
        grid = grid[:, edge : across - edge]
    if most.startswith("anyres_max_"):
        down, across = grid.shape[:2]
        ratio = math.sqrt(down * across / (int(most.removeprefix("anyres_max_")) * side**2))
        if ratio > 1.1:
            small = interpolation.resize(grid.transpose(2, 0, 1), (int(down // ratio), int(across // ratio)))
            grid = small.transpose(1, 2, 0)
    if newline is not None:
        grid = np.concatenate([grid, np.broadcast_to(newline, (len(grid), 1, len(newline)))], axis=1)
    return np.concatenate([seen[0], grid.reshape(-1, grid.shape[-1])])


class Sighted:
    """A decoder that takes vectors, as one of tokens some of which stand for parts of a picture.

    Args:
        places: which tokens of the prompt do, (1, time).
        seen: their vectors, (parts, width).
        grid: rows and columns of them, for a decoder that knows where in the picture each is.
    """

    def __init__(
        self, net: Any, embed: Any, places: np.ndarray, seen: np.ndarray, grid: tuple[int, int] | None = None
    ) -> None:
        self.net = net
        self.embed = embed
        self.places = places
        self.seen = seen
        self.axes = None if grid is None else three_axes(places[0], *grid)
        self.inputs = {"input_ids": (["batch_size", "sequence_length"], np.int64)}
        own = ("inputs_embeds", "token_type_ids", "deepstack_embeds")
        self.inputs |= {name: told for name, told in net.inputs.items() if name not in own}
        self.outputs = net.outputs
        self.deep: np.ndarray | None = None  # vectors that are added in the first layers, (layers, parts, width)

    def __call__(self, feeds: Arrays) -> Arrays:
        ids = feeds["input_ids"]
        reads = ids.shape[1] >= self.places.shape[1]  # the prompt, or all there is where nothing is kept
        places = np.zeros(ids.shape, bool)
        if reads:
            places[:, : self.places.shape[1]] = self.places
        # Their own tokens may be none of those that have a vector.
        vectors = self.embed({"input_ids": np.where(places, 0, ids)})["inputs_embeds"]
        if reads:
            vectors[places] = np.tile(self.seen, (len(ids), 1))
        others = {name: array for name, array in feeds.items() if name != "input_ids"}
        if "token_type_ids" in self.net.inputs:  # which tokens see each other whatever their order
            kinds = np.zeros(feeds["attention_mask"].shape, np.int64)
            kinds[:, : self.places.shape[1]] = self.places
            others["token_type_ids"] = kinds
        if self.deep is not None:
            added = np.zeros((len(self.deep), *vectors.shape), np.float32)
            if reads:
                added[:, places] = np.tile(self.deep, (1, len(ids), 1))
            others["deepstack_embeds"] = added
        if self.axes is not None:  # what follows the prompt goes on after the greatest of its numbers
            total, new = feeds["attention_mask"].shape[1], ids.shape[1]
            after = np.arange(total - self.axes.shape[1]) + self.axes.max() + 1
            numbers = np.concatenate([self.axes, np.tile(after, (3, 1))], axis=1)[:, None, total - new :]
            others["position_ids"] = np.repeat(numbers, len(ids), axis=1)
        found: Arrays = self.net({**others, "inputs_embeds": vectors})
        return found
