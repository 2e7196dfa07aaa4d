"""CSV and its kin on bytes. ASCII is enough to cut a file into records and cells, and every encoding in use but UTF-16
has it, so the encoding need not be known and every record keeps its own bytes."""
