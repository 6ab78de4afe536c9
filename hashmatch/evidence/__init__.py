"""Media that must be kept, sealed: each item under a key of its own, which is wrapped by a master key kept elsewhere.

`vault.py` seals, opens and destroys; `upkeep.py` checks, sweeps and changes master keys; `place.py` is where an item's
files lie, `record.py` what its key file says, `stream.py` how its bytes are encrypted, `durable.py` how they reach the
disk. A master key is a file, `master.py`, or a command that asks a key service, `command.py`. `package.py` seals what
is handed to an authority, to that authority's certificate.

Nothing here knows cases, the log or the law: others say what is kept, opened and destroyed, and log it first.
"""
