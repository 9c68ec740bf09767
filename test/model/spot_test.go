package model_test

import (
	"strings"

	"pgregory.net/rapid"
)

// spot is a path: names below one of the two directories of a sequence.
type spot struct {
	root  int
	names []string
}

func (p spot) String() string { return [2]string{"/", "/files/"}[p.root] + strings.Join(p.names, "/") }

func spots(root int, paths ...string) (all []spot) {
	for _, p := range paths {
		all = append(all, spot{root, strings.Split(p, "/")})
	}
	return all
}

// Names of files and of directories are never the same: what is published in
// a directory that was renamed brings its old name back.
var (
	dirSpots  = append(spots(0, "d", "e", "d/e"), spots(1, "d", "e")...)
	fileSpots = append(spots(0, "a", "b", "w.gz", ".t", "d/a", "d/b", "d/w.gz", "d/t.tmp", "e/a", "d/e/a"),
		spots(1, "x", "y", ".t", "d/x", "d/y", "e/x")...)
)

// aFile is a path for a file, aDir for a directory, anything either: mostly
// one that exists, or else one that could.
func aFile(w *world) spot {
	return w.pick(fileSpots, func(n *node) bool { return n.kind != directory })
}

func aDir(w *world) spot { return w.pick(dirSpots, func(n *node) bool { return n.kind == directory }) }

func anything(w *world) spot {
	return rapid.SampledFrom([]func(*world) spot{aFile, aFile, aDir}).Draw(w.rt, "type")(w)
}

func (w *world) pick(spots []spot, is func(*node) bool) spot {
	how := rapid.IntRange(0, 15).Draw(w.rt, "how")
	var some []spot
	for _, p := range spots {
		_, n, errno := w.find(p)
		if errno == 0 && how > 0 && (how > 5 || n != nil && is(n)) {
			some = append(some, p)
		}
	}
	if len(some) == 0 {
		some = spots
	}
	return rapid.SampledFrom(some).Draw(w.rt, "path")
}
