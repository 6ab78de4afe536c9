"""hashmatch: the open hash-matching service for child safety.

Follow a submission through the folders, in this order:

    server/     gRPC in, gRPC out; convert.py is where wire messages become our types and back
    pipeline.py the whole way of one submission, on one page
    follower.py what may be served: the newest lists, once every list's canary was found through that way
    media/      hostile bytes → frames, inside a decode worker that can touch nothing (sandbox.py, walls.py)
    hashing/    frames → fingerprints; one file per algorithm, one registry
    examine.py  joins those two rooms: the job that a decode worker runs
    index/      fingerprints → candidates: generations of everything that is active, followed from the store
    verdict.py  candidates → verdict; pure
    audit/      verdict → ledger, written and synced before a MATCH is answered
    lists/      how hash lists come in: formats, guards, staged versions, activation, rollback
    store/      LMDB environments and tables under all of it; every row carries a checksum

`types.py` is the vocabulary, `errors.py` the one tree of errors, `config.py` the settings, `clock.py` time and ids,
`convert.py` wire and stored messages ↔ our types.
`app.py` wires it; `server/`, `client.py` and `cli/` are skins. `v1/` is generated from proto/.
Nothing imports upwards: the contracts in setup.cfg are enforced.
"""

__version__ = "0.1.0"
