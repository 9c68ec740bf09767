package stores

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// blocks are the commands of a section of a document, as it shows them.
func blocks(t *testing.T, document, section string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", document, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	in := false
	for line := range strings.Lines(rest) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && in:
			found[len(found)-1] += command
		case indented:
			found = append(found, command)
		}
		in = indented
	}
	return found
}

// quickstart runs commands where everything is as on a machine that has just
// been set up: a network of its own, an empty /mnt and /var/lib, and programs
// in the PATH. It returns what they print.
func quickstart(t *testing.T, programs map[string]string, environ []string, script string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"bin", "mnt", "lib", "home"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, program := range programs {
		if err := os.Symlink(program, filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	setup := fmt.Sprintf(`set -euo pipefail
mount --make-rprivate /
mount --bind %[1]s/mnt /mnt
mount --bind %[1]s/lib /var/lib
ip link set lo up
trap 'sinkfs umount --no-drain /mnt/sink >/dev/null 2>&1 || true; kill $server 2>/dev/null || true; wait' EXIT
`, dir)
	cmd := exec.Command("bash", "-c", setup+script)
	cmd.Dir = filepath.Join(dir, "home")
	cmd.Env = append([]string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + cmd.Dir, "LC_ALL=C", "DIR=" + dir,
	}, environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	r := sinkfstest.Command(t, cmd)
	if r.Code != 0 {
		t.Errorf("the commands ended with %d: %s%s\n%s", r.Code, r.Stdout, r.Stderr, script)
	}
	return r.Stdout
}

// once wants a pattern in a text, exactly once.
func once(t *testing.T, what, pattern, text string) {
	t.Helper()
	if n := len(regexp.MustCompile(pattern).FindAllString(text, -1)); n != 1 {
		t.Errorf("%s is there %d times, want once:\n%s", what, n, text)
	}
}

// TestQuickstart runs the very commands of the documents.
func TestQuickstart(t *testing.T) {
	sinkfs := sinkfstest.Program(t)
	t.Run("S3", func(t *testing.T) {
		minio, err := testserver.MinIO.Program(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		commands := blocks(t, "S3.md", "Five minutes with MinIO")
		if len(commands) != 4 {
			t.Fatalf("%d blocks of commands: %q", len(commands), commands)
		}
		out := quickstart(t, map[string]string{"sinkfs": sinkfs, "minio": minio}, nil, strings.TrimSpace(commands[0])+` >"$DIR/log" 2>&1 &
server=$!
until curl -s -o /dev/null http://127.0.0.1:9000; do sleep 0.05; done
`+strings.Join(commands[1:], "\n"))
		once(t, "the file in the mount", `(?m)^/mnt/sink/\S+/part-\S+$`, out)
		once(t, "the object", `<Key>prod/[^<]+/part-[^<]+</Key>`, out)
	})
	t.Run("OSS", func(t *testing.T) {
		commands := blocks(t, "OSS.md", "Five minutes with a bucket")
		if len(commands) != 2 {
			t.Fatalf("%d blocks of commands: %q", len(commands), commands)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		programs := map[string]string{"sinkfs": sinkfs, "ossutil": self, "ossserver": self}
		out := quickstart(t, programs, []string{"ALIBABA_CLOUD_ECS_METADATA_DISABLED=true"}, `export SSL_CERT_FILE="$DIR/ca.pem"
echo "127.0.0.1 logs.`+ossHost+`" >"$DIR/hosts"
mount --bind "$DIR/hosts" /etc/hosts
ossserver & server=$!
until (echo >/dev/tcp/127.0.0.1/443) 2>/dev/null; do sleep 0.05; done
`+strings.Join(commands, "\n"))
		once(t, "the file in the mount", `(?m)^/mnt/sink/\S+/part-\S+$`, out)
		once(t, "the object", `(?m)^oss://logs/prod/\S+/part-\S+$`, out)
	})
}

// The endpoint of the region that the document names.
const (
	ossRegion = "cn-hangzhou"
	ossHost   = "oss-" + ossRegion + ".aliyuncs.com"
)

// play is what this program is by other names: OSS, with TLS or without, or
// who lists a bucket of it with the vendor's SDK.
func play() (played bool, err error) {
	switch filepath.Base(os.Args[0]) {
	case "ossserver":
		return true, serveOSS(context.Background(), os.Getenv("SSL_CERT_FILE"))
	case plainOSS:
		return true, servePlainOSS(context.Background())
	case "ossutil":
		return true, listOSS(os.Args[1:])
	}
	return false, nil
}

func serveOSS(ctx context.Context, ca string) error {
	certificate, err := ossfake.Certify(ca, "logs."+ossHost)
	if err != nil {
		return err
	}
	server := ossfake.Make("logs")
	server.SetRegion(ossRegion)
	server.SetKey("your-key", ossfake.Key{Secret: "your-secret"})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:443")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
	return web.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}}))
}

func listOSS(args []string) error {
	if len(args) != 2 || args[0] != "ls" {
		return fmt.Errorf("%q is not ls and a URL", args)
	}
	name, prefix, ok := strings.Cut(strings.TrimPrefix(args[1], "oss://"), "/")
	if !ok {
		return errors.New("there is no bucket in " + args[1])
	}
	client, err := aliyun.New("https://"+ossHost, os.Getenv("OSS_ACCESS_KEY_ID"), os.Getenv("OSS_ACCESS_KEY_SECRET"))
	if err != nil {
		return err
	}
	b, err := client.Bucket(name)
	if err != nil {
		return err
	}
	page, err := b.ListObjectsV2(aliyun.Prefix(prefix))
	if err != nil {
		return err
	}
	for _, o := range page.Objects {
		fmt.Printf("oss://%s/%s\n", name, o.Key)
	}
	return nil
}
