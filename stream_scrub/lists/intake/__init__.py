"""From what somebody says (a list that was read, a request) to the delta of one register. Pure."""
