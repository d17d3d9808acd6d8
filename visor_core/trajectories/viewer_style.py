"""The style sheet that every page shares: no network, light and dark, prints. Reports add to it (`report_style`)."""

STYLE = """
:root{--bg:#f6f5f1;--card:#fff;--ink:#1d1f23;--dim:#5b5f68;--line:#e3e1da;--accent:#0b6bcb;--soft:#eaf2fb;
--good:#136a3c;--goodbg:#e5f4ec;--bad:#b3261e;--badbg:#fbe9e7;--warn:#8a5a00;--warnbg:#fcf1dc;--gold:#b58900;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1e2125;--ink:#e8e6e1;--dim:#9a9ea7;--line:#32363c;
--accent:#6cb2ff;--soft:#1f2c3b;--good:#6fd39b;--goodbg:#17301f;--bad:#ff8a80;--badbg:#3a1d1b;--warn:#f0c06a;
--warnbg:#37290f;--gold:#e0b93c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:1180px;margin:0 auto;padding:28px 20px 80px}
nav{max-width:1180px;margin:0 auto;padding:16px 20px 0;display:flex;flex-wrap:wrap;gap:8px 20px}
a{color:var(--accent)}
a:focus-visible,button:focus-visible,input:focus-visible,select:focus-visible,summary:focus-visible,
[tabindex]:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
h1{font-size:25px;line-height:1.3;margin:0 0 14px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:16px;margin:34px 0 12px;font-weight:650}
bdi,pre,.t{unicode-bidi:isolate;overflow-wrap:anywhere}
.eyebrow{color:var(--dim);font-size:12px;letter-spacing:.08em;text-transform:uppercase;margin-bottom:6px}
.chip{display:inline-block;padding:1px 9px;border-radius:99px;font-size:12.5px;font-weight:600;
border:1px solid var(--line);background:var(--card);color:var(--dim);white-space:nowrap}
.good{color:var(--good);background:var(--goodbg);border-color:transparent}
.bad{color:var(--bad);background:var(--badbg);border-color:transparent}
.warn{color:var(--warn);background:var(--warnbg);border-color:transparent}
.act{color:var(--accent);background:var(--soft);border-color:transparent}
.summary{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px;margin:0 0 8px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px;min-width:0}
.answer{font-size:22px;font-weight:650;margin:2px 0 6px;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:6px 22px;margin:10px 0 0;padding:0;list-style:none}
.facts b{display:block;font-size:18px;font-weight:650;font-variant-numeric:tabular-nums}
.facts span{color:var(--dim);font-size:12px}
.meta{color:var(--dim);font-size:12.5px;margin:10px 0 0;overflow-wrap:anywhere}
.turn{display:grid;grid-template-columns:44px minmax(0,1fr);gap:0 14px;margin-top:18px}
.num{display:flex;flex-direction:column;align-items:center}
.num b{width:34px;height:34px;border-radius:50%;background:var(--ink);color:var(--bg);display:grid;place-items:center;
font-variant-numeric:tabular-nums}
.num i{flex:1;width:2px;background:var(--line);margin-top:8px}
.grid{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.05fr);gap:20px}
.head{display:flex;flex-wrap:wrap;gap:6px 8px;align-items:center;margin-bottom:10px}
.head .sp{flex:1}
.think{margin:0 0 12px;white-space:pre-wrap}
.think.none{color:var(--dim);font-style:italic}
.says{font-size:17px;font-weight:600;padding:8px 12px;border-radius:8px;background:var(--soft);margin:0 0 12px;
overflow-wrap:anywhere;white-space:pre-wrap}
.says.bad{font-weight:600}
.note{color:var(--dim);font-size:13px;margin:0 0 8px;white-space:pre-wrap}
.pics{display:flex;gap:14px;align-items:flex-start}
.pics.many{flex-wrap:wrap}
figure{margin:0;min-width:0}
figcaption{color:var(--dim);font-size:12px;margin-top:5px;overflow-wrap:anywhere}
.pic{position:relative;width:100%;background-size:100% 100%;border:1px solid var(--line);border-radius:4px;
background-color:#fff;box-shadow:0 1px 3px rgba(0,0,0,.12)}
.pic.lost{display:grid;place-items:center;color:#777;font-size:12px;min-height:80px;padding:8px;text-align:center}
.box{position:absolute;border:2.5px solid #e5007a;border-radius:2px;box-shadow:0 0 0 1px rgba(255,255,255,.85);
background:rgba(229,0,122,.07)}
.box.gold{border:2px dashed var(--gold);background:none;box-shadow:none}
.box.past{border-color:#8a8f98;background:none}
.box em{position:absolute;left:-2.5px;top:-19px;font:600 11px/17px var(--mono);background:#e5007a;color:#fff;
padding:0 5px;border-radius:3px 3px 3px 0;font-style:normal;white-space:nowrap}
.box.low em{top:auto;bottom:-19px;border-radius:0 3px 3px 3px}
.box.inside em{top:0;border-radius:0 0 3px 0}
.box.gold em{background:#7a5c00;left:auto;right:-2px}
.box.past em{background:#5f646d}
.ledger{border-top:1px solid var(--line);margin-top:14px;padding-top:10px}
.ledger h3{font-size:12px;letter-spacing:.06em;text-transform:uppercase;color:var(--dim);margin:0 0 6px;font-weight:650}
.ledger ol{list-style:none;margin:0;padding:0}
.ledger li{display:grid;grid-template-columns:26px minmax(0,1fr);gap:2px 6px;padding:4px 6px;
border-radius:6px;font-size:13.5px}
.ledger li.new{background:var(--goodbg)}
.ledger li.gone .obs{text-decoration:line-through;color:var(--dim)}
.ledger li.rej .obs{color:var(--bad)}
.ledger li.new.rej{background:var(--badbg)}
.ledger .n{font:600 12px/20px var(--mono);color:var(--dim)}
.ledger .src{color:var(--dim);font-size:12px;display:block}
details{margin-top:10px}
summary{cursor:pointer;color:var(--dim);font-size:13px}
pre{font:12.5px/1.5 var(--mono);white-space:pre-wrap;background:var(--bg);border:1px solid var(--line);
border-radius:8px;padding:10px 12px;margin:8px 0 0;max-height:460px;overflow:auto}
.msg{display:grid;grid-template-columns:78px minmax(0,1fr);gap:8px;margin-top:8px;font-size:12.5px}
.msg>b{color:var(--dim);font-weight:600}
.msg pre{margin:0}
.ref{display:inline-block;font:11.5px/1.6 var(--mono);background:var(--soft);color:var(--accent);border-radius:5px;
padding:0 7px;margin:3px 0;overflow-wrap:anywhere}
.bars{display:flex;align-items:flex-end;gap:6px;height:96px;margin-top:12px}
.bars>div{flex:1;max-width:54px;display:flex;flex-direction:column;justify-content:flex-end;height:100%;min-width:8px}
.bars u{display:block;text-decoration:none}
.bars .im{background:var(--accent);opacity:.45}
.bars .tx{background:var(--accent);border-radius:3px 3px 0 0}
.bars span{font-size:10.5px;color:var(--dim);text-align:center;font-variant-numeric:tabular-nums;line-height:1.4}
.key{font-size:12px;color:var(--dim)}
.key i{display:inline-block;width:9px;height:9px;border-radius:2px;background:var(--accent);margin:0 4px 0 10px}
.key i.im{opacity:.45}
.costs table{border-collapse:collapse;font-size:13px;width:100%;margin-top:8px}
.costs td{padding:3px 8px 3px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
.costs td:last-child{text-align:right;font-variant-numeric:tabular-nums}
.cites{display:flex;flex-wrap:wrap;gap:20px}
.cites figure{flex:1 1 420px;max-width:900px}
.cites figcaption{font-size:13.5px}
.sides{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:20px;align-items:start}
.sides .grid,.sides .turn{grid-template-columns:minmax(0,1fr)}
.sides .num{display:none}
.sides .summary{grid-template-columns:minmax(0,1fr)}
.filters{display:flex;flex-wrap:wrap;gap:10px 14px;align-items:end;margin:14px 0}
.filters [role=group]{display:flex;flex-wrap:wrap;gap:8px}
.filters label{display:grid;grid-template-columns:minmax(0,1fr);max-width:100%;
gap:3px;font-size:12.5px;color:var(--dim)}
.filters input,.filters select,.filters button,button.more{font:inherit;font-size:14px;color:var(--ink);
background:var(--card);border:1px solid var(--dim);border-radius:8px;padding:6px 10px;min-height:38px;max-width:100%}
.filters button,button.more{cursor:pointer}
.filters button[aria-pressed=true]{background:var(--ink);color:var(--bg);border-color:var(--ink)}
.count{color:var(--dim);font-size:13px;margin:6px 0}
[hidden]{display:none!important}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:16px;margin-top:18px}
.gallery .card{padding:0;overflow:hidden;display:flex;flex-direction:column;color:inherit;text-decoration:none}
.gallery a.card:hover{border-color:var(--accent)}
.gallery .shot{height:270px;overflow:hidden;background:var(--bg);border-bottom:1px solid var(--line);padding:14px;
display:grid;place-items:center}
.gallery .shot .pic{width:auto;height:100%;max-width:100%}
.gallery .body{padding:12px 14px 14px;display:flex;flex-direction:column;gap:6px;flex:1}
.gallery .q{font-weight:600;display:-webkit-box;-webkit-line-clamp:3;-webkit-box-orient:vertical;
overflow:hidden;overflow-wrap:anywhere}
.gallery .a{color:var(--dim);font-size:13.5px;overflow-wrap:anywhere}
.gallery .row{display:flex;flex-wrap:wrap;gap:6px;margin-top:auto;padding-top:4px}
@media (max-width:820px){.grid,.sides{grid-template-columns:minmax(0,1fr)}
.pics{flex-wrap:wrap}
.turn{grid-template-columns:minmax(0,1fr)}.num{display:none}}
@media print{.card{break-inside:avoid}body{background:#fff}}
"""
