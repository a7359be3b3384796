"""Token credit as a picture, as a page and in numbers."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

from rlsd_pl.callbacks.rollout_log import records
from rlsd_pl.collectives import global_means
from rlsd_pl.commands.credit_map import plot_credit_map, write_credit_page
from rlsd_pl.contexts import SolutionContext
from rlsd_pl.engines import GroupedEngine, ScriptedEngine
from rlsd_pl.lab import ChainTask, LabVerifier, OracleCredit
from rlsd_pl.objectives import OPSD, RLSD, RLVR, Constant, MaskTruncated, Objective, OPSDSampled
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.collector import RolloutCollector, RolloutSet
from rlsd_pl.rollout.sampler import Sampler
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.teachers import LiveTeacher
from rlsd_pl.types import Rollout, Sampling
from tests.credit_loops import auroc, gini, top_tenth
from tests.test_rollouts import PROBLEMS, make

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


# --- the page ---------------------------------------------------------------------------------------------------------

LAID_OPEN = {
    **RECORD,
    "iteration": 4, "problem": "lab/train/1", "answer": "6", "reference_answer": "6", "completion": "a<b>",
    "tokens": ["a", "<b>", "\u0120c\u010a"], "token_advantages": [0.5, -1.0, 0.0], "advantage": 0.75,
    "evidence": [0.25, -2.0, 0.0], "weight": [1.2, 0.8, 1.0], "strength": 0.5,
}  # fmt: skip


class Page(HTMLParser):
    """The tokens of a page, what it would load, and the cells of its tables."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tokens: list[tuple[str, str, str, str]] = []
        self.loads: list[str] = []
        self.cells: list[str] = []
        self._open: dict[str, str] | None = None
        self._text, self._cell = "", False
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.loads += [value for name, value in named.items() if name in ("src", "href")]
        if tag == "span" and "title" in named:
            self._open, self._text = named, ""
        self._cell = tag == "td"
        if self._cell:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self._text += data
        if self._cell:
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "td"
        if tag == "span" and self._open is not None:
            share = self._open["style"].removeprefix("--share:")
            self.tokens.append((self._text, self._open["class"], share, self._open["title"]))
            self._open = None


def test_the_page_shows_each_token_with_what_its_credit_is_made_of(tmp_path):
    page = Page(write_credit_page([LAID_OPEN], tmp_path / "sub" / "map.html", "a run"))
    assert page.tokens == [
        ("a", "up", "40%", "credit +0.500, A +0.750, Δ +0.250, w 1.200, λ 0.500"),
        ("<b>", "down", "80%", "credit -1.000, A +0.750, Δ -2.000, w 0.800, λ 0.500"),
        (" c\u21b5\n", "none", "0%", "credit +0.000, A +0.750, Δ +0.000, w 1.000, λ 0.500"),
    ]
    assert page.cells[:6] == ["a", "+0.500", "+0.750", "+0.250", "1.200", "0.500"]
    assert "iteration 4, lab/train/1: pass, answer 6 (expected 6), reward 1, A = +0.750, λ = 0.5" in page.source
    assert page.loads == []
    assert not {"http", "url(", "@import", "<script"} & set(re.findall(r"http|url\(|@import|<script", page.source))
    assert "prefers-color-scheme: dark" in page.source


def test_the_page_leaves_blank_what_was_not_recorded(tmp_path):
    bare = {**RECORD, "tokens": ["a"], "token_advantages": [1.0]}
    page = Page(write_credit_page([bare], tmp_path / "map.html"))
    assert page.tokens == [("a", "up", "80%", "credit +1.000, A +1.000")]
    assert page.cells == ["a", "+1.000", "+1.000", "", "", ""]


def test_the_page_marks_credit_that_is_not_a_number_and_says_where_there_is_none(tmp_path):
    broken = {**RECORD, "tokens": ["a", "b"], "token_advantages": [math.nan, 2.0]}
    page = Page(write_credit_page([broken], tmp_path / "map.html"))
    assert [token[1:3] for token in page.tokens] == [("broken", "0%"), ("up", "80%")]
    without = {**RECORD, "tokens": ["a"], "completion": "x\x1b[2J<i>\ud800"}
    text = write_credit_page([without], tmp_path / "none.html").read_text()
    assert "None of these completions has token credit" in text
    assert "x\\x1b[2J&lt;i&gt;\\ud800" in text


def test_records_hold_what_a_token_weighs(policy):
    problems = [ChainTask().problem("train", index) for index in range(3)]
    collected = lab_collector(RLSD(strength=Constant(0.25))).collect(problems, 0, 0)
    tokenizer = SimpleNamespace(convert_ids_to_tokens=lambda ids: ["x" for _ in ids])
    seen = 0
    for record in records(collected, 3, tokenizer):
        assert record["strength"] == 0.25
        numbers = (record["token_advantages"], record["evidence"], record["weight"])
        for credit, delta, weight in zip(*numbers, strict=True):
            a = record["advantage"]
            expected = min(max(math.exp(((a > 0) - (a < 0)) * delta), 0.8), 1.2)
            assert weight == pytest.approx(expected, abs=2e-4)
            assert credit == pytest.approx(a * (0.75 + 0.25 * weight), abs=2e-4)
            seen += abs(weight - 1) > 0.01
    assert seen > 20
    plain = make(policy, RLVR()).collect(PROBLEMS, 0, 0)
    assert not {"evidence", "weight", "strength"} & records(plain, 1, tokenizer)[0].keys()
    sampled = make(policy, OPSDSampled()).collect(PROBLEMS, 0, 0)
    first = records(sampled, 1, tokenizer)[0]
    assert first["evidence"] == first["token_advantages"]
    assert "weight" not in first


# Texts of the 4 completions of 3 problems; even lengths are right. The last one does not end within 10 tokens.
SAME, DIFFER, CUT = ["it", "it", "it", "it"], ["it", "its", "it", "it"], ["it", "it", "it", "z" * 31]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([DIFFER, SAME, DIFFER], [0, 2, 1]),
        ([SAME, DIFFER, DIFFER], [1, 2, 0]),
        ([SAME, CUT, DIFFER], [2, 0, 1]),  # what differs is not learnt from
        ([SAME, SAME, SAME], [0, 1, 2]),
    ],
)
def test_groups_with_a_signal_are_recorded_first(policy, texts, expected):
    numbers = {problem.prompt.split()[0]: group for problem, group in zip(PROBLEMS, texts, strict=True)}
    engine = ScriptedEngine(lambda prompt, k: numbers[re.search(r"\d+", prompt)[0]][k])
    collected = make(policy, RLVR(truncation=MaskTruncated()), engine=engine).collect(PROBLEMS, 0, 0)
    assert [r.completion.truncated for r in collected.rollouts] == [text[0] == "z" for group in texts for text in group]
    tokenizer = SimpleNamespace(convert_ids_to_tokens=list)
    for count in (1, 2, 3):
        written = [(record["problem"], len(record["completion"])) for record in records(collected, count, tokenizer)]
        problems = [(PROBLEMS[place].id, texts[place][k]) for place in expected[:count] for k in range(4)]
        assert [name for name, _ in written] == [name for name, _ in problems]
        assert [n for _, n in written if n < 5] == [len(text) for _, text in problems if len(text) < 5]


def test_a_run_leaves_both_maps_of_its_first_iteration_with_credit(tmp_path):
    from rlsd_pl.callbacks import CreditMap

    nothing = {**RECORD, "iteration": 1, "tokens": ["a"], "token_advantages": [0.0]}
    lines = [nothing, LAID_OPEN, {**LAID_OPEN, "iteration": 5, "tokens": ["z"]}]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    trainer = SimpleNamespace(default_root_dir=tmp_path, is_global_zero=True)
    CreditMap().on_train_end(trainer, None)  # type: ignore[arg-type]
    assert [token[0] for token in Page(tmp_path / "credit_map.html").tokens] == ["a", "<b>", " c\u21b5\n"]
    assert (tmp_path / "credit_map.png").read_bytes().startswith(b"\x89PNG")


# --- metrics ----------------------------------------------------------------------------------------------------------


def lab_collector(objective: Objective) -> RolloutCollector:
    """The lab's policy, tokenizer and verifier."""
    policy, verifier = Policy.from_pretrained("lab"), LabVerifier()
    sampling, context = Sampling(80, 4), SolutionContext(template="{{ privileged }}|{{ prompt }}")
    scorer = Scorer(policy=policy, teacher=LiveTeacher(), context=context, verifier=verifier, temperature=1.0)
    sampler = Sampler(policy=policy, engine=GroupedEngine(), verifier=verifier)
    return RolloutCollector(sampler=sampler, scorer=scorer, objective=objective, sampling=sampling)


def decides(rollout: Rollout, advantage: float) -> set[int]:
    """Places in the text of the digits that decide, by Python's own arithmetic."""
    misconceived = rollout.problem.metadata["misconceptions"]
    found = set()
    for match in re.finditer(r"(\d[-+*]\d)=(\d);", rollout.completion.text):
        true = eval(match[1]) % 10 == int(match[2])
        if (advantage > 0 and true and match[1] in misconceived) or (advantage < 0 and not true):
            found.add(match.start(2))
    return found


def means_by_hand(collected: RolloutSet) -> dict[str, float]:
    """Over plain lists; a token of the lab is a character."""
    found: dict[str, list[float]] = {"gini": [], "top10_share": [], "auroc": [], "precision_at_k": []}
    credits = collected.batch.token_advantages
    assert credits is not None
    for row, rollout in enumerate(collected.rollouts):
        advantage = collected.batch.advantages[row].item()
        x = [abs(value) for value in credits[row, : len(rollout.completion.token_ids)].double().tolist()]
        if max(x) < 1e-6:
            continue
        found["gini"].append(gini(x))
        found["top10_share"].append(top_tenth(x))
        places = decides(rollout, advantage)
        hits = [t in places for t in range(len(x))]
        if any(hits):
            found["auroc"].append(auroc(x, hits))
            ranked = sorted(range(len(x)), key=lambda t: -x[t])[: sum(hits)]
            found["precision_at_k"].append(sum(hits[t] for t in ranked) / sum(hits))
    return {f"credit/{name}": sum(values) / len(values) for name, values in found.items()}


def test_credit_in_the_lab_is_held_to_the_tokens_that_decide():
    problems = [ChainTask().problem("train", index) for index in range(6)]
    # A clip so wide that no two tokens have the same weight: then one order ranks them.
    collected = lab_collector(RLSD(epsilon_w=1e6, strength=Constant(1.0))).collect(problems, 0, 0)
    by_hand, logged = means_by_hand(collected), global_means(collected.sums)
    assert {name: logged[name] for name in by_hand} == pytest.approx(by_hand, rel=1e-5)
    assert 0.1 < logged["credit/gini"] < 1
    assert logged["credit/auroc"] > 0.6


def test_the_oracle_hits_every_token_that_decides_and_rlvr_none_more_than_another():
    problems = [ChainTask().problem("train", index) for index in range(6)]
    oracle, plain = (global_means(lab_collector(o).collect(problems, 0, 0).sums) for o in (OracleCredit(), RLVR()))
    assert (oracle["credit/auroc"], oracle["credit/precision_at_k"]) == (1.0, 1.0)
    assert plain["credit/auroc"] == 0.5
    assert 0 < plain["credit/precision_at_k"] < 0.2
    assert plain["credit/gini"] == pytest.approx(0.0, abs=1e-6)
    assert plain["credit/top10_share"] == pytest.approx(0.1)


def test_without_spans_or_token_credit_there_is_nothing_to_hold_credit_to(policy):
    spread = {"credit/gini", "credit/top10_share"}
    hit = {"credit/auroc", "credit/precision_at_k"}
    reward = make(policy, RLVR()).collect(PROBLEMS, 0, 0).sums.keys()
    assert spread <= reward
    assert not hit & reward
    assert not (spread | hit) & make(policy, OPSD()).collect(PROBLEMS, 0, 0).sums.keys()
