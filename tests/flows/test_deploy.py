"""What would stop the first round of a deployment is said before anything is registered."""

from datetime import timedelta
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from flows.deploy import check_request, parse_interval

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_an_interval_is_a_number_and_a_unit() -> None:
    assert parse_interval("90s") == timedelta(seconds=90)
    assert parse_interval("6h") == timedelta(hours=6)
    for wrong in ("6", "h", "0h", "-1h", "1.5h", "6 h", "6w"):
        with pytest.raises(PlumblineError, match="for example 6h"):
            parse_interval(wrong)


@pytest.mark.parametrize(
    ("config", "cron", "interval", "complaint"),
    [
        ("demo", "0 2 * * *", "6h", "exclude each other"),
        ("demo", "0 2 * *", None, "no cron expression"),
        ("human_pairs", None, "6h", "only flow: rounds"),
        ("absent", None, "6h", "does not exist"),
    ],
)
def test_a_request_that_cannot_work_is_refused(
    config: str, cron: str | None, interval: str | None, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(PlumblineError, match=complaint):
        check_request(CONFIGS / f"{config}.yaml", tmp_path, cron, interval)


def test_a_run_of_another_configuration_is_not_continued(tmp_path: Path) -> None:
    text = (CONFIGS / "demo.yaml").read_text().replace("../models", str(CONFIGS.parent / "models"))
    (tmp_path / "config.yaml").write_text(text.replace("seed: 2", "seed: 3"))
    with pytest.raises(PlumblineError, match="seed was 3, is 2"):
        check_request(CONFIGS / "demo.yaml", tmp_path, None, "6h")
    (tmp_path / "config.yaml").write_text(text.replace("rounds: 2", "rounds: 5"))  # more rounds are the same run
    assert check_request(CONFIGS / "demo.yaml", tmp_path, None, "6h").folder == tmp_path
