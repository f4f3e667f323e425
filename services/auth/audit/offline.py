"""Proves a copy of the audit where no service runs.

Usage: python -m services.auth.audit.offline --checkpoints FILE --key FILE

The database is named by PARLEY_AUTH_DATABASE_URL. The key is the public one
that lies beside the signing key, `audit-signing-key.public`, or better a copy
of it that was kept elsewhere. Each fault is a line of JSON, and so is the
summary, the last line. The exit status is 1 where there are faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from services.auth.audit.checkpoints import CheckpointFile, public_key
from services.auth.audit.proof import Proof
from services.auth.audit.verification import verify
from services.rpc.errors import ServiceError
from services.sql.database import Database, parse_url

DATABASE = "PARLEY_AUTH_DATABASE_URL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; 2 where nothing could be proven."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoints", type=Path, required=True, help="file of the signed checkpoints")
    parser.add_argument("--key", type=Path, required=True, help="public key that they are signed with")
    options = parser.parse_args(arguments)
    try:
        database = Database(parse_url(os.environ.get(DATABASE, "")))
        checkpoints = CheckpointFile(options.checkpoints, public_key(options.key))
        return asyncio.run(_prove(database, checkpoints))
    except (ServiceError, OSError, ValueError) as error:
        print(f"the audit cannot be proven: {error}", file=sys.stderr)
        return 2


async def _prove(database: Database, checkpoints: CheckpointFile) -> int:
    faults, summary = 0, dict[str, object]()
    try:
        async for proof, found in verify(database, checkpoints):
            for fault in found:
                _write({"fault": fault.kind.value, "sequence": fault.first, "message": fault.message})
            faults, summary = faults + len(found), _summary(proof)
    finally:
        await database.close()
    _write({**summary, "faults": faults})
    return 1 if faults else 0


def _summary(proof: Proof) -> dict[str, object]:
    return {
        "records": proof.records,
        "first_sequence": proof.first,
        "last_sequence": proof.last,
        "hash": proof.hash.hex(),
        "checkpoints": proof.agreeing,
        "vouched_sequence": proof.vouched,
    }


def _write(told: dict[str, object]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
