"""What one firing of a schedule may change about its round: the form that Prefect shows for a deployment."""

from pydantic import Field

from data_contracts.config_base import Strict


class Overrides(Strict):
    """What these rounds do differently from the configuration; leave a field empty to keep it."""

    learning_rate: float | None = Field(None, gt=0, title="Learning rate", description="Instead of align.learning_rate.")
    epochs: int | None = Field(None, ge=1, title="Epochs", description="Instead of align.epochs.")
    temperature: float | None = Field(None, ge=0, title="Temperature", description="Instead of sample.temperature.")
    min_win_rate: float | None = Field(
        None, ge=0, le=1, title="Smallest win rate", description="Instead of promote.min_win_rate: promote only from this on."
    )

    def sets(self) -> dict[str, float]:
        """Configuration keys and their values, as `--set` names them."""
        keys = {"learning_rate": "align", "epochs": "align", "temperature": "sample", "min_win_rate": "promote"}
        return {f"{keys[name]}.{name}": value for name, value in self.model_dump(exclude_none=True).items()}
