"""Lightning callbacks: what a run shows, records and watches."""

from rlsd_pl.callbacks.console import ConsoleReport
from rlsd_pl.callbacks.credit_map import CreditMap
from rlsd_pl.callbacks.hf_export import HuggingFaceExport
from rlsd_pl.callbacks.leakage import LeakageDetection
from rlsd_pl.callbacks.leakage_response import Response, Scale, Stop, Warn
from rlsd_pl.callbacks.learning_curve import LearningCurve
from rlsd_pl.callbacks.rollout_log import RolloutLog
from rlsd_pl.callbacks.rollout_metrics import RolloutMetrics
from rlsd_pl.callbacks.sample_table import SampleTable
from rlsd_pl.callbacks.signal_watch import SignalWatch

__all__ = [
    "ConsoleReport",
    "CreditMap",
    "HuggingFaceExport",
    "LeakageDetection",
    "LearningCurve",
    "Response",
    "RolloutLog",
    "RolloutMetrics",
    "SampleTable",
    "Scale",
    "SignalWatch",
    "Stop",
    "Warn",
]
