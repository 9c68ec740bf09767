package oss_test

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
	"syscall"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

// TestRoles plays an ECS instance and a pod with RRSA, in network and mount
// namespaces of their own: the metadata service has a fixed address, STS a
// fixed name.
func TestRoles(t *testing.T) {
	setEnviron(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), rolesVariable+"="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"),
		"OSS_ACCESS_KEY_ID=", "OSS_ACCESS_KEY_SECRET=", "ALIBABA_CLOUD_ECS_METADATA_DISABLED=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// roles is what runs in the namespaces.
func roles(dir string) error {
	setup := fmt.Sprintf(`set -e
ip link set lo up
ip addr add 100.100.100.200/32 dev lo
mount --make-rprivate /
echo "127.0.0.1 sts.aliyuncs.com sts.cn-test.aliyuncs.com" > %[1]s/hosts
mount --bind %[1]s/hosts /etc/hosts`, dir)
	ctx := context.Background()
	if out, err := exec.CommandContext(ctx, "sh", "-c", setup).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	server := ossfake.Make(bucket)
	server.SetKey("role-key", ossfake.Key{Secret: "role-secret", Token: "role-token"})
	url, err := listen(ctx, "127.0.0.1:0", nil, server)
	if err != nil {
		return err
	}
	o := oss.Options{Bucket: bucket, Region: ossfake.Region, Endpoint: "http://" + url}
	return errors.Join(checkInstance(ctx, o), checkPod(ctx, o, dir))
}

func listen(ctx context.Context, address string, secure *tls.Config, h http.Handler) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	at := l.Addr().String()
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until the process ends
	return at, nil
}

const roleKeys = `"AccessKeyId":"role-key","AccessKeySecret":"role-secret","SecurityToken":"role-token","Expiration":%q`

func expiration() string { return time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z") }

// checkInstance finds the role of the instance, by version 2 of the service.
func checkInstance(ctx context.Context, o oss.Options) error {
	const roles = "/latest/meta-data/ram/security-credentials/"
	if _, err := listen(ctx, "100.100.100.200:80", nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			fmt.Fprint(w, "metadata-token")
		case r.Header.Get("X-Aliyun-Ecs-Metadata-Token") != "metadata-token":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == roles:
			fmt.Fprint(w, "sink-role")
		case r.URL.Path == roles+"sink-role":
			fmt.Fprintf(w, `{"Code":"Success",`+roleKeys+`}`, expiration())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})); err != nil {
		return err
	}
	var errs []error
	for _, role := range []string{"", "sink-role"} {
		o.ECSRole = role
		errs = append(errs, check(ctx, "an ECS instance, role "+role, o))
	}
	if o.ECSRole = "another-role"; check(ctx, "", o) == nil {
		errs = append(errs, errors.New("a role that the instance does not have is good"))
	}
	return errors.Join(errs...)
}

// checkPod has STS take the token of a pod, and the keys of a user who may
// assume a role.
func checkPod(ctx context.Context, o oss.Options, dir string) error {
	certificate, err := ossfake.Certify(filepath.Join(dir, "ca.pem"), "sts.aliyuncs.com", "sts.cn-test.aliyuncs.com")
	if err != nil {
		return err
	}
	if _, err := listen(ctx, "127.0.0.1:443", &tls.Config{Certificates: []tls.Certificate{certificate}}, http.HandlerFunc(sts)); err != nil {
		return err
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("pod-token"), 0o600); err != nil {
		return err
	}
	err = with(map[string]string{
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", // else its role would do
		"ALIBABA_CLOUD_ROLE_ARN":              "acs:ram::1:role/pod", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/ack",
		"ALIBABA_CLOUD_OIDC_TOKEN_FILE": token,
	}, func() error { return check(ctx, "a pod", o) })
	o.RoleARN = "acs:ram::1:role/sink"
	return errors.Join(err, with(map[string]string{"OSS_ACCESS_KEY_ID": "user", "OSS_ACCESS_KEY_SECRET": "user-secret"}, func() error {
		return check(ctx, "a role to assume", o)
	}))
}

// with runs something with variables that are not set otherwise.
func with(variables map[string]string, run func() error) error {
	for k, v := range variables {
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	errs := []error{run()}
	for k := range variables {
		errs = append(errs, os.Unsetenv(k))
	}
	return errors.Join(errs...)
}

// sts is the service that gives out temporary keys.
func sts(w http.ResponseWriter, r *http.Request) {
	action := r.FormValue("Action")
	good := action == "AssumeRoleWithOIDC" && r.FormValue("OIDCToken") == "pod-token" && r.FormValue("RoleArn") == "acs:ram::1:role/pod" ||
		action == "AssumeRole" && r.FormValue("AccessKeyId") == "user" && r.FormValue("RoleArn") == "acs:ram::1:role/sink"
	if !good {
		http.Error(w, fmt.Sprintf("not allowed: %v", r.Form), http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, `{"Credentials":{`+roleKeys+`}}`, expiration())
}

func check(ctx context.Context, what string, o oss.Options) error {
	s, err := oss.Open(ctx, o)
	if err == nil {
		err = s.Check(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
