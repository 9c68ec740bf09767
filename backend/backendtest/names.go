package backendtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

func testOddNames(t *testing.T, target Target) {
	names := []string{
		" ", " leading", "trailing ", "two  spaces", "a+b", "a&b=c", "a%2eb", "%", "%2e%2e", "%2F", "a?b", "a#b", "a;b", "a:b@c",
		`back\slash`, `"quoted"`, "'single'", "<xml>&amp;", "new\nline", "tab\there", "cr\rhere", "~tilde", ".hidden", "..twodots",
		"...", "trailing.", "*", "[x]", "{y}", "$HOME", "`id`", "|", "-rf", "été", "e\u0301te\u0301", "日本語", "🦆", "\u200b", "\u0001",
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.ContainsAny(name, target.Unlistable) })
	for _, name := range names {
		put(t, target.Store, backend.Key("odd/in").Join(name), "body of "+name)
		put(t, target.Store, backend.Key("odd").Join(name)+"x/y", "body below "+name)
	}
	slices.Sort(names)
	wantNames(t, target.Store, "odd/in", "", names...)
	for i, name := range names {
		k := backend.Key("odd/in").Join(name)
		WantBody(t, target.Store, k, "body of "+name)
		wantNames(t, target.Store, backend.Key("odd").Join(name)+"x", "", "y")
		wantNames(t, target.Store, "odd/in", name, names[i+1:]...)
		if info, err := target.Store.Stat(t.Context(), k); err != nil || info.Key != k {
			t.Errorf("Stat(%q) = %+v, %v", k, info, err)
		}
		if err := target.Store.Delete(t.Context(), k); err != nil {
			t.Errorf("Delete(%q) = %v", k, err)
		}
		wantAbsent(t, target.Store, k)
	}
}

func testLongNames(t *testing.T, target Target) {
	limit := min(target.Store.Properties().MaxKey, 1023)
	longest := strings.Repeat("n", 255)
	var deep strings.Builder
	for deep.Len() < limit {
		deep.WriteString(strings.Repeat("d", min(255, limit-deep.Len())))
		if deep.Len() < limit-1 {
			deep.WriteByte('/')
		}
	}
	for _, k := range []backend.Key{backend.Key(longest), backend.Key(strings.Repeat("é", 127)), backend.Key(deep.String())} {
		put(t, target.Store, k, "body")
		WantBody(t, target.Store, k, "body")
		if _, err := target.Store.Stat(t.Context(), k); err != nil {
			t.Errorf("Stat(%s of %d bytes) = %v", describe(k), len(k), err)
		}
		dir, name := k.Split()
		if dir != "" {
			wantNames(t, target.Store, dir, "", name)
		}
	}
}

func testImpossibleNames(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/a", "body")
	tooLong := backend.Key(strings.Repeat("d/", s.Properties().MaxKey/2) + "eee")
	for _, k := range []backend.Key{
		"/", "/a", "a/", "d//a", ".", "..", "../a", "d/../a", "d/./a", "d/..", "a\x00b", tooLong,
	} {
		what := describe(k)
		_, err := s.Put(t.Context(), Object(k, []byte("body")))
		WantKind(t, "Put "+what, err, backend.ErrKey)
		_, err = s.Stage(t.Context(), Object(k, []byte("body")))
		WantKind(t, "Stage "+what, err, backend.ErrKey)
		_, err = s.Stat(t.Context(), k)
		WantKind(t, "Stat "+what, err, backend.ErrKey)
		_, err = s.Open(t.Context(), k, 0, -1)
		WantKind(t, "Open "+what, err, backend.ErrKey)
		WantKind(t, "Delete "+what, s.Delete(t.Context(), k), backend.ErrKey)
		err = s.List(t.Context(), k, "", func(string, backend.Info) error { return nil })
		WantKind(t, "List "+what, err, backend.ErrKey)
	}
	_, err := s.Put(t.Context(), Object("", nil))
	WantKind(t, fmt.Sprintf("Put %q", ""), err, backend.ErrKey)
	wantNames(t, s, "", "", "d/")
	wantNames(t, s, "d", "", "a")
}
