"""Figures are drawn whatever names stand in them."""

from pathlib import Path

from tasks.figures import heat_maps, training_figure


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    names = ["$\\no$", "a $ b $_$"]
    panel = {"$\\x$": [[0.1, "failed"], [0.2, 0.3]]}
    heat_maps(tmp_path / "a.png", "$$", names, names, names, panel, {"$^$": [1.0, 2.0]}, 0.5, "score")
    steps = [{"step": 1, "loss": 0.5, "chosen_logratio": 0.1, "rejected_logratio": -0.1}]
    training_figure(tmp_path / "b.png", "round 1: $\\frac$", steps)
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("a.png", "b.png"))
