"""`retry`: brings back what was blocked for a reason that has gone."""
