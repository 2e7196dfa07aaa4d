"""What Prometheus is given on a laptop (compose.yaml), as Prometheus itself reads it."""

import subprocess
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "monitoring" / "prometheus" / "prometheus.yaml"


def test_prometheus_takes_its_configuration_and_the_alerts_with_it(promtool):
    """Prometheus would not start, or start without a single alert."""
    done = subprocess.run([promtool, "check", "config", str(CONFIG)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
