// Package programs holds tests that run real programs in a mount: what they
// say, which finished files come out, byte by byte, and that nothing is lost
// or published twice. docs/SEMANTICS.md has the table.
package programs
