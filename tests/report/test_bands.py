"""What the curves' figures show, and that names beside points can be read."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text

from qvbench.cli.report import main
from qvbench.report import variant_figure
from qvbench.report.bands import Band, early_view, gain, late_view, timed_view
from qvbench.report.load import load
from qvbench.report.point_labels import Label, place_labels
from qvbench.report.variant_figure import TOGETHER
from qvbench.report.variants import Comparison, compare
from tests.report.test_comparison import write_variant

CURVE = Band(
    [0.1, 0.2, 0.5, 1.0], [1, 2, 5, 10], [40, 50, 80, 90], [39, 49, 79, 89], [41, 51, 81, 92]
)


def drawn_differences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Comparison, Axes]:
    """The comparison of a folder's runs, and the axes of its differences' figure."""
    comparison = compare(load(sorted((folder / "runs").glob("*/*"))))
    assert comparison is not None
    drawn: list[Axes] = []
    monkeypatch.setattr(variant_figure, "save", lambda figure, *_: drawn.extend(figure.axes))
    variant_figure.draw_differences(comparison, folder)
    plt.close("all")
    (axes,) = drawn
    return comparison, axes


def lengthened(folder: Path, gained: float) -> None:
    """Validations of which two lie in the first fifth."""
    rows = ["step,epoch,target_tokens,seconds,metric,value"]
    rows += [f"{n},,{n * 1000},{n},val/accuracy,{50 + n + gained}" for n in range(1, 11)]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n")


def test_a_view_frames_its_part() -> None:
    """An enlargement of the wrong part, or one that cuts off the band."""
    early = early_view([CURVE])
    assert early is not None
    assert (early.left, early.right) == (0, pytest.approx(0.204))
    assert early.bottom < 39
    assert 51 < early.top < 53
    late = late_view([CURVE])
    assert (late.left, late.bottom < 80, late.top > 92) == (0.5, True, True)
    timed = timed_view([CURVE])
    assert (timed.across, timed.left) == ("minutes", pytest.approx(4.75))
    assert early_view([CURVE._replace(tokens=[5.0, 6.0, 7.0, 8.0])]) is None


def test_what_the_early_frame_shows_is_in_it() -> None:
    """A validation a few tokens past the fifth that lies in the frame's width, above its top."""
    early = early_view([CURVE._replace(tokens=[0.1, 0.201, 0.5, 1.0])])
    assert early is not None
    assert early.right > 0.201
    assert early.top > 51


def test_a_gain_is_over_the_same_seeds(tmp_path: Path) -> None:
    """Means of other seeds, or of other steps, taken from one another."""
    for place, name in enumerate(("qkv", "qv")):
        for seed, folder in enumerate(write_variant(tmp_path, name, [90.0, 90.5, 91.0], place), 1):
            lengthened(folder, seed * 0.5 * place)
    (tmp_path / "runs" / "trial-qkv" / "seed-3" / "run.json").unlink()
    folders = [f for f in (tmp_path / "runs").glob("*/*") if (f / "run.json").exists()]
    comparison = compare(load(folders))
    assert comparison is not None
    base, other = comparison.variants
    curve = gain(other, base)
    assert (curve.mean, curve.low, curve.high) == ([0.75] * 10, [0.5] * 10, [1.0] * 10)
    assert curve.tokens[:2] == [0.001, 0.002]


@pytest.mark.parametrize("count", [2, TOGETHER + 1])
def test_the_early_part_is_shown_as_a_difference(tmp_path: Path, count: int) -> None:
    """An early part that many variants never get; figures that the page leaves out."""
    names = ["qkv", *(f"m{n}" for n in range(count - 1))]
    for place, name in enumerate(names):
        for folder in write_variant(tmp_path, name, [90.0, 90.5], place):
            lengthened(folder, 0.1 * place)
    main([*map(str, (tmp_path / "runs").iterdir()), "--output", str(tmp_path / "out")])
    assert "accuracy minus qkv's, points" in (tmp_path / "out" / "early.svg").read_text()
    page = (tmp_path / "out" / "README.md").read_text()
    for figure in ("accuracy", "early", "time", "differences"):
        assert f"({figure}.png)" in page
        assert (tmp_path / "out" / f"{figure}.png").is_file()


def test_every_seed_is_in_the_frame_of_the_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seed of ten far from its interval, whose tick would lie outside the picture."""
    write_variant(tmp_path, "qkv", [90.0] * 10)
    write_variant(tmp_path, "qv", [89.0 + n / 10 for n in range(9)] + [70.0], 1)
    comparison, axes = drawn_differences(tmp_path, monkeypatch)
    left, right = axes.get_xlim()
    interval = comparison.difference(comparison.variants[1])
    assert interval is not None
    assert interval.low is not None
    assert interval.low > -8, "the frame of the interval alone would be narrower"
    assert left < -20 < 0 < right


@pytest.mark.parametrize(("behind", "framed"), [(5.0, True), (40.0, False)])
def test_a_row_is_off_the_scale_only_where_it_would_squeeze_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: float, framed: bool
) -> None:
    """A row that stands apart and could be shown, or one that makes the others a stroke."""
    write_variant(tmp_path, "qkv", [90.0, 90.0])
    for place in range(5):
        write_variant(tmp_path, f"m{place}", [95.0 + place / 10, 95.1 + place / 10], place + 1)
    write_variant(tmp_path, "last", [90.0 - behind, 90.1 - behind], 6)
    _, axes = drawn_differences(tmp_path, monkeypatch)
    assert (axes.get_xlim()[0] < -behind) == framed
    assert ("off the scale" in "".join(text.get_text() for text in axes.texts)) == (not framed)


def test_names_do_not_lie_on_one_another() -> None:
    """A label under its neighbour's, where points are close; a name that is dropped."""
    figure, axes = plt.subplots(figsize=(5, 5))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    labels = [Label(0.5, 0.5 + 0.01 * n, f"shared_key_{n}", {"fontsize": 8}) for n in range(8)]
    labels.append(Label(0.99, 0.01, "in_the_corner", {"fontsize": 8}))
    figure.draw_without_rendering()
    place_labels(axes, labels)
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    assert sorted(text.get_text() for text in texts) == sorted(label.text for label in labels)
    boxes = [Text.get_window_extent(text) for text in texts]
    plt.close(figure)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
