"""The keys of the objectives on lists and on the policy's own samples. Mathematics: `models/objectives/list_registry.py`.

Defaults are the papers' or their authors' code's where those name one; otherwise the comment says what was assumed.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

Gain = Literal["exponential", "linear"]


class _Objective(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def parameters(self) -> dict[str, float]:
        return self.model_dump(exclude={"name"})


class AllPairsDpo(_Objective):
    name: Literal["all_pairs_dpo"]
    beta: PositiveFloat = 0.1


class Lipo(_Objective):
    name: Literal["lipo"]
    # the paper: 0.05 with K = 8. On the embedded world's lists of four that drives every answer down (score 0.34 from 0.55; at
    # 0.1 0.56, at 0.2 0.71, at 0.5 0.77: one seed each)
    beta: PositiveFloat = 0.5
    gain: Gain = "exponential"


class RankDpo(_Objective):
    name: Literal["rankdpo"]
    beta: PositiveFloat = 0.1  # DPO's: the paper's is for diffusion models


class RankList(_Objective):
    name: Literal["ranklist"]
    beta: PositiveFloat = 0.1  # assumed
    skip: PositiveInt = 3  # assumed


class TreePo(_Objective):
    name: Literal["tree_po"]
    beta: PositiveFloat = 0.5
    gain: Gain = "exponential"


class PlackettLuce(_Objective):
    name: Literal["plackett_luce"]
    beta: PositiveFloat = 0.1


class SDpo(_Objective):
    name: Literal["s_dpo"]
    beta: PositiveFloat = 0.1  # DPO's


class MultiSimilarity(_Objective):
    name: Literal["multi_similarity"]
    beta: PositiveFloat = 0.1  # DPO's
    sharpness: PositiveFloat = 2.0
    margin: NonNegativeFloat = 1.0
    mining: float = 0.1


class Pro(_Objective):
    name: Literal["pro"]
    sft_weight: NonNegativeFloat = 0.05


class Irpo(_Objective):
    name: Literal["irpo"]
    beta: PositiveFloat = 1.0  # of a mean over tokens


class SpoDegree(_Objective):
    name: Literal["spo_degree"]
    beta: PositiveFloat = 0.1  # DPO's
    weight: NonNegativeFloat = 0.1  # assumed


class ExoRw(_Objective):
    name: Literal["exo_rw"]
    beta: PositiveFloat = 0.5
    temperature: PositiveFloat = 0.5


class InfoNca(_Objective):
    name: Literal["infonca"]
    beta: PositiveFloat = 0.5
    temperature: PositiveFloat = 0.5


class Grpo(_Objective):
    name: Literal["grpo"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


class DrGrpo(_Objective):
    name: Literal["dr_grpo"]
    clip: PositiveFloat = 0.2
    max_length: PositiveInt = 1024  # the sampler's max_tokens; only scales the gradient


class Rloo(_Objective):
    name: Literal["rloo"]
    clip: PositiveFloat = 0.2


class PrefGrpo(_Objective):
    name: Literal["pref_grpo"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


class PairwiseRl(_Objective):
    name: Literal["pairwise_rl"]
    clip: PositiveFloat = 0.2
    kl_weight: NonNegativeFloat = 0.04


ListObjectiveConfig = (
    (AllPairsDpo | Lipo | RankDpo | RankList | TreePo)
    | (PlackettLuce | SDpo | MultiSimilarity | Pro | Irpo | SpoDegree)
    | (ExoRw | InfoNca)
    | (Grpo | DrGrpo | Rloo | PrefGrpo | PairwiseRl)
)
LIST_CONFIGS: tuple[type[_Objective], ...] = get_args(ListObjectiveConfig)
