package stores

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// keyed is a server whose keys change, and the file where a mount finds its
// own.
type keyed struct {
	site
	t     *testing.T
	url   string // of the proxy before it
	proxy *faultproxy.Proxy
	file  string
	known aws.Credentials // all that the server takes
}

// withKeys has a mount read its keys from a file and speak through a proxy.
func withKeys(t *testing.T, s site) *keyed {
	t.Helper()
	k := &keyed{site: s, t: t, proxy: faultproxy.New(t, s.URL())}
	k.url = k.proxy.URL
	home := t.TempDir()
	switch s.(type) {
	case s3Site:
		k.file = filepath.Join(home, "credentials")
		k.known = aws.Credentials{AccessKeyID: testserver.AccessKey, SecretAccessKey: testserver.SecretKey}
		for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": k.file} {
			t.Setenv(name, value)
		}
	case ossSite:
		k.file = filepath.Join(home, ".aliyun", "config.json")
		k.known = aws.Credentials{AccessKeyID: ossfake.AccessKey, SecretAccessKey: ossfake.SecretKey}
		for name, value := range map[string]string{
			"OSS_ACCESS_KEY_ID": "", "OSS_ACCESS_KEY_SECRET": "", "HOME": home, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
		} {
			t.Setenv(name, value)
		}
	}
	k.hand(k.known)
	return k
}

// hand puts keys where the mount finds them.
func (k *keyed) hand(c aws.Credentials) {
	k.t.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.AccessKeyID, c.SecretAccessKey)
	if c.SessionToken != "" {
		text += "aws_session_token = " + c.SessionToken + "\n"
	}
	if _, ok := k.site.(ossSite); ok {
		mode := "AK"
		if c.SessionToken != "" {
			mode = "StsToken"
		}
		text = fmt.Sprintf(`{"current":"x","profiles":[{"name":"x","mode":%q,"access_key_id":%q,"access_key_secret":%q,"sts_token":%q}]}`,
			mode, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}
	if err := os.MkdirAll(filepath.Dir(k.file), 0o700); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(k.file, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// take has the server take this key, and no other any more.
func (k *keyed) take(c aws.Credentials) {
	k.t.Helper()
	switch s := k.site.(type) {
	case s3Site:
		s.Stop(k.t)
		s.AccessKey, s.SecretKey = c.AccessKeyID, c.SecretAccessKey
		s.Run(k.t)
	case ossSite:
		s.SetKey(k.known.AccessKeyID, ossfake.Key{})
		s.SetKey(c.AccessKeyID, ossfake.Key{Secret: c.SecretAccessKey, Token: c.SessionToken})
	}
	k.known = c
}

// readOnly is a key that may only read.
func (k *keyed) readOnly() aws.Credentials {
	k.t.Helper()
	if s, ok := k.site.(ossSite); ok {
		s.SetKey("reader", ossfake.Key{Secret: "reader-secret", ReadOnly: true})
		return aws.Credentials{AccessKeyID: "reader", SecretAccessKey: "reader-secret"}
	}
	s, ok := k.site.(s3Site)
	if !ok {
		k.t.Fatal("a site of no kind")
	}
	c, err := s.ReadOnlyKey(k.t.Context(), bucket)
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// skew has the clocks of mount and server differ.
func (k *keyed) skew(d time.Duration) {
	k.t.Helper()
	if s, ok := k.site.(ossSite); ok {
		s.SetClock(d)
		return
	}
	if d == 0 {
		k.proxy.SetEdit(nil)
		return
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	k.proxy.SetEdit(func(r *http.Request) { // as a client signs whose clock is behind
		if err := signer.SignHTTP(r.Context(), k.known, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", testserver.Region, time.Now().Add(-d)); err != nil {
			k.t.Error(err)
		}
	})
}

// rename gives the bucket another name while the server does not look.
func (k *keyed) rename(from, to string) {
	k.t.Helper()
	switch s := k.site.(type) {
	case ossSite:
		s.RenameBucket(from, to)
	case s3Site:
		s.Stop(k.t)
		if err := os.Rename(filepath.Join(s.Dir, "data", from), filepath.Join(s.Dir, "data", to)); err != nil {
			k.t.Fatal(err)
		}
		s.Run(k.t)
	}
}

// trouble is what keeps a mount from its target. It says why, and what to do.
type trouble struct {
	name       string
	want       string // in the words of S3; those of OSS have other names of variables
	begin, end func()
}

func (k *keyed) troubles() []trouble {
	good := k.known
	other := aws.Credentials{AccessKeyID: "other-key", SecretAccessKey: "other-secret"}
	secret := aws.Credentials{AccessKeyID: good.AccessKeyID, SecretAccessKey: "another-secret"}
	return []trouble{
		{
			"unknown key", "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile",
			func() { k.take(other) }, func() { k.take(good) },
		},
		{
			"wrong secret", "check AWS_SECRET_ACCESS_KEY or the profile",
			func() { k.take(secret) }, func() { k.take(good) },
		},
		{
			"read-only key", "give this key s3:GetObject, s3:PutObject",
			func() { k.take(other); k.hand(k.readOnly()) }, func() { k.take(good); k.hand(good) },
		},
		{
			"clock", "the clock of this host differs from the store's by too much, set it (timedatectl, chrony)",
			func() { k.skew(20 * time.Minute) }, func() { k.skew(0) },
		},
		{
			"bucket gone", "there is no such bucket at this endpoint: make it",
			func() { k.rename(bucket, "away") }, func() { k.rename("away", bucket) },
		},
	}
}

// says is the text as the target's driver has it.
func (k *keyed) says(text string) string {
	if _, ok := k.site.(ossSite); ok {
		text = strings.NewReplacer("AWS_SECRET_ACCESS_KEY", "OSS_ACCESS_KEY_SECRET", "AWS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_ID",
			"s3:", "oss:", "store.s3", "store.oss").Replace(text)
	}
	return text
}

// TestRefusedWhileRunning has keys rotated, revoked, restored and reduced, the
// clock differ and the bucket vanish, beneath a mount that is written to all
// the time: no writer notices, the status says since when and what to do, and
// everything is published once that was done.
func TestRefusedWhileRunning(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		k := withKeys(t, s)
		m := mountOf(t, s)
		m.Start(append(settings(t, s, k.url, quick...), "--checkpoint-interval", "1s")...)
		w := startWriter(t, m.Path("app.log"))
		w.until(t, 2e6)
		good := k.known
		next := aws.Credentials{AccessKeyID: "rotated-key", SecretAccessKey: "rotated-secret"}
		k.hand(next) // rotated: the new key is there before the old one goes
		k.take(next)
		k.wantDrained(m, w)
		k.take(good)
		k.hand(good)
		k.wantDrained(m, w)
		for _, x := range k.troubles() {
			since := time.Now()
			x.begin()
			sinkfstest.Eventually(t, x.name+": the status says what to do", func() bool {
				got := stateOf(t, m).Target
				return got.State == "refused" && strings.Contains(got.Error, k.says(x.want)) && !got.Since.Before(since)
			})
			text, err := os.ReadFile(m.Path(".sinkfs", "metrics"))
			if err != nil || !strings.Contains(string(text), `sinkfs_target_state{state="refused"} 1`) {
				t.Errorf("%s: the metrics do not say it, %v", x.name, err)
			}
			w.until(t, w.written()+3e6)
			x.end()
			k.wantDrained(m, w)
		}
		w.check(t, s, w.stopAndPublish(t, m))
		tidy(t, s, m)
	})
}

// wantDrained waits for what was written so far to be published.
func (k *keyed) wantDrained(m *sinkfstest.Mount, w *writer) {
	k.t.Helper()
	w.until(k.t, w.written()+1e6)
	sinkfstest.Eventually(k.t, "all is published again", func() bool {
		return sinkfstest.Run(k.t, "checkpoint", m.Point).Code == 0 && stateOf(k.t, m).Target.State == "ok"
	})
}

// TestMountErrors has a target that was never reached be an error, which says
// what is wrong and what to do, and nothing else.
func TestMountErrors(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		k := withKeys(t, s)
		sinkfstest.Program(t) // built before the time counts
		target, config := s.Mount(k.url)
		_, nobody := s.Mount("http://127.0.0.1:1")
		wrongRegion := strings.Replace(strings.Replace(config, ossfake.Region, "cn-elsewhere", 1), "path_style: true", "path_style: true, region: eu-west-1", 1)
		k.wantRefused("nobody there", target, nobody, "no answer from http://127.0.0.1:1: ", "nothing listens there")
		k.wantRefused("no such bucket", strings.Replace(target, bucket, "other", 1), config,
			k.says("there is no such bucket at this endpoint: make it, or correct the target and store.s3.endpoint"))
		k.wantRefused("another region", target, wrongRegion, k.says("set store.s3.region to "))
		host := httptest.NewServer(http.NotFoundHandler()) // has no role; the SDK would have much to say about it
		defer host.Close()
		t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", host.URL)
		if err := os.Remove(k.file); err != nil {
			t.Fatal(err)
		}
		k.wantRefused("no key", target, config, k.says("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile"))
		k.hand(k.known)
		for _, x := range k.troubles() {
			x.begin()
			k.wantRefused(x.name, target, config, k.says(x.want))
			x.end()
		}
	})
}

func (k *keyed) wantRefused(name, target, config string, want ...string) {
	k.t.Helper()
	m := sinkfstest.At(k.t, target)
	file := filepath.Join(m.Dir, "sinkfs.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		k.t.Fatal(err)
	}
	start := time.Now()
	r := sinkfstest.Run(k.t, "mount", "-c", file, "--state-dir", m.State, m.Target, m.Point)
	if took := time.Since(start); r.Code != 7 || took > 15*time.Second {
		k.t.Errorf("%s: mount ended with %d after %v: %s, want 7 within 15s", name, r.Code, took, r.Stderr)
	}
	for _, text := range want {
		if !strings.Contains(r.Stderr, text) {
			k.t.Errorf("%s: mount says %s, want %q in it", name, r.Stderr, text)
		}
	}
	said := 0
	for line := range strings.Lines(r.Stderr) {
		if strings.HasPrefix(line, "sinkfs: ") {
			said++
		} else if !strings.HasPrefix(line, "time=") { // of the log
			k.t.Errorf("%s: this is not of sinkfs: %s", name, line)
		}
	}
	if said != 1 {
		k.t.Errorf("%s: mount says it %d times:\n%s", name, said, r.Stderr)
	}
}
