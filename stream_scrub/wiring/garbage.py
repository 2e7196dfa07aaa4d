"""How the cyclic garbage collector runs beside work that makes very many objects."""

import gc


def settle() -> None:
    """Tell the cyclic garbage collector that what is loaded now stays, so that it does not walk all of it every few
    hundred records; a batch's records are freed by their reference counts. Measured on the main job: 2 to 8 % less
    CPU a prospect than with the defaults.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
