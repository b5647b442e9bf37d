"""Which examples are for training, which for choosing, and which for the final figure."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sensorium.data.examples import SPLITS, Dataset, Example, Lazy, media_files
from sensorium.data.source import SPLIT_WORDS, Source, parse_json
from sensorium.errors import InputError
from sensorium.files import write_atomic


def read_splits(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The lists of a `splits.json`: `{"train": [ids], "val": [ids], "test": [ids]}`.

    Raises:
        InputError: there is no such file, or it says something else.
    """
    source = Source.of(path)
    if source.file is None:
        raise InputError(f"'{path}' is a folder: name the splits file")
    return check_splits(parse_json(source.text(source.file), str(path)), str(path))


def check_splits(found: Any, where: str) -> dict[str, list[str]]:
    """The same lists under the names `train`, `val`, `test`; raises InputError for anything else."""
    if not isinstance(found, Mapping):
        raise InputError(f'{where}: not an object of lists: {{"train": [...], "val": [...], "test": [...]}}')
    lists: dict[str, list[str]] = {}
    for key, names in found.items():
        split = SPLIT_WORDS.get(str(key).lower())
        if split is None:
            raise InputError(f"{where}: '{key}' is no split: use train, val and test")
        if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(n, str) for n in names):
            raise InputError(f"{where}: '{key}' is not a list of names")
        if split in lists:
            raise InputError(f"{where}: gives '{split}' twice")
        lists[split] = list(names)
    if not any(lists.values()):
        raise InputError(f"{where}: all its lists are empty")
    return {split: lists[split] for split in SPLITS if split in lists}


def apply_splits(dataset: Dataset, lists: Mapping[str, Sequence[str]], where: str, known: Iterable[str] = ()) -> None:
    """Set the split of each example as the lists say.

    Args:
        dataset: changed in place.
        lists: ids by split.
        where: the file they come from, for messages.
        known: names of files that are no examples (left out by the reader): allowed in the lists.

    Raises:
        InputError: a name is unknown, or stands in two splits.
    """
    of: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            name = name.removeprefix("./")
            if of.setdefault(name, split) != split:
                raise InputError(f"{where}: '{name}' is in {of[name]} and in {split}: put it in one of them")
    replaced = bool(dataset.splits())
    examples = dataset.examples
    seen: set[str] = set()

    def split_of(example: Example) -> str | None:
        for name in (example.id, *(_relative(path, dataset) for path in media_files(example)[:1])):
            if name in of:
                seen.add(name)
                return of[name]
        return None

    if isinstance(examples, Lazy):
        codes = bytearray((None, *SPLITS).index(split_of(e)) for e in examples)
        dataset.examples = Lazy(examples.read, len(examples), codes)
        left = codes.count(0)
    else:
        dataset.examples = [replace(e, split=split_of(e)) for e in examples]
        left = sum(e.split is None for e in dataset.examples)
    unknown = [name for name in of if name not in seen]
    if unknown:
        files = set(known)
        missing = [name for name in unknown if name not in files]
        if missing:
            raise InputError(f"{where}: {len(missing)} of its {len(of)} names are not in the data set: {_few(missing)}")
        dataset.notes.append(f"{where}: {len(unknown)} names are files without a usable label: {_few(unknown)}")
    if replaced:
        dataset.notes.append(f"splits as {where} says, not as the format does")
    if left:
        dataset.notes.append(f"{left} examples are in no list of {where}: they belong to no split")


def _relative(path: str, dataset: Dataset) -> str:
    """A picture or sound of a table may be called by its path as well as by its row."""
    root = dataset.path if dataset.path.is_dir() else dataset.path.parent
    return path.removeprefix(f"{root}/")


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names[:3]) + (" ..." if len(names) > 3 else "")


def classes_of(example: Example) -> list[str]:
    """The classes of an example, each once, sorted: its label, its labels, or those of its objects."""
    fields = example.fields
    if isinstance(fields.get("label"), str):
        return [fields["label"]]
    if "labels" in fields:
        return sorted(set(fields["labels"]))
    if "objects" in fields:
        return sorted({o["label"] for o in fields["objects"]})
    if "tracks" in fields:
        return sorted({t["label"] for frame in fields["tracks"] for t in frame})
    return []


def hold_out(
    examples: Sequence[Example],
    seed: int = 0,
    label: Callable[[Example], str] | None = None,
    *,
    val: float = 0.15,
    test: float = 0.15,
) -> dict[str, list[str]]:
    """Divide examples into training, validation and test: stratified by label, whole groups, seeded.

    What the examples already say stays: an existing test set is never touched, and with it only the
    validation part is taken from the training part; where training and validation both exist, nothing is
    divided. Where some examples are in a split, those that are in none are left out. The order of the
    examples does not matter.

    Args:
        examples: what to divide.
        seed: another one gives another division.
        label: what to balance by; by default the label, or the rarest class in the example.
        val: share of validation examples.
        test: share of test examples.

    Returns:
        `{"train": ids, "val": ids, "test": ids}`, each sorted; `test` may be empty.

    Raises:
        InputError: there are fewer than two examples, or all are of one group.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise InputError(f"the shares val={val} and test={test} leave nothing to train on")
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    rows = [(e.id, e.group, e.split, (label(e),) if label else classes_of(e)) for e in examples]  # read once
    known = {split for _, _, split, _ in rows} - {None}
    counts = Counter(c for _, _, _, classes in rows for c in classes)
    pool: list[tuple[str, str | None, str]] = []  # id, group, what to balance by
    for name, group, split, classes in rows:
        if known and (split != "train" or "val" in known):
            if split is not None:
                lists[split].append(name)
        else:
            pool.append((name, group, min(classes, key=lambda c: (counts[c], c)) if classes else ""))
    if pool:
        if len(pool) < 2:
            raise InputError("one example cannot be divided into training and validation: add data")
        shares = {"val": val, "test": 0.0 if known else test}
        groups = {group for _, group, _ in pool if group is not None}
        divide = _divide_groups if groups else _divide_singly
        for split, ids in divide(pool, shares, seed).items():
            lists[split].extend(ids)
    return {split: sorted(ids) for split, ids in lists.items()}


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()


Pool = list[tuple[str, str | None, str]]


def _divide_singly(pool: Pool, shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Each class gives each split its share, rounded so that the totals come out right as well.

    A class of n examples gives a split n * share examples, rounded down or up; at least one where n * share
    is a half or more, and one is left for training.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for name, _, key in pool:
        strata[key].append(name)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    owed = dict.fromkeys(shares, 0.5)  # starting at a half makes the running total round to the nearest
    for key in sorted(strata, key=lambda k: (_rank(seed, "class " + k), k)):
        names = sorted(strata[key], key=lambda n: (_rank(seed, n), n))
        start = 0
        for split, share in shares.items():
            exact = len(names) * share
            owed[split] += exact
            take = min(max(int(owed[split]), int(exact)), int(exact) + (exact > int(exact)))
            if exact >= 0.5:
                take = max(take, 1)
            take = max(0, min(take, len(names) - start - 1))
            owed[split] -= take
            lists[split].extend(names[start : start + take])
            start += take
        lists["train"].extend(names[start:])
    for split, share in shares.items():  # many tiny classes, or very few examples
        if share and not lists[split] and len(lists["train"]) > 1:
            chosen = min(lists["train"], key=lambda n: (_rank(seed, split + n), n))
            lists["train"].remove(chosen)
            lists[split].append(chosen)
    return lists


def _divide_groups(pool: Pool, shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Whole groups, largest first, each to the split whose classes it brings nearest to their shares."""
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, group, key in pool:
        members["group " + group if group is not None else "single " + name].append((name, key))
    if len(members) < 2:
        raise InputError("all examples belong to one group, which may not be divided: add data, or give a splits file")
    totals = Counter(key for _, _, key in pool)
    wanted = {"train": 1.0 - sum(shares.values()), **{s: share for s, share in shares.items() if share}}
    have: dict[str, Counter[str]] = {split: Counter() for split in wanted}
    sizes: Counter[str] = Counter()
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    order = sorted(members, key=lambda g: (-len(members[g]), _rank(seed, g), g))
    for i, group in enumerate(order):
        content = Counter(key for _, key in members[group])
        size = len(members[group])

        def cost(split: str, content: Counter[str] = content, size: int = size) -> tuple[float, str]:
            # change of the summed squared distance from the wanted counts, relative to each class's size
            change = 0.0
            for key, n in content.items():
                aim = wanted[split] * totals[key]
                before, after = have[split][key] - aim, have[split][key] + n - aim
                change += (after * after - before * before) / (totals[key] * totals[key])
            aim = wanted[split] * len(pool)
            before, after = sizes[split] - aim, sizes[split] + size - aim
            return change + (after * after - before * before) / (len(pool) * len(pool)), split

        empty = [split for split in ("train", "val", "test") if split in wanted and not lists[split]]
        choices = empty if len(order) - i <= len(empty) else list(wanted)
        split = min(choices, key=cost)
        have[split].update(content)
        sizes[split] += size
        lists[split].extend(name for name, _ in members[group])
    return lists


def write_splits(
    dataset: Dataset,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    *,
    val: float = 0.15,
    test: float = 0.15,
    overwrite: bool = False,
) -> tuple[Path, dict[str, list[str]]]:
    """Write how a data set is divided into `splits.json` beside the data, or to another file.

    Returns:
        The file and its lists.

    Raises:
        InputError: the file exists and may not be overwritten, or cannot be written.
    """
    if out is not None:
        target = Path(out)
    else:
        target = (dataset.path if dataset.path.is_dir() else dataset.path.parent) / "splits.json"
    if target.exists() and not overwrite:
        raise InputError(f"'{target}' exists: name another file, or replace it (--force, overwrite=True)")
    lists = hold_out(dataset.examples, seed, val=val, test=test)
    lists = {split: ids for split, ids in lists.items() if ids}
    write_atomic(target, json.dumps(lists, ensure_ascii=False, indent=0) + "\n")
    return target, lists
