"""The Hub: huggingface_hub's own calls upload a model and load it by name, against a server of this machine."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as an upload and a download ask for: repositories, commits, large files."""

    files: ClassVar[dict[str, bytes]] = {}
    large: ClassVar[dict[str, bytes]] = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            self.answer({"url": f"{self.server.address}/me/tuned", "id": "me/tuned"})
        elif path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False, "oid": None} for f in asked
            ]
            self.answer({"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            actions = {"upload": {"href": f"{self.server.address}/large"}}
            objects = [w | {"actions": {"upload": {"href": f"{actions['upload']['href']}/{w['oid']}"}}} for w in wanted]
            self.answer({"transfer": "basic", "objects": objects})
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                if line["key"] == "lfsFile":
                    self.files[value["path"]] = self.large[value["oid"]]
            self.answer(
                {
                    "commitUrl": f"{self.server.address}/me/tuned/commit/{'a' * 40}",
                    "commitOid": "a" * 40,
                    "success": True,
                }
            )
        else:
            self.answer({})

    def do_PUT(self):
        self.large[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if "/api/models/me/tuned" in path:
            named = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            tree = [{"type": "file", "path": n, "size": len(d), "oid": "b" * 40} for n, d in self.files.items()]
            info = {
                "id": "me/tuned",
                "sha": "a" * 40,
                "siblings": named,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
            self.answer(tree if "/tree/" in path else info)
        elif "/resolve/" in path and (name := path.partition("/resolve/")[2].partition("/")[2]) in self.files:
            self.answer(self.files[name])
        else:
            self.answer({"error": "Entry not found"}, 404)

    do_HEAD = do_GET  # noqa: N815  http.server's names

    def answer(self, content, status=200):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


def mode(name):
    return "lfs" if name.endswith(".safetensors") else "regular"


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_goes_up_and_comes_back_by_its_name(hub, tiny_transformer, tmp_path):
    """Every file of the folder; loaded by name with the same vectors."""
    code = (
        "import sys, numpy as np; from textsiam import Siamese; model = Siamese.load(sys.argv[1], device='cpu');"
        "print(model.push_to_hub('me/tuned')); again = Siamese.load('me/tuned', device='cpu');"
        "assert np.array_equal(model.encode(['how do i pay']), again.encode(['how do i pay']))"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "t",
        "HF_HOME": str(tmp_path),
    }
    environment |= {"no_proxy": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code, str(tiny_transformer("bert"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.address}/me/tuned"
    assert {"model.safetensors", "modules.json", "textsiam.json", "README.md", "1_Pooling/config.json"} <= set(
        Hub.files
    )
    assert 'Siamese.load("me/tuned")' in Hub.files["README.md"].decode()
