"""Similarity of two layers on the same samples: streaming moments, and measures that need nothing else.

Samples first: x is (n, p), y is (n, q). See `Moments` for what n counts, and `iid_baseline` for the value of
pure noise.
"""

from transfusion_core.science.similarity.baseline import iid_baseline, iid_cka, iid_regression
from transfusion_core.science.similarity.cca import CanonicalCorrelations, Kept, cca
from transfusion_core.science.similarity.cka import cka_reason, linear_cka
from transfusion_core.science.similarity.collect import Collected, collect
from transfusion_core.science.similarity.compare import Comparisons, compare, compare_checkpoints, layer_pairs
from transfusion_core.science.similarity.evaluate import PairResult, evaluate
from transfusion_core.science.similarity.files import load_collected, save_collected
from transfusion_core.science.similarity.guard import NonFiniteActivations, TooFewSamples, sampling_warnings
from transfusion_core.science.similarity.invariances import INVARIANCES, Invariances
from transfusion_core.science.similarity.measures import MEASURES, Measured, measure
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.network import Network
from transfusion_core.science.similarity.options import Images, LayerPair, Options, Part
from transfusion_core.science.similarity.pair import Pair
from transfusion_core.science.similarity.procrustes import procrustes
from transfusion_core.science.similarity.pwcca import pwcca
from transfusion_core.science.similarity.regression import Regression, linear_regression
from transfusion_core.science.similarity.samples import Sampling, channels_first
from transfusion_core.science.similarity.svcca import svcca
from transfusion_core.science.similarity.taps import Taps, UnknownLayer

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "CanonicalCorrelations",
    "Collected",
    "Comparisons",
    "Images",
    "Invariances",
    "Kept",
    "LayerPair",
    "Measured",
    "Moments",
    "Network",
    "NonFiniteActivations",
    "Options",
    "Pair",
    "PairResult",
    "Part",
    "Regression",
    "Sampling",
    "Taps",
    "TooFewSamples",
    "UnknownLayer",
    "cca",
    "channels_first",
    "cka_reason",
    "collect",
    "compare",
    "compare_checkpoints",
    "evaluate",
    "iid_baseline",
    "iid_cka",
    "iid_regression",
    "layer_pairs",
    "linear_cka",
    "linear_regression",
    "load_collected",
    "measure",
    "procrustes",
    "pwcca",
    "sampling_warnings",
    "save_collected",
    "svcca",
]
