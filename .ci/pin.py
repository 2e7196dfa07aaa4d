"""`make pin`: asks a registry which digest each image of images.txt has, and writes it there and wherever it is used.

Nothing is written unless all were told. Exit code 1 says which was not.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ".ci/images.txt"
USED_IN = ("Containerfile", "compose.yaml", "k8s/overlays/local/kafka.yaml")
ASKING = {
    "skopeo": ["skopeo", "inspect", "--format", "{{.Digest}}", "docker://IMAGE"],
    "docker": ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", "IMAGE"],
}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(image: str) -> str:
    """The digest of name:tag today. Raises RuntimeError."""
    tool = next((name for name in ASKING if shutil.which(name)), None)
    if tool is None:
        raise RuntimeError("needs skopeo or docker on the path (Debian: apt-get install skopeo)")
    *command, last = ASKING[tool]
    told = subprocess.run(
        [*command, last.replace("IMAGE", image)], capture_output=True, text=True, check=False
    )
    if told.returncode or not DIGEST.fullmatch(told.stdout.strip()):
        raise RuntimeError(f"{image}: {told.stderr.strip() or told.stdout.strip() or 'no digest'}")
    return told.stdout.strip()


def pinned(text: str, digests: dict[str, str]) -> str:
    """A file's text with each image, pinned or not, pinned to its digest."""
    for image, digest in digests.items():
        text = re.sub(
            rf"(?<![\w./-]){re.escape(image)}(@{DIGEST.pattern})?(?![\w.-])", f"{image}@{digest}", text
        )
    return text


def main() -> int:
    """The exit code."""
    images = [line.partition("@")[0] for line in (ROOT / IMAGES).read_text().split()]
    try:
        digests = {image: digest_of(image) for image in images}
    except RuntimeError as error:
        print(f"pin: {error}", file=sys.stderr)
        return 1
    for name in (IMAGES, *USED_IN):
        file = ROOT / name
        file.write_text(pinned(file.read_text(), digests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
