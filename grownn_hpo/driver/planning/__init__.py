"""What a study will cost: measured or rehearsed segments, played through the ladder on the slots there are."""
