package oss_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

// without takes away the keys of the environment.
func without(t *testing.T) {
	t.Helper()
	setEnviron(t)
	t.Setenv("OSS_ACCESS_KEY_ID", "")
	t.Setenv("OSS_ACCESS_KEY_SECRET", "")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPlaces finds keys wherever other programs find them.
func TestPlaces(t *testing.T) {
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"sts-key","AccessKeySecret":"sts-secret","SecurityToken":"token","Expiration":%q}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)
	for name, tt := range map[string]struct {
		prepare func(t *testing.T)
		options oss.Options
	}{
		"variables of Alibaba Cloud": {prepare: func(t *testing.T) {
			t.Helper()
			t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", ossfake.AccessKey)
			t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", ossfake.SecretKey)
		}},
		"temporary ones in variables": {prepare: func(t *testing.T) {
			t.Helper()
			t.Setenv("OSS_ACCESS_KEY_ID", "sts-key")
			t.Setenv("OSS_ACCESS_KEY_SECRET", "sts-secret")
			t.Setenv("OSS_SESSION_TOKEN", "token")
		}},
		"profile of the SDKs": {options: oss.Options{Profile: "sink"}, prepare: func(t *testing.T) {
			t.Helper()
			write(t, filepath.Join(os.Getenv("HOME"), ".alibabacloud/credentials"),
				"[sink]\ntype = access_key\naccess_key_id = "+ossfake.AccessKey+"\naccess_key_secret = "+ossfake.SecretKey+"\n")
		}},
		"profile of the CLI": {prepare: func(t *testing.T) {
			t.Helper()
			write(t, filepath.Join(os.Getenv("HOME"), ".aliyun/config.json"),
				fmt.Sprintf(`{"current":"x","profiles":[{"name":"x","mode":"AK","access_key_id":%q,"access_key_secret":%q}]}`, ossfake.AccessKey, ossfake.SecretKey))
		}},
		"a URI": {prepare: func(t *testing.T) { t.Helper(); t.Setenv("ALIBABA_CLOUD_CREDENTIALS_URI", sts.URL) }},
	} {
		t.Run(name, func(t *testing.T) {
			without(t)
			tt.prepare(t)
			server := ossfake.New(t, bucket)
			server.SetKey("sts-key", ossfake.Key{Secret: "sts-secret", Token: "token"})
			for _, signature := range []string{"v4", "v1"} {
				tt.options.Signature = signature
				if err := open(t, server, tt.options).Check(t.Context()); err != nil {
					t.Errorf("Check with %s = %v", signature, err)
				}
			}
		})
	}
}

// TestRotation changes, revokes and restores keys while the store is in use.
func TestRotation(t *testing.T) {
	without(t)
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("ALIBABA_CLOUD_CREDENTIALS_FILE", file)
	keys := func(key, secret string) {
		write(t, file, "[sink]\ntype = access_key\naccess_key_id = "+key+"\naccess_key_secret = "+secret+"\n")
	}
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{Profile: "sink"})
	backendtest.WantKind(t, "Check without a file", s.Check(t.Context()), backend.ErrPermission)
	keys("old", "old")
	until(t, func() bool { return !errors.Is(s.Check(t.Context()), backend.ErrPermission) || server.Calls() > 0 })
	backendtest.WantKind(t, "Check with a key that is not valid", s.Check(t.Context()), backend.ErrPermission)
	keys(ossfake.AccessKey, ossfake.SecretKey)
	until(t, func() bool { return s.Check(t.Context()) == nil })

	keys("new", "new")
	server.SetKey("new", ossfake.Key{Secret: "new"})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check with the key that still works = %v", err)
	}
	server.SetKey(ossfake.AccessKey, ossfake.Key{})
	until(t, func() bool { return s.Check(t.Context()) == nil })

	server.SetKey("new", ossfake.Key{})
	backendtest.WantKind(t, "Check with a key that was revoked", s.Check(t.Context()), backend.ErrPermission)
	server.SetKey("new", ossfake.Key{Secret: "new"})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check with the key restored = %v", err)
	}
}

// TestSlowPlace does not hold up a call whose context ends.
func TestSlowPlace(t *testing.T) {
	without(t)
	stuck := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(stuck) })
	t.Setenv("ALIBABA_CLOUD_CREDENTIALS_URI", slow.URL)
	s := open(t, ossfake.New(t, bucket), oss.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Check = %v, want the end of the context", err)
	}
}

// until waits for something to come true.
func until(t *testing.T, true func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come true")
		}
	}
}
