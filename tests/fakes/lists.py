"""Lists as files, read whole."""

from pathlib import Path

from stream_scrub.lists.formats import Reading, open_list, read_plain


def read(
    folder: Path, content: bytes, column: str = "", region: str = "FR", name: str = "list.csv"
) -> Reading:
    """What an import would read; the described packing goes before the described columns."""
    path = folder / name
    path.write_bytes(content)
    with open_list(path) as (text, packed):
        reading = read_plain(text, region, column)
    reading.described = f"{packed}; {reading.described}"
    return reading
