"""The `compressed` upstream: any checkpoint folder of ours, or whatever `load` reads."""
