package oss_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

// TestEndpoints has the server play the whole of the network, as a proxy, and
// sees which way each configuration leads.
func TestEndpoints(t *testing.T) {
	setEnviron(t)
	for _, tt := range []struct {
		name    string
		options oss.Options
		host    string
	}{
		{"an endpoint", oss.Options{Endpoint: "http://oss-cn-test.aliyuncs.com"}, "a-bucket.oss-cn-test.aliyuncs.com"},
		{"internal", oss.Options{Endpoint: "http://oss-cn-test-internal.aliyuncs.com"}, "a-bucket.oss-cn-test-internal.aliyuncs.com"},
		{"acceleration", oss.Options{Endpoint: "http://oss-accelerate.aliyuncs.com", Region: "cn-test"}, "a-bucket.oss-accelerate.aliyuncs.com"},
		{"the bucket's own domain", oss.Options{Endpoint: "http://logs.example.com", CNAME: true, Region: "cn-test"}, "logs.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ossfake.New(t, bucket)
			server.SetDomain("logs.example.com", bucket)
			host := ""
			server.SetRefuse(func(_ http.ResponseWriter, r *http.Request) bool {
				host = r.Host
				return false
			})
			tt.options.Bucket, tt.options.Proxy = bucket, server.URL
			for _, signature := range []string{"v4", "v1"} {
				tt.options.Signature = signature
				s, err := oss.Open(t.Context(), tt.options)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Check(t.Context()); err != nil || host != tt.host {
					t.Errorf("Check with %s = %v, at %q, want %q", signature, err, host, tt.host)
				}
				if p := s.Properties(); p.Identity != "oss://a-bucket" {
					t.Errorf("Identity is %q, want that of the bucket whichever way leads there", p.Identity)
				}
				if _, err := s.Put(t.Context(), backendtest.Object(backend.Key(signature+"/ü +%"), []byte("body"))); err != nil {
					t.Errorf("Put with %s = %v", signature, err)
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		options oss.Options
		want    string
	}{
		{oss.Options{}, "store.oss.region"},
		{oss.Options{CNAME: true, Region: "cn-test"}, "the bucket's own domain"},
		{oss.Options{Accelerate: true}, "store.oss.region"},
		{oss.Options{Internal: true, Region: "cn-test", Endpoint: "oss-cn-test.aliyuncs.com"}, "leave it away"},
		{oss.Options{Accelerate: true, Internal: true, Region: "cn-test"}, "one of them"},
		{oss.Options{Endpoint: "a-bucket.oss-cn-test.aliyuncs.com"}, "write oss-cn-test.aliyuncs.com"},
		{oss.Options{Endpoint: "https://key:hunter2@oss-cn-test.aliyuncs.com"}, "secrets come from"},
		{oss.Options{Endpoint: "https://oss-cn-test.aliyuncs.com/a-bucket"}, "no host or URL"},
		{oss.Options{Endpoint: "store.example.com"}, "store.oss.region"},
		{oss.Options{Region: "cn-test", Signature: "v2"}, "v4 or v1"},
		{oss.Options{Region: "cn-test", Bucket: "No_Bucket"}, "oss://bucket/prefix"},
		{oss.Options{Region: "cn-test", PartSize: 8, Memory: 8}, "memory for two parts"},
		{oss.Options{Region: "cn-test", CAFile: "/not/there"}, "certificates"},
	} {
		if tt.options.Bucket == "" {
			tt.options.Bucket = bucket
		}
		_, err := oss.Open(t.Context(), tt.options)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%+v) = %v, want %q", tt.options, err, tt.want)
		}
	}
	for _, o := range []oss.Options{
		{Region: "cn-test"},
		{Region: "cn-test", Internal: true},
		{Region: "cn-test", Accelerate: true},
		{Endpoint: "oss-ap-southeast-1-internal.aliyuncs.com"},
		{Endpoint: "store.example.com", Signature: "v1"},
	} {
		o.Bucket = bucket
		if _, err := oss.Open(t.Context(), o); err != nil {
			t.Errorf("Open(%+v) = %v", o, err)
		}
	}
}
