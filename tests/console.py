"""Commands of a documentation page, with the lines that the page shows below each."""

import re


def examples(page: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page's console blocks in order, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found
