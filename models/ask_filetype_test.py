"""Tests of ask_filetype.py against a server of a few lines. Run: python3 -m unittest discover -s models -p '*_test.py'"""

import http.server
import io
import json
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

import ask_filetype

SCRIPT = ask_filetype.__file__


def features(content):
    return ask_filetype.features(io.BytesIO(content))


class FeaturesTest(unittest.TestCase):
    def test_short_file_is_padded_between_its_two_copies(self):
        self.assertEqual(features(b"12345678"), [*b"12345678", *[256] * 1016, *[256] * 1016, *b"12345678"])

    def test_long_file_gives_its_two_ends(self):
        content = bytes(i % 251 + 1 for i in range(100_000))
        head, tail = features(content)[:1024], features(content)[1024:]
        self.assertNotIn(256, head + tail)
        self.assertEqual(bytes(tail), content.rstrip()[-1024:])
        self.assertEqual(bytes(head), content.lstrip()[:1024])

    def test_white_space_counts_only_inside(self):
        numbers = features(b" \t\r\n\x0b\x0c a b c d e \n\n")
        self.assertEqual(bytes(numbers[:12]), b"a b c d e \n\n")
        self.assertEqual(numbers[12], 256)
        self.assertEqual(bytes(numbers[-9:]), b"a b c d e")
        self.assertEqual(bytes(numbers[-15:-9]), b"\t\r\n\x0b\x0c ")

    def test_white_space_is_looked_for_in_one_block_only(self):
        self.assertIsNone(features(b" " * 4096 + b"x" * 9000))
        numbers = features(b"x" * 9000 + b" " * 4096)
        self.assertEqual(numbers[1024:], [256] * 1024)

    def test_too_little_to_go_by(self):
        self.assertIsNone(features(b""))
        self.assertIsNone(features(b"1234567"))
        self.assertIsNone(features(b"   1234567"))


class Handler(http.server.BaseHTTPRequestHandler):
    """Checks requests for a file that holds "12345678" and answers as a server would."""

    unready = 2
    expected = [*b"12345678", *[256] * 1016, *[256] * 1016, *b"12345678"]
    protocol_version = "HTTP/1.1"

    def reply(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        Handler.unready -= 1
        self.reply(503 if Handler.unready >= 0 else 200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        document = json.loads(body[:length])
        tensor = document["inputs"][0]
        data = tensor.get("data") or list(struct.unpack("<2048i", body[length:]))
        if self.path != "/v2/models/filetype/infer" or data != self.expected or tensor["shape"] != [1, 2048]:
            return self.reply(400, {"error": "model 'filetype': not what was expected"})
        best = document["outputs"][0]["parameters"]["classification"]
        data = ["0.75:113:markdown", "0.25:197:txt", "0.0:1:a:b"][:best]
        output = {"name": "target_label", "datatype": "BYTES", "shape": [1, best], "data": data}
        return self.reply(200, {"outputs": [output]}, Server_Timing="compute;dur=3.7")

    def log_message(self, *_):
        pass


class AskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.url = f"http://127.0.0.1:{cls.server.server_port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def ask(self, content, *arguments):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            return subprocess.run(
                [sys.executable, SCRIPT, file.name, "--server", self.url, *arguments], capture_output=True, text=True
            )

    def test_binary_and_json_get_the_same_answer(self):
        for form in ([], ["--json"]):
            with self.subTest(form):
                result = self.ask(b"12345678", *form)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertIn(": markdown (75.0%)\n  or txt (25.0%)\n  or a:b (0.0%)\nclient", result.stdout)
                self.assertIn("server  compute;dur=3.7", result.stdout)

    def test_waits_until_the_model_is_ready(self):
        Handler.unready = 2
        self.assertEqual(self.ask(b"12345678", "--wait", "5").returncode, 0)
        self.assertLess(Handler.unready, 0)
        Handler.unready = 1_000_000
        result = self.ask(b"12345678", "--wait", "0.1")
        self.assertEqual(result.returncode, 1)
        self.assertIn("not ready after 0.1 s: status 503", result.stderr)

    def test_says_why_it_failed(self):
        result = self.ask(b"something else")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("refused: 400", result.stderr)
        self.assertIn("fewer than 8 bytes", self.ask(b"short").stderr)
        self.assertIn("expected a server as in", self.ask(b"12345678", "--server", "ftp://x").stderr)

    def test_answers_that_make_no_sense_are_errors(self):
        for body in (b"", b"{}", b"[]", b'{"outputs":[]}', b'{"outputs":[{"name":"target_label","data":[1.0]}]}'):
            with self.subTest(body), self.assertRaises(ask_filetype.AskError):
                ask_filetype.read_answer(body)


if __name__ == "__main__":
    unittest.main()
