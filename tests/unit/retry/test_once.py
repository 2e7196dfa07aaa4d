"""What `stream-scrub retry` refuses before it asks a broker."""

import pytest
import structlog

from stream_scrub.config import load
from stream_scrub.errors import ConfigError
from stream_scrub.model import Reason
from stream_scrub.retry import once


def test_a_register_that_no_rule_asks_is_named():
    """An operator who mistypes a register would read that nothing waits for it, and leave leads blocked."""
    question = once.RetryQuestion((Reason.STALE_REGISTER,), register="bloctl")
    with pytest.raises(ConfigError, match=r"no rule uses a register bloctl, only .*tps"):
        once.run(load(environ={}), structlog.get_logger(), question)
