package oss

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/aliyun/credentials-go/credentials/providers"
)

const (
	// askAge is how long credentials are used before their provider is asked
	// again. Providers renew those with an end minutes before it.
	askAge = 10 * time.Second
	// staticAge is how long keys without an end are used before files and
	// environment are read again: somebody may have put new ones there.
	staticAge = time.Minute
	// refusedAge is how long credentials that were refused are used on.
	refusedAge = time.Second
	// metadataTimeout is for the metadata service of an ECS instance, in
	// milliseconds. Where there is none, nobody answers at all.
	metadataTimeout = 1000
)

// errCredentials: no place knows any.
var errCredentials = errors.New("no credentials")

// chain is the places that may know credentials. The SDK asks without a
// context, in the middle of a call: so they are fetched before it, and a call
// that is cancelled does not wait for a metadata service.
type chain struct {
	load func() ([]providers.CredentialsProvider, error)
	one  chan struct{} // who holds it fetches

	mu       sync.Mutex
	provider providers.CredentialsProvider // that knew some
	made     time.Time
	asked    time.Time
	current  *providers.Credentials
	bad      bool // they were refused
	failed   error
	failedAt time.Time
}

var _ aliyun.CredentialsProviderE = (*chain)(nil)

func newChain(o Options) *chain {
	return &chain{load: func() ([]providers.CredentialsProvider, error) { return places(o) }, one: make(chan struct{}, 1)}
}

// ready has credentials at hand when it returns nil.
func (c *chain) ready(ctx context.Context) error {
	if c.fresh() {
		return nil
	}
	done := make(chan error, 1)
	go func() { // a provider cannot be told to stop, but it has timeouts of its own
		c.one <- struct{}{}
		defer func() { <-c.one }()
		if c.fresh() {
			done <- nil
			return
		}
		done <- c.fetch()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fresh says whether those at hand may be used without asking.
func (c *chain) fresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current != nil && time.Since(c.asked) < askAge && !c.stale()
}

// stale says whether all places have to be looked at anew.
func (c *chain) stale() bool {
	age := time.Since(c.made)
	return c.bad && age > refusedAge || c.current.SecurityToken == "" && age > staticAge
}

// fetch asks the provider that knew, or all in turn. While those at hand were
// not refused they stay good when no place knows any more.
func (c *chain) fetch() error {
	c.mu.Lock()
	known, keep, failed := c.provider, c.current != nil && !c.bad, c.failed
	if known != nil && c.stale() {
		known = nil
	}
	recent := failed != nil && time.Since(c.failedAt) < refusedAge
	c.mu.Unlock()
	if recent {
		return failed
	}
	if known != nil {
		if got, err := known.GetCredentials(); err == nil {
			c.took(known, got, false)
			return nil
		}
	}
	got, err := c.search()
	switch {
	case err == nil, keep:
		c.took(got.provider, got.credentials, true)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed, c.failedAt = err, time.Now()
	return err
}

// found is credentials and who knew them.
type found struct {
	provider    providers.CredentialsProvider
	credentials *providers.Credentials
}

// search looks at all places.
func (c *chain) search() (found, error) {
	all, err := c.load()
	if err != nil {
		return found{}, fmt.Errorf("%w: %w", errCredentials, err)
	}
	var errs []error
	for _, p := range all {
		got, err := p.GetCredentials()
		if err == nil && got != nil && got.AccessKeyId != "" {
			return found{p, got}, nil
		}
		errs = append(errs, err)
	}
	return found{}, fmt.Errorf("%w: %w", errCredentials, errors.Join(errs...))
}

// took has them used from now on; nil are those before.
func (c *chain) took(p providers.CredentialsProvider, got *providers.Credentials, anew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.failed = time.Now(), nil
	if got != nil {
		c.provider, c.current = p, got
	}
	if anew {
		c.made, c.bad = c.asked, false
	}
}

// refused hears that the store did not take them.
func (c *chain) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = true
}

// GetCredentialsE is for the SDK, which signs with them.
func (c *chain) GetCredentialsE() (aliyun.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil, errCredentials
	}
	return signer{*c.current}, nil
}

// GetCredentials is never called, since there is GetCredentialsE.
func (c *chain) GetCredentials() aliyun.Credentials {
	got, err := c.GetCredentialsE()
	if err != nil {
		return signer{}
	}
	return got
}

// signer is credentials as the SDK takes them.
type signer struct{ c providers.Credentials }

func (s signer) GetAccessKeyID() string     { return s.c.AccessKeyId }
func (s signer) GetAccessKeySecret() string { return s.c.AccessKeySecret }
func (s signer) GetSecurityToken() string   { return s.c.SecurityToken }

// places are where credentials may be, in the order in which they are tried:
// the environment, RRSA of a Kubernetes pod, the files of the CLI and of the
// SDKs, the role of the ECS instance, a URI.
func places(o Options) ([]providers.CredentialsProvider, error) {
	all, err := candidates(o)
	if err != nil || o.RoleARN == "" {
		return all, err
	}
	for i, p := range all {
		role, err := providers.NewRAMRoleARNCredentialsProviderBuilder().WithCredentialsProvider(p).
			WithRoleArn(o.RoleARN).WithRoleSessionName("sinkfs").WithStsRegionId(o.Region).Build()
		if err != nil {
			return nil, fmt.Errorf("store.oss.role_arn: %w", err)
		}
		all[i] = role
	}
	return all, nil
}

func candidates(o Options) ([]providers.CredentialsProvider, error) {
	var all []providers.CredentialsProvider
	add := func(p providers.CredentialsProvider, err error) {
		if err == nil { // else this is none of the places of this host
			all = append(all, p)
		}
	}
	switch {
	case o.ECSRole != "":
		p, err := ecs().WithRoleName(o.ECSRole).Build()
		if err != nil {
			return nil, fmt.Errorf("store.oss.ecs_role: %w", err)
		}
		return append(all, p), nil
	case o.Profile != "":
		add(providers.NewCLIProfileCredentialsProviderBuilder().WithProfileName(o.Profile).Build())
		add(providers.NewProfileCredentialsProviderBuilder().WithProfileName(o.Profile).Build())
		return all, nil
	}
	all = append(all, environment{})
	add(providers.NewEnvironmentVariableCredentialsProviderBuilder().Build())
	add(providers.NewOIDCCredentialsProviderBuilder().WithRoleSessionName("sinkfs").Build())
	add(providers.NewCLIProfileCredentialsProviderBuilder().Build())
	add(providers.NewProfileCredentialsProviderBuilder().Build())
	add(ecs().Build())
	if os.Getenv("ALIBABA_CLOUD_CREDENTIALS_URI") != "" {
		add(providers.NewURLCredentialsProviderBuilder().Build())
	}
	return all, nil
}

// ecs asks the metadata service, which is near or not there.
func ecs() *providers.ECSRAMRoleCredentialsProviderBuilder {
	return providers.NewECSRAMRoleCredentialsProviderBuilder().
		WithHttpOptions(&providers.HttpOptions{ConnectTimeout: metadataTimeout, ReadTimeout: metadataTimeout})
}

// environment is the variables of ossutil and the OSS SDKs; those of all of
// Alibaba Cloud come next.
type environment struct{}

// GetCredentials reads them anew each time.
func (environment) GetCredentials() (*providers.Credentials, error) {
	c := &providers.Credentials{
		AccessKeyId: os.Getenv("OSS_ACCESS_KEY_ID"), AccessKeySecret: os.Getenv("OSS_ACCESS_KEY_SECRET"), SecurityToken: os.Getenv("OSS_SESSION_TOKEN"),
	}
	if c.AccessKeyId == "" || c.AccessKeySecret == "" {
		return nil, errors.New("OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET are not both set")
	}
	return c, nil
}

// GetProviderName names the place.
func (environment) GetProviderName() string { return "oss-env" }
