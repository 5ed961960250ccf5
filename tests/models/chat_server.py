"""A real little chat completions server on loopback."""

import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from models.chat import user


def chats(*texts):
    """Each text as a conversation."""
    return [user(text) for text in texts]


def says(text, finish_reason="stop", usage=None, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish_reason}
    return 200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]} | (
        {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}}
    )


def refuses(status, message, code=None):
    return status, {"error": {"message": message, "type": "error", "param": None, "code": code}}


def echo(request):
    return says("re: " + request["messages"][-1]["content"])


@contextmanager
def dripping():
    """Answers everything with a reply that never ends, a byte at a time; yields its address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                while not over.wait(0.05):
                    self.wfile.write(b" ")

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        over.set()
        server.shutdown()


@contextmanager
def serving(answer, listing=None):
    """`answer(request) -> (status, JSON body or text, *headers)`; yields (address, requests, their paths and keys).

    `listing() -> (status, JSON body or text)` answers those who ask for the models; without it there is no such list.
    """
    requests, headers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            headers.append((self.path, self.headers["Authorization"]))
            self.say(*(listing() if listing else refuses(404, "no such place")))

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request)
            headers.append((self.path, self.headers["Authorization"]))
            self.say(*answer(request))

        def say(self, status, body, *more):
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in more or [("retry-after-ms", "1")]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", requests, headers
    server.shutdown()
    server.server_close()
    thread.join()
