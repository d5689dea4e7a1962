"""The style of every page that this package writes: light and dark, on paper and on a telephone."""

__all__ = ["STYLE"]

STYLE = """
:root { --ink: #1d2733; --soft: #5b6875; --line: #d9dfe5; --wash: #f5f7f9; --blue: #0b6fb3;
        --good: #1b7f5c; --bad: #b8431c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: #fff;
       font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header { border-bottom: 3px solid var(--blue); margin-bottom: 1.6rem; padding-bottom: .8rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.subtitle, figcaption, caption { color: var(--soft); }
.subtitle { margin: .4rem 0 0; }
p { margin: .6rem 0; max-width: 46rem; }
a { color: var(--blue); }
code { background: var(--wash); border-radius: 3px; font-size: .9em; padding: .1em .3em; }
pre { background: var(--wash); border-radius: 6px; font-size: .85rem; overflow-x: auto; padding: .8rem 1rem; }
.metrics { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.metric { border: 1px solid var(--line); border-radius: 8px; flex: 1 1 9rem; padding: .7rem 1rem; }
.metric b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.metric span { color: var(--soft); font-size: .88rem; }
.note { background: var(--wash); border-left: 4px solid var(--blue); margin: 1rem 0; padding: .5rem 1rem; }
.note.good { border-color: var(--good); } .note.bad { border-color: var(--bad); }
.wide { margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
.caption { color: var(--soft); font-size: .92rem; margin: 0 0 .4rem; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .9rem .35rem 0; text-align: left; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; white-space: nowrap; }
td:first-child { white-space: nowrap; }
th.number, td.number { padding-left: .9rem; padding-right: 1.4rem; text-align: right; }
figure { margin: 1.2rem 0; overflow-x: auto; }
figure img { background: #fff; border-radius: 6px; display: block; height: auto; max-width: 100%; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0; max-width: 46rem; }
figcaption { font-size: .92rem; margin-top: .4rem; max-width: 46rem; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
footer { border-top: 1px solid var(--line); color: var(--soft); font-size: .85rem; margin-top: 3rem;
         padding-top: .8rem; }
@media (max-width: 36rem) { body { padding: 1.2rem .8rem; } figure img { max-width: none; width: 34rem; } }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --soft: #a3afba; --line: #37424d; --wash: #202a33; --blue: #56b4e9;
          --good: #35b58a; --bad: #ef8354; }
  body { background: #141b21; } }
@media print { body { max-width: none; padding: 0; } figure, tr, .metric { break-inside: avoid; } }
"""
