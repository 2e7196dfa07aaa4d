"""What list formats share: unpacking, recognition, rows, typed numbers, ends."""
