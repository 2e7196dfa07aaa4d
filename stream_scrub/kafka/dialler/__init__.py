"""What a dialler reads: the leads, as a member of a group, and the recalls, in no group."""
