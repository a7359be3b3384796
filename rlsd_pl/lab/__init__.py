"""The lab: a tiny world in which everything that credit assignment argues about is known exactly."""

from pathlib import Path

from rlsd_pl.lab.demonstrator import Demonstration, Demonstrator
from rlsd_pl.lab.oracle import OracleCredit
from rlsd_pl.lab.task import ChainTask
from rlsd_pl.lab.verifier import LabVerifier
from rlsd_pl.lab.world import ChainWorld

BASE_FOLDER = Path(__file__).parent / "base"
"""The shipped base policy, a Hugging Face model folder with its tokenizer."""

__all__ = ["BASE_FOLDER", "ChainTask", "ChainWorld", "Demonstration", "Demonstrator", "LabVerifier", "OracleCredit"]
