"""The page as one HTML file with its figures, style and script inline (``page.html``)."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from qvbench.report.page import OPEN, UNFOLDED


def html_page(markdown_text: str, folder: Path) -> str:
    """A page as one HTML file that needs no network; ``folder`` has its figures as SVG."""
    from markdown_it import MarkdownIt

    def drawing(found: re.Match[str]) -> str:
        """The SVG inline, its ids after its name: matplotlib's are the same in every figure."""
        name, label, caption = found.groups()
        text = (folder / f"{name}.svg").read_text(encoding="utf-8")
        svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"

    def section(found: re.Match[str]) -> str:
        heading, content = found.groups()
        if heading in OPEN:
            return f"<section><h2>{heading}</h2>{content}</section>"
        opened = " open" * (heading in UNFOLDED)
        return f"<details{opened}><summary><h2>{heading}</h2></summary>{content}</details>"

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown_text)
    body = re.sub(r"<table>.*?</table>", r'<div class="wide">\g<0></div>', body, flags=re.DOTALL)
    picture = r'<p><img src="([\w-]+)\.png" alt="([^"]*)" ?/></p>\n<p>(.*?)</p>'
    # Between a number and its unit or sign no line is broken.
    together = r" (?=%|to [\u2212+])|(?<=to) (?=[\u2212+])"
    body = re.sub(picture, drawing, re.sub(together, "\u00a0", body), flags=re.DOTALL)
    body = re.sub(r"<h2>(.*?)</h2>(.*?)(?=<h2>|\Z)", section, body, flags=re.DOTALL)
    title = re.search(r"<h1>(.*?)</h1>", body)
    page = resources.files("qvbench.report").joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("{title}", title[1] if title else "").replace("{body}", body)
