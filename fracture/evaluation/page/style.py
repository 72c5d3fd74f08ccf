"""The frame of ``report.html``: one page, no script, nothing fetched."""

from __future__ import annotations

from string import Template

__all__ = ["PAGE"]

PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2933; --soft: #52606d; --rule: #cbd2d9; --pale: #f5f7fa; --blue: #0b5394; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.55 "Source Sans 3", "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
main { max-width: 1010px; margin: 0 auto; padding: 36px 32px 64px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 42px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 22px 0 6px; }
p { margin: 6px 0 10px; max-width: 78ch; }
.lead { color: var(--soft); margin: 0 0 18px; }
.plain { background: var(--pale); border-left: 4px solid var(--blue); padding: 12px 20px 14px; margin: 18px 0 8px; }
.plain ul { margin: 4px 0 0; padding-left: 20px; }
.plain .note { margin: 6px 0 0; }
.lower { margin-top: 26px; }
.plain li { margin: 4px 0; }
table { border-collapse: collapse; width: 100%; margin: 10px 0 4px; font-size: 13.5px;
  font-variant-numeric: tabular-nums; border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
caption { text-align: left; font-size: 13.5px; padding-bottom: 7px; line-height: 1.45; }
caption b, figcaption b { font-weight: 650; }
th { text-align: right; font-weight: 600; padding: 6px 8px; border-bottom: 0.8px solid var(--ink);
  vertical-align: bottom; }
td { text-align: right; padding: 5px 8px; white-space: nowrap; vertical-align: top; }
td small { color: var(--soft); font-size: 12px; display: block; line-height: 1.3; }
th:first-child, td:first-child { text-align: left; padding-left: 2px; white-space: normal; }
tr.cut td { font-weight: 600; padding-top: 11px; color: var(--soft); }
tr.in td:first-child { padding-left: 16px; }
.left th, .left td { text-align: left; white-space: normal; }
.note { font-size: 12.5px; color: var(--soft); margin: 4px 0 14px; max-width: none; line-height: 1.5; }
.na { color: var(--soft); font-style: italic; }
.wide { overflow-x: auto; }
figure { margin: 16px 0 6px; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: 13.5px; margin-top: 6px; line-height: 1.45; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 34px; align-items: start; }
.films { display: grid; grid-template-columns: repeat(4, 1fr);
  gap: 14px; margin: 10px 0 4px; }
.film { font-size: 12.5px; line-height: 1.35; }
.film .box { background: #111; height: 232px; display: flex; align-items: center; justify-content: center;
  color: #9aa5b1; padding: 2px; text-align: center; margin-bottom: 4px; }
.film .box img { width: auto; height: auto; max-width: 100%; max-height: 228px; display: block; }
.film span { color: var(--soft); overflow-wrap: anywhere; }
ol.limits li, ul.facts li { margin: 4px 0; max-width: 86ch; }
code { font: 12px/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 40px; font-size: 12.5px; color: var(--soft); border-top: 1px solid var(--rule);
  padding-top: 10px; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } .films { grid-template-columns: 1fr 1fr; }
  main { padding: 20px 16px; } }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  table, figure, .film { break-inside: avoid; } }
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
"""
)
