// Package journal keeps the typed records that must survive a crash: what
// Write returned for is there after kill -9, and after a power cut.
//
// It stands on Badger, and is the only package that knows so. Badger keeps
// what it has synced, but says nothing when it finds less than that: it cuts
// its log at the first bad byte, starts empty without a MANIFEST, and is
// killed by the kernel on a full disk. So the journal keeps its own account:
//
//   - Every entry carries a checksum. Every transaction has a number and a
//     hash over the one before and its entries, and stores both as the head of
//     the chain, with a sum over all entries that live.
//   - The anchor is a file beside the database that names a transaction. Mark
//     moves it, and so does every 1,024th transaction.
//   - Open looks at the raw files first, copies aside what opening changes, and
//     then holds what Badger shows against all that. Missing entries, altered
//     ones, an older database, another history: each is an error, never fewer
//     records. Only the very last transaction after the anchor can go unnoticed
//     when its bytes are damaged, as it cannot be told from one that a crash
//     cut short.
//   - A write asks for free space first, enough for what Badger does behind it.
//     A disk that another writer fills within that time still kills the process
//     (SIGBUS in a mapped file); what was written is there at the next Open.
//
// The directory holds db/ (Badger's), anchor, open (while Badger has the
// database open), aside/ (copies from the last two openings, or from one that
// failed) and replaced-*/ (what Restore or Replace put away).
package journal
