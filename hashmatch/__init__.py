"""hashmatch: the open hash-matching service for child safety.

Follow a submission through the folders, in this order:

    server/     gRPC in, gRPC out: gate.py (who, whether, how much), judge.py, service.py; supervisor.py where there are
                several processes; metrics, probes, TLS, reload, the HTTP gateway. convert/ is where wire messages
                become our types and back
    access/     who calls (credentials.py), their limits (callers.py), patterns of probing; roles.py says what each may
    pipeline.py the whole way of one submission, on one page
    follower.py what may be served: the newest lists, once every list's canary was found through that way
    builder.py  builds the snapshots of large lists, in a process beside the server that builds.py starts
    media/      hostile bytes → frames, inside a decode worker that can touch nothing (sandbox.py, walls.py)
    hashing/    frames → fingerprints; one file per algorithm, one registry
    examine.py  joins those two rooms: the job that a decode worker runs
    index/      fingerprints → candidates: a base (snapshot.py, searched exactly) and a delta for every hash type of a
                list, in generations that follow the store (live.py, bases.py); the recipes say how
    verdict.py  candidates → verdict; pure
    audit/      verdict → event → leaf of a Merkle tree, sealed and synced before a MATCH is answered: leaves.py (the
                log), journal.py (one transaction of it), sealing.py, signing.py, export.py; verify.py stands alone
    replay.py   verdicts computed again from the log; question.py is what both agree on about a submission's input
    workflow/   verdict → case and what follows from it: policy.py (pure), casework.py (in the verdict's transaction,
                and by people's hands), outbox.py and sender.py (to the platform), report.py and reporting.py (to
                authorities), hold.py and destroying.py (what is kept, and is not), viewing.py, inquiry.py (what users
                and agencies ask), rota.py, paging.py and pager.py (who is called), kpi.py
    office.py   wires that room: the cases of one ledger and all that works them
    evidence/   media that must be kept, sealed: the vault, its master keys, packages for authorities
    corrections.py  what a decision on a case means for the lists
    publisher.py, delivery/  what leaves this machine: checkpoints, signed webhooks, reports (cybertip/)
    simulate/   other people's services, imitated for tests and rehearsals
    lists/      how hash lists come in and change: formats/, guards, sorting, staged versions, activation, rollback,
                single edits, suppressions, proposals that wait for a second person; how they are read: pages,
                neighbours, histories
    importer.py one import in a process of its own, for callers over the wire
    store/      LMDB environments and tables under all of it; every row carries a checksum

`types.py` is the vocabulary, `errors.py` the one tree of errors, `config.py` the settings, `address.py` HOST:PORT,
`clock.py` time and ids, `convert/` wire and stored messages ↔ our types.
`app.py` wires it; `server/`, `client/` and `cli/` are skins. `v1/` is generated from proto/.
Nothing imports upwards: the contracts in setup.cfg are enforced.
"""

__version__ = "0.1.0"
