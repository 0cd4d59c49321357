"""Shared utilities: user-facing errors, atomic writes, YAML, output and device checks.

All modules are public and are imported by name: `after_import`, `command_result`, `errors`,
`extras`, `faults`, `file_hashes`, `files`, `git`, `json_text`, `lazy`, `linear_kernels`,
`method_config`, `model_errors`, `precision`, `termination`, `validation` and `yaml_files`.
"""
