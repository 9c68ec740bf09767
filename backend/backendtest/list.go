package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
)

func testList(t *testing.T, target Target) {
	s := target.Store
	wantNames(t, s, "", "")
	for _, k := range []backend.Key{"b", "a/1", "a/2", "a/x/deep/er/1", "c/1"} {
		put(t, s, k, "body of "+string(k))
	}
	wantNames(t, s, "", "", "a/", "b", "c/")
	wantNames(t, s, "", "a", "b", "c/")
	wantNames(t, s, "", "aa", "b", "c/")
	wantNames(t, s, "", "c")
	wantNames(t, s, "a", "", "1", "2", "x/")
	wantNames(t, s, "a", "1", "2", "x/")
	wantNames(t, s, "a", "zzz")
	wantNames(t, s, "a/x", "", "deep/")
	wantNames(t, s, "a/x/deep/er", "", "1")
	for _, i := range list(t, s, "", "") {
		if i.Dir {
			if diff := cmp.Diff(backend.Info{Key: i.Key, Dir: true}, i); diff != "" {
				t.Errorf("a directory in List (-want +got):\n%s", diff)
			}
			continue
		}
		if i.Size != int64(len("body of b")) || i.ModTime.IsZero() || i.Meta != nil {
			t.Errorf("an object in List = %+v, want size and time, no metadata", i)
		}
	}
}

func testListStops(t *testing.T, target Target) {
	for _, k := range []backend.Key{"a", "b", "c"} {
		put(t, target.Store, k, "body")
	}
	enough := errors.New("enough")
	calls := 0
	err := target.Store.List(t.Context(), "", "", func(name string, _ backend.Info) error {
		calls++
		if name == "b" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || calls != 2 {
		t.Errorf("List = %v after %d calls, want the error of the 2nd", err, calls)
	}
}

// testListByteOrder has the names where the order of keys with their slashes
// differs from the order of names: "a-b" < "a/" < "a0", but "a" < "a-b".
func testListByteOrder(t *testing.T, target Target) {
	for _, k := range []backend.Key{"a0", "a/1", "a-b", "a.log", "a b", "B", "é", "z", "a!/1", "Z"} {
		put(t, target.Store, k, "body")
	}
	wantNames(t, target.Store, "", "", "B", "Z", "a/", "a b", "a!/", "a-b", "a.log", "a0", "z", "é")
	wantNames(t, target.Store, "", "a", "a b", "a!/", "a-b", "a.log", "a0", "z", "é")
	wantNames(t, target.Store, "", "a-b", "a.log", "a0", "z", "é")
}

func testListLarge(t *testing.T, target Target) {
	const n = 5000
	var want []string
	for i := range n {
		name := fmt.Sprintf("part-%05d.log", i)
		want = append(want, name)
		target.Foreign(t, backend.Key("d").Join(name), []byte(name))
	}
	target.Foreign(t, "d/sub/a", nil)
	want = append(want, "sub/")
	wantNames(t, target.Store, "d", "", want...)
	wantNames(t, target.Store, "d", want[n-2], want[n-1:]...)

	// In pages, as a reader of a directory takes them.
	var pages []string
	enough := errors.New("enough")
	for after := ""; ; {
		count := 0
		err := target.Store.List(t.Context(), "d", after, func(name string, _ backend.Info) error {
			pages = append(pages, name)
			after = name
			if count++; count == 1777 {
				return enough
			}
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, enough) {
			t.Fatalf("List = %v", err)
		}
	}
	want[n] = strings.TrimSuffix(want[n], "/")
	if !slices.Equal(pages, want) {
		t.Errorf("pages have %d names, want %d, or others", len(pages), len(want))
	}
}
