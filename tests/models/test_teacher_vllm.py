"""A vLLM server that the run starts: it answers as the engine would, and never outlives the run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.config_teacher import VllmTeacher
from data_contracts.errors import PlumblineError
from models.chat import encode_prompt
from models.checkpoint import load_tokenizer
from models.engine import Sampling, quiet
from models.journal import Journal, requests_of
from models.teachers.vllm import vllm_teacher
from models.teachers.vllm_server import VllmServer, command
from tests.models.chat_server import chats, says, serving

ROOT = Path(__file__).resolve().parents[2]
CONFIG = VllmTeacher(kind="vllm", model="unused", max_model_len=256)
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)
STAND_IN = """
import http.server, os, socket, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
subprocess.Popen(["sleep", "600"])  # like vLLM's engine: a child that must go, too
assert os.environ["VLLM_API_KEY"]
with open(sys.argv[2], "w") as told:
    told.write(os.environ["VLLM_RPC_BASE_PATH"])
socket.socket(socket.AF_UNIX).bind(os.environ["VLLM_RPC_BASE_PATH"] + "/left-behind")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def running(mark):
    """Command lines of the processes that were started with this mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PLUMBLINE_TEST_MARK={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has just ended, or is not ours to see
    return [line for line in found if line]


def gone(mark):
    for _ in range(200):
        if not running(mark):
            return True
        time.sleep(0.1)
    return False


def test_the_server_is_started_once_and_stopped_with_all_it_started(tmp_path, tiny, monkeypatch):
    told = tmp_path / "told"
    line = [sys.executable, "-c", STAND_IN]
    monkeypatch.setattr("models.teachers.vllm_server.command", lambda _, __, port: [*line, str(port), str(told)])
    monkeypatch.setenv("PLUMBLINE_TEST_MARK", str(tmp_path))
    server = VllmServer(tiny.path, CONFIG, tmp_path / "logs" / "teacher.log")
    mine = running(tmp_path)  # with the variable set late, this process itself does not show
    server.ready()
    url = server.url
    assert url.startswith("http://127.0.0.1:") and len(running(tmp_path)) == len(mine) + 2
    server.ready()
    assert server.url == url
    sockets = Path(told.read_text())
    assert (sockets / "left-behind").exists() and sockets.stat().st_mode & 0o77 == 0
    server.close()
    assert gone(tmp_path) and not sockets.exists()
    server.close()


def test_a_server_that_ends_while_starting_names_its_log(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr("models.teachers.vllm_server.command", lambda *_: [sys.executable, "-c", "print('no such GPU')"])
    log = tmp_path / "logs" / "teacher.log"
    with pytest.raises(PlumblineError, match=r"vLLM server ended while starting: .*teacher\.log"):
        VllmServer(tiny.path, CONFIG, log).ready()
    assert "no such GPU" in log.read_text()


def test_the_command_binds_to_loopback_and_holds_no_key(tiny):
    line = command(tiny.path, VllmTeacher(kind="vllm", model="m", gpus="2,3"), 4711)
    given = dict(zip(line[3:-1:2], line[4::2], strict=False))
    assert given["--host"] == "127.0.0.1" and given["--tensor-parallel-size"] == "2"
    assert "key" not in " ".join(line).lower() and "--trust-remote-code" not in line


def test_it_is_sent_token_ids_and_what_does_not_fit_is_a_named_reply(tmp_path, tiny, monkeypatch):
    def answer(request):
        reply = says("unused", usage=(3, 2))[1]
        return 200, reply | {"choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]}

    def ready(server):
        server.url, server.key = address.removesuffix("/v1"), "made-up"

    monkeypatch.setattr(VllmServer, "ready", ready)
    journal, texts = Journal(tmp_path / "j.db"), ["Say <|end|> twice.", "word " * 300]
    with serving(answer) as (address, requests, headers):
        teacher = vllm_teacher(CONFIG, tiny, journal, tmp_path / "log")
        replies = teacher.complete(chats(*texts), GREEDY, 5, quiet)
    assert [(r.text, r.finish_reason) for r in replies] == [("hello", "stop"), ("", "too_long")]
    (request,) = requests
    assert request["prompt"] == encode_prompt(load_tokenizer(tiny.path), chats(*texts)[0])
    assert (
        request["seed"]
        == requests_of(tiny.hash, chats(*texts), {"temperature": 0.0, "top_p": 1.0, "max_tokens": 24}, 5)[0].server_seed
    )
    assert headers == [("/v1/completions", "Bearer made-up")]
    assert (replies[0].input_tokens, replies[0].output_tokens) == (3, 2)


CHILD = """
import json, sys, time
from pathlib import Path
from tests.models.test_teacher_vllm import *
from models.checkpoint import open_checkpoint
folder, checkpoint = Path(sys.argv[1]), open_checkpoint(ROOT / "models/embedded/teacher")
teacher = vllm_teacher(CONFIG, checkpoint, Journal(folder / "j.db"), folder / "teacher.log")
asked = chats("What is 12 plus 31?", "Which number is larger, 23 or 43?", "What is 12 plus 31?")
replies = teacher.complete(asked, GREEDY, 0, quiet) + teacher.complete(asked[:1], Sampling(1.0, 1.0, 24), 7, quiet)
print(json.dumps([[r.text, r.finish_reason, r.input_tokens, r.output_tokens] for r in replies]), flush=True)
time.sleep(600)
"""


@pytest.mark.engine
def test_the_real_server_answers_and_dies_with_a_killed_run(tmp_path):
    """One start of vLLM, a minute on two cores: everything that only the real one can show."""
    environment = os.environ | {"PLUMBLINE_TEST_MARK": str(tmp_path), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    line = child.stdout.readline()
    log = tmp_path / "teacher.log"
    assert line, log.read_text()[-3000:] if log.exists() else "it never started"
    right, larger, again, sampled = json.loads(line)
    assert "43" in right[0] and "43" in larger[0] and right[1] == larger[1] == "stop"
    assert right == again and sampled[0] and all(count > 0 for reply in (right, larger, sampled) for count in reply[2:])
    assert any("vllm.entrypoints" in line for line in running(tmp_path))
    child.kill()
    child.wait()
    assert gone(tmp_path)
    assert Journal(tmp_path / "j.db").count() == 4
