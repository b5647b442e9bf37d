"""Names of languages as files and columns give them."""

from __future__ import annotations

import re

from sensorium.data.source import words

# ISO 639-1, and the three-letter codes that common parallel corpora use
CODES = frozenset(
    words(
        """aa ab af am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cv cy da de dv dz ee
        el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik
        io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk
        ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa
        sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur
        uz ve vi vo wa wo xh yi yo za zh zu eng deu ger fra fre spa ita jpn zho chi kor rus por nld dut pol
        ces cze swe fin dan nor tur ara hin ben tam tel mal kan mar guj pan urd fas per heb ell gre ukr ron
        rum hun bul hrv srp slk slo slv est lav lit cat eus baq glg gle cym wel isl ice sqi alb mkd mac bel
        kat geo hye arm aze kaz uzb mon khm lao tha vie ind msa may tgl fil ceb jav swa hau ibo yor zul xho
        afr amh som ast"""
    )
)
_NAMED = """english en german de french fr spanish es italian it portuguese pt dutch nl japanese ja chinese
    zh korean ko russian ru arabic ar hindi hi turkish tr polish pl czech cs swedish sv danish da norwegian
    no finnish fi greek el hebrew he hungarian hu romanian ro ukrainian uk vietnamese vi thai th indonesian
    id persian fa bengali bn tamil ta urdu ur swahili sw"""
NAMES = dict(zip(words(_NAMED)[::2], words(_NAMED)[1::2]))


def is_language(ending: str) -> bool:
    """Whether a file's ending names a language: `en`, `zh_CN`, `pt-BR`."""
    return bool(re.fullmatch(r"([a-z]{2,3})([-_][A-Za-z]{2,4})?", ending)) and ending[:3].rstrip("-_") in CODES


def language_column(header: str) -> str | None:
    """The language that a column's header names: `en`, `en_XX`, `English`, `text_de`; None: none."""
    name = header.strip()
    if name.lower() in NAMES:
        return NAMES[name.lower()]
    if is_language(name.lower() if name.isupper() else name):
        return name.lower() if name.isupper() else name
    for pattern in (
        r"(?:text|sentence|src|tgt|source|target|sent)[_ -]([a-z]{2,3})",
        r"([a-z]{2,3})[_ -](?:text|sentence)",
    ):
        found = re.fullmatch(pattern, name.lower())
        if found and found[1] in CODES:
            return found[1]
    return None
