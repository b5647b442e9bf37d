"""How good a short answer is: VQA accuracy and ANLS, as their challenges compute them.

Antol et al., VQA: Visual Question Answering, 2015; Biten et al., Scene Text Visual Question Answering, 2019 (ANLS).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.ops import edit_distance

NUMBERS = {w: str(n) for n, w in enumerate("zero one two three four five six seven eight nine ten".split())}
NUMBERS["none"] = "0"
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# Contractions that people write without their apostrophe.
CONTRACTIONS = {
    word.replace("'", ""): word
    for word in """aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll
    how's I'm I've isn't it'd it'll let's ma'am might've mightn't mustn't must've needn't not've o'clock oughtn't
    shan't she'd she's should've shouldn't somebody'd somebody'll somebody's someone'd someone'll someone's
    something'd something'll that'd that's there'd there're there's they'd they'll they're they've 'twas wasn't we'd
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll
    why're why's won't would've wouldn't y'all you'd you'll you're you've""".split()
    if word.replace("'", "") not in ("its", "hed", "shed", "wed", "id", "ill", "well", "were", "shell", "hell")
}


def normal(answer: str) -> str:
    """An answer as VQA compares it: no punctuation or articles, digits for number words, contractions whole."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    for mark in PUNCTUATION:
        between = f"{mark} " in text or f" {mark}" in text or re.search(r"(\d)(,)(\d)", text) is not None
        text = text.replace(mark, "" if between else " ")
    text = re.sub(r"(?!<=\d)(\.)(?!\d)", "", text)
    found = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in found if word not in ARTICLES)


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """How many people answer the same, 0..1: three of the others are enough. With fewer than four answers known, one is.

    As the challenge has it, answers of people are only tidied where they are not all the same.
    """
    found = normal(answer)
    known = [truth.strip() for truth in truths]
    if len(set(known)) > 1 or len(known) < 4:
        known = [normal(truth) for truth in known]
    if len(known) < 4:
        return float(found in known)
    total = sum(min(1.0, (known.count(found) - (truth == found)) / 3) for truth in known)
    return total / len(known)


def anls(answer: str, truths: Sequence[str]) -> float:
    """Likeness of letters to the nearest truth, 0..1; less than one half counts as nothing."""
    best = 0.0
    found = " ".join(answer.strip().lower().split())
    for truth in truths:
        wanted = " ".join(truth.strip().lower().split())
        longest = max(len(found), len(wanted))
        best = max(best, 1 - edit_distance.distance(wanted, found) / longest if longest else 1.0)
    return best if best >= 0.5 else 0.0
