"""From the cells of a row to its verdict, and what is counted on the way."""
