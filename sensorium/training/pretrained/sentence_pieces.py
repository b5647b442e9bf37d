"""tokenizer.json from a SentencePiece file and a vocabulary of its own: Marian, M2M100 and their like.

Such a tokenizer finds pieces by the scores of one file (`source.spm`), and numbers them by another (`vocab.json`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sensorium.errors import InputError

NEVER = -1e5
"""Score of a token that the file does not know: it is only ever written, never read."""
UNIGRAM, PAIRS = 1, 2


def tokenizer_of(tokenizer: Any) -> Tokenizer:
    """The same tokenizer, as the library tokenizers has it.

    Args:
        tokenizer: of transformers, with `encoder` (token to number), a SentencePiece file, and special tokens.

    Raises:
        InputError: it is of another kind.
    """
    from transformers.convert_slow_tokenizer import generate_merges, import_protobuf

    places = [*getattr(tokenizer, "spm_files", ()), getattr(tokenizer, "spm_file", None)]
    if not hasattr(tokenizer, "encoder") or not places or places[0] is None:
        raise InputError(f"{type(tokenizer).__name__} is not a tokenizer of sentence pieces with a vocabulary")
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(Path(places[0]).read_bytes())
    scores = {piece.piece: piece.score for piece in proto.pieces}
    vocabulary = {token: i for token, i in tokenizer.encoder.items()}
    unknown = str(tokenizer.unk_token)
    if proto.trainer_spec.model_type == UNIGRAM:
        by_id = {i: token for token, i in vocabulary.items()}
        listed = [by_id.get(i, f"<unused{i}>") for i in range(max(by_id) + 1)]
        rated = [(token, scores.get(token, NEVER)) for token in listed]
        made = Tokenizer(models.Unigram(rated, unk_id=vocabulary[unknown]))
    elif proto.trainer_spec.model_type == PAIRS:
        known = {token: score for token, score in scores.items() if token in vocabulary}
        merges = generate_merges(vocabulary, known)
        made = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True))
    else:
        raise InputError("a SentencePiece file of words or characters is not supported")
    steps: list[Any] = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    if proto.normalizer_spec.precompiled_charsmap:
        steps.insert(0, normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    languages = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
    made.add_special_tokens([AddedToken(token, rstrip=True, normalized=False) for token in languages])
    further = sorted((i, str(token)) for i, token in tokenizer.added_tokens_decoder.items())
    further += sorted((i, token) for token, i in getattr(tokenizer, "lang_token_to_id", {}).items())
    # New tokens are numbered in the order in which they are added.
    made.add_special_tokens([AddedToken(token, normalized=False) for _, token in dict(further).items()])
    around = tokenizer.build_inputs_with_special_tokens([-1])
    if around != [-1]:
        template = [("$A", 0) if i == -1 else (tokenizer.convert_ids_to_tokens(i), i) for i in around]
        made.post_processor = processors.TemplateProcessing(
            single=" ".join(token for token, _ in template),
            special_tokens=[(token, i) for token, i in dict(template).items() if token != "$A"],
        )
    for token, i in (*template_of(tokenizer), *getattr(tokenizer, "lang_token_to_id", {}).items()):
        if made.token_to_id(token) != i:
            raise InputError(f"{type(tokenizer).__name__}: the token '{token}' would have another number")
    return made


def template_of(tokenizer: Any) -> list[tuple[str, int]]:
    """The special tokens with their numbers."""
    return [(str(token), tokenizer.convert_tokens_to_ids(str(token))) for token in tokenizer.all_special_tokens]
