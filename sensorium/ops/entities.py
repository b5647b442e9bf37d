"""Entities in sequences of tags, and how many of them were found: equal to seqeval.

Tags are `O`, or a prefix and a type such as `B-PER`. Schemes: IOB1 (`B` only between neighbours of one type), IOB2
(`B` begins each), IOE1 and IOE2 (`E` ends them), BIOES (`S` stands alone; also written IOBES) and BILOU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Entity = tuple[str, int, int]
"""Type, number of the first token, number behind the last."""

# What begins, continues and ends an entity: prefix of a tag, prefix of the next one (`*` any), and whether their
# types must be the same (`=`) or differ (`!`).
SCHEMES = {
    "IOB1": ("OI II! BI IB= BB=", "BI= II=", "II! IO IB BO BI! BB="),
    "IOB2": ("*B", "BI= II=", "IO II! IB BO BI! BB"),
    "IOE1": ("OI II! EI EE=", "II= IE=", "II! IO IE! EI= EE="),
    "IOE2": ("OI OE EI EE II! IE!", "IE= II=", "E*"),
    "BIOES": ("*B *S", "BI= BE= II= IE=", "S* E*"),
    "BILOU": ("*B *U", "BI= BL= II= IL=", "U* L*"),
}


def split(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag: `B-PER` to `B`, `PER`; a tag without a type has the type `_`."""
    return tag[:1] or "O", tag[1:].split("-", 1)[-1] or "_"


def kind(tag: str) -> str:
    """The type of a tag in any scheme: `B-PER` is `PER`; a tag without a prefix is its own type."""
    return split(tag)[1] if "-" in tag else tag


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities of a sequence in any scheme, as seqeval (and conlleval) reads them: a prefix may be wrong."""
    found = set()
    before, kind, start = "O", "", 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, own = split(tag)
        ends = before in "ES" or (before in "BI" and prefix in "BSO") or (before not in "O." and kind != own)
        begins = prefix in "BS" or (before in "ESO" and prefix in "EI") or (prefix not in "O." and kind != own)
        if ends and before not in "O.":
            found.add((kind, start, i))
        if begins:
            start = i
        before, kind = prefix, own
    return found


def strict_entities(tags: Sequence[str], scheme: str) -> set[Entity]:
    """Only the entities that are written wholly as the scheme wants them."""
    begins, continues, ends = (rules.split() for rules in SCHEMES[scheme])
    outside = ("O", "_")
    pairs = [split(tag) for tag in tags] + [outside]

    def fits(rules: list[str], a: tuple[str, str], b: tuple[str, str]) -> bool:
        same = "=" if a[1] == b[1] else "!"
        return any(r[0] in (a[0], "*") and r[1] in (b[0], "*") and r[2:] in ("", same) for r in rules)

    found, i = set(), 0
    while i < len(tags):
        if not fits(begins, pairs[i - 1] if i else outside, pairs[i]):
            i += 1
            continue
        start, i = i, i + 1
        while fits(continues, pairs[i - 1], pairs[i]):
            i += 1
        if fits(ends, pairs[i - 1], pairs[i]):
            found.add((pairs[start][1], start, i))
    return found


def scheme_of(labels: Iterable[str]) -> str:
    """The scheme that the prefixes of a model's labels speak of."""
    prefixes = {split(label)[0] for label in labels if label != "O"}
    if prefixes & {"U", "L"}:
        return "BILOU"
    if "S" in prefixes or {"B", "E"} <= prefixes:
        return "BIOES"
    return "IOE2" if "E" in prefixes else "IOB2"


def counts(truth: set[Entity], found: set[Entity]) -> Counter[tuple[str, str]]:
    """How many entities of each type are right, were found, are true: keys (type, `hit`, `found` or `true`)."""
    result: Counter[tuple[str, str]] = Counter()
    for name, some in (("hit", truth & found), ("found", found), ("true", truth)):
        result.update((kind, name) for kind, _, _ in some)
    return result


def scores(total: Counter[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 over all entities (micro), and the mean F1 of the types (macro); 0 for none.

    Args:
        total: the sum of the `counts` of all sequences.
    """
    kinds = sorted({kind for kind, _ in total})
    table = np.array([[total[kind, name] for name in ("hit", "found", "true")] for kind in kinds], np.float64)
    table = table.reshape(-1, 3)
    precision, recall, f1 = _rates(table.sum(axis=0, keepdims=True))[0]
    macro = _rates(table)[:, 2].mean() if len(table) else 0.0
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "macro_f1": float(macro)}


def _rates(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows of hit, found, true to rows of precision, recall, F1."""
    hit, found, true = table.T
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.stack([hit / found, hit / true, 2 * hit / (found + true)], axis=1)
    return np.asarray(np.nan_to_num(rates))
