"""Programs that run inside the sandbox: standard library only, no import of anything else in this package.

The folder is mounted or opened read-only in every sandbox, so nothing here may hold a secret or an expected value.
"""
