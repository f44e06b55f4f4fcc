"""List the links of the built site that lead elsewhere, with their pages: `python -m docs.links build/site`.

Only a network could tell whether they lead anywhere; here it is told which of them are no addresses. Exit code 1 then.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

_LINK = re.compile(r"<a\b[^>]*?\bhref=\"?((?:https?:)?//[^\" >]+)")


def links(site: Path) -> Mapping[str, set[str]]:
    """Every address, and the pages that link to it."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in sorted(site.rglob("*.html")):
        for link in _LINK.findall(page.read_text("utf-8")):
            found[unescape(link)].add(str(page.relative_to(site)))
    return found


def is_address(link: str) -> bool:
    """Whether it could lead somewhere: https, a host with a dot, no spaces."""
    try:
        parts = urlsplit(link)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and "." in host.strip(".") and link.isprintable() and " " not in link


def main(site: Path) -> int:
    """Print them, the wrong ones marked."""
    wrong = 0
    for link, pages in sorted(links(site).items()):
        fine = is_address(link)
        wrong += not fine
        sys.stdout.write(f"{'      ' if fine else 'wrong '}{link}  ({', '.join(sorted(pages))})\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
