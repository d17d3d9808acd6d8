"""What reports and comparisons add to the style sheet that all pages share: tables, charts, the list of questions."""

REPORT_STYLE = """
:root{--c0:#2459a9;--c1:#b34a10;--c2:#1f7a4a;--c3:#8a3ea8;--c4:#7a6200;--c5:#b0304f}
@media (prefers-color-scheme:dark){:root{--c0:#7fb0f5;--c1:#f0995c;--c2:#6cc795;--c3:#c78be0;--c4:#d6bd4a;
--c5:#ee7f98}}
main{max-width:1480px}
.sub{color:var(--dim);margin:.2rem 0 0;overflow-wrap:anywhere}
table.figures{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
table.figures th,table.figures td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);
vertical-align:top}
table.figures th{color:var(--dim);font-weight:500}
table.figures td.n,table.figures th.n{text-align:right;white-space:nowrap}
table.figures th[scope=row]{color:var(--ink);font-weight:600;overflow-wrap:anywhere;min-width:9em}
.scroll{overflow-x:auto;max-width:100%}
.range{color:var(--dim);font-size:.85em;white-space:nowrap}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:20px}
svg{width:100%;max-width:720px;height:auto}
svg text{font-size:11px;fill:var(--dim)}
svg .grid{display:inline;stroke:var(--line);stroke-width:1}
polyline{fill:none;stroke-width:1.8}
.legend{display:flex;flex-wrap:wrap;gap:3px 16px;font-size:.85em;color:var(--dim)}
.legend i{display:inline-block;width:.9em;height:.25em;margin-right:.4em;vertical-align:middle}
details.part{border:1px solid var(--line);border-radius:10px;margin:8px 0;background:var(--card)}
details.part>summary{padding:8px 14px;color:var(--ink);font-size:14.5px;overflow-wrap:anywhere}
details.part>.scroll{padding:0 14px 12px}
iframe{width:100%;height:900px;border:0;background:var(--bg)}
code{background:var(--card);padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}
table.rows{border-collapse:collapse;width:100%;font-size:13.5px}
table.rows th,table.rows td{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:break-word;max-width:26em}
table.rows th{min-width:4em;max-width:16em}
table.rows th button{font:inherit;font-weight:600;color:var(--dim);background:none;border:0;padding:4px 0;
cursor:pointer;text-align:left;overflow-wrap:break-word;max-width:100%}
table.rows th[aria-sort] button{color:var(--ink)}
table.rows td.n{text-align:right;font-variant-numeric:tabular-nums}
table.rows td.wide{min-width:13em}
table.rows td a{margin-right:8px}
@media (max-width:760px){
table.rows thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.rows,table.rows tbody,table.rows tr,table.rows td{display:block;width:100%}
table.rows tr{border:1px solid var(--line);border-radius:10px;background:var(--card);padding:8px 12px;margin:10px 0}
table.rows td,table.rows td.n{border:0;padding:3px 0;text-align:left;display:grid;max-width:none;min-width:0;
grid-template-columns:8.5em minmax(0,1fr);gap:8px;overflow-wrap:anywhere}
table.rows td::before{content:attr(data-label);color:var(--dim);font-size:12.5px}
table.rows td.none{display:none}
table.figures,table.figures tbody,table.figures tr,table.figures td,table.figures th[scope=row]{display:block;
width:100%}
table.figures thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.figures tr{border:1px solid var(--line);border-radius:10px;background:var(--card);padding:8px 12px;margin:10px 0;
display:flex;flex-direction:column}
table.figures th[scope=row]{order:-1;border:0;padding:0 0 4px;overflow-wrap:anywhere}
table.figures td,table.figures td.n{border:0;padding:3px 0;text-align:left;display:grid;white-space:normal;
grid-template-columns:8.5em minmax(0,1fr);gap:8px;overflow-wrap:anywhere}
table.figures td::before{content:attr(data-label);color:var(--dim);font-size:12.5px}
table.figures td>*{grid-column:2}
table.figures td:empty{display:none}
main{padding:20px 14px 60px}}
""" + "".join(
    f".series-{i}{{stroke:var(--c{i})}}i.series-{i},.dot.series-{i}{{background:var(--c{i});fill:var(--c{i})}}"
    for i in range(6)
)
