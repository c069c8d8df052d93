"""Trained agents at work: found by study or incumbent file, asked for actions, watched, taken elsewhere as a file.

Importing this package costs nothing; its modules import torch.
"""
