"""The report's style sheet: light and dark by the reader's system, light on paper, one column on a phone.

A Python string and not a file: a Flower App Bundle carries Python only. People who confuse red and green can tell the
colours apart (blue, orange, teal, purple; lines also differ in their dashes); text has a contrast of at least 4.5 to 1.
"""

from __future__ import annotations

_LIGHT = """
  --page:#f4f6f9; --card:#ffffff; --text:#17202c; --soft:#4c5868; --rule:#dde3ea; --grid:#e6eaf0;
  --c1:#1d56c4; --c2:#b45a00; --c3:#00796b; --c4:#7b3fa0; --c5:#66707d; --bad:#b3261e;
  --good-back:#dff3e8; --good-text:#0b5a36; --fair-back:#fdefd2; --fair-text:#7a4300;
  --bad-back:#fbe3e1; --bad-text:#a1201a; --heat:29,86,196; --code:#eef1f6; --band:.17;
"""
_DARK = """
  --page:#0f1319; --card:#181d25; --text:#e6eaf0; --soft:#a6b0be; --rule:#2c3440; --grid:#262d38;
  --c1:#7fadff; --c2:#f2a654; --c3:#4dcbb3; --c4:#cf9bee; --c5:#98a3b1; --bad:#ff8a80;
  --good-back:#123626; --good-text:#7fe0b0; --fair-back:#3b2c0c; --fair-text:#ffcf7d;
  --bad-back:#431c1a; --bad-text:#ffaaa3; --heat:96,150,255; --code:#10151c; --band:.28;
"""

CSS = (
    ":root{color-scheme:light dark;"
    + _LIGHT
    + "}@media(prefers-color-scheme:dark){:root{"
    + _DARK
    + "}}@media print{:root{color-scheme:light;"
    + _LIGHT
    + "}}"
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);line-height:1.5;font-size:16px;
  font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
  font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:2.25rem 1.25rem 3rem}
h1{font-size:clamp(1.5rem,4vw,2.1rem);line-height:1.2;margin:.35rem 0 .5rem;letter-spacing:-.015em;
  overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.25rem 0 .8rem;letter-spacing:-.01em}
h3{font-size:1rem;margin:0 0 .35rem}
p{margin:.3rem 0}
small,.note,.caption,.meta{color:var(--soft)}
.note{font-size:.875rem;max-width:70ch}
.meta{font-size:.9rem;display:flex;flex-wrap:wrap;gap:.25rem .9rem;align-items:center;overflow-wrap:anywhere}
.brand{font-weight:600;color:var(--c1)}
.badge{border-radius:1rem;padding:.1rem .7rem;font-size:.85rem;font-weight:600;white-space:nowrap}
.good{background:var(--good-back);color:var(--good-text)}
.fair{background:var(--fair-back);color:var(--fair-text)}
.bad.badge{background:var(--bad-back);color:var(--bad-text)}
.verdict{font-size:1.1rem;line-height:1.6;max-width:72ch;margin:.9rem 0 1.4rem;overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:.75rem;margin:0}
.figures>div,.card{background:var(--card);border:1px solid var(--rule);border-radius:.75rem}
.figures>div{padding:.75rem .95rem}
.figures dt{color:var(--soft);font-size:.85rem}
.figures dd{margin:0}
.figures b{display:block;font-size:1.55rem;font-weight:650;line-height:1.25;letter-spacing:-.02em}
.figures small{display:block;font-size:.8rem}
.card{padding:1rem 1.15rem;margin:0 0 .9rem;min-width:0}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.9rem;margin-bottom:.9rem}
.grid>.card{margin:0}
.grid>.wide,.grid>.card:last-child:nth-child(odd){grid-column:1/-1}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:.5rem 0 .35rem;padding:0;
  font-size:.82rem;color:var(--soft);align-items:center}
.legend svg{width:22px;height:12px;margin-right:.4rem;vertical-align:-1px;overflow:visible}
.ramp{display:inline-block;width:7rem;height:.7rem;margin:0 -.6rem;border-radius:.2rem;border:1px solid var(--rule);
  background:linear-gradient(90deg,rgba(var(--heat),0),rgba(var(--heat),.35) 13%,rgba(var(--heat),.5) 25%,
  rgba(var(--heat),.7) 50%,rgb(var(--heat)))}
.chart{display:grid;grid-template-columns:calc(var(--y) + .4rem) minmax(0,1fr);grid-template-rows:240px 1.5rem;
  font-size:.8rem;color:var(--soft);margin:.6rem .6rem .3rem 0}
.chart .y{position:relative;grid-row:1}
.chart .y span{position:absolute;right:.5rem;transform:translateY(50%);line-height:1;white-space:nowrap}
.chart .y span[style^=top]{transform:translateY(-50%);max-width:100%;overflow:hidden;text-overflow:ellipsis}
.chart .drawing{grid-column:2;grid-row:1;min-width:0}
.chart .drawing svg{display:block;width:100%;height:100%;overflow:visible}
.chart .x{grid-column:2;position:relative}
.chart .x span{position:absolute;top:.35rem;transform:translateX(-50%);line-height:1;white-space:nowrap}
.grid-line{stroke:var(--grid);stroke-width:1;fill:none;vector-effect:non-scaling-stroke}
.line{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round;vector-effect:non-scaling-stroke}
.dots{fill:none;stroke-width:7;stroke-linecap:round;vector-effect:non-scaling-stroke}
.line.s2{stroke-dasharray:7 5}.line.s3{stroke-dasharray:1 5}.line.s4{stroke-dasharray:12 4}
.line.s5{stroke-dasharray:3 3}.dots.s2,.dots.s3{stroke-width:5}
.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}
.band,.area.s2{stroke:none;fill:var(--c2);opacity:var(--band)}
.area.c1,.area.c2,.area.c3,.area.c4,.area.c5,.area.bad{stroke:none}
.area.c1{fill:var(--c1)}.area.c2{fill:var(--c2)}.area.c3{fill:var(--c3)}.area.c4{fill:var(--c4)}
.area.c5{fill:var(--c5)}.area.bad{fill:var(--bad)}
.tips rect{fill:var(--text);opacity:0}.tips rect:hover{opacity:.07}
.heat-area{fill:rgb(var(--heat));fill-opacity:var(--a);stroke:none}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:.875rem}
.caption{font-size:.82rem;margin:.15rem 0 .3rem}
th,td{padding:.34rem .6rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top;
  overflow-wrap:anywhere;min-width:2.2rem}
th{font-weight:600}thead th{color:var(--soft);white-space:nowrap;overflow-wrap:normal;vertical-align:bottom}
tbody th{font-weight:500}
tbody tr:last-child>*{border-bottom:0}
.short{white-space:nowrap}.long{min-width:11rem}
.n{text-align:right;white-space:nowrap}
.facts th{width:38%;color:var(--soft)}
.facts small{margin-left:.25rem}
.bad-text{color:var(--bad-text);font-weight:600}
.heatmap{width:100%}
.heatmap th,.heatmap td{border-bottom:2px solid var(--card)}
.heat{background:rgba(var(--heat),var(--a));border-left:2px solid var(--card);min-width:2.4rem;width:7%}
.total{min-width:5rem}
.bar{display:block;height:4px;border-radius:2px;background:var(--grid);margin-top:3px;min-width:3rem;overflow:hidden}
.bar span{display:block;height:100%}
.bar .c1{background:var(--c1)}.bar .c4{background:var(--c4)}.bar .c5{background:var(--c5)}
.bar .bad{background:var(--bad)}
details{margin-top:.5rem;font-size:.9rem}
summary{cursor:pointer;color:var(--c1);font-size:.85rem;width:fit-content}
:focus-visible{outline:2px solid var(--c1);outline-offset:2px;border-radius:.2rem}
pre{background:var(--code);border-radius:.5rem;padding:.8rem .95rem;overflow-x:auto;margin:.5rem 0;font-size:.85rem}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.92em}
td code,th code{color:var(--soft);font-size:.85em}
figure{margin:0}
footer code{overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.85rem;margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:1rem}
@media(max-width:820px){.grid{grid-template-columns:minmax(0,1fr)}.figures{grid-template-columns:repeat(2,1fr)}
  main{padding:1.4rem .9rem 2rem}.card{padding:.85rem .9rem}.verdict{font-size:1.02rem}
  .chart{grid-template-rows:200px 1.5rem}th,td{padding:.3rem .45rem}}
@media print{body{font-size:11pt;background:#fff}main{max-width:none;padding:0}
  .card,.figures>div,tr{break-inside:avoid}h2,h3{break-after:avoid}.scroll{overflow:visible}
  details:not([open]){display:none}
  *{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
)
