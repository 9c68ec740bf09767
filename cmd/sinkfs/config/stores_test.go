package config_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

func TestS3Keys(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"endpoint: minio:9000", "write for example https://"},
		{"endpoint: https://key:hunter2@minio:9000", "secrets come from the environment"},
		{"proxy: https://me:hunter2@proxy", "secrets come from the environment"},
		{"tags: 'a;b'", "write for example team=logs&env=prod"},
		{"sse: rot13", `write "", AES256`},
		{"kms_key: x", "sse: aws:kms"},
		{"checksum: md5", "crc32c"},
		{"part_size: 1MiB", "from 5MiB"},
		{"part_memory: 8MiB", "does not hold two parts of 8MiB"},
		{"connections: 0", "at least 1"},
	} {
		_, err := load(t, "target: s3://b\nstore:\n  s3:\n    "+tt.text+"\n")
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), ":4:") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want line 4 and %q", tt.text, err, tt.want)
		}
	}
}

func TestOpenS3(t *testing.T) {
	c, err := load(t, "target: s3://logs/prod/\nstore: {s3: {endpoint: 'http://127.0.0.1:1', path_style: true}}\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.OpenStore(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Properties()
	if p.URL != "s3://logs/prod" || !strings.Contains(p.Identity, "127.0.0.1:1") || p.Local || p.StageAbove != 16<<20 {
		t.Errorf("got %+v", p)
	}
}

func TestOSSKeys(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"endpoint: https://key:hunter2@oss-cn-hangzhou.aliyuncs.com", "secrets come from the environment"},
		{"endpoint: key:hunter2@oss-cn-hangzhou.aliyuncs.com", "not a host or URL"},
		{"tags: 'a;b'", "write for example team=logs&env=prod"},
		{"sse: rot13", "AES256"},
		{"kms_key: x", "sse: KMS"},
		{"signature: v2", "v4"},
		{"part_size: 64KiB", "from 100KiB"},
		{"part_memory: 8MiB", "does not hold two parts of 8MiB"},
		{"connections: 0", "at least 1"},
	} {
		_, err := load(t, "target: oss://logs\nstore:\n  oss:\n    "+tt.text+"\n")
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), ":4:") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want line 4 and %q", tt.text, err, tt.want)
		}
	}
}

func TestOpenOSS(t *testing.T) {
	_, err := load(t, "target: oss://logs/prod\n")
	if err == nil || !strings.Contains(err.Error(), "store.oss.region") {
		t.Errorf("without a region: got %v, want it named", err)
	}
	c, err := load(t, "target: oss://logs/prod/\nstore: {oss: {region: cn-hangzhou, internal: true}}\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.OpenStore(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Properties()
	if p.URL != "oss://logs/prod" || p.Identity != "oss://logs/prod" || p.Local || p.StageAbove != 16<<20 {
		t.Errorf("got %+v", p)
	}
}

// TestProxyWithASlash: a proxy may end in one.
func TestProxyWithASlash(t *testing.T) {
	for _, target := range []string{"s3://logs/prod", "oss://logs/prod"} {
		_, err := config.Load("", []string{"SINKFS_STORE_OSS_REGION=cn-hangzhou", "SINKFS_STORE_OSS_PROXY=http://proxy:3128/", "SINKFS_STORE_S3_PROXY=http://proxy:3128/"},
			config.Override{Key: "target", Value: target, Flag: "TARGET"})
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}
