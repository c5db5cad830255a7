"""A Markdown page with its figures as one HTML file that needs no network."""

from __future__ import annotations

import re
from pathlib import Path


def html_page(markdown: str, folder: Path) -> str:
    """The page.

    Args:
        markdown: pictures are named as PNG files beside it.
        folder: where each picture lies as SVG too.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r"<table>.*?</table>", r'<div class="wide">\g<0></div>', body, flags=re.DOTALL)
    body = re.sub(
        r'<p><img src="([\w-]+)\.png" alt="([^"]*)" ?/></p>(?:\n<p>(.*?)</p>)?',
        lambda found: _figure(folder / f"{found[1]}.svg", found[2], found[3] or ""),
        body,
        flags=re.DOTALL,
    )
    title = re.search(r"<h1>(.*?)</h1>", body)
    return PAGE.format(title=title[1] if title else "", style=STYLE, body=_with_contents(body))


def _figure(svg: Path, label: str, caption: str) -> str:
    """The drawing itself in the page, named for those who cannot see it.

    Its marks and clips get names of their own: all drawings count theirs from one.
    """
    text = svg.read_text(encoding="utf-8")
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{svg.stem}-", text[text.index("<svg") :])
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><div class="wide">{drawing}</div>{words}</figure>'


def _with_contents(body: str) -> str:
    """The page with a line of its sections under the title, where there are several."""
    names = re.findall(r"<h2>(.*?)</h2>", body)
    if len(names) < 3:
        return body
    links = []
    for number, name in enumerate(names, 1):
        body = body.replace(f"<h2>{name}</h2>", f'<h2 id="part-{number}">{name}</h2>', 1)
        links.append(f'<a href="#part-{number}">{name}</a>')
    return body.replace("</h1>", f"</h1>\n<nav>{' · '.join(links)}</nav>", 1)


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
STYLE = """
body {max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff;
  font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif}
p, ul, figcaption {max-width: 50rem}
h2 {margin-top: 2.5rem; padding-top: 0.5rem; border-top: 1px solid #ccc}
nav {font-size: 0.9rem}
.wide {overflow-x: auto}
table {border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums}
th, td {padding: 0.25rem 0.6rem; border-bottom: 1px solid #ccc; white-space: nowrap;
  text-align: left}
th {border-bottom: 2px solid #222; white-space: normal; vertical-align: bottom}
th:first-child, td:first-child {position: sticky; left: 0; background: #fff; padding-left: 0}
figure {margin: 1.5rem 0}
figure svg {max-width: 100%; min-width: 40rem; height: auto}
figcaption {color: #444; font-size: 0.9rem}
pre {background: #f4f4f4; padding: 0.75rem; overflow-x: auto}
code {font-size: 0.9em; overflow-wrap: anywhere}
@media print {
  @page {size: A4 landscape; margin: 12mm}
  body {font-size: 11px; margin: 0; max-width: none}
  nav {display: none}
  .wide {overflow: visible}
  table {font-size: 8.5px}
  th, td {padding: 0.15rem 0.35rem}
  figure, tr {break-inside: avoid}
  figure svg {min-width: 0; max-height: 165mm}
  h2, h3 {break-after: avoid}
  pre {white-space: pre-wrap}
}
"""
