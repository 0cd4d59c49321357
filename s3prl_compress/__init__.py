"""Speech encoders made smaller, registered as s3prl upstreams and scored on SUPERB."""
