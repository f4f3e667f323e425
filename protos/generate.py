"""Generates the committed stubs under `gen/` from the contracts under `protos/`.

Usage: generate.py [--check | --image FILE]

Without an option the stubs are written. `--check` writes nothing and exits 1
where the committed stubs differ from what the contracts give. `--image` writes
only the descriptor image that buf lints and compares.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib
import importlib.resources
import re
import shutil
import sys
import tempfile
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "gen"
VALIDATE = "buf/validate/validate.proto"
TYPED = ("buf/validate", "parley")
"""The packages that say by a marker that they carry annotations (PEP 561)."""
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="compare, write nothing")
    group.add_argument("--image", type=Path, help="write the descriptor image here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if options.image:
            compile_image(Path(scratch), options.image)
            return 0
        fresh = Path(scratch) / "gen"
        generate(Path(scratch), fresh)
        if options.check:
            return report_drift(GENERATED, fresh)
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)
    return 0


def generate(scratch: Path, target: Path) -> None:
    """Write the stubs of every contract, and of the validation rules, to `target`."""
    target.mkdir()
    run_protoc(
        scratch,
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        *contracts(),
        VALIDATE,
    )
    run_protoc(
        scratch,
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet:{target}",
        *contracts_with_services(),
    )
    descriptors = target / "parley" / "descriptors.binpb"
    run_protoc(scratch, "--include_imports", f"--descriptor_set_out={descriptors}", *contracts())
    for package in TYPED:
        (target / package / "py.typed").touch()


def compile_image(scratch: Path, target: Path, *further: str) -> None:
    """Write the contracts, and further files, with everything they import as one image for buf."""
    options = ("--include_imports", "--include_source_info", f"--descriptor_set_out={target}")
    run_protoc(scratch, *options, *contracts(), *further)


def contracts() -> list[str]:
    """The contract files, relative to `protos/`, in a stable order."""
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def contracts_with_services() -> list[str]:
    """The contracts that declare a service; only they get gRPC stubs."""
    return [
        name for name in contracts() if re.search(r"^service ", (PROTOS / name).read_text(), re.MULTILINE)
    ]


def run_protoc(scratch: Path, *arguments: str) -> None:
    """Run protoc on the contracts, with every import it needs within reach."""
    rules = scratch / "validate.binpb"
    rules.write_bytes(validation_rules().SerializeToString())
    sources = [PROTOS, google_apis(), well_known_types()]
    # A virtual environment need not be on PATH, so the plug-ins are named where they lie.
    plugins = [f"--plugin={name}={Path(sys.executable).parent / name}" for name in PLUGINS]
    command = ["protoc", *plugins, *(f"-I{source}" for source in sources), f"--descriptor_set_in={rules}"]
    if protoc.main([*command, *arguments]) != 0:
        raise SystemExit("protoc refused the contracts")


def google_apis() -> Path:
    """The folder of `google/api/*.proto` and `google/rpc/*.proto`."""
    return Path(annotations_pb2.__file__).parents[2]


def well_known_types() -> Path:
    """The folder of `google/protobuf/*.proto` that ships with grpcio-tools."""
    return Path(str(importlib.resources.files("grpc_tools").joinpath("_proto")))


def validation_rules() -> descriptor_pb2.FileDescriptorSet:
    """Protovalidate's rules and what they import.

    The package ships no `.proto` source for them, only the descriptor.
    """
    rules = descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())
    files = descriptor_pb2.FileDescriptorSet()
    for name in rules.dependency:
        module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    files.file.append(rules)
    return files


def report_drift(committed: Path, fresh: Path) -> int:
    """Print every file that differs; return 1 if there is one."""
    names = {
        path.relative_to(root) for root in (committed, fresh) for path in root.rglob("*") if path.is_file()
    }
    names = {name for name in names if "__pycache__" not in name.parts}
    drifted = sorted(name for name in names if not same(committed / name, fresh / name))
    for name in drifted:
        place = committed.relative_to(PROTOS.parent) / name
        print(f"{place} is not what protos/ gives; run `make gen`", file=sys.stderr)
    return 1 if drifted else 0


def same(left: Path, right: Path) -> bool:
    """Whether both files exist with the same bytes."""
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
