"""How good a short answer is: VQA accuracy and ANLS, as their challenges compute them.

Antol et al., VQA: Visual Question Answering, 2015; Biten et al., Scene Text Visual Question Answering, 2019 (ANLS).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.ops import edit_distance

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# Contractions that people write without their apostrophe.
_SHORT = """
aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he's how'd how'll how's isn't it'd it'll
ma'am might've mightn't mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've ain't
"""
CONTRACTIONS = {word.replace("'", ""): word for word in _SHORT.split()}


def normal(answer: str) -> str:
    """An answer as VQA compares it: no punctuation or articles, digits for number words, contractions whole."""
    text = told = " ".join(answer.split())
    for mark in PUNCTUATION:
        gone = f"{mark} " in told or f" {mark}" in told or re.search(r"\d,\d", told) is not None
        text = text.replace(mark, "" if gone else " ")
    text = re.sub(r"(?!<=\d)(\.)(?!\d)", "", text)
    found = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in found if word not in ARTICLES)


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """How many of the people asked answer the same, 0..1; three besides the one left out in turn are enough.

    With fewer than four answers known, it is 1 where one of them is the same.
    """
    found, known = normal(answer), [normal(truth) for truth in truths]
    if len(known) < 4:
        return float(found in known)
    return sum(min(1.0, (known.count(found) - (truth == found)) / 3) for truth in known) / len(known)


def anls(answer: str, truths: Sequence[str]) -> float:
    """Likeness of letters to the nearest truth, 0..1; less than one half counts as nothing."""
    best = 0.0
    found = " ".join(answer.strip().lower().split())
    for truth in truths:
        wanted = " ".join(truth.strip().lower().split())
        longest = max(len(found), len(wanted))
        best = max(best, 1 - edit_distance.distance(wanted, found) / longest if longest else 1.0)
    return best if best >= 0.5 else 0.0
