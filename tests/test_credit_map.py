"""The picture of token credit."""

from __future__ import annotations

from pathlib import Path

from matplotlib.image import imread

from rlsd_pl.commands.credit_map import plot_credit_map

RECORD = {"prompt": "2*3", "status": "pass", "reward": 1.0, "advantage": 1.0}


def grounds(path: Path) -> set[tuple[int, int, int]]:
    """Colours that fill much of the picture."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    counts: dict[tuple[int, int, int], int] = {}
    for pixel in map(tuple, pixels.tolist()):
        counts[pixel] = counts.get(pixel, 0) + 1
    return {colour for colour, count in counts.items() if count > 2000}


def test_raised_tokens_are_blue_and_lowered_ones_red(tmp_path):
    up = {**RECORD, "tokens": ["aaaaaaaaaa"], "token_advantages": [2.0]}
    down = {**RECORD, "tokens": ["aaaaaaaaaa"], "token_advantages": [-2.0]}
    picture = plot_credit_map([up, down], tmp_path / "map.png")
    colours = grounds(picture) - {(255, 255, 255)}
    assert any(blue > red + 50 for red, _, blue in colours)
    assert any(red > blue + 50 for red, _, blue in colours)


def test_without_token_credit_there_is_no_picture(tmp_path):
    records = [{**RECORD, "tokens": ["a"]}, {**RECORD, "tokens": ["a"], "token_advantages": [0.0]}]
    assert plot_credit_map(records, tmp_path / "map.png") is None
    assert not (tmp_path / "map.png").exists()


def test_text_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path):
    tokens = ["$\\frac{1", "}{2$", "\u0120word", "\u010a", "x" * 200]
    record = {**RECORD, "prompt": "$x^{$\n?", "tokens": tokens, "token_advantages": [1.0, -1.0, 0.5, 0.0, 0.2]}
    assert plot_credit_map([record], tmp_path / "map.png").stat().st_size > 5000
