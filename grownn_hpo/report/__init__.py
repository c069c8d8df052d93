"""What a study found: statistics, figures, the page."""
