"""Training heads on the features of a frozen upstream: the core of the one-pass engine.

All modules are public and are imported by name. For heads on means over frames: `features`,
`pooling`, `heads`, `training` and `utterances`. For heads on all frames: `frames`,
`frame_extraction`, `buckets`, `recogniser`, `recogniser_training` and `recognition`. For both:
`hidden_states` and `shards`.
"""
