"""Programs that read a CSV file, each in its own way: what each one finds in it, by its titles."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from tests.support.machine import golang

# Without a module: only Go's own library. LazyQuotes, because the user's own cells may hold a bare quote.
GO = """package main

import ("encoding/csv"; "encoding/json"; "os")

func main() {
	out := [][][]string{}
	for _, name := range os.Args[2:] {
		file, err := os.Open(name)
		if err != nil { panic(err) }
		reader := csv.NewReader(file)
		reader.Comma, reader.LazyQuotes = rune(os.Args[1][0]), true
		rows, err := reader.ReadAll()
		if err != nil { panic(err) }
		out = append(out, rows)
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
"""


def by_python(file: Path, delimiter: str) -> list[list[str]]:
    """Python's csv module."""
    with file.open(newline="") as text:
        return [row for row in csv.reader(text, delimiter=delimiter) if row]


def by_pandas(file: Path, delimiter: str) -> list[list[str]]:
    """pandas, by its default parser."""
    frame = pytest.importorskip("pandas").read_csv(
        file, sep=delimiter, dtype=str, keep_default_na=False, index_col=False
    )
    return [list(frame.columns), *frame.to_numpy().tolist()]


def by_duckdb(file: Path, delimiter: str) -> list[list[str]]:
    """DuckDB, guessing nothing: by itself it may take an apostrophe for a quote, or `#` for a comment."""
    columns = dict.fromkeys(by_python(file, delimiter)[0], "VARCHAR")
    found = pytest.importorskip("duckdb").sql(
        f"SELECT * FROM read_csv('{file}', delim='{delimiter}', quote='\"', escape='\"', header=true,"
        f" auto_detect=false, columns={columns})"
    )
    return [found.columns, *([cell or "" for cell in row] for row in found.fetchall())]


class Go:
    """Go's encoding/csv, built once. It needs the same number of cells in every row."""

    def __init__(self, folder: Path) -> None:
        (folder / "main.go").write_text(GO)
        self._program = folder / "read"
        go = golang.found()
        subprocess.run(go.command("build", "-o", str(self._program), str(folder / "main.go")), check=True)

    def __call__(self, file: Path, delimiter: str) -> list[list[str]]:
        done = subprocess.run([self._program, delimiter, file], capture_output=True, check=True)
        (rows,) = json.loads(done.stdout)
        return rows


def by_title(rows: list[list[str]], title: str) -> list[str]:
    """The cells under a title."""
    place = rows[0].index(title)
    return [row[place] for row in rows[1:]]
