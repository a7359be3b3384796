"""What a run gives away: the merged model, the adapters, the model card, the upload."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.push import main as push
from rlsd_pl.commands.runs import CHECKPOINT_VARIABLE, RUN_DIR_VARIABLE, read_history
from rlsd_pl.functional import wilson_interval

FLAGS = [
    *("--objective", "sft", "--task", "gsm8k", "--adapter", "lora", "--model.lora.r", "2", "--optimizer.lr", "0.1"),
    *("--trainer", "cpu", "--trainer.max_epochs", "4", "--trainer.check_val_every_n_epoch", "2"),
    *("--data.prompts_per_rollout", "4", "--data.max_completion_tokens", "12"),
    *("--data.val_problems", "2", "--data.val_samples", "2", "--export.adapter", "true"),
]
PROMPT = "What is 3 + 4?"


@pytest.fixture(scope="module")
def trained(tiny_model, problem_file, tmp_path_factory):
    """A LoRA run through the true entry point, and what it leaves."""
    folder = tmp_path_factory.mktemp("export") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in (RUN_DIR_VARIABLE, CHECKPOINT_VARIABLE):
            patch.delenv(name, raising=False)
        patch.setattr(sys, "argv", ["scripts/fit.py", "--objective", "sft"])
        cli = fit([*FLAGS, "--task.path", str(problem_file), "--task.hub_val_split", "train", "--model",
                   str(tiny_model), "--run_dir", str(folder)])  # fmt: skip
    return SimpleNamespace(folder=folder, policy=cli.model.policy.eval(), base=tiny_model)


def greedy(model, tokenizer) -> list[int]:
    chat = [{"role": "user", "content": PROMPT}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.eval().generate(**inputs, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def test_plain_transformers_say_what_the_policy_says(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained.folder / "hf")
    expected = greedy(trained.policy.model, trained.policy.tokenizer)
    assert greedy(AutoModelForCausalLM.from_pretrained(trained.folder / "hf"), tokenizer) == expected
    # The run has learnt something, or the base model would pass as well.
    assert greedy(AutoModelForCausalLM.from_pretrained(trained.base), tokenizer) != expected


def test_peft_puts_the_adapters_on_the_base_model(trained):
    base = AutoModelForCausalLM.from_pretrained(trained.base)
    model = PeftModel.from_pretrained(base, trained.folder / "adapter")
    ids = torch.tensor([trained.policy.encode([{"role": "user", "content": PROMPT}])])
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, trained.policy.model(ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(trained.folder / "adapter")
    assert greedy(model, tokenizer) == greedy(trained.policy.model, trained.policy.tokenizer)


def test_adapters_of_a_policy_without_any_are_refused(tiny_model, problem_file, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    flags = [*FLAGS, "--task.path", str(problem_file), "--task.hub_val_split", "train", "--model", str(tiny_model)]
    with pytest.raises(SystemExit) as stopped:
        fit([*flags, "--model.lora.r", "0", "--run_dir", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "no adapters to save" in " ".join(capsys.readouterr().err.split())


def test_the_card_says_what_was_done_and_measured(trained):
    card = ModelCard.load(trained.folder / "hf" / "README.md")
    assert card.data.library_name == "transformers"
    assert "sft" in card.data.tags
    assert card.data.base_model is None  # a folder of this machine is no hub id
    history = read_history(trained.folder)["val/greedy_accuracy"]
    assert set(history) == {0, 2, 4}
    assert card.data.eval_results[0].metric_value == pytest.approx(history[4], abs=1e-6)
    for expected in (
        "| objective | SFT |  |",
        "| held-out | iteration 0 | iteration 4 |",
        "| greedy accuracy | 0.000 [0.000, 0.658] | 0.000 [0.000, 0.658] |",  # Wilson, 0 of 2
        "2 held-out problems, 2 samples of each",
        "low-rank adapters of rank 2",
        "python scripts/fit.py --objective sft",
        "| sign | iteration 0 | iteration 4 |",
        "| completions that refer to unseen material | 0.000 | 0.000 |",
    ):
        assert expected in card.text, expected
    shown = card.text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(shown) == yaml.safe_load((trained.folder / "config.yaml").read_text())


def test_methods_come_with_their_papers():
    from rlsd_pl.callbacks.model_card import Training, model_card
    from rlsd_pl.objectives import RLSD, RLVR

    text = model_card(Training(Path("nowhere"), "Qwen/Qwen3-0.6B", {"objective": RLSD()})).text
    assert "| objective | RLSD | [2604.03128](https://arxiv.org/abs/2604.03128) |" in text
    card = model_card(Training(Path("nowhere"), "Qwen/Qwen3-0.6B", {"objective": RLVR()}))
    assert card.data.base_model == "Qwen/Qwen3-0.6B"
    assert "[2402.03300](https://arxiv.org/abs/2402.03300)" in card.text
    assert "was not evaluated" in card.text


@pytest.mark.parametrize(
    ("share", "n", "expected"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (0 / 20, 20, (0.0, 0.1611)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_intervals(share, n, expected):
    assert wilson_interval(share, n) == pytest.approx(expected, abs=5e-5)


class StandIn:
    """Of ``HfApi``: keeps what it is asked for."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.refuses = refuses

    def create_repo(self, repo_id: str, **kwargs) -> str:
        if self.refuses:
            raise self.refuses
        self.calls.append(("create_repo", {"repo_id": repo_id, **kwargs}))
        return f"https://hub/{repo_id}"

    def create_branch(self, repo_id: str, **kwargs) -> None:
        self.calls.append(("create_branch", {"repo_id": repo_id, **kwargs}))

    def upload_folder(self, **kwargs) -> None:
        self.calls.append(("upload_folder", kwargs))


def test_push_makes_a_private_repository_and_uploads_the_export(trained, capsys):
    api = StandIn()
    push([str(trained.folder), "--repo_id", "lab/sums"], api)
    (_, made), (_, sent) = api.calls
    assert made == {"repo_id": "lab/sums", "private": True, "exist_ok": True}
    assert (sent["repo_id"], sent["folder_path"]) == ("lab/sums", trained.folder / "hf")
    assert "https://hub/lab/sums" in capsys.readouterr().out


def test_push_of_the_adapters_to_a_branch_in_public(trained):
    api = StandIn()
    push([str(trained.folder), "--repo_id", "lab/sums", "--adapter", "--public", "--revision", "v2"], api)
    assert [name for name, _ in api.calls] == ["create_repo", "create_branch", "upload_folder"]
    assert api.calls[0][1]["private"] is False
    assert api.calls[1][1] == {"repo_id": "lab/sums", "branch": "v2", "exist_ok": True}
    assert api.calls[2][1]["folder_path"] == trained.folder / "adapter"
    assert api.calls[2][1]["revision"] == "v2"


@pytest.mark.parametrize(
    ("arguments", "api", "expected"),
    [
        (["{empty}", "--repo_id", "a/b"], StandIn(), "nothing to upload. A run exports when it ends."),
        (["{empty}", "--repo_id", "a/b", "--adapter"], StandIn(), "--export.adapter true"),
        (["{run}"], StandIn(), "--repo_id"),
        (["{run}", "--repo_id", "a/b"], StandIn(OSError("401: not\n\nlogged in")), "401: not logged in"),
    ],
)
def test_push_says_why_it_cannot(arguments, api, expected, trained, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        push([argument.format(empty=tmp_path, run=trained.folder) for argument in arguments], api)
    assert stopped.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not api.calls
