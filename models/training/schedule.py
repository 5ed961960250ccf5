"""Which examples are trained on when, and when the reference moves. torch is not imported."""

from collections.abc import Sequence

from data_contracts.config_align import AlignConfig
from models.objectives.curriculum import stages
from models.training.data import plan

Moves = dict[int, float]  # step -> share of the policy in the new reference


def schedule(count: int, config: AlignConfig, seed: int, gaps: Sequence[float]) -> tuple[list[list[int]], Moves]:
    """Batches of example indices, one a step, and the moves of the reference.

    With a curriculum the stages follow one another, the widest `gaps` first, all epochs of one before the next, and each stage's
    reference is the model as it stands then (Curry-DPO, arXiv 2403.07230). With reference `ema` it moves every `ema.every` steps.

    Raises PlumblineError where a gap is unknown or there are fewer examples than stages.
    """
    if config.curriculum is None:
        batches = plan(count, config.batch_size, config.epochs, seed)
        every = config.ema.every
        moves = dict.fromkeys(range(every, len(batches), every), config.ema.rate) if config.reference == "ema" else {}
        return batches, moves
    batches, moves = [], {}
    for members in stages(gaps, config.curriculum.stages):
        if batches:
            moves[len(batches)] = 1.0
        dealt = plan(len(members), config.batch_size, config.epochs, seed)
        batches += [[members[i] for i in batch] for batch in dealt]
    return batches, moves
