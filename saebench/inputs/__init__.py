"""What a metric may ask for, by parameter type; the engine fills each from as few passes as it can."""

from __future__ import annotations

from saebench.inputs.activity import Activity
from saebench.inputs.contexts import Half, Kept, LatentContexts, Sampling
from saebench.inputs.entities import EntityCodes, EntityModel
from saebench.inputs.error_model import ErrorModel
from saebench.inputs.judged import DrawnLatents, JudgedLatents, SampledLatents
from saebench.inputs.labelled import Activations, LabelledCodes, LabelledEffects, LastTokenCodes
from saebench.inputs.losses import Losses
from saebench.inputs.other import OtherCodes
from saebench.inputs.pooled import PooledCodes
from saebench.inputs.questions import QuestionRuns
from saebench.inputs.random_tokens import RandomActivity, RandomReconstruction
from saebench.inputs.reconstruction import Reconstruction
from saebench.inputs.seed_codes import CodeMoments, SeedCodes
from saebench.inputs.seed_group import SeedGroup, SeedPairs
from saebench.inputs.token_labels import TokenLabels
from saebench.inputs.tokens import TokenInfo
from saebench.inputs.truth import TrueDictionary, TrueFeatures
from saebench.inputs.weights import Weights
from saebench.inputs.words import WordCodes

FITTED: frozenset[type] = frozenset({ErrorModel, OtherCodes})
"""Inputs that come from text that is not scored."""

__all__ = [
    "Activations",
    "Activity",
    "CodeMoments",
    "DrawnLatents",
    "EntityCodes",
    "EntityModel",
    "ErrorModel",
    "Half",
    "JudgedLatents",
    "Kept",
    "LabelledCodes",
    "LabelledEffects",
    "LastTokenCodes",
    "LatentContexts",
    "Losses",
    "OtherCodes",
    "PooledCodes",
    "QuestionRuns",
    "RandomActivity",
    "RandomReconstruction",
    "Reconstruction",
    "SampledLatents",
    "Sampling",
    "SeedCodes",
    "SeedGroup",
    "SeedPairs",
    "TokenInfo",
    "TokenLabels",
    "TrueDictionary",
    "TrueFeatures",
    "Weights",
    "WordCodes",
]
