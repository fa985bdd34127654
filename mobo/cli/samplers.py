"""``mobo samplers``."""

from typing import Any

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say

NAME = "samplers"
EXAMPLE = "mobo samplers"


def command(as_json: AsJson = False) -> None:
    """List what can propose designs, for `sampler.name` and `sampler.settings` in a config."""
    from mobo.samplers import SAMPLERS, sampler_names

    objects: list[dict[str, Any]] = [
        {
            "name": name,
            "description": SAMPLERS[name].description,
            "settings": SAMPLERS[name].Settings().model_dump(mode="json"),
        }
        for name in sampler_names()
    ]
    if as_json:
        print_json(objects)
        return
    for entry in objects:
        say(f"{entry['name']}: {entry['description']}")
        for key, value in entry["settings"].items():
            say(f"  {key} = {value}")
