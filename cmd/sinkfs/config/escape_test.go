package config

import (
	"log/slog"
	"testing"
)

// TestTargetIsDecodedOnce: what is written escaped is opened as what it means.
func TestTargetIsDecodedOnce(t *testing.T) {
	for _, c := range []struct{ target, url string }{
		{"s3://logs/a%2541", "s3://logs/a%41"},
		{"s3://logs/50%25/x", "s3://logs/50%/x"},
		{"s3://logs/user%40host", "s3://logs/user@host"},
		{"s3://logs/what%3Fx", "s3://logs/what?x"},
		{"s3://logs/a%23b", "s3://logs/a#b"},
	} {
		cfg, err := Load("", nil, Override{Key: "target", Value: c.target, Flag: "TARGET"})
		if err != nil {
			t.Errorf("%s: load: %v", c.target, err)
			continue
		}
		s, err := OpenStore(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: config check says yes, open: %v", c.target, err)
			continue
		}
		if got := s.Properties().URL; got != c.url {
			t.Errorf("%s: opens %s, it means %s", c.target, got, c.url)
		}
	}
}

// TestProxyWithASlash: a proxy may end in one.
func TestProxyWithASlash(t *testing.T) {
	for _, target := range []string{"s3://logs/prod", "oss://logs/prod"} {
		_, err := Load("", []string{"SINKFS_STORE_OSS_REGION=cn-hangzhou", "SINKFS_STORE_OSS_PROXY=http://proxy:3128/", "SINKFS_STORE_S3_PROXY=http://proxy:3128/"},
			Override{Key: "target", Value: target, Flag: "TARGET"})
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}
