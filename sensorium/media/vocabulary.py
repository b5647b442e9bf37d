"""Tokenizers of networks from elsewhere: a folder of Hugging Face, a tokenizer of Keras, or a list of words."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from sensorium import files
from sensorium.errors import InputError
from sensorium.media import text

LIMIT = 256 << 20  # bytes of a vocabulary
UNKNOWN = ("[UNK]", "<unk>", "<UNK>", "<UNKNOWN>", "<oov>", "<OOV>", "UNK")
PADDING = ("[PAD]", "<pad>", "<PAD>", "")
BEGIN = "<START>"  # TensorFlow's text models and its reviews begin with it where they know it
SPECIAL = re.compile(r"\[[A-Z]+\d*\]|<\w+>|")
SPACE = "\u2581"  # SentencePiece's sign for the space before a word
NOTHING = "\x00"  # a mark that no word of a text begins with
# `maketrans` of keras.preprocessing.text.Tokenizer, where its file does not say.
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def load(path: Path) -> dict[str, Any]:
    """`tokenizer.json` and `tokenizer_config.json` of a model folder, and special_tokens_map.json where there is one.

    Args:
        path: a folder with tokenizer.json or vocab.txt; a tokenizer.json; a tokenizer of Keras (`tokenizer.to_json()`);
            a JSON object of words and their numbers, or list of words; or a text with one word a line, or a word and
            its number.

    Raises:
        InputError: it is none of these.
    """
    settings: dict[str, Any] = {}
    found: dict[str, Any] = {}
    if path.is_dir():
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (path / name).is_file():
                found[name] = files.read_json(path / name)
                if not isinstance(found[name], dict):
                    raise InputError(f"{path / name}: should be an object")
        settings = found.get("tokenizer_config.json", {})
        inside = [path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()]
        if not inside:
            raise InputError(
                f"{path}: holds neither tokenizer.json nor vocab.txt; AutoTokenizer.from_pretrained(...)"
                ".save_pretrained(...) of transformers writes them"
            )
        path = inside[0]
    if not path.is_file() or path.stat().st_size > LIMIT:
        raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: not a vocabulary, or too large")
    try:
        content = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a vocabulary: not UTF-8 at byte {error.start}") from None
    value = _json(content)
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        made = text.tokenizer(content, where=str(path))
    elif isinstance(value, dict) and value.get("class_name") == "Tokenizer":
        settings = {"padding_side": "left", "truncation_side": "left"} | settings  # as pad_sequences does
        made = _keras(value, path)
    else:
        numbers = _numbers(content if value is None else value, path)
        pieces = "[UNK]" in numbers and any(word.startswith("##") for word in numbers)
        made = _pieces(numbers, settings) if pieces else _words(numbers)
        settings = _named(numbers) | settings
    return found | {"tokenizer.json": made.to_str(), "tokenizer_config.json": settings}


def _json(content: str) -> Any:
    """The value of a JSON text; None where it is another text."""
    if content.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return _json(value) if isinstance(value, str) else value  # people write what is JSON already as JSON


def _numbers(value: Any, path: Path) -> dict[str, int]:
    """Words and their numbers.

    Raises:
        InputError: they are not told, or twice.
    """
    pairs: list[tuple[str, int]] | None = None
    if isinstance(value, str):
        lines = value.removesuffix("\n").split("\n")
        lines = [line.removesuffix("\r") for line in lines]
        both = [re.fullmatch(r"(\S*)[ \t]+(\d{1,9})", line) for line in lines]
        if all(both):
            pairs = [(match[1], int(match[2])) for match in both if match]
        else:
            pairs = [(line, number) for number, line in enumerate(lines)]
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        pairs = [(word, number) for number, word in enumerate(value)]
    elif isinstance(value, dict) and all(type(number) is int and number >= 0 for number in value.values()):
        pairs = [(str(word), number) for word, number in value.items()]
    if not pairs or all(SPECIAL.fullmatch(word) for word, _ in pairs):
        raise InputError(f"{path}: should be a tokenizer.json, one word a line, or JSON of words and their numbers")
    numbers: dict[str, int] = {}
    for word, number in pairs:
        numbers.setdefault(word, number)
    return numbers


def _first(names: Sequence[str], numbers: Mapping[str, int]) -> str | None:
    return next((name for name in names if name in numbers), None)


def _named(numbers: Mapping[str, int]) -> dict[str, Any]:
    """What tokenizer_config.json says of special words."""
    named = {"unk_token": _first(UNKNOWN, numbers), "pad_token": _first(PADDING, numbers)}
    return {role: word for role, word in named.items() if word is not None}


def _pieces(numbers: dict[str, int], settings: Mapping[str, Any]) -> Tokenizer:
    """BERT's: words, of which those unknown are cut into pieces that begin with `##`."""
    lower = settings.get("do_lower_case", _lower(numbers))
    made = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=bool(lower))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if "[CLS]" in numbers and "[SEP]" in numbers:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, numbers[name]) for name in ("[CLS]", "[SEP]")],
        )
    made.add_special_tokens([word for word in numbers if word and SPECIAL.fullmatch(word)])
    return made


def _lower(numbers: Mapping[str, int]) -> bool:
    """Whether a vocabulary knows small letters only."""
    return not any(word != word.lower() for word in numbers if not SPECIAL.fullmatch(word))


def _words(numbers: dict[str, int]) -> Tokenizer:
    """Whole words, as the vocabulary itself shows them.

    Where it has small letters only, texts are brought to these. A sign that is a word of its own is cut off, one that
    is part of words stays in them, and all others are left out, as Keras' TextVectorization does. A vocabulary of
    letters alone takes texts letter by letter.
    """
    plain = [word for word in numbers if not SPECIAL.fullmatch(word)]
    steps: list[Any] = [normalizers.Lowercase()] if _lower(numbers) else []
    if max(map(len, plain)) == 1:
        return _tokenizer(numbers, steps, None)
    inside = {sign for word in plain if len(word) > 1 for sign in word}
    alone = {word for word in plain if len(word) == 1}
    cut = [sign for sign in string.punctuation if sign in alone and sign not in inside]
    gone = [sign for sign in string.punctuation if sign not in alone and sign not in inside]
    steps += [normalizers.Replace(Regex(_any(gone)), "")] if gone else []
    splits: list[Any] = [pre_tokenizers.WhitespaceSplit()]
    splits += [pre_tokenizers.Split(Regex(_any(cut)), "isolated")] if cut else []
    return _tokenizer(numbers, steps, splits)


def _any(signs: Sequence[str]) -> str:
    return "[" + "".join(sign if sign.isalnum() else f"\\{sign}" for sign in signs) + "]"


def _tokenizer(numbers: dict[str, int], steps: list[Any], splits: list[Any] | None) -> Tokenizer:
    """Of whole words (`splits` None: of letters); those unknown are left out where no word stands for them."""
    unknown = _first(UNKNOWN, numbers)
    numbers = {word: number for word, number in numbers.items() if word}
    if splits is None:
        made = Tokenizer(models.BPE(numbers, [], unk_token=unknown))
    elif unknown is not None:
        made = Tokenizer(models.WordLevel(numbers, unk_token=unknown))
    else:
        # The library's model of words needs one that is unknown. This one looks words up as well, then goes on letter
        # by letter and leaves out what it does not know: with these marks, that is every letter.
        marked = {SPACE + word: number for word, number in numbers.items()}
        made = Tokenizer(models.BPE(marked, [], continuing_subword_prefix=NOTHING, ignore_merges=True))
        splits = [*splits, pre_tokenizers.Metaspace(SPACE)]
    if steps:
        made.normalizer = normalizers.Sequence(steps)
    if splits is not None:
        made.pre_tokenizer = pre_tokenizers.Sequence(splits)
    if BEGIN in numbers and unknown is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, numbers[BEGIN])]
        )
    return made


def _keras(value: Mapping[str, Any], path: Path) -> Tokenizer:
    """`keras.preprocessing.text.Tokenizer`: signs are spaces, only the `num_words` most common words are known.

    Raises:
        InputError: it has no words.
    """
    config = value.get("config")
    words = config.get("word_index") if isinstance(config, dict) else None
    words = _json(words) if isinstance(words, str) else words
    if not isinstance(config, dict) or not isinstance(words, dict) or not words:
        raise InputError(f"{path}: a tokenizer of Keras without its word_index")
    most, oov = config.get("num_words") or len(words) + 1, config.get("oov_token")
    numbers = {str(word): int(number) for word, number in words.items() if int(number) < most or word == oov}
    if oov in numbers:  # known here by a name of our own, for it may be any word
        numbers = {UNKNOWN[0]: numbers[oov]} | {w: n for w, n in numbers.items() if w != oov}
    steps: list[Any] = [normalizers.Lowercase()] if config.get("lower", True) else []
    signs = config.get("filters", FILTERS)
    if signs:
        steps.append(normalizers.Replace(Regex(_any(signs)), str(config.get("split", " "))))
    if config.get("char_level"):
        return _tokenizer(numbers, steps[:1] if config.get("lower", True) else [], None)
    split = str(config.get("split", " "))
    return _tokenizer(numbers, steps, [pre_tokenizers.Split(split, "removed")])
