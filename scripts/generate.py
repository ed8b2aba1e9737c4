"""Regenerates what is generated: the code made from proto/, the blocking client, and reference pages of the docs.

`python scripts/generate.py` writes; `--check` writes nothing, names what is stale and exits 1 if anything is.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "client"
PROTO = ROOT / "proto"


def generate_proto(out: Path) -> None:
    """Writes the modules of every .proto file below `out`, laid out as below client/."""
    protos = sorted(str(path) for path in PROTO.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    command += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = Path(sys.executable).parent  # protoc looks its plugins up on PATH; ours stand beside this Python
    command += [f"--plugin={name}={plugins / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([*command, *protos], check=True, stderr=subprocess.DEVNULL)
    for package in {path.parent for path in out.rglob("*_pb2.py")}:
        (package / "__init__.py").write_text("")
    for name in ("log", "peer", "worker"):
        (out / "tallystick" / name / "__init__.py").write_text("")


def generate_sync(out: Path) -> None:
    """Writes the blocking client, derived from the signatures of the asyncio one."""
    script = ROOT / "scripts" / "generate_sync.py"
    if not script.exists():
        return
    spec = importlib.util.spec_from_file_location("generate_sync", script)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {script}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = out / "tallystick" / "sync.py"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(module.render())


def generate_docs(*, check: bool) -> int:
    """Writes the reference pages made from code, or compares them; the exit code.

    In a process of its own: the pages are read out of the modules that have just been generated.
    """
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), *(["--check"] if check else [])]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Generates in place, or compares with what is committed."""
    check = "--check" in sys.argv[1:]
    if not check:
        generate_proto(CLIENT)
        generate_sync(CLIENT)
        return generate_docs(check=False)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate_proto(fresh)
        generate_sync(fresh)
        stale = [
            path.relative_to(fresh)
            for path in sorted(fresh.rglob("*.py*"))
            if not (CLIENT / path.relative_to(fresh)).exists()
            or (CLIENT / path.relative_to(fresh)).read_bytes() != path.read_bytes()
        ]
    for path in stale:
        print(f"stale: client/{path} (run `make proto`)", file=sys.stderr)
    return generate_docs(check=True) or (1 if stale else 0)


if __name__ == "__main__":
    sys.exit(main())
