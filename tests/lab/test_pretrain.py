import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.commands.main import main
from rlsd_pl.lab import BASE_FOLDER, Demonstrator
from rlsd_pl.lab.pretrain import (
    IGNORED_LABEL,
    DemonstrationDataset,
    ModelSize,
    PretrainConfig,
    TrainingPlan,
    pretrain,
)
from rlsd_pl.lab.tokenizer import ASSISTANT_TOKEN, CHAT_TEMPLATE, EOS_ID, build_tokenizer
from rlsd_pl.lab.world import is_held_out


def test_only_completion_tokens_are_learned():
    tokenizer = build_tokenizer()
    item = DemonstrationDataset(Demonstrator(), tokenizer, length=1)[0]
    learned = item["labels"] != IGNORED_LABEL
    start = item["input_ids"].tolist().index(tokenizer.convert_tokens_to_ids(ASSISTANT_TOKEN)) + 1
    assert not learned[:start].any()
    assert learned[start:].all()
    assert torch.equal(item["labels"][start:], item["input_ids"][start:])
    assert item["input_ids"][-1] == EOS_ID


def test_pre_training_never_sees_validation():
    tokenizer = build_tokenizer()
    dataset = DemonstrationDataset(Demonstrator(), tokenizer, length=300)
    for index in range(len(dataset)):
        item = dataset[index]
        prompt = tokenizer.decode(item["input_ids"][item["labels"] == IGNORED_LABEL], skip_special_tokens=True)
        assert not is_held_out(prompt.rpartition("|")[2])


def test_script_writes_a_loadable_folder_that_is_a_function_of_its_flags(tmp_path, capsys):
    flags = ["--plan.steps", "3", "--plan.batch_size", "8", "--plan.warmup_steps", "1", "--size.layers", "1"]
    main(["pretrain-lab", "--output", str(tmp_path), *flags, "--eval_problems", "4", "--demonstrator.filler", "2"])
    written = AutoModelForCausalLM.from_pretrained(tmp_path)
    config = PretrainConfig(
        tmp_path,
        demonstrator=Demonstrator(filler=2),
        size=ModelSize(layers=1),
        plan=TrainingPlan(steps=3, batch_size=8, warmup_steps=1),
    )
    twin = pretrain(config, build_tokenizer())
    assert all(torch.equal(p, q) for p, q in zip(written.parameters(), twin.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == CHAT_TEMPLATE
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| `plan.steps` | 3 |" in card
    assert "| `demonstrator.filler` | 2 |" in card
    assert str(tmp_path) not in card


def test_a_base_goes_on_from_another_and_takes_longer_chains(tmp_path, capsys):
    flags = ["--plan.steps", "1", "--plan.batch_size", "2", "--plan.warmup_steps", "0", "--plan.learning_rate", "0"]
    long = ["--demonstrator.world.operands", "24", "--demonstrator.filler", "5", "--start", "lab"]
    main(["pretrain-lab", "--output", str(tmp_path), *flags, *long, "--eval_problems", "1"])
    written = AutoModelForCausalLM.from_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(BASE_FOLDER)
    assert all(torch.equal(p, q) for p, q in zip(written.parameters(), base.parameters(), strict=True))
    # 23 steps of 5 fillers and 6 characters, "#7" and EOS; 4 x 24 for hint and expression; 14 to spare.
    assert written.config.max_position_embeddings == 23 * 11 + 3 + 96 + 14
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| `start` | lab |" in card
    assert "--start lab" in card


def test_script_refuses_unknown_flags_and_types(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["pretrain-lab", "--output", str(tmp_path), "--plan.stops", "3"])
    with pytest.raises(SystemExit):
        main(["pretrain-lab", "--output", str(tmp_path), "--plan.steps", "many"])
