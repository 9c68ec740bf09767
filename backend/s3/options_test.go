package s3_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
)

// headers keeps those of the last request of a kind.
type headers struct {
	mu   sync.Mutex
	last map[string]http.Header
}

func (h *headers) watch(_ http.ResponseWriter, r *http.Request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = map[string]http.Header{}
	}
	kind := r.Method
	if r.URL.Query().Has("uploads") {
		kind = "BEGIN"
	}
	h.last[kind] = r.Header
	return false
}

func (h *headers) of(kind, name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last[kind].Get(name)
}

// TestHeaders has what is configured on every object, however it is made.
func TestHeaders(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	var h headers
	f.refuse = h.watch
	s := open(t, s3.Options{
		Bucket: "b", Endpoint: f.URL, SSE: "aws:kms", KMSKey: "key-1", StorageClass: "STANDARD_IA",
		Tags: "team=logs&env=prod", RequesterPays: true,
	})
	if _, err := s.Stage(t.Context(), backendtest.Object("a", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), backendtest.Object("b", []byte("123456789"))); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{http.MethodPut, "BEGIN"} {
		for name, want := range map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1",
			"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Tagging": "team=logs&env=prod", "X-Amz-Request-Payer": "requester",
			"X-Amz-Meta-Sinkfs-Part": "7",
		} {
			if got := h.of(kind, name); got != want {
				t.Errorf("%s: %s is %q, want %q", kind, name, got, want)
			}
		}
	}
	for name, want := range map[string]string{
		"X-Amz-Checksum-Crc32c": "4waSgw==", // the check value of CRC-32C
		"If-None-Match":         "*", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
	} {
		if got := h.of(http.MethodPut, name); got != want {
			t.Errorf("PUT: %s is %q, want %q", name, got, want)
		}
	}
	none := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, NoChecksum: true})
	if _, err := none.Put(t.Context(), backendtest.Object("d", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Amz-Checksum-Crc32c", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Trailer"} {
		if got := h.of(http.MethodPut, name); got != "" {
			t.Errorf("without checksums %s is %q", name, got)
		}
	}
}

func TestCertificates(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	err := open(t, s3.Options{Bucket: "b", Endpoint: server.URL}).Check(t.Context())
	backendtest.Says(t, "Check with an authority not known", err, backend.ErrTransient, "store.s3.ca_file")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, s3.Options{Bucket: "b", Endpoint: server.URL, CAFile: file}).Check(t.Context()); err != nil {
		t.Errorf("Check with the authority = %v", err)
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s3.Open(t.Context(), s3.Options{Bucket: "b", CAFile: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open with a file that holds no certificate = %v", err)
	}
}

func TestProxy(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	var mu sync.Mutex
	through := 0
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		mu.Lock()
		defer mu.Unlock()
		through++
		r.Out.URL.Host = strings.TrimPrefix(f.URL, "http://")
	}})
	t.Cleanup(proxy.Close)
	s := open(t, s3.Options{Bucket: "b", Endpoint: "http://store.invalid", Proxy: proxy.URL})
	if err := s.Check(t.Context()); err != nil || through == 0 {
		t.Errorf("Check = %v, %d requests went through the proxy", err, through)
	}
}

// TestCredentialSources finds credentials in all the places of the chain.
func TestCredentialSources(t *testing.T) {
	setEnviron(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"} {
		t.Setenv(name, "")
	}
	places := httptest.NewServer(http.HandlerFunc(credentialsOf))
	t.Cleanup(places.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("jwt"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, key string
		env       map[string]string
		options   s3.Options
	}{
		{"environment", "env", map[string]string{"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s"}, s3.Options{}},
		{"role of the container", "container", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": places.URL + "/container"}, s3.Options{}},
		{"role of the host", "host", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": places.URL}, s3.Options{}},
		{"web identity", "web", map[string]string{
			"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/web", "AWS_ENDPOINT_URL_STS": places.URL,
		}, s3.Options{}},
		{"a role assumed", "assumed", map[string]string{
			"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL_STS": places.URL,
		}, s3.Options{RoleARN: "arn:aws:iam::1:role/assumed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			f := newFake(t)
			var h headers
			f.refuse = h.watch
			tt.options.Bucket, tt.options.Endpoint = "b", f.URL
			s := open(t, tt.options)
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := h.of(http.MethodGet, "Authorization"); !strings.Contains(got, "Credential="+tt.key+"/") {
				t.Errorf("signed with %q, want the key %s", got, tt.key)
			}
		})
	}
}

// credentialsOf plays the metadata services of containers and hosts, and STS.
func credentialsOf(w http.ResponseWriter, r *http.Request) {
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	const json = `{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":"s","Token":"t","Expiration":%q}`
	switch r.URL.Path {
	case "/container":
		fmt.Fprintf(w, json, "container", end)
	case "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "100")
		fmt.Fprint(w, "token")
	case "/latest/meta-data/iam/security-credentials/":
		fmt.Fprint(w, "role")
	case "/latest/meta-data/iam/security-credentials/role":
		fmt.Fprintf(w, json, "host", end)
	case "/":
		if err := r.ParseForm(); err != nil {
			return
		}
		action := r.Form.Get("Action")
		key := map[string]string{"AssumeRole": "assumed", "AssumeRoleWithWebIdentity": "web"}[action]
		fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>t</SessionToken><Expiration>%[3]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, key, end)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}
