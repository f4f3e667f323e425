"""Looks for secrets in what is committed; those of the baseline are known to be none.

Usage: scan_secrets.py [--write]

Prints what looks like a secret and is not in `.secrets.baseline`, and exits 1 where there is any. `--write`
takes all that is found now over into the baseline. A line that is no secret is better marked where it stands,
with the reason, by `pragma: allowlist secret`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import configure_settings_from_baseline

BASELINE = Path(".secrets.baseline")
WORKERS = 2
# Generated, and checked for drift; or contracts and models; or tests, which make their secrets up; or locks,
# hashes from end to end; or no text.
LEFT_OUT = re.compile(
    r"^(gen|models|protos|tests|docs/reference|docs/guide/tools|clients/[a-z]+/gen|deploy/docker/requirements)/"
    r"|(^|/)(package-lock|openapi)\.json$|\.(safetensors|binpb|png)$|^LICENSE$|^\.secrets\.baseline$"
)

Found = dict[str, Any]


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="take what is found over into the baseline")
    options = parser.parse_args()
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    found = scan(committed(), baseline)
    if options.write:
        write(baseline, found)
        return 0
    known = {(name, each["hashed_secret"]) for name, all_ in baseline["results"].items() for each in all_}
    new = [each for each in found if (each["filename"], each["hashed_secret"]) not in known]
    for each in new:
        print(f"{each['filename']}:{each['line_number']}: {each['type']}", file=sys.stderr)
    return 1 if new else 0


def committed() -> list[str]:
    """The files that git knows and that people write."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [
        name for name in listed.split("\0") if name and not LEFT_OUT.search(name) and Path(name).is_file()
    ]


def scan(names: list[str], baseline: Found) -> list[Found]:
    """What looks like a secret in these files, in a stable order."""
    with ProcessPoolExecutor(WORKERS, initializer=_configure, initargs=(baseline,)) as pool:
        found = [each for part in pool.map(_scan_one, names, chunksize=20) for each in part]
    return sorted(found, key=lambda each: (each["filename"], each["line_number"], each["type"]))


def write(baseline: Found, found: list[Found]) -> None:
    """Put what was found in place of the baseline's results."""
    names = sorted({each["filename"] for each in found})
    results = {name: [each for each in found if each["filename"] == name] for name in names}
    text = json.dumps({**baseline, "results": results}, indent=1)
    BASELINE.write_text(f"{text}\n", encoding="utf-8")


def _configure(baseline: Found) -> None:
    configure_settings_from_baseline(baseline)


def _scan_one(name: str) -> list[Found]:
    return [secret.json() for secret in scan_file(name)]


if __name__ == "__main__":
    sys.exit(main())
