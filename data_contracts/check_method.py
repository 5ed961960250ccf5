"""What a pair method needs of the rest of the configuration."""

from data_contracts.config import RoundsConfig
from data_contracts.config_pairs import Delta, OffPolicyJudge, Rso, Source
from data_contracts.errors import PlumblineError


def check_method(config: RoundsConfig) -> None:
    """Raises PlumblineError for a pair method that lacks what it needs, or whose settings contradict each other."""
    method, n = config.method, config.sample.n
    if method.own == "several" and n < 2:
        raise PlumblineError(f"method {method.name} compares answers to one prompt, so sample.n must be at least 2")
    if method.own != "several" and n > 1:
        raise PlumblineError(f"method {method.name} takes one answer a prompt, so sample.n must be 1 (it is {n})")
    if isinstance(method, Rso) and n <= method.keep:
        raise PlumblineError(f"method rso keeps {method.keep} of sample.n answers, so sample.n must be larger (it is {n})")
    if isinstance(method, OffPolicyJudge) and all(source == method.sources[0] for source in method.sources):
        raise PlumblineError("method off_policy_judge compares different answers, but all its sources are the same")
    if isinstance(method, Delta) and _who(method.stronger) == _who(method.weaker):
        raise PlumblineError("method delta prefers one model to another, but stronger and weaker are the same")
    if config.revise.rubric is not None and len(config.revise.rubric.split()) < 2:
        raise PlumblineError(
            f"revise.rubric is {config.revise.rubric!r}, and this text fills the template, not a file of that name: "
            "write the rubric itself there"
        )
    worsens = (config.revise.template or "").startswith("worsen")
    if config.revise.template and worsens != (method.name == "worst_revision") and method.revised:
        raise PlumblineError(
            f"revise.template {config.revise.template} makes answers {'worse' if worsens else 'better'}, which method "
            f"{method.name} would take the wrong way round: leave it out for the method's own"
        )
    if method.name == "stronger_preferred" and config.teacher.kind == "local" and config.teacher.model == config.policy:
        raise PlumblineError("method stronger_preferred needs a teacher that is not the policy itself")
    if method.judged and config.pairs.second_view == config.judge:
        raise PlumblineError("pairs.second_view is the same as judge, so it would always agree: change one of them")


def _who(source: Source) -> tuple[str, ...]:
    return (source.kind, *(str(v) for k, v in source.model_dump().items() if k in ("model", "file", "answer")))
