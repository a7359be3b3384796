import random

import pytest
from transformers import AutoTokenizer

from rlsd_pl.lab import BASE_FOLDER, ChainTask, Demonstrator
from rlsd_pl.lab.tokenizer import EOS_ID, PAD_ID, build_tokenizer


@pytest.fixture(scope="module", params=["built", "shipped"])
def tokenizer(request):
    return build_tokenizer() if request.param == "built" else AutoTokenizer.from_pretrained(BASE_FOLDER)


def test_every_character_is_one_token_and_comes_back(tokenizer):
    task, demonstrator = ChainTask(), Demonstrator()
    for index in range(50):
        demonstration = demonstrator.demonstrate(task.problem("train", index).prompt, random.Random(index))
        for text in (demonstration.prompt, demonstration.completion):
            ids = tokenizer(text).input_ids
            assert len(ids) == len(text)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_other_characters_are_unknown(tokenizer):
    ids = tokenizer("3 a\n\u0664\U0001f600+").input_ids
    assert ids[1:-1] == [tokenizer.unk_token_id] * 5
    assert tokenizer.unk_token_id not in (ids[0], ids[-1])


def test_chat_template_gives_the_prompt_of_pre_training(tokenizer):
    user = {"role": "user", "content": "3+4*2|7,4"}
    prompt = tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
    assert prompt == "<bos>3+4*2|7,4<assistant>"
    ids = tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert tokenizer.decode(ids) == prompt
    assert len(ids) == len("3+4*2|7,4") + 2
    assistant = {"role": "assistant", "content": "#4"}
    assert tokenizer.apply_chat_template([user, assistant], tokenize=False) == prompt + "#4<eos>"


def test_special_tokens_leave_no_trace_in_the_text(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD_ID, EOS_ID)
    assert tokenizer.padding_side == "left"
    ids = [*tokenizer("7*2=4;#4").input_ids, EOS_ID, PAD_ID, PAD_ID]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "7*2=4;#4"
