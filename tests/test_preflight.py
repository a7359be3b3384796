"""Preflight: what it says of the lab, of a model that cannot learn, and of completions that are written out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from rlsd_pl.commands.estimate import RunTime, duration
from rlsd_pl.commands.main import main
from rlsd_pl.commands.preflight.advice import advice, verdict
from rlsd_pl.commands.preflight.charts import histogram
from rlsd_pl.commands.preflight.command import PreflightCLI, preflight, process_count
from rlsd_pl.commands.preflight.figures import Share, auroc, clustered, share
from rlsd_pl.commands.preflight.measure import Findings
from rlsd_pl.commands.preflight.plan import Sizes, activations, cache, memory, memory_plan, optimizer_factor
from rlsd_pl.commands.preflight.teacher import TeacherFindings
from rlsd_pl.engines import ScriptedEngine
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict
from rlsd_pl.verifiers.composite import parts_of
from tests.conftest import GSM8K, REPOSITORY

# --- completions that are written out ---------------------------------------------------------------------------------

ANSWERS = {"seven": 7, "nine": 9, "four": 4}
"""The last word of each question, and its answer."""

WRITTEN = {
    "seven": [r"so \boxed{7}", r"so \boxed{7}", "it is 7", r"\boxed{8}"],
    "nine": ["it is 9", "the sum is 9", "no idea", "#### 9"],
    "four": [r"\boxed{5}", r"\boxed{5}", r"\boxed{6}", "perhaps 5"],
}
"""Four completions of each; 3 of 12 are right as ``\\boxed{}`` asks, 7 if the last number counts."""


def written_out(prompt: str, index: int) -> str:
    word = next(word for word in WRITTEN if f"spell {word}" in prompt)
    return WRITTEN[word][index % 4]


def knows(prompt: str, index: int) -> str:
    """Right where the prompt shows a reference; as written out elsewhere."""
    word = next(word for word in WRITTEN if f"spell {word}" in prompt)
    return rf"\boxed{{{ANSWERS[word]}}}" if "<reference>" in prompt else WRITTEN[word][index % 4]


class WrittenOut(ScriptedEngine):
    """For ``--engine``."""

    def __init__(self) -> None:
        super().__init__(knows)


class Boxes(ScriptedEngine):
    """The same right answer from every completion."""

    def __init__(self) -> None:
        super().__init__(
            lambda prompt, index: rf"\boxed{{{ANSWERS[next(w for w in ANSWERS if f'spell {w}' in prompt)]}}}"
        )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three problems to train on, three held out."""
    folder = tmp_path_factory.mktemp("words")
    for name in ("train", "val"):
        rows = [
            {
                "prompt": f"{name}: write as a digit: spell {word}",
                "answer": str(digit),
                "solution": f"{word} is {digit}",
            }
            for word, digit in ANSWERS.items()
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def flags(table: Path, model: Path, output: Path, *more: str) -> list[str]:
    return [
        *("--task", "jsonl", "--task.path", str(table / "train.jsonl"), "--task.val_path", str(table / "val.jsonl")),
        *("--model", str(model), "--context", "solution", "--data.group_size", "4", "--data.prompts_per_rollout", "3"),
        *("--data.max_completion_tokens", "64", "--data.val_samples", "2", "--trainer", "cpu", "--num_threads", "1"),
        *("--trainer.max_epochs", "20", "--groups", "3", "--output", str(output), *more),
    ]


@pytest.fixture(scope="module")
def written(table: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    page = tmp_path_factory.mktemp("page") / "deep" / "written.html"
    return preflight(flags(table, tiny_model, page, "--engine", "tests.test_preflight.WrittenOut")), page


def test_statuses_and_signal_of_completions_that_are_written_out(written: tuple[Findings, Path]) -> None:
    """By hand: 2 + 0 + 0 right; of "seven" some are right, of "nine" and "four" none is, so one group of three."""
    found, _ = written
    assert {status.value: found.status(status).seen for status in Status} == {
        "pass": 2,
        "fail": 4,
        "invalid": 6,
        "limit": 0,
        "error": 0,
    }
    assert (found.pass_at_1.seen, found.pass_at_1.total) == (2, 12)
    assert (found.pass_at_group.seen, found.pass_at_group.total) == (1, 3)
    assert (found.signal.seen, found.signal.total, found.learns) == (1, 3, True)
    assert found.pass_at_group.interval == pytest.approx((0.061492, 0.792340), abs=1e-6)
    assert (found.truncated.seen, found.greedy.seen, found.max_tokens) == (0, 1, 64)


def test_every_rule_on_the_same_completions(written: tuple[Findings, Path]) -> None:
    """By hand, (finds an answer, right) of 12."""
    expected = {
        "Boxed": (6, 2),
        "HashLine": (1, 1),
        "AnswerLine": (0, 0),
        "FencedBlock": (0, 0),
        "LastNumber": (11, 6),
        "FlexibleBoxed": (11, 6),
    }
    found = {rule.name: (rule.extracted.seen, rule.accuracy.seen) for rule in written[0].rules}
    assert {name: found[name] for name in expected} == expected
    assert found["WholeText"][0] == 12
    assert [rule.name for rule in written[0].rules if rule.own] == ["Boxed"]


def test_the_teacher_of_completions_that_are_written_out(written: tuple[Findings, Path]) -> None:
    teacher = written[0].teacher
    assert teacher is not None
    assert (teacher.hinted.seen, teacher.hinted.total) == (12, 12)
    assert (teacher.bare.seen, teacher.shown.seen, len(teacher.right), len(teacher.wrong)) == (2, 12, 2, 10)
    assert (teacher.looked_at, teacher.blank, teacher.known, teacher.answers_known) == (3, 0, 0, 0)
    assert len(teacher.prompts) == 12
    assert min(teacher.prompts) > max(written[0].prompts)


def test_the_rule_comes_first_and_then_the_format(
    written: tuple[Findings, Path], table: Path, tiny_model: Path
) -> None:
    data = parts(flags(table, tiny_model, Path("unused"))).datamodule
    changes = advice(written[0], data)
    assert [change.what for change in changes][:3] == ["the extraction rule", "reward the format", "few-shot prompts"]
    assert changes[0].why == (
        "Boxed finds an answer in 50% of completions, FlexibleBoxed in 92%; 50% would be right instead of 17%"
    )
    assert changes[0].how.startswith("--verifier.rule rlsd_pl.verifiers.extraction.FlexibleBoxed")
    # 1 - (5/6)^4 is above a half already, so larger groups are not what is missing.
    assert next(change for change in changes if change.what == "more samples").how == "--data.max_resampling_rounds 2"
    assert verdict(written[0], data).startswith(
        "Training can start: 33% (6% to 79%) of groups have a signal, about 1.0 of 3"
    )


def judged(*groups: str) -> list[list[Rollout]]:
    """A completion by a letter: Right, Wrong, Invalid, or Truncated and wrong."""
    status = {"R": Status.PASS, "W": Status.FAIL, "I": Status.INVALID, "T": Status.FAIL}
    problem = Problem("p", [{"role": "user", "content": "x"}], "7")

    def rollout(letter: str) -> Rollout:
        length = 64 if letter == "T" else 60
        completion = Completion((1,) * length, (0.0,) * length, "x", truncated=letter == "T")
        return Rollout(problem, completion, Verdict(float(letter == "R"), status[letter]))

    return [[rollout(letter) for letter in group] for group in groups]


HINTED = TeacherFindings(
    hinted=Share(1, 10), bare=Share(6, 10), right=[], wrong=[], shown=Share(10, 10), prompts=[9], looked_at=3, blank=0,
    known=0, answers_known=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "changed", "expected"),
    [
        (["WWWW"] * 4, {}, ["easier rows", "few-shot prompts", "SFT first"]),
        (["IIII"] * 4, {}, ["easier rows", "few-shot prompts", "SFT first"]),
        (["IIIW"] * 4, {}, ["reward the format", "easier rows", "few-shot prompts", "SFT first"]),
        (["RWWW"] * 4, {"signal": Share(4, 4)}, []),
        (["RWWW", "WWWW"] * 4, {"signal": Share(3, 8), "greedy": Share(4, 8)}, ["a lower temperature", "more samples"]),
        (["RRRR"] * 4, {}, ["harder rows"]),
        (["RRTT"] * 4, {"signal": Share(4, 4)}, ["the context"]),
        (["RRWW"] * 4, {"signal": Share(4, 4), "max_tokens": 512}, ["a shorter context"]),
        (["RRWW"] * 4, {"signal": Share(4, 4), "teacher": HINTED}, ["the context"]),
        (["RRWW"] * 4, {"signal": Share(4, 4), "time": RunTime(10, 1.0, 3, 2.0)}, ["a cheaper evaluation"]),
        (["WWWW"] * 4, {"demonstrations": True}, []),
    ],
)
def test_what_to_change(
    groups: list[str], changed: dict, expected: list[str], written: tuple[Findings, Path], table: Path, tiny_model: Path
) -> None:
    base = replace(written[0], signal=Share(0, len(groups)), greedy=Share(0, 4), rules=[], teacher=None)
    base = replace(base, time=RunTime(10, 1.0, 0, 1.0))
    data = parts(flags(table, tiny_model, Path("unused"))).datamodule
    assert [change.what for change in advice(replace(base, groups=judged(*groups), **changed), data)] == expected


def parts(argv: list[str]) -> PreflightCLI:
    from rlsd_pl.commands.preflight.command import _options
    from rlsd_pl.commands.presets import compose

    groups, _, rest = _options(argv)
    return PreflightCLI(compose(rest).arguments, groups)


class Page(HTMLParser):
    """What a page holds: texts, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")]
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_by_itself(written: tuple[Findings, Path]) -> None:
    source = written[1].read_text()
    page = Page(source)
    assert (page.loaded, page.open) == ([], [])
    assert not {"url(", "@import", "<script"} & {mark for mark in ("url(", "@import", "<script") if mark in source}
    assert "prefers-color-scheme: dark" in source
    for told in ("Training can start: 33%", "LastNumber", "perhaps 5", "no_answer", "AUROC", "3 fsdp", "--groups 3"):
        assert told in page.text
    assert "2 fsdp" not in page.text  # three prompts divide among one and three devices alone
    assert "Instruction that they missed: Put your final answer within \\boxed{}." in page.text
    assert source.count("<svg") == 5  # completions, prompts, the teacher's prompts, evidence on right and on wrong ones


def test_what_completions_say_is_text_on_the_page(tmp_path: Path) -> None:
    from rlsd_pl.commands.preflight.page import write_page
    from rlsd_pl.commands.preflight.panels import Panel

    hostile = '<script>alert("x")</script> {{ 7 * 7 }} & </td>'
    write_page(tmp_path / "p.html", hostile, False, [Panel("t", ("a",), [(hostile,)])], hostile, [])
    page = Page((tmp_path / "p.html").read_text())
    assert page.text.count(hostile) == 3
    assert "script" not in page.open


def test_the_flags_that_it_names_are_taken(table: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The rule by its class; the format reward as docs/preflight.md has it."""
    argv = flags(table, tiny_model, tmp_path / "p.html")
    verifier = parts([*argv, "--verifier.rule", "rlsd_pl.verifiers.extraction.LastNumber"]).datamodule.verifier
    assert [type(part.rule).__name__ for part in parts_of(verifier)] == ["LastNumber"]  # type: ignore[attr-defined]
    (snippet,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "preflight.md").read_text(), re.DOTALL)
    (tmp_path / "boxed.yaml").write_text(snippet)
    verifier = parts([*argv, "--config", str(tmp_path / "boxed.yaml")]).datamodule.verifier
    problem = Problem("p", [{"role": "user", "content": "x"}], "7")
    verdicts = verifier.verify([r"so \boxed{7}.", "a\n\\boxed{9}", "7"], [problem] * 3)
    verifier.close()
    assert [verdict.reward for verdict in verdicts] == pytest.approx([1.0, 0.2, 0.0])


class Full(ScriptedEngine):
    """A device without room."""

    def __init__(self) -> None:
        super().__init__(self.raises)

    @staticmethod
    def raises(prompt: str, index: int) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def test_too_little_memory_says_what_to_set(table: Path, tiny_model: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["preflight", *flags(table, tiny_model, tmp_path / "p.html", "--engine", "tests.test_preflight.Full")])
    assert left.value.code == 2
    shown = capsys.readouterr().err
    assert "--engine.batch_size" in shown
    assert "Tried to allocate 2 GiB" in shown


# --- status, and mistakes ---------------------------------------------------------------------------------------------


def test_groups_that_are_all_right_teach_nothing(table: Path, tiny_model: Path, tmp_path: Path, capsys) -> None:
    argv = flags(table, tiny_model, tmp_path / "p.html", "--engine", "tests.test_preflight.Boxes")
    assert main(["preflight", *argv]) == 1
    shown = capsys.readouterr().out
    # Three groups, and three more since none of the first ones has a signal: at most z^2 / (6 + z^2) of groups do.
    assert (
        "none of 6 groups has a signal; by this sample at most 39% of groups have one (95 %). Completions: all right."
        in shown
    )
    assert "harder rows" in shown


@pytest.mark.parametrize(
    ("objective", "signal"), [("opsd", (3, 3)), ("sft", (3, 3)), ("rlvr", (1, 3)), ("sdpo", (1, 3))]
)
def test_what_teaches_depends_on_the_objective(
    objective: str, signal: tuple[int, int], table: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """OPSD and SFT learn from every group, SDPO from those with a right sibling."""
    argv = flags(table, tiny_model, tmp_path / "p.html", "--engine", "tests.test_preflight.WrittenOut")
    if objective == "sdpo":
        argv = [part if part != "solution" else "sibling" for part in argv]
    found = preflight(["--objective", objective, *argv])
    assert (found.signal.seen, found.signal.total) == signal
    assert (found.teacher is None) == (objective in ("sft", "rlvr"))
    assert found.pass_at_1.seen == 2
    if objective == "sdpo":
        assert found.teacher is not None
        assert (found.teacher.looked_at, found.teacher.hinted.total) == (0, 4)


def test_the_lab_can_start(tmp_path: Path) -> None:
    """Known of the lab: about 60 % right at temperature 1, about half greedy, nearly all under the teacher's prompt."""
    found = preflight(["--groups", "16", "--data.group_size", "4", "--output", str(tmp_path / "p.html")])
    assert found.learns
    assert 0.45 < found.pass_at_1.value < 0.72
    assert 0.25 < found.greedy.value < 0.75
    assert found.teacher is not None
    assert found.teacher.hinted.value > 0.97
    assert found.teacher.auroc is not None
    assert found.teacher.auroc > 0.8
    assert sum(found.teacher.right) / len(found.teacher.right) > sum(found.teacher.wrong) / len(found.teacher.wrong)
    assert (found.time.iterations, found.time.evaluations, found.held_out) == (80, 9, 128)
    assert found.rules == []


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K rows are not here")
def test_a_model_that_cannot_learn_gsm8k(tiny_model: Path, tmp_path: Path, capsys) -> None:
    argv = ["--task", "gsm8k", "--task.path", str(GSM8K), "--model", str(tiny_model), "--context", "solution"]
    argv += ["--groups", "2", "--data.group_size", "4", "--data.max_completion_tokens", "24", "--trainer", "cpu"]
    assert main(["preflight", *argv, "--output", str(tmp_path / "p.html")]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Training cannot learn: none of 4 groups has a signal" in shown
    assert "all invalid: the answer was not found by Boxed, which asks for: Put your final answer within" in shown
    assert "invalid 100%" in shown
    assert "Instruction that they missed: Put your final answer within \\boxed{}." in shown
    assert "SFT first" in shown
    assert "reward the format" not in shown  # nobody follows it, so there is nothing to reward


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--groups", "none"], "--groups got 'none'; expected a whole number"),
        (["--resume", "runs/x"], "--config runs/x/config.yaml"),
        (["--task", "jsonl", "--task.path", "/no/such.jsonl"], "/no/such.jsonl"),
        (["--objektive", "rlsd"], "objektive"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs=0"),
    ],
)
def test_mistakes_end_with_status_2(argv: list[str], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["preflight", *argv])
    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


def test_weights_and_folders_stay_as_they_are(table: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = flags(table, tiny_model, tmp_path / "p.html", "--engine", "tests.test_preflight.WrittenOut")
    cli = parts(argv)
    cli.trainer.fit(cli.model, cli.datamodule)
    fresh = cli.model.load_policy().trainable()
    assert all(torch.equal(kept, fresh[name]) for name, kept in cli.model.policy.trainable().items())
    assert not list(tmp_path.iterdir())


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_share_of_completions_counts_problems_where_they_agree() -> None:
    assert clustered([[True] * 4, [False] * 4]).effective == 2.0  # each problem is one draw
    assert clustered([[False] * 8] * 16).effective == 16.0
    # Means 3/4 and 1/4: variance of their mean 1/16, of a draw 1/4, so 4 draws.
    assert clustered([[True, True, True, False], [True, False, False, False]]).effective == pytest.approx(4.0)
    assert clustered([[True, False]] * 3).effective == 6.0
    assert clustered([]).interval == (0.0, 1.0)
    assert str(share([False] * 16)) == "0% (0% to 19%)"
    assert str(Share(0, 0)) == "-"


def test_auroc_counts_pairs() -> None:
    assert auroc([3.0, -20.5], [-30.0, 2.0]) == pytest.approx(3 / 4)
    assert auroc([100.0, 99.0], [98.0]) == 1.0
    assert auroc([1.0, 1.0], [1.0]) == pytest.approx(1 / 2)
    assert auroc([], [1.0]) is None


def test_a_histogram_reaches_its_marker() -> None:
    chart = histogram("t", [0.0, 10.0, 10.0], marker=24.0)
    assert [(bar[0], bar[3], bar[4]) for bar in chart.bars] == [(0.0, 40.0, 1), (150.0, 80.0, 2)]
    assert (chart.low, chart.high, chart.marker) == ("0", "24", 360.0)


def test_the_time_of_a_run_counts_evaluations() -> None:
    run = RunTime(iterations=80, iteration_seconds=3.0, evaluations=9, evaluation_seconds=20.0)
    assert run.seconds == 420.0
    assert run.evaluated_share == pytest.approx(3 / 7)
    assert str(run) == "80 iterations x 3.0 s + 9 evaluations x 20 s: about 7.0 min"
    assert [duration(s) for s in (0.04, 119, 7199, 7200, 172_800)] == ["0.0 s", "119 s", "120 min", "2.0 h", "2.0 days"]


@pytest.mark.parametrize(
    ("more", "evaluations"),
    [
        ([], 5),
        (["--trainer.check_val_every_n_epoch", "7"], 3),
        (["--trainer.num_sanity_val_steps", "0"], 4),
        (["--data.val_before_training", "false"], 4),
        (["--trainer.limit_val_batches", "0"], 0),
    ],
)
def test_how_many_evaluations_a_run_has(
    more: list[str], evaluations: int, table: Path, tiny_model: Path, tmp_path: Path
) -> None:
    engine = ["--engine", "tests.test_preflight.WrittenOut", "--objective", "rlvr"]
    found = preflight(flags(table, tiny_model, tmp_path / "p.html", *engine, *more))
    assert (found.time.iterations, found.time.evaluations, found.held_out, found.samples) == (20, evaluations, 3, 2)


def test_processes_of_a_run() -> None:
    assert process_count({"devices": "auto"}) == process_count({"devices": 1, "num_nodes": 1}) == 1
    assert (
        process_count({"devices": "4", "num_nodes": 2}) == process_count({"devices": [0, 1, 2, 3], "num_nodes": 2}) == 8
    )


# --- the memory plan --------------------------------------------------------------------------------------------------

GPT = Sizes(
    weights=800.0,
    trainable=800.0,
    optimizer=2.0,
    teacher=80.0,
    other_models=7.0,
    layers=3,
    hidden=16,
    key_value=8,
    layer=200.0,
    root=200.0,
    vocabulary=50,
    logit_chunk=1000,
    width=4,
    mixed=False,
    checkpointing=False,
    positions=10,
    micro_batch=4,
    engine_batch=6,
    prompts=8,
    group=2,
)


def test_activations_and_cache_by_hand() -> None:
    # 34 s b h per layer in 16 bits, twice that in 32; logits: 3 copies of 4 bytes, at most 1000 of them at once.
    assert activations(GPT, 4) == 2 * 34 * 10 * 4 * 16 * 3 + 3 * 4 * 1000
    assert activations(GPT, 1) == 2 * 34 * 10 * 16 * 3 + 3 * 4 * 500
    # Keys and values of 3 layers, 8 wide, 10 positions, 6 rows, 4 bytes; two rows of logits of 4 bytes.
    assert cache(GPT, 6) == 2 * 3 * 8 * 10 * 6 * 4 + 2 * 4 * 6 * 50


def test_memory_of_one_device_by_hand() -> None:
    found = memory(GPT)
    assert (found.weights, found.gradients, found.optimizer, found.gathered) == (887.0, 800.0, 1600.0, 0.0)
    assert found.peak == 887 + 1600 + 800 + activations(GPT, 4)


def test_memory_of_several_devices_by_hand() -> None:
    replicated, sharded = memory(GPT, 8), memory(GPT, 8, sharded=True)
    assert (replicated.weights, replicated.gradients, replicated.optimizer) == (887.0, 1600.0, 1600.0)
    assert (sharded.weights, sharded.gradients, sharded.optimizer) == (117.0, 100.0, 200.0)
    assert sharded.gathered == 600.0
    # One prompt of two completions is left to each device.
    assert sharded.activations == replicated.activations == activations(GPT, 2)
    assert [(m.devices, m.sharded) for m in memory_plan(GPT)] == [
        *((1, False), (2, False), (2, True), (4, False), (4, True), (8, False), (8, True)),
    ]


def test_state_of_optimizers() -> None:
    from functools import partial

    assert optimizer_factor(torch.optim.AdamW, torch.float32) == 2.0
    assert optimizer_factor(partial(torch.optim.SGD, lr=0.1), torch.float32) == 0.0
    assert optimizer_factor(partial(torch.optim.SGD, lr=0.1, momentum=0.9), torch.bfloat16) == 1.0


def test_the_plan_knows_the_weights_of_the_run(written: tuple[Findings, Path], tiny_model: Path) -> None:
    """Float32 weights as on the disk; RLSD's periodic teacher keeps a copy of them, AdamW two."""
    from safetensors.torch import load_file

    size = sum(tensor.numel() * 4 for tensor in load_file(tiny_model / "model.safetensors").values())
    one = written[0].plan[0]
    assert (one.weights, one.gradients, one.optimizer) == (2 * size, size, 2 * size)
