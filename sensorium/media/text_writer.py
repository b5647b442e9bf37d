"""A model that reads a text and writes another: its tokens, its settings, its languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.errors import CallError
from sensorium.media import tokens as tokens_of
from sensorium.media.tokens import Tokens
from sensorium.ops.generation import batches
from sensorium.ops.generation.constraints import constraint
from sensorium.ops.generation.sampling import seed_of
from sensorium.ops.generation.stopping import Stop, stop_strings

LIMIT = 4096
"""Tokens of a source that are read at most, whatever its tokenizer says."""


class TextWriter:
    """An encoder and a decoder of texts.

    Args:
        config: `config.json`.
        tokenizer_json: the text of `tokenizer.json`.
        tokenizer_config: `tokenizer_config.json`, special tokens included.
        generation: `generation_config.json`.
        target_json: the text of the tokenizer of what is written, where that is another.

    Raises:
        InputError: there is no token to begin with.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer_json: str,
        tokenizer_config: Mapping[str, Any],
        generation: Mapping[str, Any],
        target_json: str | None = None,
    ) -> None:
        self.config, self.generation = config, generation
        # Without a limit of its own, a tokenizer says 1e30.
        limit = min(tokenizer_config.get("model_max_length") or 512, self.longest or LIMIT, LIMIT)
        self.tokens = Tokens(tokenizer_json, tokenizer_config, int(limit))
        self.limit = int(limit)
        self.written = self.tokens if target_json is None else Tokens(target_json, tokenizer_config, int(limit))
        for name in ("pad_token_id", "decoder_start_token_id"):
            if not isinstance(self.setting(name), int):
                raise CallError(f"neither generation_config.json nor config.json says '{name}'")

    @property
    def longest(self) -> int | None:
        """Tokens that the model takes, where its places are learned."""
        return batches.positions(self.config) or self.config.get("max_encoder_position_embeddings")

    def setting(self, name: str) -> Any:
        """A value of `generation_config.json`, or else of `config.json`."""
        value = self.generation.get(name)
        return self.config.get(name) if value is None else value

    def own(self, *names: str) -> dict[str, Any]:
        """What `config.json` says of a task by any of these names (`task_specific_params`)."""
        told = self.config.get("task_specific_params")
        found = [told[name] for name in names if isinstance(told, Mapping) and isinstance(told.get(name), Mapping)]
        return dict(found[0]) if found else {}

    def language(self, name: str) -> int:
        """The token of a language: `fra_Latn`, `fr_XX`, `fr` (`__fr__`), as the model's tokenizer spells it.

        Raises:
            InputError: it knows none of this name.
        """
        for spelled in (name, f"__{name}__", f">>{name}<<", f"<2{name}>"):
            found = self.tokens.id_of(spelled)
            if found is not None:
                return found
        raise CallError(f"this model's tokenizer has no language '{name}': give it as the model spells it")

    def read(self, source: str, language: str | None = None) -> list[int]:
        """Tokens of a source.

        Args:
            language: that it is in; its token takes the place of the one that the tokenizer would put there.
        """
        if language is None:
            return self.tokens.encode(source)
        token = self.language(language)
        around = self.tokens.encode("")
        known = [i for i in around if self._is_language(i)]
        ids = self.tokens.encode(source)
        if not known:
            raise CallError("this model's tokenizer puts no language before a text")
        return [token if i in known else i for i in ids]

    def _is_language(self, token: int) -> bool:
        text = self.tokens.tokenizer.id_to_token(token)
        return text is not None and text not in self.tokens.special.values()

    def write(
        self, nets: Mapping[str, Any], sources: Sequence[Sequence[int]], given: Mapping[str, Any], **settings: Any
    ) -> list[list[str]]:
        """What the model writes of each source; nothing of one without tokens.

        Args:
            sources: tokens of each.
            given: options of the caller, over those of the model; None for what is not given.
            settings: of the task, between both.
        """
        told = {name: value for name, value in given.items() if value is not None}
        config = {**self.generation, **{k: v for k, v in settings.items() if v is not None}, **told}
        if told.get("max_new_tokens") is None and settings.get("max_length"):
            config["max_new_tokens"] = None
        for name in ("pad_token_id", "eos_token_id"):
            config[name] = self.setting(name) if config.get(name) is None else config[name]
        rows = [i for i, ids in enumerate(sources) if len(ids)]
        answers: list[list[str]] = [[""] for _ in sources]
        if not rows:
            return answers
        table = self.written.table if any(given.get(n) for n in ("stop", "choices", "regex", "json_schema")) else []
        rule = constraint(
            table,
            batches.all_of(config.get("eos_token_id")),
            choices=given.get("choices"),
            regex=given.get("regex"),
            schema=given.get("json_schema"),
            drops_space=bool(table) and self.written.drops_first_space,
        )
        stops: list[Stop] = [rule.stop] if rule is not None else []
        if given.get("stop"):
            stops.append(stop_strings(given["stop"], table))
        seed = given.get("seed")
        chosen = [list(sources[i]) for i in rows]
        found = batches.transductions(
            nets["encoder_model"],
            nets["decoder_model_merged"],
            chosen,
            config,
            start=batches.all_of(self.setting("decoder_start_token_id")),
            longest=batches.positions(self.config) or self.config.get("max_decoder_position_embeddings"),
            constraints=[] if rule is None else [rule],
            stops=stops,
            seeds=None if seed is None else [seed_of(seed, repr(ids).encode()) for ids in chosen],
        )
        for i, several in zip(rows, found):
            answers[i] = [self.written.decode(ids) for ids in several]
        return answers


def files_of(files: Mapping[str, Any], what: str) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]:
    """`config.json`, `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` of a folder.

    Raises:
        InputError: there is no tokenizer.
    """
    tokenizer = files.get("tokenizer.json")
    if tokenizer is None:
        raise CallError(f"this {what} model has no tokenizer.json")
    config = dict(files.get("config.json") or {})
    return config, tokenizer, tokens_of.config_of(files), batches.config_of(files)
