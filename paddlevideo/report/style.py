"""The style sheet of a report: light and dark, from 360 pixels upward."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f8; --card: #ffffff; --tile: #e6e9ec; --rule: #d7dce0;
  --ink: #1b1f23; --dim: #59626b; --right: #116a35; --right-soft: #e3f3e8;
  --forward: #2062ad; --backward: #ad5209;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1d2125; --tile: #2b3137; --rule: #3a4148;
    --ink: #e8eaed; --dim: #a3acb5; --right: #6fd498; --right-soft: #1c3326;
    --forward: #83b6f2; --backward: #f1a667;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere; print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.25rem; margin: 44px 0 4px; }
h3 { font-size: 1rem; margin: 24px 0 10px; }
p { margin: 0 0 12px; max-width: 46rem; }
ol, dl { margin: 0; padding: 0; list-style: none; }
.dim, .note { color: var(--dim); }
.note { font-size: .875rem; }
.wide + .note { margin-top: 10px; max-width: none; }
.unseen {
  position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}
.panel {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 14px 16px; margin: 0;
}

.wide { overflow-x: auto; padding: 4px 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 0 8px 12px; text-align: right; vertical-align: baseline; font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--dim); font-size: .875rem; }
tbody tr { border-top: 1px solid var(--rule); }
.numbers { overflow-wrap: normal; }
.numbers .whole th, .numbers .whole .value { font-weight: 650; }
.numbers .part { border-top: 0; }
.numbers .part th { padding-left: 14px; color: var(--dim); font-size: .875rem; }
.numbers .part td { padding-top: 2px; }
.value, .chance { white-space: nowrap; }
.chance { color: var(--dim); font-size: .8125rem; }
.value + .chance { margin-left: 5px; }
.protocol th { color: var(--dim); width: 11rem; vertical-align: top; }
.protocol td { text-align: left; }

.charts {
  display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr));
}
figcaption { font-weight: 600; font-size: .9375rem; margin-bottom: 8px; }
.legend { font-weight: 400; font-size: .8125rem; }
.legend span { white-space: nowrap; margin-right: 14px; }
.legend .forward { color: var(--forward); }
.legend .backward { color: var(--backward); }
svg { display: block; width: 100%; max-width: 440px; height: auto; margin: 0 auto; }
svg text { font-size: 12px; fill: var(--ink); }
svg .dim { fill: var(--dim); }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.chance-line { stroke-width: 1.4; stroke-dasharray: 3 4; }
.line.forward { stroke: var(--forward); }
.line.backward { stroke: var(--backward); }
.fill.forward { fill: var(--forward); }
.fill.backward { fill: var(--backward); }

.cards { display: grid; gap: 12px; }
.card { display: grid; gap: 8px 18px; grid-template-columns: 15rem minmax(0, 1fr); }
.query { margin: 0 0 6px; }
.rank { font-size: .875rem; margin: 0; }
.first { color: var(--right); }
.answers { display: grid; gap: 10px; grid-template-columns: repeat(6, minmax(0, 1fr)); }
.tile { font-size: .8125rem; line-height: 1.35; }
.picture {
  display: flex; align-items: center; justify-content: center; aspect-ratio: 4 / 3;
  background: var(--tile) center / contain no-repeat; border-radius: 5px; margin-bottom: 5px;
  overflow: hidden;
}
.absent {
  color: var(--dim); font-size: .75rem; line-height: 1.2; padding: 6px; text-align: center;
}
.tile.right .picture { outline: 3px solid var(--right); outline-offset: 1px; }
.score { float: right; font-variant-numeric: tabular-nums; padding-left: 8px; }
.name { display: block; color: var(--dim); }
.mark { color: var(--right); font-weight: 650; white-space: nowrap; }
.hits { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.hits .card { display: block; }
.hits .picture { width: 100%; }
.hits p { margin: 4px 0 0; }
.asking .picture { max-width: 15rem; }
.lines { display: grid; gap: 2px; align-content: start; }
.sentence { padding: 4px 10px; border-left: 3px solid transparent; font-size: .9375rem; }
.sentence.right { border-color: var(--right); background: var(--right-soft); }
.beyond { border-top: 1px dashed var(--rule); margin-top: 4px; }

@media (max-width: 760px) {
  .card { grid-template-columns: minmax(0, 1fr); }
  .answers { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .asking .picture { max-width: 11rem; }
}
@media (max-width: 560px) {
  .panel { padding: 12px; }
  /* The name of a row above its numbers, and chance below: all columns fit side by side. */
  .numbers { font-size: .9375rem; }
  .numbers tr { display: flex; flex-wrap: wrap; align-items: flex-start; padding: 6px 0; }
  .numbers thead tr { align-items: flex-end; }
  .numbers thead th { font-size: .75rem; }
  .numbers th, .numbers td { flex: 1 1 0; min-width: 0; padding: 0 0 0 6px; }
  .numbers tbody th, .numbers .part th { flex: 0 0 100%; padding: 0; }
  .numbers thead th:first-child { display: none; }
  .value + .chance { display: block; margin: 0; }
  .protocol th { width: 7rem; }
}
@media print { .card, figure { break-inside: avoid; } }
"""
