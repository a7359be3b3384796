"""Loading a Hugging Face causal LM and its tokenizer, so that what trains is what the folder holds."""

from rlsd_pl.models.adapters import LoRA
from rlsd_pl.models.folder import EMBEDDED, load_config, max_positions, resolve
from rlsd_pl.models.tokenizer import load_tokenizer
from rlsd_pl.models.weights import Dtype, check_vocabulary, load_model

__all__ = [
    "EMBEDDED",
    "Dtype",
    "LoRA",
    "check_vocabulary",
    "load_config",
    "load_model",
    "load_tokenizer",
    "max_positions",
    "resolve",
]
