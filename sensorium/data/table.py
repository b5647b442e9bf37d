"""Tables: CSV, TSV, JSON lines, with or without a header, of texts, labels, pictures, sounds or translations.

The separator, quoting and header are found by looking at the rows; columns by their common names, or by what
is in them where there is no header. A row is called by its file and line: `train.tsv:17`.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from sensorium.data.columns import Roles, is_known, roles_by_content, roles_by_name
from sensorium.data.examples import SPLITS, Dataset, Example, Lazy
from sensorium.data.source import (
    IMAGES,
    MAX_TEXT,
    SOUNDS,
    TABLES,
    Source,
    decode,
    encoding_of,
    extension,
    parse_json,
    split_in,
)
from sensorium.errors import InputError

SAMPLE = 1 << 18
EAGER_BYTES = 64 << 20
MAX_LINE = 16 << 20
MAX_FIELD = 16 << 20

Cells = dict[str, Any]  # a row: column name to value


@dataclass
class Table:
    """One file and how it is read.

    Attributes:
        name: relative path.
        kind: `rows` (separated values), `lines` (JSON lines) or `json` (one JSON list).
        encoding: of the text.
        separator, quoted: of separated values.
        header: names of the columns (made up where the file has none); `headed`: whether the first row holds
            them.
        roles: which column is which field.
        starts, lines: byte offset (and the end of the last) and line number of each usable row.
    """

    name: str
    kind: str
    encoding: str
    separator: str = ","
    quoted: bool = True
    header: list[str] = field(default_factory=list)
    headed: bool = False
    roles: Roles = field(default_factory=Roles)
    starts: array[int] = field(default_factory=lambda: array("Q"))
    lines: array[int] = field(default_factory=lambda: array("Q"))
    data: bytes | None = None  # transcoded to UTF-8 in memory: UTF-16, or old Macintosh line ends


def _tables(source: Source) -> list[str]:
    """The tables of the data set: the one given, or those of the highest folder that has any."""
    if source.file is not None:
        known = extension(source.file) in TABLES or extension(source.file) == ".json"
        return [source.file] if known or extension(source.file) not in IMAGES | SOUNDS else []
    names = [n for n in source.files if extension(n) in TABLES]
    if not names:
        names = [n for n in source.files if extension(n) == ".json" and _is_json_list(source, n)]
    names = [n for n in names if n != "splits.json"]
    if not names:
        return []
    depth = min(n.count("/") for n in names)
    top = [n for n in names if n.count("/") == depth]
    if depth == 0 or all(split_in(PurePosixPath(n).parent.name) for n in names):
        return top if depth == 0 else names
    return top


def _is_json_list(source: Source, name: str) -> bool:
    head = source.head(name, 64).lstrip(b"\xef\xbb\xbf \r\n\t")
    return head.startswith(b"[") and head[1:].lstrip().startswith(b"{")


def match(source: Source) -> float:
    names = _tables(source)
    if not names:
        return 0.0
    if source.file is not None:
        return 0.9 if extension(source.file) in TABLES else 0.4
    try:
        table = _open(source, names[0])
    except InputError:
        return 0.3
    if table.roles.image or table.roles.audio:
        return 0.85 if len(table.roles.fields()) > 1 else 0.08
    media = any(extension(n) in IMAGES | SOUNDS for n in source.files)
    if table.roles.empty():
        return 0.05 if media else 0.2
    return 0.3 if media else 0.7


# How one file is written


def _open(source: Source, name: str) -> Table:
    """Look at the beginning of a file: encoding, separator, quoting, header, roles of the columns."""
    head = source.head(name, SAMPLE)
    if not head.strip():
        raise InputError(f"{name}: is empty")
    ending = extension(name)
    encoding = _encoding(source, name)
    table = Table(name, "rows", encoding)
    if encoding.startswith("utf-16") or (b"\r" in head and b"\n" not in head):
        text = source.text(name).lstrip("\ufeff")
        table.data = text.replace("\r\n", "\n").replace("\r", "\n").encode()
        table.encoding = "utf-8"
        head = table.data[:SAMPLE]
    text = head.decode("utf-8" if table.encoding == "utf-8-sig" else table.encoding, "ignore").lstrip("\ufeff")
    if len(head) == SAMPLE:  # whole lines only
        text = text[: text.rfind("\n") + 1] or text
    first = text.lstrip()[:1]
    if ending in (".jsonl", ".ndjson") or (ending not in TABLES and first == "{"):
        table.kind = "lines"
    elif first == "[" and (ending == ".json" or re.match(r"\s*\[\s*\{", text)):
        table.kind = "json"
    if table.kind == "rows":
        table.separator, table.quoted = sniff(text, ending)
        rows = list(csv.reader(io.StringIO(text), **_dialect(table)))
        rows = [row for row in rows if any(cell.strip() for cell in row)][:2000]
        if len(head) == SAMPLE and len(rows) > 2:
            rows.pop()
        width = Counter(len(row) for row in rows).most_common(1)[0][0]
        table.headed = has_header(rows)
        table.header = _unique(rows[0]) if table.headed else [f"column {i}" for i in range(1, width + 1)]
        body = [row for row in rows[table.headed :] if len(row) == width]
        cells: list[Cells] = [dict(zip(table.header, row)) for row in body]
    else:
        cells = []
        if table.kind == "lines":
            for number, line in enumerate(text.splitlines()[:2000], 1):
                if line.strip():
                    try:
                        row = parse_json(line, f"{name}:{number}")
                    except InputError:
                        continue
                    if isinstance(row, dict):
                        cells.append(row)
        else:
            found = source.json(name)
            cells = [row for row in found[:2000] if isinstance(row, dict)]
        if not cells:
            raise InputError(f"{name}: no rows of JSON objects in it")
        table.headed = True
        table.header = list(dict.fromkeys(key for row in cells for key in row))
    table.roles = Roles()
    if table.headed:
        table.roles = roles_by_name(table.header, cells, source)
    if table.roles.empty() and cells:
        table.roles = roles_by_content(table.header, cells, source)
    return table


def _encoding(source: Source, name: str) -> str:
    """Of the whole file: a byte that is not UTF-8 may stand at its very end."""
    head = source.head(name, SAMPLE)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4096]:
        return encoding_of(head, name)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(source.root / name, "rb") as file:
            while block := file.read(1 << 22):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        return "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "utf-8"
    except UnicodeDecodeError:
        data = source.binary(name, 4 * MAX_TEXT)
        encoding = encoding_of(data, name)
        source.report_encoding(name, data, encoding)
        return encoding
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None


def _dialect(table: Table) -> dict[str, Any]:
    csv.field_size_limit(MAX_FIELD)
    if table.quoted:
        return {"delimiter": table.separator, "quotechar": '"', "skipinitialspace": False}
    return {"delimiter": table.separator, "quoting": csv.QUOTE_NONE, "quotechar": None}


def sniff(text: str, ending: str = "") -> tuple[str, bool]:
    """The separator of a table, and whether its cells may be quoted.

    The separator is the one under which most rows have the same number of cells, at least two. Quotation
    marks are quoting unless that splits the rows less evenly, or, between tabs, some cell opens with a mark
    that does not close: texts from messages and web pages are full of such marks.

    Args:
        text: the beginning of the table, whole lines.
        ending: the extension of the file, which settles a draw.
    """
    order = ["\t", ",", ";", "|"] if ending in (".tsv", ".tab", "") else [",", "\t", ";", "|"]
    best, answer = 0.0, (order[0], True)
    for separator in order:
        for quoted in (False, True) if separator == "\t" and not _must_quote(text) else (True, False):
            evenness = _evenness(text, separator, quoted)
            if evenness > best + 0.005:
                best, answer = evenness, (separator, quoted)
    if best < 0.5:  # one column: quoted cells, or plain lines with commas in them
        return (",", True) if _evenness(text, ",", True, least=1) > 0.9 else ("\x1f", False)
    return answer


def _evenness(text: str, separator: str, quoted: bool, least: int = 2) -> float:
    """The share of rows that have as many cells as most; 0 where most have fewer than `least`."""
    try:
        dialect = _dialect(Table("", "rows", "utf-8", separator, quoted))
        rows = [row for row in itertools.islice(csv.reader(io.StringIO(text), **dialect), 2000) if row]
    except csv.Error:
        return 0.0
    if len(rows) > 2:
        rows.pop()  # it may be cut
    width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    return count / len(rows) if width >= least else 0.0


def _must_quote(text: str) -> bool:
    """Whether marks between tabs can only be quoting.

    So it is where every cell that opens with one closes with one, and some cell holds a tab, a doubled mark or a line
    end inside, or all cells are wrapped.
    """
    proof = inside = False
    plain = False
    lines = text.splitlines()
    for line in lines:
        cells = line.split("\t")
        if inside and len(cells) >= len(lines[0].split("\t")) and not cells[0].endswith('"'):
            return False  # a whole row would lie within one cell
        for cell in cells:
            if inside:
                if cell[:1] == '"' and cell[:2] not in ('"', '""'):
                    return False  # the next cell opens before this one closed
                proof = True  # a tab or a line end lies within
                inside = not cell.replace('""', "").endswith('"')
            elif cell.startswith('"'):
                body = cell[1:].replace('""', "")
                if '"' in body[:-1]:
                    return False
                inside = not body.endswith('"')
                proof = proof or '""' in cell[1:-1]
            else:
                plain = True
    return (proof or not plain) and not inside


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: by known names, or by being unlike what stands below it."""
    if not rows:
        return False
    first = [cell.strip() for cell in rows[0]]
    rest = [row for row in rows[1:200] if len(row) == len(first)]
    named = [cell for cell in first if cell]
    if not named or len({c.lower() for c in named}) < len(named) or max(map(len, named)) > 64:
        return False
    if any(_numeric(cell) for cell in named):
        return False
    known = [i for i, cell in enumerate(first) if is_known(cell)]
    if known and not any(row[i].strip().lower() == first[i].lower() for row in rest[:50] for i in known):
        return True
    # a column of numbers (or paths) under a word
    for i, cell in enumerate(first):
        below = [row[i].strip() for row in rest if row[i].strip()]
        if len(below) >= 2 and all(map(_numeric, below)) and cell:
            return True
        if below and "." not in cell and all(extension(c) in IMAGES | SOUNDS for c in below):
            return True
    return False


def _numeric(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False


def _unique(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for i, cell in enumerate(header, 1):
        name = cell.strip() or f"column {i}"
        names.append(name if name not in names else f"{name} {i}")
    return names


# Its rows


def _file(source: Source, table: Table) -> BinaryIO:
    if table.data is not None:
        return io.BytesIO(table.data)
    return open(source.root / table.name, "rb")


class _Lines:
    """The lines of a binary file as text, counting lines and bytes."""

    def __init__(self, file: BinaryIO, encoding: str, name: str, line: int = 0) -> None:
        self.file, self.name = file, name
        self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        self.line, self.offset = line, file.tell()

    def __iter__(self) -> Iterator[str]:
        while data := self.file.readline(MAX_LINE):
            if len(data) >= MAX_LINE:
                raise InputError(f"{self.name}:{self.line + 1}: a line of more than {MAX_LINE >> 20} MB")
            self.line += 1
            self.offset += len(data)
            text = decode(data, self.encoding)
            yield text.lstrip("\ufeff") if self.line == 1 else text


def _rows(lines: _Lines, table: Table) -> Iterator[tuple[int, int, Cells | str]]:
    """Offset, line and cells of each row; a text says what is wrong with it."""
    if table.kind == "rows":
        reader = csv.reader(iter(lines), **_dialect(table))
        width = len(table.header)
        while True:
            start, line = lines.offset, lines.line + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{table.name}:{line}: {error}") from None
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != width:
                if len(row) > width and not any(cell.strip() for cell in row[width:]):
                    row = row[:width]
                else:
                    yield start, line, f"has {len(row)} cells, the table has {width}"
                    continue
            yield start, line, dict(zip(table.header, row))
    else:
        start, line = lines.offset, lines.line + 1
        for text in lines:
            if text.strip():
                try:
                    found = json.loads(text)
                except (ValueError, RecursionError) as error:
                    yield start, line, f"not valid JSON: {getattr(error, 'msg', 'nested too deeply')}"
                else:
                    yield start, line, found if isinstance(found, dict) else "not a JSON object"
            start, line = lines.offset, lines.line + 1


class _Reader:
    """Rows of one table to examples."""

    def __init__(self, source: Source, table: Table) -> None:
        self.source, self.table = source, table
        self.folder = str(PurePosixPath(table.name).parent)
        self.split = split_in(PurePosixPath(table.name).stem) or split_in(PurePosixPath(table.name).parent.name)

    def example(self, cells: Cells, line: int) -> Example | str:
        """The example of a row; a text says why there is none."""
        roles = self.table.roles
        where = f"{self.table.name}:{line}"
        fields: dict[str, Any] = {}
        for field_name, column, kinds in (("image", roles.image, IMAGES), ("audio", roles.audio, SOUNDS)):
            if column is None:
                continue
            name = str(cells.get(column) or "").strip()
            found = self.source.find(name, *self.bases(), where=where) if name else None
            if found is None and name and not extension(name):
                found = next(
                    filter(None, (self.source.find(name + e, *self.bases(), where=where) for e in sorted(kinds))),
                    None,
                )
            if found is None:
                return f"there is no file '{name}'" if name else f"names no file in '{column}'"
            fields[field_name] = self.source.absolute(found)
        if roles.text is not None:
            fields["text"] = _text(cells.get(roles.text)).strip()
        if roles.summary is not None:
            fields["summary"] = _text(cells.get(roles.summary)).strip()
        if roles.labels is not None:
            value = cells.get(roles.labels)
            parts = value if isinstance(value, list) else re.split(r"[|;,]", _text(value))
            fields["labels"] = [_text(p).strip() for p in parts if _text(p).strip()]
        if roles.label is not None:
            label = _text(cells.get(roles.label)).strip()
            if not label:
                return f"has no label in '{roles.label}'"
            fields["label"] = label
        if roles.translation:
            pair = {key: _text(_deep(cells, column)).strip() for key, column in roles.translation}
            if not all(pair.values()):
                return "one side of the translation is empty"
            fields["translation"] = pair
        group = _text(cells.get(roles.group)).strip() if roles.group is not None else ""
        split = self.split
        if roles.split is not None:
            split = split_in(_text(cells.get(roles.split)))
        return Example(where, fields, where, split, group or None)

    def bases(self) -> list[str]:
        return [self.folder] + [f"{self.folder}/{d}" for d in ("images", "wavs", "wav", "audio", "clips")]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)):
        return " ".join(map(_text, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
    return str(value)


def _deep(cells: Cells, column: tuple[str, ...]) -> Any:
    value: Any = cells
    for key in column:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def read(source: Source) -> Dataset:
    names = _tables(source)
    if not names:
        raise InputError(f"'{source.root}' has no table (.csv, .tsv, .jsonl)")
    tables = [_open(source, name) for name in names if len(names) == 1 or source.head(name, 64).strip()]
    kinds: dict[tuple[str, ...], list[Table]] = defaultdict(list)
    for table in tables:
        kinds[table.roles.fields()].append(table)
    fields = max(kinds, key=lambda k: (len(source.wants & set(k)), len(k) > 0, len(kinds[k]), k))
    for other, left in kinds.items():
        if other != fields:
            source.note(f"{', '.join(t.name for t in left)}: other columns than {kinds[fields][0].name}: left out")
    tables = kinds[fields]
    if not fields:
        if tables[0].headed and "\n" not in source.text(tables[0].name).strip():
            raise InputError(f"{tables[0].name}: has a header ({', '.join(tables[0].header[:8])}) and no rows")
        raise InputError(
            f"{tables[0].name}: its columns ({', '.join(tables[0].header[:8])}) are not understood: "
            "name them text, label, image, audio, or by language"
        )
    readers = []
    for table in tables:
        readers.append(_Reader(source, table))
        named = ", ".join(f"{f} from '{c}'" for f, c in table.roles.shown())
        source.note(f"{table.name}: {named}" + ("" if table.headed else " (no header)"))
    size = sum((source.root / t.name).stat().st_size for t in tables)
    eager = size <= EAGER_BYTES
    examples: list[Example] = []
    codes = bytearray()
    for reader in readers:
        _index(source, reader, examples if eager else None, codes)
    source.used.extend(t.name for t in tables)
    data: Sequence[Example] = examples if eager else Lazy(_block_reader(source, readers), len(codes), codes)
    return source.dataset("table", fields, data)


def _index(source: Source, reader: _Reader, examples: list[Example] | None, codes: bytearray) -> None:
    """Read all rows once: keep the examples, or else where they stand."""
    table = reader.table
    faulty = 0
    rows: Iterator[tuple[int, int, Cells | str]]
    file = _file(source, table)
    with file:
        lines = _Lines(file, table.encoding, table.name)
        if table.kind == "json":
            found = source.json(table.name)
            rows = ((i, i, row if isinstance(row, dict) else "not a JSON object") for i, row in enumerate(found, 1))
            examples = [] if examples is None else examples
        else:
            rows = _rows(lines, table)
        skip = table.headed and table.kind == "rows"
        for start, line, cells in rows:
            if skip:
                skip = False
                continue
            example = reader.example(cells, line) if isinstance(cells, dict) else cells
            if isinstance(example, str):
                faulty += 1
                if example.startswith("there is no file"):
                    source.found("missing-file", "error", f"{table.name}:{line}", f"{example}: left out")
                else:
                    source.found("row", "warning", f"{table.name}:{line}", f"{example}: left out")
                continue
            if examples is not None:
                examples.append(example)
            else:
                table.starts.append(start)
                table.lines.append(line)
                codes.append(SPLITS.index(example.split) + 1 if example.split else 0)
        table.starts.append(lines.offset)
    if faulty:
        source.note(f"{table.name}: {faulty} rows cannot be used: left out")


def _block_reader(source: Source, readers: list[_Reader]) -> Callable[[int, int], list[Example]]:
    """Examples by position, read from where the rows stand."""
    bounds = [0]
    for reader in readers:
        bounds.append(bounds[-1] + len(reader.table.lines))

    def block(start: int, stop: int) -> list[Example]:
        found: list[Example] = []
        for i, reader in enumerate(readers):
            low, high = max(start, bounds[i]) - bounds[i], min(stop, bounds[i + 1]) - bounds[i]
            if low >= high:
                continue
            table = reader.table
            wanted = set(table.lines[low:high])
            with _file(source, table) as file:
                file.seek(table.starts[low])
                lines = _Lines(
                    io.BytesIO(file.read(table.starts[high] - table.starts[low])), table.encoding, table.name
                )
            lines.line = table.lines[low] - 1
            for _, line, cells in _rows(lines, table):
                if line in wanted and isinstance(cells, dict):
                    example = reader.example(cells, line)
                    assert isinstance(example, Example)
                    found.append(example)
        return found

    return block
