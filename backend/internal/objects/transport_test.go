package objects

import (
	"net/http"
	"testing"
)

// TestMetadataServicesAreNotProxied: a proxy would ask its own host's.
func TestMetadataServicesAreNotProxied(t *testing.T) {
	change, err := Network{Proxy: "http://proxy:3128"}.Transport()
	if err != nil {
		t.Fatal(err)
	}
	var tr http.Transport
	change(&tr)
	for url, proxied := range map[string]bool{
		"http://169.254.169.254/latest/api/token": false,
		"http://169.254.170.2/v2/credentials":     false,
		"http://[fd00:ec2::254]/latest/api/token": false,
		"https://bucket.s3.amazonaws.com/key":     true,
		"http://10.0.0.1/key":                     true,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := tr.Proxy(r); err != nil || (to != nil) != proxied {
			t.Errorf("%s by way of %v, %v", url, to, err)
		}
	}
}
