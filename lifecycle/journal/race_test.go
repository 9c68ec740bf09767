//go:build race

package journal_test

// idleMiB is of the process of an idle journal: the detector takes its share.
const idleMiB = 200
