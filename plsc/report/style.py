"""How the page looks: on a screen, on a phone, printed."""

CSS = """
:root { color-scheme: light; --ink: #1f2328; --muted: #5f6873; --line: #d9dde2; --mark: #fff4e5 }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere }
h2 { font-size: 1.3rem; margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 2px solid var(--ink);
  overflow-wrap: anywhere }
h3 { font-size: 1.05rem; margin: 2rem 0 .25rem }
p { margin: .25rem 0 .75rem; max-width: 46rem }
.muted { color: var(--muted) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 1rem 0 }
dt { color: var(--muted) }
dd { margin: 0; grid-column: 2; overflow-wrap: anywhere }
.wide { overflow-x: auto; margin: .75rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem 0 .3rem 1.5rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
th { font-weight: 600 }
thead th { color: var(--muted); font-weight: 500; border-bottom: 1px solid var(--ink) }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
.sets tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 6rem }
td.remark { color: var(--muted); text-align: left }
tr.mean > * { border-top: 1px solid var(--ink) }
.caution { background: var(--mark); padding: .5rem .75rem; border-radius: .25rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1rem 2rem; margin: 1rem 0 }
figure { margin: 0 }
.plots img { width: 100%; height: auto; display: block }
figcaption { color: var(--muted); font-size: .875rem }
.pairs { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; margin: .75rem 0;
  max-width: 62rem }
.pairs div { display: flex; gap: 2px }
.pairs img { width: 50%; max-width: 112px; height: auto; display: block }
.pairs b { color: var(--ink); font-variant-numeric: tabular-nums }
footer { margin-top: 3rem; color: var(--muted); font-size: .875rem }
a { color: #1f5f99 }
@media (max-width: 40rem) { .pairs { grid-template-columns: repeat(2, 1fr) } }
@media (max-width: 30rem) {
  dl { grid-template-columns: 1fr } dt { margin-top: .4rem } dd { grid-column: 1 }
  table { font-size: .85rem } th, td { padding-left: .6rem }
}
@media print {
  body { font-size: 10.5pt } main { max-width: none; padding: 0 }
  h2, h3 { break-after: avoid } figure, table { break-inside: avoid }
  .plots { grid-template-columns: 1fr 1fr } section { break-before: page }
  .wide { overflow: visible } .caution { border: 1px solid var(--line) }
  th, td { padding-left: .8rem }
}
"""
