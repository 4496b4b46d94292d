"""Ideas: the different intentions that the variations of one picture follow, each realised in its own way by kind."""
