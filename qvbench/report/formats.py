"""The same table and page for other readers: CSV, LaTeX, and one HTML file."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

Columns = Sequence[tuple[str, Sequence[str]]]

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"\textpm{}",
}


def csv_table(columns: Columns) -> str:
    """The columns as CSV, numbers as the page rounds them but without separators."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for cells in zip(*(cells for _, cells in columns), strict=True):
        writer.writerow([_plain(cell) for cell in cells])
    return text.getvalue()


def _plain(cell: str) -> str:
    """A number without its separators of thousands; what is missing is empty."""
    bare = cell.replace(",", "")
    return "" if cell == "-" else bare if bare.replace(".", "").isdigit() else cell


def latex_table(columns: Columns, left: Sequence[str]) -> str:
    """The columns as a ``tabular`` between the rules of booktabs.

    Args:
        columns: names and cells.
        left: names of the columns of words.
    """
    form = "".join("l" if name in left else "r" for name, _ in columns)
    rows = [[_latex(name) for name, _ in columns]]
    rows += [
        [_latex(cell) for cell in cells]
        for cells in zip(*(cells for _, cells in columns), strict=True)
    ]
    head, *body = [" & ".join(cells) + r" \\" for cells in rows]
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    text = re.sub(r"(?<![\w-])-(?=\d)", "\0", text)  # a minus sign, not a hyphen
    return "".join(LATEX.get(letter, letter) for letter in text).replace("\0", "$-$")


def html_page(markdown: str, folder: Path) -> str:
    """A Markdown page with its pictures as one HTML file that needs no network.

    Args:
        markdown: of the page; pictures are named as PNG files beside it.
        folder: where each picture lies as SVG too.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r"<table>.*?</table>", r'<div class="wide">\g<0></div>', body, flags=re.DOTALL)
    body = re.sub(
        r'<p><img src="([\w-]+)\.png" alt="([^"]*)" ?/></p>',
        lambda found: _figure(folder / f"{found[1]}.svg", found[2]),
        body,
    )
    title = re.search(r"<h1>(.*?)</h1>", body)
    heading = title[1] if title else html.escape(folder.name)
    return PAGE.format(title=heading, style=STYLE, body=body)


def _figure(svg: Path, label: str) -> str:
    """The drawing itself in the page, named for those who cannot see it."""
    text = svg.read_text(encoding="utf-8")
    drawing = text[text.index("<svg") :].replace(
        "<svg ", f'<svg role="img" aria-label="{label}" ', 1
    )
    return f"<figure>{drawing}</figure>"


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
p, ul {max-width: 50rem}
.wide {overflow-x: auto}
table {border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums}
th, td {padding: 0.25rem 0.6rem; border-bottom: 1px solid #ccc; white-space: nowrap}
th {border-bottom: 2px solid #222; white-space: normal; vertical-align: bottom}
figure {margin: 1.5rem 0}
figure svg {max-width: 100%; height: auto}
pre {background: #f4f4f4; padding: 0.75rem; overflow-x: auto}
code {font-size: 0.9em}
"""
