"""The objectives on lists and on the policy's own samples, by name; `models.objectives.REGISTRY` includes them."""

from models.objectives.batch import Objective
from models.objectives.list_likelihood import Irpo, MultiSimilarity, PlackettLuce, Pro, SDpo, SpoDegree
from models.objectives.list_targets import ExoRw, InfoNca
from models.objectives.on_policy import DrGrpo, Grpo, PairwiseRl, PrefGrpo, Rloo
from models.objectives.ranked_lists import AllPairsDpo, Lipo, RankDpo, RankList, TreePo

_LISTS: tuple[type[Objective], ...] = (
    *(AllPairsDpo, Lipo, RankDpo, RankList, TreePo),
    *(PlackettLuce, SDpo, MultiSimilarity, Pro, Irpo, SpoDegree),
    *(ExoRw, InfoNca),
    *(Grpo, DrGrpo, Rloo, PrefGrpo, PairwiseRl),
)
LISTS: dict[str, type[Objective]] = {objective.name: objective for objective in _LISTS}
