"""Every name and path, the commit rule, and the ledger: what of a study outlives a process."""
