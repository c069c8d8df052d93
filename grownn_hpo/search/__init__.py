"""The search: which trials a study consists of (`ladder`), and which configurations its brackets start with."""
