"""What the client's group metadata says: bytes in the client's own form, which a commit carries."""

import struct

_FORM = b"CGMDv2:"


def is_known_form(metadata: bytes) -> bool:
    """Whether they are in the form that can be read here."""
    return metadata[:7] == _FORM


def is_member(metadata: bytes) -> bool:
    """Whether they are a member's: of some generation, and with a name."""
    if not is_known_form(metadata):
        return False
    (generation,) = struct.unpack_from("=i", metadata, 7)
    return generation > 0 and bool(metadata[11:].split(b"\0")[1])
