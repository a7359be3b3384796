"""Lightning callbacks: what a run shows, records and watches."""

from rlsd_pl.callbacks.console import ConsoleReport
from rlsd_pl.callbacks.credit_map import CreditMap
from rlsd_pl.callbacks.hf_export import HuggingFaceExport
from rlsd_pl.callbacks.leakage import LeakageDetection
from rlsd_pl.callbacks.learning_curve import LearningCurve
from rlsd_pl.callbacks.rollout_log import RolloutLog
from rlsd_pl.callbacks.rollout_metrics import RolloutMetrics
from rlsd_pl.callbacks.sample_table import SampleTable

__all__ = [
    "ConsoleReport",
    "CreditMap",
    "HuggingFaceExport",
    "LeakageDetection",
    "LearningCurve",
    "RolloutLog",
    "RolloutMetrics",
    "SampleTable",
]
