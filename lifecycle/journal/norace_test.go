//go:build !race

package journal_test

// idleMiB is of the process of an idle journal.
const idleMiB = 40
