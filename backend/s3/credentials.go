package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// staticAge is how long keys without an end of their own are used before
	// the files are read again: somebody may have put new ones there.
	staticAge = time.Minute
	// refusedAge is how long credentials that were refused are used on.
	refusedAge = time.Second
)

// errCredentials: the chain yields none.
var errCredentials = errors.New("no credentials")

// chain is the SDK's chain of places that may know credentials. The SDK reads
// files once, so that keys rotated in them would never be seen; here they are
// read again when the store refuses the old ones.
type chain struct {
	load func(context.Context) (aws.Config, error)
	role string

	mu      sync.Mutex
	current aws.CredentialsProvider
	loaded  time.Time
	static  bool // they say no end
	bad     bool // they were refused
}

var _ aws.CredentialsProvider = (*chain)(nil)

// Retrieve returns the credentials of now.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	current, err := c.provider(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	got, err := current.Retrieve(ctx)
	if err != nil {
		c.refused()
		return got, fmt.Errorf("%w: %w", errCredentials, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.static = !got.CanExpire
	return got, nil
}

func (c *chain) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.loaded)
	if c.current != nil && !(c.bad && age > refusedAge) && !(c.static && age > staticAge) {
		return c.current, nil
	}
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCredentials, err)
	}
	c.current = cfg.Credentials
	if c.role != "" {
		c.current = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "sinkfs"
		}))
	}
	c.loaded, c.bad, c.static = time.Now(), false, false
	return c.current, nil
}

// refused hears that the store did not take them.
func (c *chain) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = true
}
