"""List files of any size, made by a fixed seed: the same bytes every time."""

from pathlib import Path

import numpy as np
import phonenumbers

_BLOCK = 1_000_000
_AREA_NUMBERS = 8_000_000  # of an area code: 200-0000 to 999-9999


def mixed(path: Path, lines: int) -> None:
    """French numbers in the three ways that people type them, in no order."""
    made = np.random.default_rng(7)
    with path.open("wb") as file:
        for start in range(0, lines, _BLOCK):
            count = min(_BLOCK, lines - start)
            numbers = made.choice(np.array([1, 2, 3, 4, 5, 6, 7, 9]), count) * 10**8 + made.integers(
                0, 10**8, count
            )
            text = []
            for at, number in enumerate(numbers.tolist()):
                digits = f"{number:09d}"
                if at % 3 == 0:
                    text.append(f"0{digits[0]} {digits[1:3]} {digits[3:5]} {digits[5:7]} {digits[7:]}")
                else:
                    text.append(("0" if at % 3 == 1 else "+33") + digits)
            file.write(("\n".join(text) + "\n").encode())


def pairs(path: Path, lines: int) -> None:
    """Lines `416,5550123`, ascending, as the national list of the United States is, over all area codes in use."""
    made = np.random.default_rng(7)
    areas = [area for area in range(201, 990) if _valid(f"+1{area}2345678")]
    areas = areas[:: max(1, len(areas) * 10_000 // lines)]
    each = lines // len(areas)
    with path.open("wb") as file:
        for at, area in enumerate(areas):
            count = each if at else lines - each * (len(areas) - 1)
            numbers = np.sort(made.choice(_AREA_NUMBERS, count, replace=False, shuffle=False)) + 2_000_000
            rows = np.empty((count, 12), np.uint8)
            rows[:, :4] = np.frombuffer(f"{area},".encode(), np.uint8)
            rows[:, 11] = ord("\n")
            for place in range(7):
                rows[:, 4 + place] = numbers // 10 ** (6 - place) % 10 + ord("0")
            file.write(rows.tobytes())


def fixed(path: Path, lines: int) -> None:
    """British lines of 5 and 7, CRLF, in no order."""
    made = np.random.default_rng(7)
    codes = [b"01204", b"01482", b"01792", b"0161 ", b"0113 "]
    with path.open("wb") as file:
        for start in range(0, lines, _BLOCK):
            chosen = made.integers(0, len(codes), min(_BLOCK, lines - start)).tolist()
            rest = made.integers(200_000, 999_999, len(chosen)).tolist()
            file.write(
                b"".join(
                    codes[code] + (b" %d\r\n" % number if code < 3 else b"2%d\r\n" % number)
                    for code, number in zip(chosen, rest, strict=True)
                )
            )


def _valid(number: str) -> bool:
    return phonenumbers.is_valid_number(phonenumbers.parse(number))


MAKERS = {"plain": mixed, "nanp-pair": pairs, "tps-fixed": fixed}
