"""Dependencies: resolved once by the author, locked with hashes, unpacked ahead into a directory that a sandbox reads.

`lock` is the file format, `resolve` makes a lock, `unpack` makes a tree of one, `sites` keeps trees, `preparation`
does it for the plugins of a controller. Everything runs `uv` as a child process; nothing of a package is ever executed.
"""
