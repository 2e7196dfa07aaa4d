"""`retry`: sends prospects back that were blocked for a reason that has gone."""
