"""Whether what a run measures, and promotes by, can be measured at all: asked before anything starts."""

from data_contracts.config import RoundsConfig
from data_contracts.errors import PlumblineError
from models.harness import check_harness
from models.objectives.serving import takes_lists
from models.objectives.wrappers import configured
from tasks.evaluate import prepare
from tasks.promote import check_promotion
from tasks.win_rate import find_recorded


def check_measures(config: RoundsConfig) -> None:
    """Raises PlumblineError for a benchmark, recorded answers, a task or a metric that is not there."""
    asked = prepare(config.evaluate)
    for other in config.win_rate.against:
        if other != "start":
            find_recorded([asked.prompt(question) for question in asked.questions], other)
    if config.evaluate.harness:
        check_harness(config.evaluate.harness)
    metrics, objective = config.preference_metrics, configured(config.align.objective, config.align.wrappers)
    if metrics and metrics.held_out and takes_lists(objective.needs):
        name = config.align.objective.name
        raise PlumblineError(f"preference_metrics.held_out holds pairs out, and {name} is trained on lists: set it to 0")
    names = {name for question in asked.questions for name in (question.split, question.benchmark)}
    check_promotion(config.promote, config.evaluate, config.win_rate, sorted(names))
