"""``mobo problems``."""

from typing import Any

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say

NAME = "problems"
EXAMPLE = "mobo problems"


def command(as_json: AsJson = False) -> None:
    """List the benchmark problems, for `problems` in a benchmark's config."""
    from mobo.benchmark.problems import PROBLEMS, problem_names

    objects: list[dict[str, Any]] = [
        {
            "name": name,
            "description": PROBLEMS[name].description,
            "settings": PROBLEMS[name].Settings().model_dump(mode="json"),
        }
        for name in problem_names()
    ]
    if as_json:
        print_json(objects)
        return
    width = max(len(entry["name"]) for entry in objects)
    for entry in objects:
        say(f"{entry['name']:<{width}}  {entry['description']}")
