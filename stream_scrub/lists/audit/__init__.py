"""The log as evidence: the whole of it proven, one register, one number, the rules on it."""
