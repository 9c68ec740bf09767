package fusefs

import "testing"

// TestEmptiedWhileAHandleIsOpened: it has no slot yet, and must not miss that
// the stream begins anew.
func TestEmptiedWhileAHandleIsOpened(t *testing.T) {
	const ino = 7
	begun := &handle{}
	file := &openFile{ino: ino, handles: map[*handle]bool{begun: false}}
	table := &fileTable{byIno: map[uint64]*openFile{ino: file}}
	table.emptied(ino)
	begun.slot, begun.file = &handleSlot{}, file
	file.handles[begun] = true
	table.emptied(ino)
	if !begun.has(handleAtZero) {
		t.Error("offset 0 is not its end")
	}
}
