"""What runs inside a sandbox: the runner, its image and its seccomp profile. Imports `xcore.plugin` and nothing else of ours."""
