"""What commands have in common. Their help names arguments as the documentation does: CONFIG, and not {config}."""

from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, for example align.epochs=2; may be given again."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as JSON, for programs.")]


class Command(TyperCommand):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for parameter in self._given():
            parameter.metavar = parameter.metavar or str(parameter.name).upper()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(str(p.metavar) if p.required else f"[{p.metavar}]" for p in self._given())]

    def _given(self) -> list[TyperArgument]:
        return [parameter for parameter in self.params if isinstance(parameter, TyperArgument)]
