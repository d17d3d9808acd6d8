"""A lineage as one HTML page that needs nothing else: the graph as a drawing, and every build's facts below it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from visor_core.lineage.graph import Lineage, Made
from visor_core.lineage.listing import code_line, facts, machine_line, packages_line

WIDTH, HEIGHT = 216, 54
"""Of a build's box, in pixels."""
ACROSS, DOWN = 34, 46
"""Space between boxes side by side, and between rows."""
LONG = 30
"""Characters of a name that fit into a box."""
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #1c2630; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin: 1.6em 0 .3em; }
figure { margin: 1em 0; overflow-x: auto; border: 1px solid #d5dce3; border-radius: 6px; background: #fafbfc; }
code, pre { font: 12px/1.5 ui-monospace, monospace; } pre { overflow-x: auto; background: #f4f6f8; padding: .8em; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15em .8em .15em 0; vertical-align: top; }
svg text { font: 12px system-ui, sans-serif; fill: #1c2630; }
svg .id { font: 11px ui-monospace, monospace; fill: #5b6b7a; }
svg rect { fill: #fff; stroke: #8fa3b5; } svg .target rect { fill: #e2efff; stroke: #2768b8; stroke-width: 2; }
svg .missing rect { fill: #fff1f0; stroke: #c0392b; stroke-dasharray: 4 3; }
svg path { fill: none; stroke: #8fa3b5; stroke-width: 1.3; } svg path.far { stroke: #cfd8e0; }
"""


def lineage_html(lineage: Lineage) -> str:
    """The page."""
    title = f"Lineage of {lineage.target.node} {lineage.target.fingerprint}"
    body = [f"<h1>{html.escape(title)}</h1>", f"<figure>{drawing(lineage)}</figure>"]
    body += [
        f"<p><b>{name}</b> {html.escape(read(lineage.target))}</p>"
        for name, read in (("Code", code_line), ("Machine", machine_line), ("Packages", packages_line))
    ]
    for build in reversed(lineage.builds):
        body.append(f'<h2 id="{_anchor(build.made)}">{html.escape(str(build.made))}</h2>')
        body.append(f"<p>data {html.escape(build.data_version)}, from {_links(build.upstream)}</p>")
        body.append(f"<pre>{html.escape(chr(10).join(facts(build, shown=10**9)))}</pre>")
        body.append(_details("what decided it", build.stored["settings"]))
        body.append(_details("packages", build.stored["packages"]))
    body += [f"<p>missing: {html.escape(str(made))}, data {made.data_version}</p>" for made in lineage.missing]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def _anchor(made: Made) -> str:
    return html.escape(f"{made.node}-{made.fingerprint}-{made.data_version}", quote=True)


def _links(upstream: tuple[Made, ...]) -> str:
    links = [f'<a href="#{_anchor(made)}">{html.escape(made.node)}</a>' for made in upstream]
    return ", ".join(links) or "nothing upstream"


def _details(title: str, value: Mapping[str, Any]) -> str:
    text = html.escape(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))
    return f"<details><summary>{title}</summary><pre>{text}</pre></details>"


def drawing(lineage: Lineage) -> str:
    """The graph as SVG: a row a depth, upstream above, the target at the foot."""
    places, width, height = _places(lineage)
    edges = [
        _edge(places[above], places[build.made])
        for build in lineage.builds
        for above in build.upstream
        if above in places
    ]
    boxes = [_box(made, place, lineage) for made, place in places.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="ancestry">{"".join(edges)}{"".join(boxes)}</svg>'
    )


def _places(lineage: Lineage) -> tuple[dict[Made, tuple[float, float]], int, int]:
    """The upper left corner of every box, and the size of the whole; boxes stand below the middle of what they need."""
    rows: dict[int, list[Made]] = {}
    for made, depth in lineage.depths.items():
        rows.setdefault(depth, []).append(made)
    upstream = {build.made: build.upstream for build in lineage.builds}
    widest = max(len(row) for row in rows.values())
    total = widest * WIDTH + (widest + 1) * ACROSS
    places: dict[Made, tuple[float, float]] = {}
    for number, depth in enumerate(sorted(rows)):

        def middle(made: Made) -> tuple[float, str]:
            above = [places[need][0] for need in upstream.get(made, ()) if need in places]
            return (sum(above) / len(above) if above else 0.0, made.node)

        row = sorted(rows[depth], key=middle)
        left = (total - len(row) * WIDTH - (len(row) - 1) * ACROSS) / 2
        for column, made in enumerate(row):
            places[made] = (left + column * (WIDTH + ACROSS), DOWN / 2 + number * (HEIGHT + DOWN))
    return places, total, len(rows) * (HEIGHT + DOWN)


def _edge(above: tuple[float, float], below: tuple[float, float]) -> str:
    x0, y0 = above[0] + WIDTH / 2, above[1] + HEIGHT
    x1, y1 = below[0] + WIDTH / 2, below[1]
    bend = (y1 - y0) / 2
    far = ' class="far"' if y1 - y0 > DOWN else ""
    return f'<path{far} d="M{x0:.1f} {y0:.1f} C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"/>'


def _box(made: Made, place: tuple[float, float], lineage: Lineage) -> str:
    kind = "target" if made == lineage.target.made else "missing" if made in lineage.missing else "build"
    name = made.node if len(made.node) <= LONG else f"{made.node[: LONG - 1]}…"
    x, y = place
    return (
        f'<a href="#{_anchor(made)}"><g class="{kind}">'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + 10:.1f}" y="{y + 22:.1f}">{html.escape(name)}</text>'
        f'<text class="id" x="{x + 10:.1f}" y="{y + 41:.1f}">{made.fingerprint} · {made.data_version[:8]}</text>'
        "</g></a>"
    )
