"""Other people's services, imitated faithfully enough to be tested against: never a mock of our own code."""
