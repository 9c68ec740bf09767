package ossfake

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// The vectors are those that the vendor's own signers are held to.

func TestSignV1(t *testing.T) {
	date := http.Header{"X-Oss-Date": {"Wed, 28 Dec 2022 10:27:41 GMT"}}
	full := http.Header{
		"X-Oss-Date": date["X-Oss-Date"], "Content-Md5": {"eB5eJF1ptWaXm4bijSPyxw=="}, "Content-Type": {"text/html"},
		"X-Oss-Meta-Author": {"alice"}, "X-Oss-Meta-Magic": {"abracadabra"},
	}
	for _, tt := range []struct {
		method, key, query string
		header             http.Header
		want               string
	}{
		{"PUT", "nelson", "", full, "kSHKmLxlyEAKtZPkJhG9bZb5k7M="},
		{"PUT", "nelson", "acl", full, "/afkugFbmWDQ967j1vr6zygBLQk="},
		{"GET", "", "resourceGroup&non-resousce=null", date, "vkQmfuUDyi1uDi3bKt67oemssIs="},
		{"GET", "", "resourceGroup&acl", date, "x3E5TgOvl/i7PN618s5mEvpJDYk="},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := signV1("sk", tt.method, "examplebucket", tt.key, q, tt.header); got != tt.want {
			t.Errorf("%s %s?%s: got %s, want %s", tt.method, tt.key, tt.query, got, tt.want)
		}
	}
}

func TestSignV4(t *testing.T) {
	for _, tt := range []struct {
		unix  int64
		token string
		want  string
	}{
		{1702743657, "", "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"},
		{1702784856, "token", "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea"},
	} {
		at := time.Unix(tt.unix, 0).UTC()
		h := http.Header{
			"X-Oss-Head1": {"value"}, "Abc": {"value"}, "Zabc": {"value"}, "Xyz": {"value"}, "Content-Type": {"text/plain"},
			"X-Oss-Content-Sha256": {"UNSIGNED-PAYLOAD"}, "X-Oss-Date": {at.Format(isoTime)},
		}
		if tt.token != "" {
			h.Set("X-Oss-Security-Token", tt.token)
		}
		q := url.Values{"param1": {"value1"}, "+param1": {"value3"}, "|param1": {"value4"}, "+param2": {""}, "|param2": {""}, "param2": {""}}
		if got := signV4("sk", "cn-hangzhou", at, "PUT", "bucket", "1234+-/123/1.txt", q, h, ""); got != tt.want {
			t.Errorf("at %d: got %s, want %s", tt.unix, got, tt.want)
		}
	}
}
