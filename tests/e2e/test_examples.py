"""The client examples in docs/examples: they name only what the protos have, and the Node one really runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import google.rpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from pictures import black, draw, encoded, jpeg, png

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
INCLUDE = Path(next(iter(google.rpc.__path__))).parents[1]  # holds google/rpc/status.proto


def camel(name: str) -> str:
    """As protoc-gen-go spells a field: `request_id` is RequestId."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Wire:
    """Every name that the protos have."""

    def __init__(self, folder: Path) -> None:
        out = folder / "descriptors"
        bundled = Path(protoc.__file__).parent / "_proto"
        includes = [f"-I{path}" for path in (ROOT / "proto", INCLUDE, bundled)]
        files = ["hashmatch/v1/common.proto", "hashmatch/v1/match.proto"]
        assert protoc.main(["protoc", *includes, f"--descriptor_set_out={out}", "--include_imports", *files]) == 0
        descriptors = FileDescriptorSet.FromString(out.read_bytes())
        files = [f for f in descriptors.file if f.package in ("hashmatch.v1", "google.rpc")]
        ours = [f for f in files if f.package == "hashmatch.v1"]
        self.fields = {m.name: {f.name for f in m.field} for file in files for m in file.message_type}
        self.values = {v.name for file in ours for e in file.enum_type for v in e.value}
        self.enums = {f"{e.name}_{v.name}" for file in ours for e in file.enum_type for v in e.value}
        self.methods = {s.name: {m.name: m for m in s.method} for file in ours for s in file.service}
        # protoc-gen-go wraps each member of a oneof in a struct of its own.
        self.members = {
            f"{m.name}_{camel(f.name)}"
            for file in ours
            for m in file.message_type
            for f in m.field
            if f.HasField("oneof_index") and not f.proto3_optional
        }
        self.oneofs = {m.name: {o.name for o in m.oneof_decl} for file in ours for m in file.message_type}
        self.every_field = set().union(*self.fields.values())
        self.every_oneof = set().union(*self.oneofs.values())


def code_of(path: Path) -> str:
    """The source without its comments."""
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", path.read_text(), flags=re.DOTALL)


def literals(code: str):
    """Each `pb.Name{…}` of a Go source with the keys of its own level."""
    for start in re.finditer(r"\bpb\.(\w+)\{", code):
        depth, own = 1, ""
        for character in code[start.end() :]:
            depth += (character in "{(") - (character in "})")
            if depth == 0:
                break
            if depth == 1:
                own += character
        yield start[1], re.findall(r"(\w+):", own)


def test_the_go_example_names_only_what_the_protos_have(tmp_path):
    wire, code = Wire(tmp_path), code_of(EXAMPLES / "go" / "main.go")
    stubs = {f"{service}Client" for service in wire.methods} | {f"New{service}Client" for service in wire.methods}
    named = set(re.findall(r"\bpb\.(\w+)", code))
    assert {"MatchRequest", "MatchResponse", "MatchUploadRequest_Chunk", "Finding_FINDING_MATCH"} <= named
    assert named <= wire.fields.keys() | wire.enums | wire.members | stubs
    seen = set()
    for name, keys in literals(code):
        message, _, member = name.partition("_")
        fields = {camel(f) for f in wire.fields[message] | wire.oneofs[message]}
        assert set(keys) <= ({member} if member else fields), name
        seen |= set(keys)
    assert {"RequestId", "Input", "Media", "Subject", "ContentId", "Header", "Chunk"} <= seen
    got = set(re.findall(r"\.Get(\w+)\(\)", code)) - {"RetryDelay", "Seconds", "Nanos"}  # google.rpc.RetryInfo's
    assert {"Finding", "Disposition", "RequestId", "Unhashable"} <= got
    assert got <= {camel(f) for f in wire.every_field}
    called = set(re.findall(r"\bclient\.(\w+)\(", code))
    assert called == {"Match", "MatchStream", "MatchUpload"}
    assert called <= wire.methods["MatchService"].keys()
    options = (EXAMPLES / "go" / "main.go").read_text().partition("package main")[0]
    assert set(re.findall(r"M(hashmatch/\S+?\.proto)=", options)) == {
        "hashmatch/v1/common.proto",
        "hashmatch/v1/match.proto",
    }


def check_the_node_example_names_only_what_the_protos_have(folder: Path) -> None:
    wire, source = Wire(folder), (EXAMPLES / "node" / "match.mjs").read_text()
    code = code_of(EXAMPLES / "node" / "match.mjs")
    assert set(re.findall(r"\bclient\.([A-Z]\w+)\(", code)) == {"Match", "MatchStream", "MatchUpload"}
    assert wire.methods["MatchService"].keys() >= {"Match", "MatchStream", "MatchUpload"}
    assert "{ service: 'hashmatch.v1.MatchService' }" in source
    assert set(re.findall(r"FINDING_[A-Z_]+", source)) <= wire.values
    # What is taken apart, as in `{ finding, … } of call`, and what is put together, as in `write({ request_id, … })`.
    taken = re.findall(r"\{ ([a-z_, ]+) \}(?: of (?:call|matches|hashed)|\) \{)", code)
    made = re.findall(r"(?:write\(|match\(|upload\(path, |yield )\{ (.*?) \}[;)]", code)
    named = {key.split(":")[0].strip() for keys in taken + made for key in re.split(r"[,{]", keys)} - {""}
    assert {"request_id", "media", "subject", "content_id", "finding", "disposition", "header", "chunk"} <= named
    assert {"matches", "hashed", "list", "label", "hash_type", "distance", "unhashable", "outcome", "error"} <= named
    assert {name.strip(" })") for name in named} <= wire.every_field | wire.every_oneof


def test_the_node_example_judges_files_over_a_real_server(deployment, tmp_path):
    """Where there is no Node, that it names only what the protos have."""
    check_the_node_example_names_only_what_the_protos_have(tmp_path)
    if shutil.which("node") is None or shutil.which("npm") is None:
        return
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    home = tmp_path / "docs" / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", home, ignore=shutil.ignore_patterns("node_modules"))
    installed = EXAMPLES / "node" / "node_modules"
    if installed.is_dir():
        shutil.copytree(installed, home / "node_modules", symlinks=True)
    else:
        flags = ["--prefer-offline", "--no-audit", "--no-fund", "--fetch-timeout=60000", "--loglevel=error"]
        subprocess.run(["npm", "ci", *flags], cwd=home, check=True, timeout=300)

    pictures = {"copy.jpg": jpeg(1), "stranger.png": png(50), "black.png": black()}
    pictures |= {f"{i}.png": png(i) for i in range(60, 70)}  # with the others more than a window
    pictures["large.bmp"] = encoded(draw(1, 800, 600), "BMP")  # several chunks
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, media in pictures.items():
        (folder / name).write_bytes(media)
    (tmp_path / "listed.png").write_bytes(png(1))
    deployment.serve()
    deployment.run("lists", "create", "known", "--operator", "tests", "--disposition", "block")
    hashes = deployment.run("hash", "--type", "pdq", tmp_path / "listed.png")
    deployment.run("lists", "import", "known", "-", "--activate", given=hashes)
    revision = max(row["revision"] for row in deployment.json("status"))
    with deployment.client() as client:
        client.match(png(100), min_revision=revision)  # the server has seen the list from here on

    def judge(verb: str, *names: str) -> tuple[int, dict[str, tuple[str, ...]]]:
        """The exit code, and by file its request id, finding and disposition."""
        done = subprocess.run(
            ["node", "match.mjs", verb, *(str(folder / name) for name in names)],
            cwd=home,
            env={**os.environ, "HASHMATCH_SERVER": deployment.address, "HASHMATCH_PROTO_INCLUDE": str(INCLUDE)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = [line.split(" ") for line in done.stdout.splitlines() if not line.startswith("  ")]
        assert len(lines) == len(names), (done.stdout, done.stderr)
        assert not done.stderr or "missing" in names, done.stderr
        return done.returncode, {Path(path).name: tuple(rest[:3]) for path, *rest in lines}

    matched, unmatched = ("FINDING_MATCH", "DISPOSITION_BLOCK"), ("FINDING_NO_MATCH", "DISPOSITION_ALLOW")
    code, answers = judge("match", "copy.jpg")
    assert (code, answers["copy.jpg"][1:]) == (1, matched)
    code, answers = judge("match", "stranger.png")
    assert (code, answers["stranger.png"][1:]) == (0, unmatched)
    code, answers = judge("match", "black.png")
    assert (code, answers["black.png"][1:]) == (3, ("FINDING_UNKNOWN", "DISPOSITION_REVIEW"))
    code, answers = judge("upload", "large.bmp")
    assert (code, answers["large.bmp"][1:]) == (1, matched)
    code, answers = judge("stream", *pictures)
    assert code == 1
    assert answers.keys() == pictures.keys()
    assert {name for name, answer in answers.items() if answer[1:] == matched} == {"copy.jpg", "large.bmp"}
    assert {name for name, answer in answers.items() if answer[1] == "FINDING_UNKNOWN"} == {"black.png"}
    assert len({request_id for request_id, *_ in answers.values()}) == len(pictures)
    code, answers = judge("stream", "stranger.png", "missing")
    assert (code, answers["missing"][1], answers["stranger.png"][1]) == (3, "NOT_JUDGED", "FINDING_NO_MATCH")
