"""What reading one list costs, in a process of its own that loads nothing else."""

import json
import math
from pathlib import Path

from stream_scrub.imports.formats import FORMATS, BadList, ListOptions, open_list
from stream_scrub.imports.parsing.format import read_list
from tests.support.fakes.lists import NOW
from tests.support.machine.cost import cpu_s, peak_bytes


def tell(path, named):
    """Print what was said of a file, and the seconds and bytes that reading it took, as JSON."""
    said = []

    def work():
        try:
            with open_list(Path(path)) as packed:
                read_list(FORMATS, packed, ListOptions("FR", NOW), named)
        except BadList as error:
            said.append(str(error))

    memory = peak_bytes(lambda: said.append(cpu_s(work, enough=math.inf)))
    *told, seconds = said
    print(json.dumps(["".join(told), seconds, memory]))
