"""Everything that tasks share: declarations, settings, corpora, engine jobs.

All modules are public and are imported by name. To declare a task: `task`, `facts` and `engine`, or
`own_head` for one that trains no head. To read and prepare its corpus: `corpus`, `card`, `table`
and `prepare`; for transcribed speech also `transcripts`, `prepare_transcripts`, `characters`,
`symbols` and `librispeech`, and `test_set` where nothing is prepared.
"""
