"""What the command line's functions need: parsing and printing, listings, figures of a model."""
