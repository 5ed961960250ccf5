"""The keys of the objectives on lists and on the policy's own samples. Mathematics: `models/objectives/list_registry.py`.

Defaults are the papers' or their authors' code's where those name one; otherwise the comment says what was assumed.
"""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from data_contracts.objective_config_pairs import ObjectiveKeys

Gain = Literal["exponential", "linear"]


class AllPairsDpo(ObjectiveKeys):
    name: Literal["all_pairs_dpo"]
    beta: PositiveFloat = 0.1


class Lipo(ObjectiveKeys):
    name: Literal["lipo"]
    # the paper: 0.05 with K = 8. On the embedded world's lists of four that drives every answer down (score 0.34 from 0.55; at
    # 0.1 0.56, at 0.2 0.71, at 0.5 0.77: one seed each)
    beta: PositiveFloat = 0.5
    gain: Gain = "exponential"


class RankDpo(ObjectiveKeys):
    name: Literal["rankdpo"]
    beta: PositiveFloat = 0.1  # DPO's: the paper's is for diffusion models


class RankList(ObjectiveKeys):
    name: Literal["ranklist"]
    beta: PositiveFloat = 0.1  # assumed
    skip: PositiveInt = 3  # assumed


class TreePo(ObjectiveKeys):
    name: Literal["tree_po"]
    beta: PositiveFloat = 0.5
    gain: Gain = "exponential"


class PlackettLuce(ObjectiveKeys):
    name: Literal["plackett_luce"]
    beta: PositiveFloat = 0.1


class SDpo(ObjectiveKeys):
    name: Literal["s_dpo"]
    beta: PositiveFloat = 0.1  # DPO's


class MultiSimilarity(ObjectiveKeys):
    name: Literal["multi_similarity"]
    beta: PositiveFloat = 0.1  # DPO's
    sharpness: PositiveFloat = 2.0
    margin: NonNegativeFloat = 1.0
    mining: float = 0.1


class Pro(ObjectiveKeys):
    name: Literal["pro"]
    sft_weight: NonNegativeFloat = 0.05


class Irpo(ObjectiveKeys):
    name: Literal["irpo"]
    beta: PositiveFloat = 1.0  # of a mean over tokens


class SpoDegree(ObjectiveKeys):
    name: Literal["spo_degree"]
    beta: PositiveFloat = 0.1  # DPO's
    weight: NonNegativeFloat = 0.1  # assumed


class ExoRw(ObjectiveKeys):
    name: Literal["exo_rw"]
    beta: PositiveFloat = 0.5
    temperature: PositiveFloat = 0.5


class InfoNca(ObjectiveKeys):
    name: Literal["infonca"]
    beta: PositiveFloat = 0.5
    temperature: PositiveFloat = 0.5


class Grpo(ObjectiveKeys):
    name: Literal["grpo"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


class DrGrpo(ObjectiveKeys):
    name: Literal["dr_grpo"]
    clip: PositiveFloat = 0.2
    max_length: PositiveInt = 1024  # the sampler's max_tokens; only scales the gradient


class Rloo(ObjectiveKeys):
    name: Literal["rloo"]
    clip: PositiveFloat = 0.2


class PrefGrpo(ObjectiveKeys):
    name: Literal["pref_grpo"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


class PairwiseRl(ObjectiveKeys):
    name: Literal["pairwise_rl"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


ListObjectiveConfig = (
    (AllPairsDpo | Lipo | RankDpo | RankList | TreePo)
    | (PlackettLuce | SDpo | MultiSimilarity | Pro | Irpo | SpoDegree)
    | (ExoRw | InfoNca)
    | (Grpo | DrGrpo | Rloo | PrefGrpo | PairwiseRl)
)
