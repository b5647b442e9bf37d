"""A network drawn in layers: where each operator stands, and the page that shows it, in one file without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 4000  # operators of one drawing
HEIGHT, GAP_Y, GAP_X, LETTER = 34, 34, 18, 6.6
SWEEPS = 8


@dataclass
class Box:
    """One operator, input or output of a network.

    Attributes:
        kind: the operator, or `input`, `output`.
        name: of the node.
        text: a few words of its settings.
        takes: values, with the shapes of stored arrays among `details`.
        gives: values.
        details: what is shown when it is chosen.
    """

    kind: str
    name: str
    text: str = ""
    takes: list[str] = field(default_factory=list)
    gives: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)


@dataclass
class Placed:
    """Where things stand: `boxes` (x of the middle, y of the top, width), `lines` (points, value)."""

    boxes: list[tuple[float, float, float]]
    lines: list[tuple[list[tuple[float, float]], str]]
    width: float
    height: float


def place(boxes: Sequence[Box]) -> Placed:
    """Layers by the longest way from an input; in a layer, near what they are joined to; lines keep clear of boxes."""
    makers = {value: i for i, box in enumerate(boxes) for value in box.gives}
    edges = [(makers[v], i, v) for i, box in enumerate(boxes) for v in dict.fromkeys(box.takes) if v in makers]
    ranks = _ranks(len(boxes), [(a, b) for a, b, _ in edges])
    widths = [max(64.0, LETTER * max(len(b.kind) + 1, len(b.text)) + 18) for b in boxes]
    layer_of, width_of = list(ranks), list(widths)
    links: list[tuple[int, int]] = []
    ways: list[list[int]] = []
    for a, b, _ in edges:  # a line over several layers gets a place in each
        way = [a]
        for rank in range(ranks[a] + 1, ranks[b]):
            layer_of.append(rank)
            width_of.append(6.0)
            way.append(len(layer_of) - 1)
        way.append(b)
        ways.append(way)
        links += itertools.pairwise(way)
    above: list[list[int]] = [[] for _ in layer_of]
    below: list[list[int]] = [[] for _ in layer_of]
    for a, b in links:
        below[a].append(b)
        above[b].append(a)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=0) + 1)]
    for i, rank in enumerate(layer_of):
        layers[rank].append(i)
    x = _across(layers, above, below, width_of)
    left = min((x[i] - width_of[i] / 2 for i in range(len(x))), default=0.0) - 20
    y = [float(rank * (HEIGHT + GAP_Y) + 20) for rank in layer_of]
    lines = []
    for way, (a, b, value) in zip(ways, edges):
        points = [(x[a] - left, y[a] + HEIGHT)]
        for i in way[1:-1]:
            points += [(x[i] - left, y[i]), (x[i] - left, y[i] + HEIGHT)]
        lines.append(([*points, (x[b] - left, y[b])], value))
    right = max((x[i] + width_of[i] / 2 for i in range(len(x))), default=0.0) - left + 20
    placed = [(x[i] - left, y[i], widths[i]) for i in range(len(boxes))]
    return Placed(placed, lines, right, len(layers) * (HEIGHT + GAP_Y) + 20)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    after: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for a, b in edges:
        after[a].append(b)
        waits[b] += 1
    ranks, ready = [0] * count, [i for i in range(count) if not waits[i]]
    for i in ready:  # grows while it is walked
        for b in after[i]:
            ranks[b] = max(ranks[b], ranks[i] + 1)
            waits[b] -= 1
            if not waits[b]:
                ready.append(b)
    return ranks


def _across(
    layers: list[list[int]], above: list[list[int]], below: list[list[int]], width: Sequence[float]
) -> list[float]:
    """The middle of each: turn about downwards and upwards, each moves to the middle of its neighbours."""
    x = [0.0] * len(width)
    for layer in layers:
        _spread(layer, [sum(x[a] for a in above[i]) / len(above[i]) if above[i] else 0.0 for i in layer], x, width)
    for sweep in range(SWEEPS):
        side = below if sweep % 2 == 0 else above
        for layer in reversed(layers) if sweep % 2 == 0 else layers:
            wanted = [_middle([x[n] for n in side[i]]) if side[i] else x[i] for i in layer]
            _spread(layer, wanted, x, width)
    return x


def _middle(values: list[float]) -> float:
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def _spread(layer: list[int], wanted: Sequence[float], x: list[float], width: Sequence[float]) -> None:
    """As near to what is wanted as the boxes allow: groups that touch share their mean distance."""
    order = sorted(range(len(layer)), key=lambda k: (wanted[k], k))
    layer[:], goals = [layer[k] for k in order], [wanted[k] for k in order]
    groups: list[list[float]] = []  # sum of the starts that are wanted, number, width
    members: list[list[int]] = []
    for i, goal in zip(layer, goals):
        room = width[i] + GAP_X
        groups.append([goal - room / 2, 1, room])
        members.append([i])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] + groups[-2][2] > groups[-1][0] / groups[-1][1]:
            start, number, size = groups.pop()
            groups[-1][0] += start - number * groups[-1][2]
            groups[-1][1] += number
            groups[-1][2] += size
            members[-2:] = [members[-2] + members[-1]]
    for (start, number, _), inside in zip(groups, members):
        at = start / number
        for i in inside:
            x[i] = at + (width[i] + GAP_X) / 2
            at += width[i] + GAP_X


# The page

COLOURS = {
    "input": "#dfe8e1", "output": "#dfe8e1", "Conv": "#cfe0f3", "ConvTranspose": "#cfe0f3", "Gemm": "#cfe0f3",
    "MatMul": "#cfe0f3", "LSTM": "#cfe0f3", "GRU": "#cfe0f3", "RNN": "#cfe0f3", "MaxPool": "#d9ecd6",
    "AveragePool": "#d9ecd6", "GlobalAveragePool": "#d9ecd6", "Concat": "#f1e3cf", "Split": "#f1e3cf",
    "Reshape": "#f1e3cf", "Transpose": "#f1e3cf", "Loop": "#e9d7ee", "Scan": "#e9d7ee", "If": "#e9d7ee",
}  # fmt: skip
SOFT = ("Relu", "Sigmoid", "Tanh", "Softmax", "Elu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Gelu")

STYLE = """
body{margin:0;font:14px/1.45 system-ui,sans-serif;color:#20262b;background:#fff;display:flex;flex-direction:column;
height:100vh}
header{padding:10px 16px;border-bottom:1px solid #d5dadd;display:flex;gap:16px;align-items:baseline;flex-wrap:wrap}
h1{font-size:17px;margin:0}h2{font-size:14px;margin:18px 0 4px}
input,button,select{font:inherit;padding:3px 8px;border:1px solid #aab3b8;border-radius:4px;background:#fff}
main{display:flex;flex:1;min-height:0}
#graph{flex:1;overflow:auto;background:#f7f8f8}
aside{width:340px;overflow:auto;padding:4px 16px 30px;border-left:1px solid #d5dadd;box-sizing:border-box}
table{border-collapse:collapse;width:100%}td{padding:2px 8px 2px 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:#5c676e;min-width:76px;max-width:150px}
svg text{font:11px system-ui,sans-serif;text-anchor:middle;fill:#20262b;pointer-events:none}
svg .small{font-size:9.5px;fill:#4d575d}
svg rect{stroke:#8b979e;cursor:pointer}svg g.on rect{stroke:#b3261e;stroke-width:2.5}
svg g.off{opacity:.25}
svg path{fill:none;stroke:#9aa5ab}svg path.on{stroke:#b3261e;stroke-width:2}
.shape{font-size:9px!important;fill:#6a757b!important}
@media (max-width:700px){main{flex-direction:column}aside{width:auto;border-left:0;border-top:1px solid #d5dadd;
max-height:45vh}}
"""

SCRIPT = """
const data=JSON.parse(document.getElementById('data').textContent);
const found=document.getElementById('found'),side=document.getElementById('chosen');
let hits=[],at=-1;
const graph=document.getElementById('graph');
function boxes(){return [...document.querySelectorAll('svg:not([hidden]) g')]}
function choose(g){
  document.querySelectorAll('.on').forEach(e=>e.classList.remove('on'));
  if(!g)return;
  g.classList.add('on');
  const [s,i]=g.dataset.box.split('.').map(Number),box=data[s][i];
  g.parentNode.querySelectorAll('path').forEach(p=>{
    if(p.dataset.a===String(i)||p.dataset.b===String(i))p.classList.add('on')});
  const table=document.createElement('table');
  for(const [k,v] of [['operator',box[0]],['name',box[1]],...Object.entries(box[2])]){
    const row=table.insertRow();row.insertCell().textContent=k;row.insertCell().textContent=v}
  side.replaceChildren(table);
}
graph.addEventListener('click',e=>{const g=e.target.closest('g');if(g)choose(g)});
graph.addEventListener('keydown',e=>{
  const g=e.target.closest('g');
  if(g&&(e.key==='Enter'||e.key===' ')){e.preventDefault();choose(g)}
});
function go(step){
  if(!hits.length)return;
  at=(at+step+hits.length)%hits.length;
  choose(hits[at]);hits[at].scrollIntoView({block:'center',inline:'center'});
  found.textContent=(at+1)+' of '+hits.length;
}
const search=document.getElementById('search');
search.addEventListener('input',()=>{
  const words=search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  hits=[];at=-1;
  for(const g of boxes()){
    const [s,i]=g.dataset.box.split('.').map(Number);
    const text=JSON.stringify(data[s][i]).toLowerCase();
    const hit=words.every(w=>text.includes(w));
    g.classList.toggle('off',words.length>0&&!hit);
    if(words.length&&hit)hits.push(g);
  }
  found.textContent=words.length?hits.length+' found':'';
});
search.addEventListener('keydown',e=>{if(e.key==='Enter'){e.preventDefault();go(e.shiftKey?-1:1)}});
const pick=document.getElementById('pick');
if(pick)pick.addEventListener('change',()=>{
  document.querySelectorAll('svg').forEach((s,i)=>{s.toggleAttribute('hidden',i!==Number(pick.value))});
  search.dispatchEvent(new Event('input'));
});
function zoom(factor){
  document.querySelectorAll('svg').forEach(s=>{
    s.setAttribute('width',s.getAttribute('width')*factor);s.setAttribute('height',s.getAttribute('height')*factor)});
}
document.getElementById('in').addEventListener('click',()=>zoom(1.25));
document.getElementById('out').addEventListener('click',()=>zoom(.8));
const first=document.querySelector('svg:not([hidden]) g rect');
if(first){const r=first.getBoundingClientRect();graph.scrollLeft=Math.max(0,r.x+r.width/2-graph.clientWidth/2)}
"""


def page(
    title: str, report: Mapping[str, Any], networks: Mapping[str, Sequence[Box]], shapes: Mapping[str, str]
) -> str:
    """One HTML document that needs nothing else: the drawing, what is known of the network, and a search.

    Args:
        title: of the page: the file's name.
        report: values to show beside the drawing.
        networks: the operators of each network, in an order in which they can be computed.
        shapes: of values, as text.
    """
    drawings, data = [], []
    for number, boxes in enumerate(networks.values()):
        drawings.append(_svg(boxes[:MOST], shapes, number))
        data.append([[b.kind, b.name, b.details] for b in boxes[:MOST]])
    cut = [
        f"only the first {MOST} of {len(b)} operators of {n} are drawn" for n, b in networks.items() if len(b) > MOST
    ]
    choice = ""
    if len(networks) > 1:
        entries = "".join(f'<option value="{i}">{_escape(name)}</option>' for i, name in enumerate(networks))
        choice = f'<select id="pick" aria-label="network">{entries}</select>'
    body = "".join(drawings) or "<p>&nbsp; There is no graph to draw: see beside.</p>"
    notes = "".join(f"<p>{_escape(c)}</p>" for c in cut)
    policy = f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; base-uri 'none'"
    packed = json.dumps(data).replace("<", "\\u003c").replace("&", "\\u0026")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{_escape(title)}</h1>{choice}"
        '<input id="search" type="search" placeholder="search operators, names, shapes" aria-label="search" size="30">'
        '<span id="found" role="status"></span>'
        '<button id="out" aria-label="smaller">&minus;</button><button id="in" aria-label="larger">+</button></header>'
        f'<main><div id="graph" tabindex="0" aria-label="the network">{body}</div>'
        f'<aside><h2>Chosen</h2><div id="chosen">click an operator</div>{notes}{_table(report)}</aside></main>'
        f'<script type="application/json" id="data">{packed}</script><script>{SCRIPT}</script></body></html>\n'
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _escape(value: Any) -> str:
    return html.escape("".join(c if c.isprintable() else " " for c in str(value)), quote=True)


def _table(report: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in report.items() if not isinstance(v, (Mapping, list))}
    parts = f"<h2>Network</h2>{_rows(plain)}"
    for key, value in report.items():
        if not value or key in plain:
            continue
        parts += f"<h2>{_escape(key.replace('_', ' '))}</h2>"
        for one in value if isinstance(value, list) else [value]:
            parts += _rows(one) if isinstance(one, Mapping) else f"<p>{_escape(_short(one))}</p>"
    return parts


def _rows(values: Mapping[str, Any]) -> str:
    """A table; what is empty is left out, and a mapping within has a line for each of its entries."""
    rows = ""
    for key, value in values.items():
        if value in (None, [], {}, ""):
            continue
        lines = [f"{k}: {_short(v)}" for k, v in value.items()] if isinstance(value, Mapping) else [_short(value)]
        rows += f"<tr><td>{_escape(str(key).replace('_', ' '))}</td><td>{'<br>'.join(map(_escape, lines))}</td></tr>"
    return f"<table>{rows}</table>"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        if value.keys() == {"shape", "dtype"}:
            return f"{' × '.join(map(str, value['shape']))} {value['dtype']}".strip()
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, list):
        sizes = any(isinstance(v, int) for v in value)
        return (" × " if sizes else ", ").join(str(v) if isinstance(v, int) else _short(v) for v in value)
    return str(value)


def _svg(boxes: Sequence[Box], shapes: Mapping[str, str], number: int) -> str:
    at = place(boxes)
    makers = {value: i for i, box in enumerate(boxes) for value in box.gives}
    ends = [(makers[v], i) for i, box in enumerate(boxes) for v in dict.fromkeys(box.takes) if v in makers]
    labelled: set[str] = set()
    parts = []
    for (points, value), (a, b) in zip(at.lines, ends):
        (x, y), *rest = points
        path = f"M{x:.0f},{y:.0f}"
        for px, py in rest:
            half = (y + py) / 2
            path += f"V{py:.0f}" if px == x else f"C{x:.0f},{half:.0f} {px:.0f},{half:.0f} {px:.0f},{py:.0f}"
            x, y = px, py
        parts.append(f'<path d="{path}" data-a="{a}" data-b="{b}"/>')
        if value not in labelled and shapes.get(value):
            labelled.add(value)
            x, y = points[0]
            parts.append(f'<text class="shape" x="{x:.0f}" y="{y + 12:.0f}">{_escape(shapes[value])}</text>')
    for i, (box, (x, y, width)) in enumerate(zip(boxes, at.boxes)):
        fill = COLOURS.get(box.kind, "#f3d9d6" if box.kind in SOFT else "#ffffff")
        top = y + (14 if box.text else 21)
        small = f'<text class="small" x="{x:.0f}" y="{y + 27:.0f}">{_escape(box.text)}</text>' if box.text else ""
        label = _escape(f"{box.kind} {box.name}")
        parts.append(
            f'<g data-box="{number}.{i}" tabindex="0" role="button" aria-label="{label}">'
            f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="5" fill="{fill}"/>'
            f'<text x="{x:.0f}" y="{top:.0f}">{_escape(box.kind)}</text>{small}</g>'
        )
    size = f'width="{at.width:.0f}" height="{at.height:.0f}" viewBox="0 0 {at.width:.0f} {at.height:.0f}"'
    hidden = " hidden" if number else ""
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}{hidden}>{"".join(parts)}</svg>'
