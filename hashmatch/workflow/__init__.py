"""From a match to what is done about it: decisions, pure, and the workers that carry them out."""
