"""Why a run has no figure."""


class Failed(RuntimeError):
    """Whoever is measured did not do its job; the text says why, with its last words."""


class Wrong(Failed):
    """What came out is not what went in, or not with the right verdict: its figures would be worth nothing."""
