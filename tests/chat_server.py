"""A server of OpenAI's chat protocol with scripted answers, which misbehaves on demand."""

import json
import threading

from local_server import LocalServer, QuietHandler


class Chat(LocalServer):
    """Answers prompts.

    Attributes:
        answer: from a prompt to the answer's text.
        script: what the next requests get instead: a status with headers, or bytes that are sent as they are.
        asked: the prompts that were answered, and `headers` what came with them.
        at_once: how many requests were under way together at most.
    """

    def __init__(self, answer):
        self.answer, self.script = answer, []
        self.asked, self.bodies, self.headers = [], [], []
        self.at_once = self._now = 0
        self._lock = threading.Lock()
        self.hold = threading.Event()
        self.hold.set()
        super().__init__()
        self.base_url = f"{self.address}/v1"

    def __exit__(self, *raised):
        self.hold.set()
        super().__exit__(*raised)

    def _handler(self):
        chat = self

        class Handler(QuietHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with chat._lock:
                    chat._now += 1
                    chat.at_once = max(chat.at_once, chat._now)
                    scripted = chat.script.pop(0) if chat.script else None
                    chat.headers.append({key.lower(): value for key, value in self.headers.items()})
                chat.hold.wait(10)
                if isinstance(scripted, tuple):
                    self.send(scripted[0], b'{"error": {"message": "no"}}', scripted[1])
                elif scripted is not None:
                    self.send(200, scripted, {})
                else:
                    self.answer(body)
                with chat._lock:
                    chat._now -= 1

            def answer(self, body):
                text = body["messages"][0]["content"]
                with chat._lock:
                    chat.asked.append(text)
                    chat.bodies.append(body)
                message = {"role": "assistant", "content": chat.answer(text)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                reply = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [choice],
                }
                self.send(200, json.dumps(reply).encode(), {})

            def send(self, status, content, headers):
                self.send_response(status)
                about = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
                for key, value in about.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

        return Handler
