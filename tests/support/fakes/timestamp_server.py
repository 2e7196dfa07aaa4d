"""A timestamp server (RFC 3161) of openssl, for `Web`, with an authority of its own."""

import subprocess
import threading
from pathlib import Path

from tests.support.fakes.web import Answer, Asked

CONFIG = """
[tsa]
default_tsa = own
[own]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
[stamps]
extendedKeyUsage = critical,timeStamping
"""


class TimestampServer:
    """Stamps what it is asked to. `ca`: the file of its authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "ts.cnf").write_text(CONFIG)
        self.ca = folder / "ca.pem"
        self._lock = threading.Lock()
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        self._run(f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 3")
        self._run(f"req {key} -keyout key.pem -out signer.csr -subj /CN=timestamps")
        self._run(
            "x509 -req -in signer.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ts.cnf"
            " -extensions stamps -out signer.pem -days 3"
        )

    def _run(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self._folder, check=True, capture_output=True)

    def __call__(self, asked: Asked) -> Answer:
        assert asked.headers["content-type"] == "application/timestamp-query"
        with self._lock:
            (self._folder / "question").write_bytes(asked.body)
            self._run(
                "ts -reply -config ts.cnf -queryfile question -signer signer.pem -inkey key.pem -out answer"
            )
            return 200, (self._folder / "answer").read_bytes()
