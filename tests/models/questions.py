"""Questions for the tests of parsers."""

from models.benchmark import Question


def free(*target: str, prompt: str = "?") -> Question:
    return Question("free-form/0", "free-form", "b", None, prompt, (), target, None, "c")


def choice(*options: str, right: int = 0) -> Question:
    return Question("multiple-choice/0", "multiple-choice", "b", None, "?", options, (options[right],), right, "c")
