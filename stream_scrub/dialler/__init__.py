"""For diallers in Python: `Allowed`, the leads that may be called now, each a `Lead`. docs/dialler.md shows it."""

from stream_scrub.dialler.allowed import Allowed
from stream_scrub.dialler.leads import Lead, MayDial, TakenBack

__all__ = ["Allowed", "Lead", "MayDial", "TakenBack"]
