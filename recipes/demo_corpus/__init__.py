"""Generated speech for every task, and what it is generated with."""
