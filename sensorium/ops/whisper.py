"""How Whisper's tokens are read: times among the words, long sounds by seeking, overlapping pieces, times of words.

Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022. The results are those of
transformers' `WhisperForConditionalGeneration.generate` and its speech-recognition pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.ops.generation import Rule

UNSPACED = ("zh", "ja", "th", "lo", "my", "yue")
"""Languages that are written without spaces."""

_NAMED = """english=en chinese=zh german=de spanish=es russian=ru korean=ko french=fr japanese=ja portuguese=pt
    turkish=tr polish=pl catalan=ca dutch=nl arabic=ar swedish=sv italian=it indonesian=id hindi=hi finnish=fi
    vietnamese=vi hebrew=he ukrainian=uk greek=el malay=ms czech=cs romanian=ro danish=da hungarian=hu tamil=ta
    norwegian=no thai=th urdu=ur croatian=hr bulgarian=bg lithuanian=lt latin=la maori=mi malayalam=ml welsh=cy
    slovak=sk telugu=te persian=fa latvian=lv bengali=bn serbian=sr azerbaijani=az slovenian=sl kannada=kn estonian=et
    macedonian=mk breton=br basque=eu icelandic=is armenian=hy nepali=ne mongolian=mn bosnian=bs kazakh=kk albanian=sq
    swahili=sw galician=gl marathi=mr punjabi=pa sinhala=si khmer=km shona=sn yoruba=yo somali=so afrikaans=af
    occitan=oc georgian=ka belarusian=be tajik=tg sindhi=sd gujarati=gu amharic=am yiddish=yi lao=lo uzbek=uz
    faroese=fo pashto=ps turkmen=tk nynorsk=nn maltese=mt sanskrit=sa luxembourgish=lb myanmar=my tibetan=bo
    tagalog=tl malagasy=mg assamese=as tatar=tt hawaiian=haw lingala=ln hausa=ha bashkir=ba javanese=jw sundanese=su
    cantonese=yue burmese=my valencian=ca flemish=nl haitian=ht letzeburgesch=lb pushto=ps panjabi=pa moldavian=ro
    moldovan=ro sinhalese=si castilian=es mandarin=zh"""
NAMES = dict(pair.split("=") for pair in _NAMED.split())
"""Languages by name."""


def timestamp_rule(begin: int, no_timestamps: int, eos: int, prompt: int, most_initial: int | None) -> Rule:
    """Times come in pairs, never go back, begin the answer, and are written where they are likelier than any word.

    Args:
        begin: the first token that is a time; all from there on are.
        no_timestamps: the token that says that there are no times.
        prompt: number of tokens before the answer.
        most_initial: the latest that the first time may be, in steps; None for any.
    """

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        scores = scores.copy()
        scores[:, no_timestamps] = -np.inf
        for row, tokens in zip(scores, ids[:, prompt:].tolist()):
            last = bool(tokens) and tokens[-1] >= begin
            pair = len(tokens) < 2 or tokens[-2] >= begin
            if last and pair:
                row[begin:] = -np.inf
            elif last:
                row[:eos] = -np.inf
            if times := [token for token in tokens if token >= begin]:
                row[begin : times[-1] + (not last or pair)] = -np.inf
        if ids.shape[1] == prompt:
            scores[:, :begin] = -np.inf
            if most_initial is not None:
                scores[:, begin + most_initial + 1 :] = -np.inf
        top = scores.max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            together = np.log(np.exp(scores[:, begin:] - top).sum(axis=1)) + top[:, 0]
        scores[together > scores[:, :begin].max(axis=1), :begin] = -np.inf
        return scores

    return rule


def prompt_tokens(
    settings: Mapping[str, Any],
    language: str | None,
    task: str | None,
    times: bool,
) -> list[int | None]:
    """The tokens that begin an answer; None stands for the language that is still to be detected.

    Args:
        settings: generation_config.json, completed from config.json.

    Raises:
        InputError: the model does not know the language or the task.
    """
    languages, kinds = settings.get("lang_to_id"), settings.get("task_to_id") or {}
    given = language or task
    if given and settings.get("is_multilingual") is False:
        raise InputError("this model knows English only: it takes no language and no task")
    language, task = language or settings.get("language"), task or settings.get("task")
    found: list[int | None] = [int(settings["decoder_start_token_id"])]
    if task is None and language is None:
        for place, token in settings.get("forced_decoder_ids") or []:
            if place == len(found):
                found.append(token)
    if language is not None:
        token = (languages or {}).get(f"<|{NAMES.get(language.lower(), language.strip('<|>').lower())}|>")
        if token is None:
            known = " ".join(sorted(name.strip("<|>") for name in languages or {}))
            raise InputError(f"this model has no language '{language}'; it has: {known or 'none'}")
        found[1:2] = [token]
    elif languages and (len(found) == 1 or found[1] is None):
        found[1:2] = [None]
    if task is not None:
        if task not in kinds:
            raise InputError(f"this model has no task '{task}'; it has: {', '.join(kinds) or 'none'}")
        found = [token for token in found if token not in kinds.values()] + [kinds[task]]
    elif language is not None and kinds and not set(kinds.values()) & set(found):
        found.append(kinds["transcribe"])
    without = settings.get("no_timestamps_token_id")
    if without is not None and found[-1] == without:
        found.pop()
    if without is not None and not times:
        found.append(without)
    return found


@dataclass(frozen=True)
class Segment:
    """A part of an answer.

    Attributes:
        tokens: with the times that begin and end it.
        first: place of its first token in the answer that it is of.
    """

    tokens: list[int]
    first: int


def segments(tokens: Sequence[int], begin: int, frames: int, stride: int) -> tuple[list[Segment], int]:
    """The segments of one answer, and how many frames to go on by.

    Args:
        tokens: without the prompt, and without the one that ends them.
        begin: the first token that is a time.
        frames: of features that were read.
        stride: frames of features that one step of time stands for.
    """
    time = [token >= begin for token in tokens]
    single = time[-2:] == [False, True]
    ends = [i + 1 for i in range(len(time) - 1) if time[i] and time[i + 1]]
    if not ends:
        return [Segment(list(tokens), 0)], frames
    if single:
        ends.append(len(tokens))
    else:  # the last time belongs to the segment, which says that it did not end with a single one
        ends[-1] += 1
    found = [Segment(list(tokens[a:b]), a) for a, b in zip([0, *ends], ends)]
    return found, frames if single else (tokens[ends[-1] - 2] - begin) * stride


def token_times(attention: np.ndarray, width: int, precision: float) -> np.ndarray:
    """When each token is said, in seconds, from where the decoder looked for it.

    Args:
        attention: (heads, tokens, frames) of the heads that follow the sound.
        width: of the median filter over the frames, odd.
    """
    if not attention.size:  # nothing to look at: the step before the first
        return np.full(attention.shape[1], -precision)
    deviation = attention.std(axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (attention - attention.mean(axis=-2, keepdims=True)) / deviation
    half = width // 2
    if matrix.shape[-1] > half:
        padded = np.pad(matrix, ((0, 0), (0, 0), (half, half)), mode="reflect")
        matrix = np.sort(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1)[..., half]
    tokens, frames = warping(-matrix.mean(axis=0).astype(np.float64))
    jumps = np.diff(tokens, prepend=tokens[0] - 1) > 0
    return frames[jumps] * precision


def warping(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest way through a matrix, step by step: (rows, columns) of the way."""
    height, width = cost.shape
    total = np.full((height + 1, width + 1), np.inf, np.float32)
    total[0, 0] = 0
    came = np.full((height + 1, width + 1), 2, np.int8)
    came[:, 0] = 1
    for j in range(1, width + 1):
        before, now = total[:, j - 1].tolist(), total[:, j]
        above = np.float32(np.inf)
        for i in range(1, height + 1):
            slant, left = before[i - 1], before[i]
            if slant < above and slant < left:
                least, way = slant, 0
            elif above < slant and above < left:
                least, way = float(above), 1
            else:
                least, way = left, 2
            above = np.float32(cost[i - 1, j - 1] + least)
            now[i], came[i, j] = above, way
    came[0, :] = 2
    i, j = height, width
    way_back: list[tuple[int, int]] = []
    while i > 0 or j > 0:
        way_back.append((i - 1, j - 1))
        step = came[i, j]
        i, j = i - (step != 2), j - (step != 1)
    rows, columns = np.array(way_back[::-1]).T
    return rows, columns


def common(
    sequences: Sequence[Sequence[int]], times: Sequence[Sequence[tuple[float, float]]] = ()
) -> tuple[list[int], list[tuple[float, float]]]:
    """Sequences of tokens that overlap, joined where they agree best; and their times along with them."""
    left, left_times = list(sequences[0]), list(times[0]) if times else []
    total: list[int] = []
    total_times: list[tuple[float, float]] = []
    for number, right in enumerate(sequences[1:], 1):
        n, m = len(left), len(right)
        best, cut = 0.0, (n, n, 0, 0)
        a, b = np.array(left), np.array(right)
        for i in range(1, n + m):
            left_start, left_stop = max(0, n - i), min(n, n + m - i)
            right_start, right_stop = max(0, i - n), min(m, i)
            same = a[left_start:left_stop] == b[right_start:right_stop]
            if times:
                ordered = zip(left_times[left_start:left_stop], times[number][right_start:right_stop])
                same = same & np.array([x <= y for x, y in ordered], bool)
            matches = int(same.sum())
            share = matches / i + i / 10000.0
            if matches > 1 and share > best:
                best, cut = share, (left_start, left_stop, right_start, right_stop)
        middle, right_middle = (cut[0] + cut[1]) // 2, (cut[2] + cut[3]) // 2
        total += left[:middle]
        left = list(right[right_middle:])
        if times:
            total_times += left_times[:middle]
            left_times = list(times[number][right_middle:])
    return total + left, total_times + left_times


@dataclass
class Piece:
    """What was heard in one piece of a sound.

    Attributes:
        tokens: without the prompt.
        times: seconds at which each token is said, where that is known.
        stride: (seconds of the piece, those at its beginning and end that belong to its neighbours), or None.
        language: its code, where it was detected.
    """

    tokens: list[int]
    times: list[float] = field(default_factory=list)
    stride: tuple[float, float, float] | None = None
    language: str | None = None


@dataclass
class Part:
    """A part of the text with its time, and its words with theirs."""

    text: str = ""
    timestamp: tuple[float | None, float | None] = (None, None)
    words: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class Vocabulary:
    """What is known of tokens.

    Attributes:
        begin: the first that is a time.
        eos: from here on, and in `special`, are those that say nothing.
        decode: tokens to text.
    """

    begin: int
    eos: int
    special: frozenset[int]
    decode: Callable[[list[int]], str]


def join(pieces: Sequence[Piece], known: Vocabulary, precision: float, span: int, words: bool) -> list[Part]:
    """The text of pieces that follow one another, in parts as the times among the tokens divide it.

    Args:
        precision: seconds that one step of time stands for.
        span: steps of time in the longest piece.
        words: whether to give the words of each part.
    """
    parts: list[Part] = []
    start: float | None = None
    waiting: list[list[int]] = []
    waiting_times: list[list[tuple[float, float]]] = []
    offset, skip = 0.0, False
    language = next((piece.language for piece in pieces if piece.language), None)

    def finish(end: float | None) -> None:
        tokens, times = common(waiting, waiting_times if words else ())
        part = Part(known.decode(tokens), (start, end))
        if words:
            part.words = words_of(tokens, times, known, language)
        parts.append(part)

    for piece in pieces:
        last: int | None = None
        first: float = known.begin
        if piece.stride is not None:
            length, left, right = piece.stride
            offset -= left
            if left:
                first = left / precision + known.begin
            if right:
                for token in reversed(piece.tokens):
                    if token >= known.begin:
                        if last is not None and (token - known.begin) * precision < length - right:
                            break
                        last = token
        latest = before = base = 0.0
        own: list[int] = []
        own_times: list[tuple[float, float]] = []
        for i, token in enumerate(piece.tokens):
            if token in known.special:
                continue
            if token < known.begin:
                own.append(token)
                if words:
                    begin = piece.times[i - 1] if i else 0.0
                    own_times.append((round(begin + offset, 2), round(piece.times[i] + offset, 2)))
                continue
            stamp = float((token - known.begin) * precision)
            if stamp < latest:  # the next segment of a sound that was read in several
                pair = [t >= known.begin for t in piece.tokens[max(0, i - 2) : i]]
                if i >= 2 and not all(pair):
                    base += precision * span
                else:
                    latest = before
                    base += before
            before, latest = latest, stamp
            time = round((token - known.begin) * precision + offset + base, 2)
            if last and token >= last:
                skip = True
            elif skip or (waiting and token < first):
                skip = False
            elif start is None:
                start = time
            elif time != start:
                waiting.append(own)
                waiting_times.append(own_times)
                finish(time)
                waiting, waiting_times, own, own_times, start = [], [], [], [], None
        if piece.stride is not None:
            offset += piece.stride[0] - piece.stride[2]
        if own:
            waiting.append(own)
            waiting_times.append(own_times)
        elif not any(waiting):
            waiting, waiting_times, start = [], [], None
    if waiting:
        finish(None)
    return parts


PREPENDED = "\"'“¡¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"
ASCII = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def words_of(
    tokens: Sequence[int], times: Sequence[tuple[float, float]], known: Vocabulary, language: str | None
) -> list[Part]:
    """Words of tokens, punctuation with the word it belongs to, each with its time."""
    pieces = _characters(tokens, known.decode)
    words: list[tuple[str, list[int]]] = []
    for text, places in pieces:
        alone = tokens[places[0]] >= known.eos or text.startswith(" ") or text.strip() in ASCII or not words
        if alone or language in UNSPACED:
            words.append((text, places))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + places)
    i, j = len(words) - 2, len(words) - 1
    while i >= 0:
        if words[i][0].startswith(" ") and words[i][0].strip() in PREPENDED:
            words[j] = (words[i][0] + words[j][0], words[i][1] + words[j][1])
            words[i] = ("", [])
        else:
            j = i
        i -= 1
    i, j = 0, 1
    while j < len(words):
        if not words[i][0].endswith(" ") and words[j][0] in APPENDED:
            words[i] = (words[i][0] + words[j][0], words[i][1] + words[j][1])
            words[j] = ("", [])
        else:
            i = j
        j += 1
    return [Part(text, (times[places[0]][0], times[places[-1]][1])) for text, places in words if text and places]


def _characters(tokens: Sequence[int], decode: Callable[[list[int]], str]) -> list[tuple[str, list[int]]]:
    """The least groups of tokens that make whole characters, with the places of the tokens."""
    whole, missing = decode(list(tokens)), "\ufffd"
    found: list[tuple[str, list[int]]] = []
    places: list[int] = []
    read = 0
    for place in range(len(tokens)):
        places.append(place)
        text = decode([tokens[p] for p in places])
        at = read + text.index(missing) if missing in text else -1
        if at < 0 or at >= len(whole) or whole[at] == missing:
            found.append((text, places))
            places = []
            read += len(text)
    return found
